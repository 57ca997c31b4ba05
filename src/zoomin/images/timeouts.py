"""Bounded waiting for files: a network drive that has died answers nothing, not even an error.

A call that hangs in the operating system cannot be interrupted. It is left behind in a thread that does not
keep the process alive, and the caller gets an error. Threads of the pool are waited for by whoever gave them
their work (`read_timeout`); elsewhere the first touch of a file is bounded, and checked before each read
that follows a pause ($ZOOMIN_TIMEOUT).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import ConfigError, ImageError
from .pool import NotInTime, in_pool, map_ahead
from .urls import url_of

__all__ = ["READ_TIMEOUT", "check_timeout", "file_timeout", "touch", "unreachable", "within"]

T = TypeVar("T")

READ_TIMEOUT = 120.0  # seconds after which a file is given up, unless another number is asked for
_VARIABLE = "ZOOMIN_TIMEOUT"


def check_timeout(seconds: float | None, where: str = "read_timeout") -> None:
    """Refuse a timeout that is not positive.

    Raises:
        ConfigError: naming the setting.
    """
    if seconds is not None and seconds <= 0:
        remedy = "Give a positive number of seconds, or null."
        raise ConfigError(f"read_timeout is {seconds}", where=where, remedy=remedy)


def file_timeout() -> float | None:
    """Seconds to wait for a file: $ZOOMIN_TIMEOUT, by default 120; None, for ever, where it is 0.

    Raises:
        ConfigError: if the variable holds no number.
    """
    given = os.environ.get(_VARIABLE, "")
    try:
        seconds = float(given) if given else READ_TIMEOUT
    except ValueError as error:
        raise ConfigError(
            f"{given!r} is not a number of seconds", where=_VARIABLE, remedy="Give a number; 0 waits forever."
        ) from error
    return seconds if seconds > 0 else None


def within(seconds: float | None, call: Callable[[], T], path: Path) -> T:
    """What the call returns or raises, if it does so in time.

    Args:
        seconds: how long to wait; None for ever, in this thread, as in threads of the pool.
        call: touches the file.
        path: named in the error.

    Raises:
        ImageError: if the call does not end in time; it is left behind.

    Example:
        >>> within(5.0, lambda: 2 + 2, Path("a.svs"))
        4
    """
    if seconds is None or in_pool():
        return call()
    [(_, found)] = map_ahead(lambda _: call(), [path], threads=1, timeout=seconds)
    if isinstance(found, NotInTime):
        raise ImageError(
            f"the file did not respond within {seconds:g} seconds",
            where=path,
            remedy=f"Check the disk or network drive; {_VARIABLE} sets how many seconds to wait.",
        )
    if isinstance(found, Exception):
        raise found
    return found


def touch(path: Path) -> None:
    """Open a file and read a byte of it, in bounded time; what is on the network answers for itself.

    Raises:
        ImageError: if it is gone, cannot be read, or does not respond.
    """

    def read() -> None:
        if path.is_dir():  # a Zarr
            next(path.iterdir(), None)
            return
        with path.open("rb") as file:
            file.read(1)

    if url_of(path) is not None:
        return

    try:
        within(file_timeout(), read, path)
    except OSError as error:
        raise unreachable(path, error) from error


def unreachable(path: Path, error: OSError) -> ImageError:
    """The error of a file that the system does not give."""
    return ImageError(
        f"the file is gone or cannot be reached ({error.strerror or error})",
        where=path,
        remedy="Put it back, or check the disk or network drive that holds it.",
    )
