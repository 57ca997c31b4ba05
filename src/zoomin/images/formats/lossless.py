"""Whether a file was compressed without loss, so that the reader does not matter."""

from __future__ import annotations

from pathlib import Path

from ...errors import ImageError
from .decode import format_of, image_head, loses
from .tiff import is_exact_tiff

__all__ = ["is_lossless"]


def is_lossless(path: Path) -> bool:
    """Whether every decoder gives the same pixels: a PNG, BMP, GIF or the like, a TIFF or WebP without loss.

    False where that is not known, as of slides and of files that cannot be read.
    """
    try:
        head = image_head(path)
    except ImageError:
        return False
    kind = format_of(head)
    return is_exact_tiff(path) if kind == "TIFF" else kind is not None and not loses(kind, head)
