"""Memory that is free, given back to the system: threads that decode would keep their share of it."""

from __future__ import annotations

import ctypes

__all__ = ["release_memory"]


def release_memory() -> None:
    """Ask the C library to return what it holds for later; nothing happens where it cannot be asked."""
    try:
        trim = ctypes.CDLL(None).malloc_trim  # glibc alone has it
    except (OSError, AttributeError, TypeError):
        return
    trim(0)
