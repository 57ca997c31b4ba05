"""The allocator of glibc in training: memory that one step frees is at hand for the next.

By default, glibc returns large blocks to the system as they are freed, and each step of a training asks for
the same blocks again: the system then clears every page anew.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["memory_kept"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
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
    if glibc is None or any(name.startswith(_USERS) for name in os.environ):
        yield False
        return
    kept = glibc.mallopt(_MMAP_THRESHOLD, _BLOCK) and glibc.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield bool(kept)
    finally:
        glibc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
