"""The allocator of glibc: in training, what one step frees is at hand for the next; threads share arenas.

By default, glibc returns large blocks to the system as they are freed, and each step of a training asks for
the same blocks again: the system then clears every page anew.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["memory_kept", "share_arenas"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt(3)
_KEPT = 1 << 30  # bytes at the end of the heap
_BLOCK = 32 << 20  # bytes: the largest threshold that every glibc takes
_USERS = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


@contextmanager
def memory_kept() -> Iterator[bool]:
    """Keep freed memory, up to a gigabyte, while something runs that will ask for it again.

    Afterwards, what is free goes back to the system. Nothing happens without glibc, or where the environment
    sets the allocator (`MALLOC_...`, `GLIBC_TUNABLES`, `LD_PRELOAD`).

    Yields:
        Whether glibc keeps it.
    """
    glibc = _glibc()
    if glibc is None or _is_set():
        yield False
        return
    kept = glibc.mallopt(_MMAP_THRESHOLD, _BLOCK) and glibc.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield bool(kept)
    finally:
        glibc.malloc_trim(0)


def share_arenas() -> None:
    """Let threads that start from now on allocate where others do, as long as the process runs.

    By default each would have an arena of its own, which keeps the most that the thread ever needed: of two
    threads that decode a slide, 70 MB. Nothing happens without glibc, or where the environment sets the
    allocator. For processes of the command line: a program that uses the library has its own needs.
    """
    glibc = _glibc()
    if glibc is not None and not _is_set():
        glibc.mallopt(_ARENA_MAX, 1)


def _is_set() -> bool:
    """Whether the environment sets the allocator."""
    return any(name.startswith(_USERS) for name in os.environ)


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
