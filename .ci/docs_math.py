"""A hook of mkdocs: formulas become MathML when the site is built, so that pages need no script for them."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\([(\[])(.*?)\\[)\]]\s*</\1>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """Replace what pymdownx.arithmatex marked."""

    def mathml(match: re.Match[str]) -> str:
        tag, bracket, tex = match.groups()
        tex = html.unescape(tex).strip().replace("{aligned}", "{align*}")  # the converter knows the latter
        display = "block" if bracket == "[" else "inline"
        return f'<{tag} class="formula">{convert(tex, display=display)}</{tag}>'

    return _FORMULA.sub(mathml, content)
