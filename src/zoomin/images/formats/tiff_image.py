"""TIFFs on disk that GDAL does not read, or not as they are meant: decoded by tifffile, block by block.

These are TIFFs of colours that libtiff converts in its own way (L*a*b*, inks, stored luma and chroma), of
codecs that GDAL's library was built without (JPEG XL, JPEG 2000, PNG, JPEG XR), and 12-bit JPEG.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import tifffile

from ..cache import HANDLES
from ..pixels import Bytes
from ..remote import tiff_file
from ..stored import Level, StoredImage, undecoded
from ..windows import Window
from .bands import Bands
from .tiff import DAMAGE
from .tiff_segments import read_window

__all__ = ["OpenTiff", "TiffImage"]


class TiffImage(StoredImage):
    """A TIFF that tifffile reads (see `stored.StoredImage`).

    Attributes:
        bands: how its samples become red, green and blue.
        offsets: where the directory of each level stands in the file.
    """

    reader = "tifffile"

    def __init__(
        self,
        path: Path,
        levels: tuple[Level, ...],
        bands: Bands,
        *,
        offsets: tuple[int, ...],
        mpp: float | None,
    ) -> None:
        """Describe a TIFF; `open_tiff` inspects the file."""
        super().__init__(path, levels, mpp=mpp, part=f"#off:{offsets[0]}")
        self.bands = bands
        self.offsets = offsets

    def decode(self, level: int, window: Window) -> Bytes:
        """The pixels of a window of a level."""
        file = HANDLES.get_or_make(self._key, self._open)
        try:
            samples = read_window(file.page(self.offsets[level]), window, file.fetch)
            return self.bands.paint_all(samples, self.background, self.path)
        except DAMAGE as error:
            raise undecoded(self.path, level, window, error) from error

    def _open(self) -> OpenTiff:
        self.check_identity()
        return OpenTiff(self.path)


class OpenTiff:
    """An open file and its pages, for all threads of a process; bytes are fetched one at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._file = tiff_file(path)
        self._lock = threading.Lock()
        self._pages: dict[int, Any] = {}
        self._number = _number_of(self._file)

    def page(self, offset: int) -> Any:  # noqa: ANN401 (tifffile is not typed)
        """The page whose directory stands at an offset."""
        with self._lock:
            if offset not in self._pages:
                self._file.filehandle.seek(offset)
                page = tifffile.TiffPage(self._file, index=(0,))
                # Tables are read while the file is locked, not by the first thread that decodes.
                _ = page.dataoffsets, page.databytecounts, page.jpegtables, page.jpegheader, page.decode
                self._pages[offset] = page
            return self._pages[offset]

    def fetch(self, offset: int, count: int) -> bytes:
        """Bytes of the file."""
        if self._number is not None:
            return os.pread(self._number, count, offset)
        with self._lock:
            self._file.filehandle.seek(offset)
            data: bytes = self._file.filehandle.read(count)
            return data

    def __del__(self) -> None:
        """Close the file with the last who reads it."""
        if hasattr(self, "_file"):
            self._file.close()


def _number_of(file: Any) -> int | None:  # noqa: ANN401
    """The system's number of an open file, where threads can read it at once; else None."""
    try:
        return int(file.filehandle.fileno()) if hasattr(os, "pread") else None
    except (OSError, AttributeError):  # on the network
        return None
