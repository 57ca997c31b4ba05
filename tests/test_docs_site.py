"""The documentation site: it builds without a warning, and its pages load nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from browser import visit

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    for page in (REPOSITORY / "docs").rglob("*.md"):
        name = page.relative_to(REPOSITORY / "docs").with_suffix(".html")
        assert (site / name).is_file()


def test_formulas_are_mathml(site: Path) -> None:
    text = (site / "method.html").read_text(encoding="utf-8")
    formulas = re.findall(r"<math.*?</math>", text, flags=re.DOTALL)
    assert len(formulas) > 30
    assert [formula for formula in formulas if "&amp;" in formula or ">&<" in formula] == []
    for left in ('class="arithmatex"', "\\(", "\\[", "$$", "<merror"):
        assert left not in text.replace("\\(\\)", "")


def test_api_is_filled(site: Path) -> None:
    text = (site / "api" / "inference.html").read_text(encoding="utf-8")
    assert 'id="zoomin.inference.predict"' in text
    assert "Classify images; one that cannot be read becomes a row" in text


@pytest.mark.parametrize(
    ("page", "scheme"),
    [("index.html", "light"), ("method.html", "dark"), ("report.html", "light"), ("api/model.html", "dark")],
)
@pytest.mark.browser
def test_pages_load_nothing_from_elsewhere(site: Path, page: str, scheme: str) -> None:
    with visit((site / page).as_uri(), scheme=scheme, offline=True) as seen:  # type: ignore[arg-type]
        seen.page.wait_for_load_state("networkidle")
        assert [address for address in seen.requests if not address.startswith(("file:", "data:"))] == []
        shown = seen.page.locator("article img").evaluate_all("all => all.every(i => i.naturalWidth > 0)")
        assert shown
        assert seen.page.locator("h1").count() == 1
        seen.shoot(f"docs-{page.replace('/', '-').removesuffix('.html')}-{scheme}", full=True)
