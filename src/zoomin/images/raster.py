"""Rasters by GDAL: GeoTIFF, cloud-optimised and pyramidal TIFF, OME-TIFF, JPEG 2000.

GDAL's handles belong to one thread each. Only local files of the drivers named here are opened, and GDAL's
settings are those of the reads, not of the process.
"""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ..errors import ImageError
from .bands import Bands, bands_of
from .decode import format_of, read_head
from .georeference import Georeference
from .handles import HANDLES
from .physical import check_mpp, square_mpp
from .pixels import Bytes
from .stored import Level, StoredImage, identity_of
from .tiff import DAMAGE, check_whole, mpp_of, only_page
from .windows import Window

__all__ = ["DRIVERS", "RasterImage", "open_raster", "takes_raster"]

DRIVERS = ("GTiff", "JP2OpenJPEG")
IN_MEMORY = 1 << 26  # pixels of a plain image that is decoded whole
_LARGEST_BLOCK = 1 << 27  # pixels
_GEO_TAGS = (33550, 33922, 34264, 34735)
_SETTINGS = {
    "GDAL_CACHEMAX": 128,  # MB of decoded blocks a process; GDAL's own is a share of the machine
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "GDAL_PAM_ENABLED": "NO",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",
}


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
        from rasterio.errors import RasterioError

        key = (*self._key, level, threading.get_ident())
        dataset = HANDLES.get(key, lambda: self._open(level))
        try:
            return self._decode(dataset, window)
        except (RasterioError, OSError, MemoryError) as error:
            HANDLES.drop(lambda other: other == key)
            raise ImageError(
                f"the pixels at level {level}, columns {window.x0} to {window.x1}, rows {window.y0} to "
                f"{window.y1} cannot be decoded ({_cause(error)})",
                where=self.path,
                remedy="The file is damaged there, or has moved: copy or download it again.",
            ) from error

    def close(self) -> None:
        """Let go of the handles of all threads; the next read opens them again."""
        HANDLES.drop(lambda key: isinstance(key, tuple) and key[:2] == self._key)

    @property
    def _key(self) -> tuple[object, ...]:
        return "gdal", self.identity

    def _open(self, level: int) -> Any:  # noqa: ANN401 (rasterio is not typed)
        if identity_of(self.path) != self.identity:
            raise ImageError(
                "the file has changed since it was opened", where=self.path, remedy="Open it anew."
            )
        return opened(self.path, self.driver, level)

    def _decode(self, dataset: Any, window: Window) -> Bytes:  # noqa: ANN401
        import rasterio
        from rasterio.windows import Window as GdalWindow

        bands = self.bands
        height, width = window.y1 - window.y0, window.x1 - window.x0
        part = GdalWindow(window.x0, window.y0, width, height)
        samples = np.empty((height, width, len(bands.colour)), dtype=dataset.dtypes[bands.colour[0] - 1])
        with rasterio.Env(**_SETTINGS):
            dataset.read(list(bands.colour), window=part, out=samples.transpose(2, 0, 1))
            if bands.plain and samples.dtype == np.uint8:
                return samples
            alpha = None if bands.alpha is None else dataset.read(bands.alpha, window=part)
            valid = dataset.read_masks(bands.colour[0], window=part) if bands.masked else None
        return bands.paint(samples, alpha, valid, self.background, self.path)


def takes_raster(path: Path, head: bytes) -> bool:
    """Whether a file is for GDAL: JPEG 2000; TIFFs on a map, in a pyramid, or too large for the memory."""
    driver = driver_of(head)
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


def driver_of(head: bytes) -> str | None:
    """The GDAL driver for a file, by its first bytes; None where there is none.

    Example:
        >>> driver_of(bytes.fromhex("49492a00"))
        'GTiff'
    """
    if head[4:8] == b"jP  " or head.startswith(b"\xff\x4f\xff\x51"):
        return "JP2OpenJPEG"
    return "GTiff" if format_of(head) == "TIFF" else None


def opened(path: Path, driver: str, level: int = 0) -> Any:  # noqa: ANN401
    """GDAL's handle of a stored level, for this thread.

    Raises:
        ImageError: if GDAL cannot open it.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    # An image need not lie on a map. Said once a process: catching it at each call is not safe in threads.
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    options = {"overview_level": level - 1} if level else {}
    try:
        with rasterio.Env(**_SETTINGS):
            return rasterio.open(path.absolute(), driver=driver, **options)
    except (RasterioError, OSError) as error:
        raise ImageError(
            f"the raster is damaged, cut short or of a kind that GDAL does not read ({_cause(error)})",
            where=path,
            remedy="Copy or download it again, or convert it: gdal_translate -of COG IN OUT.",
        ) from error


def _cause(error: BaseException) -> str:
    """The innermost message: the outer ones only say that reading failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).removesuffix(".")


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
