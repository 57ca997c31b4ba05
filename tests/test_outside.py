"""A fresh machine: tests without their data or browser are left out by name; a locked apt is waited for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
SUITE = {
    "conftest.py": """
import outside
from outside import data_root

def pytest_configure(config):
    outside.register(config)
""",
    "test_a.py": """
import pytest

@pytest.fixture
def folder(data_root):
    return data_root / "a"

@pytest.mark.data("a")
def test_reads_a(folder):
    assert folder.is_dir()

@pytest.mark.data("a", "b")
@pytest.mark.parametrize("name", ["a", "b"])
def test_reads_both(data_root, name):
    assert (data_root / name).is_dir()

def test_needs_nothing():
    pass
""",
    "test_b.py": """
import pytest
import outside

@pytest.mark.browser
def test_opens_a_page():
    assert not outside.browser_missing(), outside.browser_missing()

def test_names_no_folder(data_root):
    pass
""",
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small suite with this suite's rules, and nothing beside it."""
    tests = tmp_path / "clone" / "tests"
    tests.mkdir(parents=True)
    for name, text in SUITE.items():
        (tests / name).write_text(text)
    shutil.copy(TESTS / "outside.py", tests)
    return tests.parent


def run(
    clone: Path, *arguments: str, plugins: bool = False, **environment: str
) -> tuple[str, str, list[str]]:
    """Pytest in a clone without any program: the last line, all lines, those about tests left out."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ZOOMIN_", "PYTEST_"))}
    env |= {"PATH": str(clone), "PYTHONPATH": str(TESTS.parent / "src"), **environment}
    if not plugins:
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        arguments = ("-p", "xdist", *arguments)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    parts = re.split(r"^=+ (?=left out|[a-z ]+ =)|^=+ (?=\d)", done.stdout, flags=re.MULTILINE)
    left = next((part.splitlines() for part in parts if part.startswith("left out")), [])
    return lines[-1].strip("= "), done.stdout, [line.strip(" =") for line in left]


def test_tests_of_this_suite_are_left_out_by_name(clone: Path) -> None:
    shutil.copy(TESTS.parent / "pyproject.toml", clone)
    files = ("test_data_colon_cancer.py", "test_docs_site.py")
    for name in ("conftest.py", "browser.py", *files):
        shutil.copy(TESTS / name, clone / "tests")
    last, _, left = run(clone, "--collect-only", *(f"tests/{name}" for name in files), plugins=True)
    assert "(15 deselected)" in last
    assert left[0] == "left out: 15 tests"
    assert left[1].startswith(
        f"11 left out: no real data: {clone.parent / 'shared' / 'data'} is not a folder"
    )
    assert "Set ZOOMIN_DATA" in left[1]
    assert "tests/test_data_colon_cancer.py::test_the_authors_folds" in left[2:13]
    assert left[13].startswith("4 left out: no Chromium. Install it")
    assert left[14] == "tests/test_docs_site.py::test_pages_load_nothing_from_elsewhere[index.html-light]"


@pytest.mark.parametrize("parallel", [(), ("-n", "2", "--dist", "loadfile")], ids=["alone", "workers"])
def test_listed_once(clone: Path, parallel: tuple[str, ...]) -> None:
    last, _, left = run(clone, *parallel)
    assert last.startswith("1 passed, 5 deselected in")
    names = ["test_a.py::test_reads_a", "test_a.py::test_reads_both[a]", "test_a.py::test_reads_both[b]"]
    found = [line for line in left if line.startswith("tests/")]
    assert found == [
        f"tests/{name}"
        for name in (*names, "test_b.py::test_names_no_folder", "test_b.py::test_opens_a_page")
    ]
    assert left[0] == "left out: 5 tests" and len(left) == 8


def test_parts_of_the_data(clone: Path) -> None:
    """Only tests whose folders are there run; a test that names no folder fails."""
    (clone.parent / "data" / "a").mkdir(parents=True)
    last, printed, left = run(clone, ZOOMIN_DATA=str(clone.parent / "data"))
    assert last.startswith("2 passed, 3 deselected, 1 error in")
    assert "name the folders that the test reads" in printed
    assert left[1].startswith(
        f"2 left out: no real data: {clone.parent / 'data'} has no folder b. Set ZOOMIN_DATA"
    )


def test_what_is_required_is_not_left_out(clone: Path) -> None:
    last, printed, left = run(clone, "-n", "2", ZOOMIN_REQUIRE_DATA="1", ZOOMIN_REQUIRE_CHROMIUM="1")
    assert last.startswith("1 failed, 1 passed, 4 errors in") and left == []
    assert printed.count("is not a folder (ZOOMIN_DATA is not set). Set ZOOMIN_DATA") >= 3


def test_a_wrong_place_is_an_error(clone: Path) -> None:
    nowhere = str(clone / "nowhere")
    last, printed, left = run(clone, ZOOMIN_DATA=nowhere, ZOOMIN_CHROMIUM=nowhere)
    assert last.startswith("1 failed, 1 passed, 4 errors in") and left == []
    assert f"{nowhere} is not a folder (ZOOMIN_DATA names it)" in printed
    assert f"ZOOMIN_CHROMIUM names {nowhere}, which is no program" in printed


LOCKED = (
    'echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)" >&2; exit 100'
)
LOCKED_TWICE = """
case "$*" in *install*) /bin/cp id chromium; exit;; esac
[ -e second ] && exit
[ -e first ] && : > second
: > first
"""


def machine(folder: Path, apt: str, user: int = 0) -> Path:
    """A folder with the only programs: apt-get, which notes its arguments, and the installer's."""
    folder.mkdir()
    programs = {"apt-get": f'cd "{folder}" && echo "$@" >> calls\n{apt}', "id": f"echo {user}", "sleep": ":"}
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def install(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(TESTS.parent / ".ci" / "chromium")]
    return subprocess.run(command, env={"PATH": str(path), **environment}, capture_output=True, text=True)


def test_a_locked_apt_is_waited_for(tmp_path: Path) -> None:
    path = machine(tmp_path / "bin", LOCKED_TWICE + LOCKED)
    done = install(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("apt is locked by another program: wait for it") == 1
    calls = (path / "calls").read_text().splitlines()
    assert [line.split()[3] for line in calls] == ["update", "update", "update", "install"]
    assert install(path).stdout == ""  # there is one now


@pytest.mark.parametrize(
    ("apt", "user", "reason"),
    [
        (LOCKED, 0, "apt-get: E: Could not get lock"),
        (
            'echo "E: Unable to locate package chromium" >&2; exit 100',
            0,
            "apt-get: E: Unable to locate package",
        ),
        ("", 1000, "only root may install it"),
    ],
    ids=["locked", "absent", "no-root"],
)
def test_a_chromium_that_cannot_be_installed_is_one_line(
    tmp_path: Path, apt: str, user: int, reason: str
) -> None:
    path = machine(tmp_path / "bin", apt, user)
    done = install(path)
    assert done.returncode == 0
    assert done.stderr.startswith(f"No Chromium ({reason}") and done.stderr.count("\n") == 1
    assert "the tests of pages are left out. Install it" in done.stderr
    required = install(path, ZOOMIN_REQUIRE_CHROMIUM="1")
    assert required.returncode == 1 and "ZOOMIN_REQUIRE_CHROMIUM is set" in required.stderr
    assert install(path, ZOOMIN_CHROMIUM="/bin/sh").stderr == ""
