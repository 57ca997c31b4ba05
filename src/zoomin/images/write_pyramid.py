"""Write pyramidal, tiled, JPEG-compressed BigTIFFs of any size, in the memory of a few rows of tiles."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image as PillowImage

from ..errors import ConfigError

__all__ = ["encode_tile", "level_sizes", "write_pyramid"]

Colour = tuple[int, int, int]


def write_pyramid(
    path: Path | str,
    height: int,
    width: int,
    paint: Callable[[int, int], PillowImage.Image | None],
    *,
    tile: int = 256,
    mpp: float | None = None,
    background: Colour = (255, 255, 255),
    quality: int = 85,
    row_done: Callable[[], object] | None = None,
) -> None:
    """Write an image of any size from a function that paints its stored tiles.

    The tiles of level 0 are asked for once, row by row. The lower resolutions, each half of the one before,
    are averaged from them in the same pass; a pixel of theirs averages level-0 pixels inside the image. The
    file reads with OpenSlide (generic tiled TIFF), GDAL (overviews), tifffile and QuPath.

    Args:
        path: the file to write; it is complete once this returns.
        height: of the image, pixels.
        width: of the image, pixels.
        paint: from x, y of a stored tile to its red-green-blue pixels, `tile` by `tile`, or None where there
            is nothing but background. Tiles reach beyond the border; what they hold there is not seen.
        tile: side of a stored tile, a multiple of 16 pixels.
        mpp: microns per pixel, stored as the resolution in pixels a centimetre.
        background: red, green and blue where nothing is painted.
        quality: of the JPEG compression, 1 to 100; chroma is stored at half the resolution.
        row_done: called after each row of stored tiles of level 0.

    Raises:
        ConfigError: if a number is out of range.
    """
    if min(height, width) < 1 or tile < 16 or tile % 16 or not 1 <= quality <= 100:
        raise ConfigError(
            f"{width} x {height} pixels in tiles of {tile}, quality {quality}",
            where=path,
            remedy="Give positive sizes, tiles of a multiple of 16, and a quality of 1 to 100.",
        )
    sizes = level_sizes(height, width, tile)
    per_cm = None if mpp is None else (1e4 / mpp, 1e4 / mpp)
    with (
        tempfile.TemporaryFile(dir=Path(path).parent) as spool,
        tifffile.TiffWriter(path, bigtiff=True) as writer,
    ):
        pyramid = _Pyramid(sizes, tile, background, quality, spool)
        for level, (rows, columns) in enumerate(sizes):
            writer.write(
                pyramid.base(paint, row_done) if level == 0 else pyramid.reduced(level),
                shape=(rows, columns, 3),
                dtype=np.uint8,
                tile=(tile, tile),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=int(level > 0),
                resolution=None if per_cm is None else (per_cm[0] / 2**level, per_cm[1] / 2**level),
                resolutionunit=None if per_cm is None else "CENTIMETER",
                metadata=None,
                software="zoomin" if level == 0 else False,
            )


def level_sizes(height: int, width: int, tile: int) -> list[tuple[int, int]]:
    """Height and width of each level: halved until one stored tile holds the image.

    Example:
        >>> level_sizes(1000, 2100, 512)
        [(1000, 2100), (500, 1050), (250, 525), (125, 262)]
    """
    sizes = [(height, width)]
    while max(sizes[-1]) > tile and min(sizes[-1]) > 1:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def encode_tile(image: PillowImage.Image, quality: int) -> bytes:
    """A stored tile as a JPEG, chroma at half the resolution."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=2)
    return file.getvalue()


class _Pyramid:
    """Encoded tiles of level 0 as they come; those of the other levels wait in a spool."""

    def __init__(
        self,
        sizes: list[tuple[int, int]],
        tile: int,
        background: Colour,
        quality: int,
        spool: io.BufferedIOBase | tempfile._TemporaryFileWrapper[bytes],
    ) -> None:
        self.tile, self.background, self.quality, self.spool = tile, background, quality, spool
        self.grids = [(-(-rows // tile), -(-columns // tile)) for rows, columns in sizes]
        self.empty = encode_tile(PillowImage.new("RGB", (tile, tile), background), quality)
        self.lengths: list[list[tuple[int, int]]] = [[] for _ in sizes]  # offset and length; (0, 0): empty
        self.end = 0
        self.strips = [
            PillowImage.new("RGB", (columns * tile, tile), background) if level else None
            for level, (_, columns) in enumerate(self.grids)
        ]
        self.filled: list[set[int]] = [set() for _ in sizes]  # columns of the strip that are not empty

    def base(
        self, paint: Callable[[int, int], PillowImage.Image | None], row_done: Callable[[], object] | None
    ) -> Iterator[bytes]:
        rows, columns = self.grids[0]
        for row in range(rows):
            encoded = []
            for column in range(columns):
                image = paint(column * self.tile, row * self.tile)
                if image is not None:
                    self._reduce(1, row, column, image)
                encoded.append(self.empty if image is None else encode_tile(image, self.quality))
            self._close_row(1, row)
            if row_done is not None:
                row_done()
            yield from encoded  # last: nobody asks for a tile after the last one

    def reduced(self, level: int) -> Iterator[bytes]:
        for offset, length in self.lengths[level]:
            self.spool.seek(offset)
            yield self.spool.read(length) if length else self.empty

    def _reduce(self, level: int, row: int, column: int, image: PillowImage.Image) -> None:
        """Average a tile of the level above into a quarter of this level's."""
        if level == len(self.grids) or column // 2 >= self.grids[level][1]:
            return
        half = self.tile // 2
        strip, left = self.strips[level], column // 2
        assert strip is not None
        strip.paste(image.reduce(2), (column * half, (row % 2) * half))
        self.filled[level].add(left)

    def _close_row(self, level: int, row: int) -> None:
        """After a row of the level above: store this level's row of tiles where it is complete."""
        if level == len(self.grids):
            return
        rows, columns = self.grids[level]
        if (row % 2 == 0 and row + 1 < self.grids[level - 1][0]) or row // 2 >= rows:
            return
        strip, tile = self.strips[level], self.tile
        assert strip is not None
        for column in range(columns):
            if column not in self.filled[level]:
                self.lengths[level].append((0, 0))
                continue
            box = (column * tile, 0, (column + 1) * tile, tile)
            image = strip.crop(box)
            strip.paste(self.background, box)
            self._reduce(level + 1, row // 2, column, image)
            self._store(level, encode_tile(image, self.quality))
        self.filled[level].clear()
        self._close_row(level + 1, row // 2)

    def _store(self, level: int, encoded: bytes) -> None:
        self.spool.seek(self.end)
        self.spool.write(encoded)
        self.lengths[level].append((self.end, len(encoded)))
        self.end += len(encoded)
