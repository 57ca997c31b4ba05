"""What tests need that neither the repository nor `make install` brings: real data, a browser.

A test that uses the fixture `data_root` names the folders that it reads: `@pytest.mark.data("slides")`; one
that opens pages is marked `@pytest.mark.browser`. Where these are missing, the tests are left out, counted
and named at the end. ZOOMIN_REQUIRE_DATA=1 and ZOOMIN_REQUIRE_CHROMIUM=1 keep them in: they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PLACES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MARKERS = (
    "data(*folders): reads these folders of real data, through the fixture `data_root`",
    "browser: opens a page in Chromium",
)


def data_folder() -> Path:
    """The folder of real data: $ZOOMIN_DATA, else shared/data beside the repository."""
    given = os.environ.get("ZOOMIN_DATA")
    return Path(given) if given else REPOSITORY.parent / "shared" / "data"


def data_missing(folders: tuple[str, ...]) -> str | None:
    """What is missing of the real data, with the remedy; None where all folders are there."""
    root = data_folder()
    if not root.is_dir():
        said = "ZOOMIN_DATA names it" if os.environ.get("ZOOMIN_DATA") else "ZOOMIN_DATA is not set"
        what = f"no real data: {root} is not a folder ({said})"
    elif lost := [name for name in folders if not (root / name).is_dir()]:
        what = f"no real data: {root} has no folder {', '.join(lost)}"
    else:
        return None
    return f"{what}. Set ZOOMIN_DATA to the folder of data sets (CONTRIBUTING.md, Data)."


def chromium() -> str | None:
    """The browser: $ZOOMIN_CHROMIUM, else the one that the system has."""
    given = os.environ.get("ZOOMIN_CHROMIUM")
    return given or next(filter(None, map(shutil.which, PLACES)), None)


def browser_missing() -> str | None:
    """Why no page can be opened, with the remedy; None where one can."""
    found = chromium()
    if found is None:
        what = "no Chromium"
    elif shutil.which(found) is None:
        what = f"no Chromium: ZOOMIN_CHROMIUM names {found}, which is no program"
    else:
        return None
    return f"{what}. Install it (on Debian: apt install chromium), or name one in ZOOMIN_CHROMIUM."


@pytest.fixture
def data_root(request: pytest.FixtureRequest) -> Path:
    """The folder of real data; the test's mark `data` names the folders in it that the test reads."""
    folders = _folders(request.node)
    if not folders:
        pytest.fail('name the folders that the test reads: @pytest.mark.data("slides")', pytrace=False)
    missing = data_missing(folders)
    if missing:
        pytest.fail(missing, pytrace=False)
    return data_folder()


def register(config: pytest.Config) -> None:
    """For pytest_configure: the marks, and what leaves tests out."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.pluginmanager.register(LeftOut())


def _folders(item: pytest.Item) -> tuple[str, ...]:
    return tuple(name for mark in item.iter_markers("data") for name in mark.args)


def _reason(item: pytest.Item) -> str | None:
    """Why a test is left out; None where it runs. A place that is named wrongly is an error, not a reason."""
    wrong_data = os.environ.get("ZOOMIN_DATA") and not data_folder().is_dir()
    if "data_root" in getattr(item, "fixturenames", ()):
        if not (os.environ.get("ZOOMIN_REQUIRE_DATA") or wrong_data):
            return data_missing(_folders(item))
    if item.get_closest_marker("browser"):
        if not (os.environ.get("ZOOMIN_REQUIRE_CHROMIUM") or os.environ.get("ZOOMIN_CHROMIUM")):
            return browser_missing()
    return None


class LeftOut:
    """Leaves out the tests that miss something and lists them at the end, also of parallel runs."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what cannot run here."""
        found = {item.nodeid: reason for item in items if (reason := _reason(item))}
        left = [item for item in items if item.nodeid in found]
        if left:
            items[:] = [item for item in items if item.nodeid not in found]
            config.hook.pytest_deselected(items=left)
        self.reasons.update(found)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker of xdist hands its list to the process that reports."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["left_out"] = self.reasons

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        """Workers collect the same tests: their lists are one."""
        self.reasons.update(getattr(node, "workeroutput", {}).get("left_out", {}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The tests that were left out, by reason and name."""
        if not self.reasons:
            return
        terminalreporter.stats.setdefault("deselected", list(self.reasons))  # workers do not count them
        count = len(self.reasons)
        terminalreporter.write_sep("=", f"left out: {count} test{'s'[: count != 1]}", yellow=True)
        for line in self._lines():
            terminalreporter.write_line(line)

    def _lines(self) -> Iterator[str]:
        for reason in dict.fromkeys(self.reasons.values()):
            names = [name for name, why in self.reasons.items() if why == reason]
            yield f"{len(names)} left out: {reason}"
            yield from (f"  {name}" for name in names)
