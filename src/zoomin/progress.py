"""Progress on stderr: a live bar on a terminal; elsewhere, for logs, a plain line every half minute."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["QUIET", "Bar", "progress_bar", "track"]

T = TypeVar("T")
QUIET = "ZOOMIN_QUIET"  # environment variable
_EVERY = 30.0  # seconds between two lines of a log


class Bar:
    """Counts what is done; shows nothing by itself.

    Args:
        title: what is being done.
        total: how many there are; None where nobody knows.
        done: how many of them are done already.
    """

    def __init__(self, title: str, total: int | None = None, done: int = 0) -> None:
        """Start the clock."""
        self.title, self.total, self.done, self.note = title, total, done, ""
        self._first, self._start = done, time.monotonic()

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Count `n` more as done; a note, kept until the next one, says what came of it."""
        self.done += n
        self.show(note=note)

    def show(self, *, title: str | None = None, note: str | None = None) -> None:
        """Show another title or note."""
        self.title = self.title if title is None else title
        self.note = self.note if note is None else note

    def close(self) -> None:
        """Show how it ended."""

    def line(self) -> str:
        """The line as text.

        Example:
            >>> Bar("Predicting", total=8, done=2).line()
            'Predicting: 2 of 8'
        """
        count = f"{self.done}" if self.total is None else f"{self.done} of {self.total}"
        seconds, done = time.monotonic() - self._start, self.done - self._first
        parts = [f"{self.title}: {count}"]
        if done:
            parts += [_rate(done / seconds), f"{_time(seconds)} elapsed"] if seconds else []
            if self.total is not None and self.done < self.total:
                parts.append(f"about {_time(seconds / done * (self.total - self.done))} left")
        return ", ".join([*parts, self.note] if self.note else parts)


class _Lines(Bar):
    """Prints a line at most every half minute, and one at the end."""

    def __init__(self, title: str, total: int | None = None, done: int = 0) -> None:
        super().__init__(title, total, done)
        self._printed, self._text = self._start, ""

    def advance(self, n: int = 1, note: str | None = None) -> None:
        super().advance(n, note)
        if time.monotonic() - self._printed >= _EVERY:
            self._printed = time.monotonic()
            self.close()

    def close(self) -> None:
        before, self._text = self._text, self.line()
        if self._text != before:
            print(self._text, file=sys.stderr, flush=True)


class _Live(Bar):
    """A bar that moves."""

    def __init__(self, title: str, total: int | None = None, done: int = 0) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        super().__init__(title, total, done)
        columns: list[Any] = [
            "{task.description}",
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            "{task.fields[rate]}",
        ]
        columns += [TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), "{task.fields[note]}"]
        self._shown = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
        self._task = self._shown.add_task(title, total=total, completed=done, note="", rate="")
        self._shown.start()

    def show(self, *, title: str | None = None, note: str | None = None) -> None:
        super().show(title=title, note=note)
        seconds, done = time.monotonic() - self._start, self.done - self._first
        fields: dict[str, Any] = {
            "note": self.note,
            "rate": _rate(done / seconds) if done and seconds else "",
        }
        self._shown.update(self._task, description=self.title, completed=self.done, **fields)

    def close(self) -> None:
        self._shown.stop()


@contextmanager
def progress_bar(
    title: str, total: int | None = None, *, done: int = 0, shown: bool | None = True
) -> Iterator[Bar]:
    """A bar while the block runs.

    Args:
        title: what is being done.
        total: how many there are; None where nobody knows.
        done: how many of them are done already; they do not count in the rate.
        shown: True: on stderr, a live bar on a terminal and lines elsewhere; None: only on a terminal;
            False: nothing, as for all where the environment variable ZOOMIN_QUIET is 1.
    """
    shown = False if os.environ.get(QUIET) == "1" else shown
    live = sys.stderr.isatty() and shown is not False
    bar = (_Live if live else _Lines if shown else Bar)(title, total, done)
    try:
        yield bar
    finally:
        bar.close()


def track(
    items: Iterable[T], title: str, *, total: int | None = None, shown: bool | None = True
) -> Iterator[T]:
    """The items, one after another, behind a bar.

    Args:
        items: what to go through.
        title: what is being done.
        total: how many there are; by default their length, where they have one.
        shown: see `progress_bar`.

    Example:
        >>> list(track("abc", "Reading", shown=False))
        ['a', 'b', 'c']
    """
    total = len(items) if total is None and isinstance(items, Sized) else total
    with progress_bar(title, total, shown=shown) as bar:
        for item in items:
            yield item
            bar.advance()


def _rate(per_second: float) -> str:
    """So many a second, or a minute, or an hour: the first that is at least one.

    Example:
        >>> _rate(12.34), _rate(0.5), _rate(0.01)
        ('12.3/s', '30/min', '36/h')
    """
    for seconds, unit in ((1, "s"), (60, "min")):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:.3g}/{unit}"
    return f"{per_second * 3600:.3g}/h"


def _time(seconds: float) -> str:
    """Seconds in the two largest units that matter.

    Example:
        >>> _time(59.2), _time(150.0), _time(90_000.0)
        ('59 s', '2 min 30 s', '25 h 0 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
