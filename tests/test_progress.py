"""Progress: lines for logs, a live bar for terminals, nothing where nothing is wanted."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from zoomin import progress
from zoomin.progress import progress_bar, track


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(progress, "time", found := Clock())
    return found


def test_a_log_gets_a_line_every_half_minute_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar("Predicting", 1000, done=100) as bar:
        for _ in range(9):
            clock.now += 10
            bar.advance(100, note=None if clock.now < 60 else "1 failed")
    assert capsys.readouterr().err.splitlines() == [
        "Predicting: 400 of 1000, 10/s, 30 s elapsed, about 1 min 0 s left",
        "Predicting: 700 of 1000, 10/s, 1 min 0 s elapsed, about 30 s left, 1 failed",
        "Predicting: 1000 of 1000, 10/s, 1 min 30 s elapsed, 1 failed",
    ]


def test_lengths_that_nobody_knows(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(iter("ab"), "Reading"):
        clock.now += 60
    assert capsys.readouterr().err.splitlines() == [
        "Reading: 1, 1/min, 1 min 0 s elapsed",
        "Reading: 2, 1/min, 2 min 0 s elapsed",
    ]


def test_an_error_leaves_the_line_of_where_it_happened(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), progress_bar("Reading", 2):
        raise ValueError
    assert capsys.readouterr().err == "Reading: 0 of 2\n"


@pytest.mark.parametrize("shown", [None, False])
def test_nothing_is_shown_unasked(shown: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), "Reading", shown=shown)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_live_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar("epoch 1", 4, shown=None) as bar:
        bar.advance(3)
        bar.show(title="epoch 2", note="loss 0.5")
        bar.advance(1)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    for words in ("epoch 2", "4/4", "left", "loss 0.5", "/s"):
        assert words in shown


def test_importing_it_loads_no_bar() -> None:
    code = "import sys, zoomin.progress, zoomin.files; print('rich' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.stdout.split() == ["False", "False"]
