"""Rasters by GDAL: GeoTIFF, cloud-optimised and pyramidal TIFF, OME-TIFF, JPEG 2000, huge PNG, JPEG and BMP.

GDAL's handles belong to one thread each. Only local files of the drivers named in `gdal` are opened, and
GDAL's settings are those of the reads, not of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import ImageError
from ..array import ArrayImage
from ..cache import HANDLES
from ..georeference import Georeference
from ..ground import mpp_of_map
from ..physical import check_mpp
from ..pixels import Bytes, check_in_order
from ..stored import Level, undecoded
from ..urls import url_of
from ..windows import Window
from .bands import Bands, bands_of
from .decode import check_stored, declared_size, decode_image, orientation_of, read_head
from .gdal import (
    DRIVERS,
    Subdataset,
    cause,
    complaints,
    driver_of,
    has_world_file,
    opened,
    settings_of,
    side_car,
)
from .jpeg_tiles import JpegTiled, jpeg_directory
from .map_place import georeference_of
from .tiff_contents import Contents
from .tiff_scale import Scale
from .tiff_segments import block_of
from .tiled_copy import BLOCK, level_sizes, tiled_copy

__all__ = [
    "ConvertedImage",
    "RasterImage",
    "check_blocks",
    "open_gdal_tiff",
    "open_raster",
    "takes_raster",
]

IN_MEMORY = 1 << 26  # pixels of a plain image that is decoded whole
_LARGEST_BLOCK = 1 << 27  # pixels
_OBLONG = 0.02  # a level's pixels are square, but for what writers round
_TILES = "Store it in tiles: gdal_translate -of COG -co COMPRESS=DEFLATE IN OUT."
_IN_ORDER = ("PNG", "JPEG")  # no random access


class RasterImage(JpegTiled):
    """An image that GDAL reads (see `stored.StoredImage`).

    Attributes:
        bands: how its bands become red, green and blue.
        driver: the GDAL driver.
        georeference: the coordinate reference system and the way from level-0 pixels to the map, None where
            the file gives neither.
        sources: where GDAL finds each level (see `gdal.opened`).
        mpp_source: what on the map gives the size of a pixel, or "".
    """

    reader = "GDAL"

    mpp_source = ""

    def __init__(
        self,
        path: Path,
        levels: tuple[Level, ...],
        bands: Bands,
        *,
        driver: str,
        mpp: float | None,
        georeference: Georeference | None,
        sources: tuple[Subdataset, ...] = (),
    ) -> None:
        """Describe a raster; `open_raster` inspects the file."""
        part = f"#{sources[0]}" if sources and sources[0] else ""
        super().__init__(path, levels, mpp=mpp, georeference=georeference, part=part)
        self.sources = sources or tuple(range(len(levels)))
        self.bands = bands
        self.driver = driver

    def decode_by_reader(self, level: int, window: Window) -> Bytes:
        """The pixels of a window of a level, by GDAL."""
        import rasterio
        from rasterio.windows import Window as GdalWindow

        key = (*self._key, level, threading.get_ident())
        dataset = HANDLES.get_or_make(key, lambda: self._open(level))
        part = GdalWindow(window.x0, window.y0, window.x1 - window.x0, window.y1 - window.y0)
        try:
            with complaints() as found, rasterio.Env(**settings_of(self.path)):
                pixels = self.bands.read(dataset, part, self.background, self.path)
        except (rasterio.errors.RasterioError, OSError, MemoryError) as error:
            HANDLES.drop(key)  # which may keep the damaged block
            raise undecoded(self.path, level, window, cause(error)) from error
        if found:
            HANDLES.drop(key)
            raise undecoded(self.path, level, window, found[0])
        return pixels

    def like(self, path: Path, levels: tuple[Level, ...], directories: tuple[int, ...]) -> RasterImage:
        """Another TIFF of three bands, by GDAL."""
        sources, bands = tuple(f"off:{one}" for one in directories), Bands(colour=(1, 2, 3))
        return RasterImage(path, levels, bands, driver="GTiff", mpp=None, georeference=None, sources=sources)

    def close(self) -> None:
        """Let go of the handles of all threads; the next read opens them again."""
        super().close()
        HANDLES.drop_all(lambda key: isinstance(key, tuple) and key[:2] == self._key)

    def _open(self, level: int) -> Any:  # noqa: ANN401 (rasterio is not typed)
        self.check_identity()
        return opened(self.path, self.driver, self.sources[level])


class ConvertedImage(RasterImage):
    """A PNG or JPEG too large for the memory, read from its tiled copy (see `tiled_copy`)."""

    def _open(self, level: int) -> Any:  # noqa: ANN401
        self.check_identity()
        return opened(tiled_copy(self.path, self.identity, self.driver), "GTiff", level)


def takes_raster(path: Path, head: bytes) -> bool:
    """Whether a file is for GDAL: JPEG 2000; PNG, JPEG and BMP that exceed the memory or have a side-car."""
    driver = driver_of(head)
    if driver in ("PNG", "JPEG", "BMP"):
        size = declared_size(path, head)
        return size is not None and (size[0] * size[1] > IN_MEMORY or side_car(path))
    return driver not in (None, "GTiff") and url_of(path) is None


def open_raster(path: Path, *, mpp: float | None = None) -> RasterImage:
    """Open a raster of any size that is not a TIFF.

    Args:
        path: a local file of one of `DRIVERS`.
        mpp: microns per pixel, instead of what the map says, if the image lies on one.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: if GDAL cannot open it, its bands have no colours, its blocks are too large, or its pixels
            are not square and `mpp` is not given.
    """
    check_mpp(mpp, path)
    check_stored(path, head := read_head(path))
    driver = driver_of(head) or DRIVERS[0]
    if driver in _IN_ORDER:
        return _open_converted(path, driver, mpp)
    with opened(path, driver) as dataset:
        bands = bands_of(dataset, path)
        full, block = dataset.shape, dataset.block_shapes[0]
        georeference = georeference_of(dataset, path)
        known, source = (mpp, "") if mpp is not None else mpp_of_map(dataset, georeference, path)
        count = len(dataset.overviews(bands.colour[0]))
    sources: list[Subdataset] = [0, *range(1, count + 1)]
    levels = [Level.of(full, full, block), *(_level(path, driver, one, full) for one in sources[1:])]
    return _raster(
        path, levels, sources, bands, driver=driver, mpp=known, source=source, georeference=georeference
    )


def open_gdal_tiff(
    path: Path, contents: Contents, *, first: bool, mpp: float | None, scale: Scale | None
) -> RasterImage:
    """A TIFF whose samples GDAL reads.

    Args:
        path: a local file.
        contents: which of its directories are the levels; its pages are open.
        first: whether the image is the first directory.
        mpp: microns per pixel, if the user states them.
        scale: what the file's tags tell of them; a map tells it better.

    Raises:
        ImageError: as `open_raster`.
    """
    page = contents.levels[0]
    full = page.imagelength, page.imagewidth
    sources: list[Subdataset] = [0 if first else f"off:{page.offset}"]
    with opened(path, "GTiff", sources[0]) as dataset:
        bands = bands_of(dataset, path, page)
        georeference = georeference_of(dataset, path)
        mpp_source = ""
        if mpp is None:
            mpp, mpp_source = mpp_of_map(dataset, georeference, path)
            if mpp is None and scale is not None:
                mpp = scale.mpp(path)
        block = dataset.block_shapes[0]
        count = len(dataset.overviews(bands.colour[0]))
    levels = [Level.of(full, full, block)]
    for one in contents.levels[1:] if not (first and contents.masked) else ():
        sources.append(f"off:{one.offset}")
        levels.append(Level.of((one.imagelength, one.imagewidth), full, block_of(one)))
    if first and (contents.masked or path.with_name(path.name + ".ovr").exists()):
        for number, level in _of_gdal(path, contents, levels, count):
            sources.append(number)
            levels.append(level)
    image = _raster(
        path, levels, sources, bands, driver="GTiff", mpp=mpp, source=mpp_source, georeference=georeference
    )
    if bands.colour in ((1,), (1, 2, 3)) and replace(bands, colour=(1, 2, 3)).plain:
        direct = dict(zip(sources, map(jpeg_directory, contents.levels), strict=False))
        image.directories = tuple(direct.get(source) for source in image.sources)
    return image


def _of_gdal(path: Path, contents: Contents, levels: list[Level], count: int) -> Iterator[tuple[int, Level]]:
    """Levels that GDAL alone finds: with their masks, and in a file beside the image."""
    page = contents.levels[0]
    full = page.imagelength, page.imagewidth
    taken = {(level.width, level.height) for level in levels}
    beside = {(one.width, one.height) for one in contents.associated}
    for number in range(1, count + 1):
        level = _level(path, "GTiff", number, full)
        size, (tall, wide) = (level.width, level.height), level.pixel
        if size not in taken | beside and abs(tall - wide) <= _OBLONG * max(tall, wide):
            yield number, level


def check_blocks(level: Level, path: Path, remedy: str = _TILES) -> None:
    """Refuse an image stored in blocks so large that no part of it can be read by itself.

    Raises:
        ImageError: with the command that stores it in tiles.
    """
    block = level.block
    if block[0] * block[1] > _LARGEST_BLOCK:
        raise ImageError(
            f"stored in blocks of {block[1]} x {block[0]} pixels, too large to read a part",
            where=path,
            remedy=remedy,
        )


def _level(path: Path, driver: str, source: Subdataset, full: tuple[int, int]) -> Level:
    with opened(path, driver, source) as dataset:
        return Level.of(dataset.shape, full, dataset.block_shapes[0])


def _raster(
    path: Path,
    levels: list[Level],
    sources: list[Subdataset],
    bands: Bands,
    *,
    source: str,
    **facts: Any,  # noqa: ANN401
) -> RasterImage:
    """The image, its levels finest first; `source` is what gives its scale."""
    order = sorted(range(len(levels)), key=lambda i: -levels[i].width)
    levels, sources = [levels[i] for i in order], [sources[i] for i in order]
    check_blocks(levels[0], path)
    image = RasterImage(path, tuple(levels), bands, sources=tuple(sources), **facts)
    image.mpp_source = source
    return image


def _open_converted(path: Path, driver: str, mpp: float | None) -> RasterImage:
    """A large PNG or JPEG; it is decoded, once, when first read."""
    if orientation_of(path) not in (0, 1):
        raise ImageError(
            "an image that is stored rotated or mirrored, too large to turn in memory",
            where=path,
            remedy="Turn it upright and save it again, preferably as a tiled TIFF.",
        )
    with opened(path, driver) as dataset:
        bands_of(dataset, path)
        check_in_order(dataset.width, dataset.height, path)
        sizes = level_sizes(*dataset.shape)
        georeference = georeference_of(dataset, path)
        known, source = (mpp, "") if mpp is not None else mpp_of_map(dataset, georeference, path)
    levels = tuple(Level.of(size, sizes[0], (BLOCK, BLOCK)) for size in sizes)
    image = ConvertedImage(
        path, levels, Bands(colour=(1, 2, 3)), driver=driver, mpp=known, georeference=georeference
    )
    image.mpp_source = source
    return image


def open_small(path: Path, *, mpp: float | None = None) -> ArrayImage:
    """An image that is decoded whole, and its place on a map, if a file beside it tells that.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: as `decode_image`.
    """
    image = decode_image(path, mpp=mpp)
    driver = driver_of(read_head(path))
    if driver is None or not has_world_file(path):
        return image
    if driver == "GTiff" or orientation_of(path) not in (0, 1):
        return image
    with opened(path, driver) as dataset:
        image.georeference = georeference_of(dataset, path)
        if mpp is None:
            image.mpp, image.mpp_source = mpp_of_map(dataset, image.georeference, path)
    return image
