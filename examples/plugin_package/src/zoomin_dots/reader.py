"""A reader for a made-up format: "DOTS", height and width as 32-bit numbers, then raw red-green-blue rows.

The pixels stay on disk: only the rows that a read needs are decoded. `StoredImage` does the rest: scales by
exact averaging, boxes beyond the border, threads, pickling by path.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zoomin.errors import ImageError
from zoomin.images.open_image import Reader
from zoomin.images.stored import Level, StoredImage
from zoomin.images.windows import Window

__all__ = ["READER", "DotsImage", "write_dots"]

_MAGIC = b"DOTS"
_HEADER = struct.Struct("<4sII")


class DotsImage(StoredImage):
    """An image in a `.dots` file."""

    def close(self) -> None:
        """Nothing is kept open."""

    def decode(self, level: int, window: Window) -> npt.NDArray[np.uint8]:
        """The pixels of a window.

        Raises:
            ImageError: if the file has changed or is cut off.
        """
        self.check_identity()
        try:
            pixels = np.memmap(self.path, np.uint8, "r", _HEADER.size, (self.height, self.width, 3))
        except (OSError, ValueError) as error:
            raise ImageError(f"cannot be read ({error})", where=self.path, remedy="Copy it again.") from error
        return np.array(pixels[window.y0 : window.y1, window.x0 : window.x1])


def open_dots(path: Path, *, mpp: float | None = None) -> DotsImage:
    """Open a `.dots` file; no pixel is read.

    Raises:
        ImageError: if it is cut off.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise ImageError("the file is cut off", where=path, remedy="Copy it again.")
    _, height, width = _HEADER.unpack(head)
    if path.stat().st_size < _HEADER.size + 3 * height * width:
        raise ImageError("the file is cut off", where=path, remedy="Copy it again.")
    return DotsImage(path, [Level.of((height, width), (height, width), (1, width))], mpp=mpp)


def write_dots(path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """Write red-green-blue pixels (height, width, 3)."""
    path.write_bytes(_HEADER.pack(_MAGIC, *pixels.shape[:2]) + pixels.tobytes())
    return path


READER = Reader("dots", lambda path, head: head.startswith(_MAGIC), open_dots, suffixes=(".dots",))
