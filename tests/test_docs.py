"""Every fenced python block of the README and the guide runs, page by page, in an empty folder.

A page that needs files prepares them in a block that readers do not see:
`<!-- invisible-code-block: python` ... `-->`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCKS = Sybil(parsers=[PythonCodeBlockParser()])


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES])
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = BLOCKS.parse(page)
    monkeypatch.chdir(tmp_path)
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize(("start", "folder"), [("docs/index.md", ""), ("README.md", "docs/")])
def test_home_page_and_readme_list_every_guide(start: str, folder: str) -> None:
    text = (REPOSITORY / start).read_text(encoding="utf-8")
    guides = {f"{folder}{page.name}" for page in (REPOSITORY / "docs").glob("*.md")}
    named = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)}
    assert sorted(guides - named - {start.removeprefix("docs/")}) == []
