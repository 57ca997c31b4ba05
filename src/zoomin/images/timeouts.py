"""Bounded waiting for files: a network drive that has died answers nothing, not even an error.

A call that hangs in the operating system cannot be interrupted. It is left behind in a thread that does not
keep the process alive, and the caller gets an error. What is bounded is the first touch of a file, and a look
at it before each read that follows a pause. What is not is a read that hangs half-way, on a drive that
answered a moment ago.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import ConfigError, ImageError

__all__ = ["look", "patience", "within"]

T = TypeVar("T")

_SECONDS = 60.0
_VARIABLE = "ZOOMIN_TIMEOUT"


def patience() -> float | None:
    """Seconds to wait for a file: $ZOOMIN_TIMEOUT, by default 60; None, for ever, where it is 0.

    Raises:
        ConfigError: if the variable holds no number.
    """
    given = os.environ.get(_VARIABLE, "")
    try:
        seconds = float(given) if given else _SECONDS
    except ValueError as error:
        raise ConfigError(
            f"{given!r} is no number of seconds", where=_VARIABLE, remedy="Give a number; 0 waits for ever."
        ) from error
    return seconds if seconds > 0 else None


def within(seconds: float | None, call: Callable[[], T], path: Path) -> T:
    """What the call returns or raises, if it does so in time.

    Args:
        seconds: how long to wait; None for ever, in this thread.
        call: touches the file.
        path: named in the error.

    Raises:
        ImageError: if the call does not end in time; it is left behind.

    Example:
        >>> within(5.0, lambda: 2 + 2, Path("a.svs"))
        4
    """
    if seconds is None:
        return call()
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # whatever it is, the caller gets it
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="zoomin-file")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise ImageError(
            f"the file does not answer within {seconds:g} seconds",
            where=path,
            remedy=f"Check the disk or network drive; {_VARIABLE} sets how many seconds to wait.",
        )
    return results[0]


def look(path: Path) -> None:
    """Open a file and read a byte of it, in bounded time.

    Raises:
        ImageError: if it is gone, cannot be read, or does not answer.
    """

    def touch() -> None:
        with path.open("rb") as file:
            file.read(1)

    try:
        within(patience(), touch, path)
    except OSError as error:
        raise ImageError(
            f"the file is gone or cannot be reached ({error.strerror or error})",
            where=path,
            remedy="Put it back, or check the disk or network drive that holds it.",
        ) from error
