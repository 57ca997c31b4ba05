"""Open an image of any format that zoomin knows, by its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from .base import Image
from .decode import decode_image, read_head

__all__ = ["Reader", "open_image"]


class _Open(Protocol):
    def __call__(self, path: Path, *, mpp: float | None) -> Image: ...


class Reader(NamedTuple):
    """A way to open some files.

    Attributes:
        name: what it reads.
        reads: whether it takes a file, given its path and first bytes.
        open: how to open it.
    """

    name: str
    reads: Callable[[Path, bytes], bool]
    open: _Open


# The first that takes a file opens it: special formats stand before general ones.
_READERS: tuple[Reader, ...] = (Reader("whole images", lambda path, head: True, decode_image),)


def open_image(path: Path | str, *, mpp: float | None = None) -> Image:
    """Open an image; its format is told by its content, not by its suffix.

    Args:
        path: the file.
        mpp: microns per pixel, in place of a missing or wrong tag of the file.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: naming the file, what is wrong with it, and the remedy.

    Example:
        >>> import tempfile
        >>> from PIL import Image as PillowImage
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "red.png"
        ...     PillowImage.new("RGB", (30, 20), (255, 0, 0)).save(path)
        ...     image = open_image(path, mpp=0.5)
        >>> image.height, image.width, image.mpp
        (20, 30, 0.5)
    """
    path = Path(path)
    head = read_head(path)
    reader = next(reader for reader in _READERS if reader.reads(path, head))
    return reader.open(path, mpp=mpp)
