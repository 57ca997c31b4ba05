"""Rasters by GDAL: GeoTIFF, cloud-optimised and pyramidal TIFF, OME-TIFF, JPEG 2000, huge PNG, JPEG and BMP.

GDAL's handles belong to one thread each. Only local files of the drivers named in `gdal` are opened, and
GDAL's settings are those of the reads, not of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import tifffile

from ..errors import ImageError
from .bands import Bands, bands_of
from .cache import HANDLES
from .decode import declared_size, orientation_of, read_head
from .gdal import DRIVERS, SETTINGS, cause, complaints, driver_of, opened
from .georeference import Georeference
from .physical import check_mpp, square_mpp
from .pixels import Bytes
from .stored import Level, StoredImage
from .tiff import DAMAGE, check_whole, mpp_of, only_page
from .tiled_copy import BLOCK, level_sizes, tiled_copy
from .windows import Window

__all__ = ["ConvertedImage", "RasterImage", "open_raster", "takes_raster"]

IN_MEMORY = 1 << 26  # pixels of a plain image that is decoded whole
_LARGEST_BLOCK = 1 << 27  # pixels
_GEO_TAGS = (33550, 33922, 34264, 34735)
_IN_ORDER = ("PNG", "JPEG")  # no random access


class RasterImage(StoredImage):
    """An image that GDAL reads (see `stored.StoredImage`).

    Attributes:
        bands: how its bands become red, green and blue.
        driver: the GDAL driver.
        georeference: the coordinate reference system and the way from level-0 pixels to the map, None where
            the file tells neither.
    """

    def __init__(
        self,
        path: Path,
        levels: tuple[Level, ...],
        bands: Bands,
        *,
        driver: str,
        mpp: float | None,
        georeference: Georeference | None,
    ) -> None:
        """Describe a raster; `open_raster` looks into the file."""
        super().__init__(path, levels, mpp=mpp, georeference=georeference)
        self.bands = bands
        self.driver = driver

    def decode(self, level: int, window: Window) -> Bytes:
        """The pixels of a window of a level.

        Raises:
            ImageError: if GDAL cannot decode them.
        """
        import rasterio
        from rasterio.windows import Window as GdalWindow

        key = (*self._key, level, threading.get_ident())
        dataset = HANDLES.get_or_make(key, lambda: self._open(level))
        part = GdalWindow(window.x0, window.y0, window.x1 - window.x0, window.y1 - window.y0)
        try:
            with complaints() as found, rasterio.Env(**SETTINGS):
                pixels = self.bands.read(dataset, part, self.background, self.path)
        except (rasterio.errors.RasterioError, OSError, MemoryError) as error:
            raise self._undecoded(key, level, window, cause(error)) from error
        if found:
            raise self._undecoded(key, level, window, found[0])
        return pixels

    def close(self) -> None:
        """Let go of the handles of all threads; the next read opens them again."""
        HANDLES.drop_all(lambda key: isinstance(key, tuple) and key[:2] == self._key)

    def _undecoded(self, key: Hashable, level: int, window: Window, why: str) -> ImageError:
        """The error; the handle, which may keep the damaged block, is let go."""
        HANDLES.drop(key)
        return ImageError(
            f"the pixels at level {level}, columns {window.x0} to {window.x1}, rows {window.y0} to "
            f"{window.y1} cannot be decoded ({why})",
            where=self.path,
            remedy="The file is damaged there, or has moved: copy or download it again.",
        )

    @property
    def _key(self) -> tuple[object, ...]:
        return "gdal", self.identity

    def _open(self, level: int) -> Any:  # noqa: ANN401 (rasterio is not typed)
        self.check_identity()
        return opened(self.path, self.driver, level)


class ConvertedImage(RasterImage):
    """A PNG or JPEG too large for the memory, read from its tiled copy (see `tiled_copy`)."""

    def _open(self, level: int) -> Any:  # noqa: ANN401
        self.check_identity()
        return opened(tiled_copy(self.path, self.identity, self.driver), "GTiff", level)


def takes_raster(path: Path, head: bytes) -> bool:
    """Whether a file is for GDAL: JPEG 2000, TIFFs on a map or in a pyramid, what exceeds the memory."""
    driver = driver_of(head)
    if driver in ("PNG", "JPEG", "BMP"):
        size = declared_size(path, head)
        return size is not None and size[0] * size[1] > IN_MEMORY
    if driver != "GTiff":
        return driver is not None
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            if page.imagewidth * page.imagelength > IN_MEMORY or any(tag in page.tags for tag in _GEO_TAGS):
                return True
            if not page.subifds and len(file.pages) == 1:
                return False
            only_page(file, path)
    except (ImageError, *DAMAGE):
        return False  # the reader of whole images says what is wrong
    try:
        with opened(path, driver) as dataset:
            return bool(dataset.overviews(1))
    except ImageError:
        return False


def open_raster(path: Path, *, mpp: float | None = None) -> RasterImage:
    """Open a raster, of any size.

    Args:
        path: a local file of one of `DRIVERS`.
        mpp: microns per pixel, in place of what the file says: the pixels of a map in metres or feet (no
            other map tells them), the resolution of a TIFF in centimetres, OME metadata.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: if GDAL cannot open it, its bands have no colours, its blocks are too large, or its pixels
            are not square and `mpp` is not given.
    """
    check_mpp(mpp, path)
    driver = driver_of(read_head(path)) or DRIVERS[0]
    if driver in _IN_ORDER:
        return _open_converted(path, driver, mpp)
    found = _examine_tiff(path)
    with opened(path, driver) as dataset:
        bands = bands_of(dataset, path)
        full = dataset.shape
        levels = [Level.of(full, full, dataset.block_shapes[0])]
        georeference = _georeference(dataset)
        if mpp is None:
            mpp = _mpp_of_map(dataset, georeference, path) or found
        count = len(dataset.overviews(bands.colour[0]))
    for level in range(1, count + 1):
        with opened(path, driver, level) as dataset:
            levels.append(Level.of(dataset.shape, full, dataset.block_shapes[0]))
    levels.sort(key=lambda level: -level.width)
    block = levels[0].block
    if block[0] * block[1] > _LARGEST_BLOCK:
        raise ImageError(
            f"stored in blocks of {block[1]} x {block[0]} pixels, too large to read a part",
            where=path,
            remedy="Store it in tiles: gdal_translate -of COG -co COMPRESS=DEFLATE IN OUT.",
        )
    return RasterImage(path, tuple(levels), bands, driver=driver, mpp=mpp, georeference=georeference)


def _open_converted(path: Path, driver: str, mpp: float | None) -> RasterImage:
    """A large PNG or JPEG; it is decoded, once, when first read."""
    if orientation_of(path) not in (0, 1):
        raise ImageError(
            "an image that is stored on its side or mirrored, too large to turn in memory",
            where=path,
            remedy="Turn it upright and save it again, best as a tiled TIFF.",
        )
    with opened(path, driver) as dataset:
        bands_of(dataset, path)
        sizes = level_sizes(*dataset.shape)
    levels = tuple(Level.of(size, sizes[0], (BLOCK, BLOCK)) for size in sizes)
    colours = Bands(colour=(1, 2, 3))
    return ConvertedImage(path, levels, colours, driver=driver, mpp=mpp, georeference=None)


def _examine_tiff(path: Path) -> float | None:
    """What GDAL does not tell of a TIFF: microns per pixel, several pages, a turned image, a cut end.

    Raises:
        ImageError: naming what makes it unreadable.
    """
    try:
        with tifffile.TiffFile(path) as file:
            page = only_page(file, path)
            check_whole(page, file.filehandle.size, path)
            if int(page.tags.valueof("Orientation", 1)) not in (0, 1):
                raise ImageError(
                    "a TIFF that is stored on its side or mirrored",
                    where=path,
                    remedy="Turn it upright and save it again.",
                )
            return mpp_of(file, page)
    except DAMAGE:
        return None  # no TIFF, or one that GDAL may know better


def _georeference(dataset: Any) -> Georeference | None:  # noqa: ANN401
    if dataset.crs is None and dataset.transform.is_identity:
        return None
    return Georeference(
        crs=dataset.crs.to_wkt() if dataset.crs is not None else None, transform=tuple(dataset.transform)[:6]
    )


def _mpp_of_map(dataset: Any, georeference: Georeference | None, path: Path) -> float | None:  # noqa: ANN401
    if georeference is None or dataset.crs is None or not dataset.crs.is_projected:
        return None
    metres = dataset.crs.linear_units_factor[1]
    x, y = (side * metres * 1e6 for side in georeference.pixel_size)
    return square_mpp(x, y, path)
