"""Tiles of JPEG decoded straight from a TIFF, for readers that give the same pixels several times slower.

GDAL and OpenSlide do more around the decoder than in it, and the JPEG library of GDAL's wheels has no vector
code. Nothing is taken on trust: the first window of a level that shows anything is decoded both ways, and a
window whose tiles are damaged, missing or of another size is left to the reader, which says what is wrong.
"""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Hashable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from ...errors import ImageError
from ..cache import HANDLES, Cache
from ..pixels import Bytes
from ..stored import Level, StoredImage
from ..urls import url_of
from ..windows import Window
from .tiff_image import OpenTiff
from .tiff_segments import Fetch, block_of, blocks_of

__all__ = ["JpegTiled", "jpeg_directory"]

_COLOURS = {"RGB": 0, "YCBCR": 1}  # the transformation that Adobe's marker names
_GREY = "MINISBLACK"
_LARGEST_TILE = 1 << 24  # pixels
_UNDECODED = (OSError, ValueError, IndexError, MemoryError, tifffile.TiffFileError)
_KEPT: Cache[Bytes] = Cache(64 << 20)  # bytes of decoded tiles of this process, as OpenSlide keeps
_CONTRAST = 16  # of 255, within a window that shows anything
_APERIO = "Aperio Image Library\r\n128x128 JPEG|AppMag = 20|MPP = 0.5"  # without it, OpenSlide takes no TIFF
_HALVED = ((1, 1), (2, 1), (2, 2))  # how chroma is stored: whole, halved across, or both ways


def jpeg_directory(page: Any) -> int | None:  # noqa: ANN401 (tifffile is not typed)
    """Where the directory of a page stands, if its tiles are grey or colours in plain JPEG; else None."""
    kind, samples = page.photometric.name, page.samplesperpixel
    known = samples == 3 if kind in _COLOURS else kind == _GREY and samples == 1
    whole = page.is_tiled and page.bitspersample == 8 and (samples == 1 or page.planarconfig == 1)
    small = whole and page.tilewidth * page.tilelength <= _LARGEST_TILE
    return int(page.offset) if known and small and page.compression.name == "JPEG" else None


class JpegTiled(StoredImage):
    """A stored image of which some levels may be tiles of JPEG in a TIFF.

    Attributes:
        directories: where the directory of such a level stands in the file, None for others; by level.
    """

    reader: str
    directories: tuple[int | None, ...] = ()

    def decode(self, level: int, window: Window) -> Bytes:
        """The pixels of a window of a level."""
        if not self._is_direct(level):
            return self.decode_by_reader(level, window)
        if level in self._agreed:
            found = self._decode_tiles(level, window)
            return self.decode_by_reader(level, window) if found is None else found
        pixels = self.decode_by_reader(level, window)
        if _shows_anything(pixels):
            found = self._decode_tiles(level, window)
            if found is not None:
                self._agreed[level] = np.array_equal(found, pixels)
        return pixels

    @abstractmethod
    def decode_by_reader(self, level: int, window: Window) -> Bytes:
        """What `decode` gives, by the reader of this kind of image.

        Raises:
            ImageError: if the pixels cannot be decoded.
        """

    @abstractmethod
    def like(self, path: Path, levels: tuple[Level, ...], directories: tuple[int, ...]) -> JpegTiled:
        """An image of another TIFF, read in the same way."""

    @property
    def _agreed(self) -> dict[int, bool]:
        """Whether tiles gave the reader's pixels, of the levels that have been compared in this process."""
        found: dict[int, bool] = self.__dict__.setdefault("_found_equal", {})
        return found

    def _is_direct(self, level: int) -> bool:
        """Whether tiles may be decoded here; what is not known yet is."""
        if level >= len(self.directories) or self.directories[level] is None:
            return False
        if self._agreed.get(level) is False or url_of(self.path) is not None:
            return False
        return _has_decoder()

    def _decode_tiles(self, level: int, window: Window) -> Bytes | None:
        """The window from its tiles, None where the reader has to see to it."""
        file = HANDLES.get_or_make(("tifffile", self.identity), self._open_tiff)
        try:
            page = file.page(self.directories[level])
            if page.photometric.name == "YCBCR" and not _same_colours(type(self), self):
                self._agreed.update(dict.fromkeys(range(len(self.directories)), False))
                HANDLES.drop(("tifffile", self.identity))
                return None
            samples = _jpeg_window(page, window, file.fetch, self.identity)
        except _UNDECODED:
            return None
        return np.repeat(samples, 3, axis=2) if samples is not None and samples.shape[2] == 1 else samples

    def _open_tiff(self) -> OpenTiff:
        self.check_identity()
        return OpenTiff(self.path)

    def close(self) -> None:
        """Let go of the open files of this process; the next read opens them again."""
        super().close()
        HANDLES.drop(("tifffile", self.identity))

    def __getstate__(self) -> dict[str, object]:
        """Pickle the description alone: another process may have other libraries."""
        return {**super().__getstate__(), "_found_equal": {}}


def _jpeg_window(page: Any, window: Window, fetch: Fetch, key: Hashable) -> Bytes | None:  # noqa: ANN401
    """Samples of a window (height, width, 1 or 3); None where a tile is missing or of another size.

    Raises:
        ValueError: or another of `_UNDECODED`, if a tile is damaged, were it only a little.
    """
    size = block_of(page)
    samples = np.empty((window.y1 - window.y0, window.x1 - window.x0, page.samplesperpixel), dtype=np.uint8)
    for index, y, x in blocks_of(page, window):
        own = key, page.offset, index
        tile = _KEPT.get(own)
        if tile is None:
            tile = _decode_tile(page, index, fetch)
            if tile is None or tile.shape != (*size, samples.shape[2]):
                return None
            _KEPT.put(own, tile, tile.nbytes)
        top, left = max(y, window.y0), max(x, window.x0)
        bottom, right = min(y + size[0], window.y1), min(x + size[1], window.x1)
        part = tile[top - y : bottom - y, left - x : right - x]
        samples[top - window.y0 : bottom - window.y0, left - window.x0 : right - window.x0] = part
    return samples


def _decode_tile(page: Any, index: int, fetch: Fetch) -> Bytes | None:  # noqa: ANN401
    """The samples of a tile, None where none is stored.

    Raises:
        ValueError: if it is damaged, or larger than the page says.
    """
    import simplejpeg

    count = page.databytecounts[index]
    data = fetch(page.dataoffsets[index], count) if count else b""
    if len(data) < max(count, 4) or data[:2] != b"\xff\xd8":
        return None
    kind = page.photometric.name
    stream = _head(page.jpegtables, _COLOURS.get(kind)) + data[2:]
    memory = np.empty((*block_of(page), page.samplesperpixel), dtype=np.uint8)
    tile: Bytes = simplejpeg.decode_jpeg(stream, "GRAY" if kind == _GREY else "RGB", buffer=memory)
    return tile


def _head(tables: bytes | None, transformation: int | None) -> bytes:
    """How the stream of a tile begins: Adobe's marker says what TIFF's tags do, the tables are the page's."""
    head = b"\xff\xd8"
    if transformation is not None:
        head += b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transformation])
    return head + (tables[2:-2] if tables else b"")


def _shows_anything(pixels: Bytes) -> bool:
    """Whether pixels could tell one decoder from another."""
    few = pixels[::7, ::7]
    return bool(few.size) and int(few.max()) - int(few.min()) >= _CONTRAST


@cache
def _has_decoder() -> bool:
    """Whether simplejpeg is installed, which refuses damage that imagecodecs passes over."""
    return find_spec("simplejpeg") is not None


_found_same: dict[type, bool] = {}  # by kind of reader, of this process


def _same_colours(kind: type[JpegTiled], example: JpegTiled) -> bool:
    """Whether a reader's own JPEG library makes our colours of luma and chroma; libraries widen chroma apart.

    Args:
        kind: of reader; the answer is kept.
        example: an image of that kind.
    """
    if kind not in _found_same:
        try:
            with tempfile.TemporaryDirectory() as folder:
                _found_same[kind] = _agree_on_noise(Path(folder) / "noise.tif", example)
        except (ImageError, *_UNDECODED):  # no room for a file, for one
            _found_same[kind] = False
    return _found_same[kind]


def _agree_on_noise(path: Path, example: JpegTiled) -> bool:
    pixels: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    with tifffile.TiffWriter(path) as file:
        for number, subsampling in enumerate(_HALVED):
            file.write(
                pixels[: 256 >> number, : 256 >> number],
                photometric="ycbcr",
                compression="jpeg",
                subsampling=subsampling,
                tile=(64, 64),
                description=_APERIO,
                metadata=None,
                subfiletype=int(number > 0),
            )
    with tifffile.TiffFile(path) as file:
        pages = [file.pages[number] for number in range(len(_HALVED))]
        shapes = [(page.imagelength, page.imagewidth) for page in pages]
        levels = tuple(
            Level.of(shape, shapes[0], block_of(page)) for page, shape in zip(pages, shapes, strict=True)
        )
        image = example.like(path, levels, tuple(int(page.offset) for page in pages))
        data = path.read_bytes()
        try:
            for number, page in enumerate(pages):
                window = Window(0, 0, page.imagewidth, page.imagelength)
                own = _jpeg_window(page, window, lambda offset, count: data[offset : offset + count], path)
                if own is None or not np.array_equal(own, image.decode_by_reader(number, window)):
                    return False
        finally:
            image.close()
    return True
