"""Every fenced python block of the README and the guide runs, page by page, in an empty folder.

A page that needs files prepares them in a block that readers do not see:
`<!-- invisible-code-block: python` ... `-->`.
"""

from __future__ import annotations

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
