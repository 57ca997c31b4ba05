"""Hooks of mkdocs: pages of the navigation that are not written yet are left out; formulas become MathML.

MathML is made when the site is built, so that pages need no script for formulas.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\([(\[])(.*?)\\[)\]]\s*</\1>', re.DOTALL)


def on_config(config: Any) -> Any:  # noqa: ANN401 (mkdocs' own configuration)
    """Leave out pages that do not exist."""
    docs = Path(config["docs_dir"])

    def written(entry: Any) -> bool:  # noqa: ANN401 (a page, or a title and what is below it)
        [page] = entry.values() if isinstance(entry, dict) else [entry]
        return isinstance(page, list) or (docs / page).is_file()

    for section in config["nav"]:
        for title, pages in section.items():
            if isinstance(pages, list):
                section[title] = [entry for entry in pages if written(entry)]
    return config


def on_page_content(content: str, **_: object) -> str:
    """Replace what pymdownx.arithmatex marked."""

    def mathml(match: re.Match[str]) -> str:
        tag, bracket, tex = match.groups()
        tex = html.unescape(tex).strip().replace("{aligned}", "{align*}")  # the converter knows the latter
        display = "block" if bracket == "[" else "inline"
        return f'<{tag} class="formula">{convert(tex, display=display)}</{tag}>'

    return _FORMULA.sub(mathml, content)
