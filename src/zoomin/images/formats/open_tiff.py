"""Open a TIFF: its contents are examined once, then the reader that gives its pixels as they are meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import ImageError
from ..image import Image
from ..physical import check_mpp
from ..stored import Level
from ..urls import url_of
from . import raster
from .bands import bands_of_page
from .decode import decode_image
from .gdal import driver_of, side_car
from .ome_files import tiff_of_parts
from .tiff import DAMAGE, check_known, check_whole, orientation_of_page, undecodable
from .tiff_contents import Contents, contents_of
from .tiff_image import TiffImage
from .tiff_scale import scale_of
from .tiff_segments import block_of

__all__ = ["by_gdal", "check_upright", "open_tiff", "takes_tiff"]

_OF_GDAL = (33550, 33922, 34264, 34735, 42112, 42113)  # a map, GDAL's metadata, its value of missing samples
_CODECS = ("NONE", "CCITTRLE", "CCITT_T4", "CCITT_T6", "LZW", "JPEG", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS",
           "ZSTD", "LZMA", "WEBP", "LERC")  # fmt: skip
_TILES = (  # GDAL does not read these
    "Store it in tiles, on a machine with memory for all of it: tifffile.imwrite(OUT, tifffile.imread(IN), "
    'photometric="rgb", tile=(256, 256), compression="zlib").'
)
_JPEG = 7  # value of the tag Compression
_COLOURS = ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE")


def takes_tiff(path: Path, head: bytes) -> bool:
    """Whether a file is a TIFF."""
    return driver_of(head) == "GTiff"


def open_tiff(path: Path, *, mpp: float | None = None, series: int | str | None = None) -> Image:
    """Open a TIFF of any size: small plain ones are decoded into memory, all others stay on disk.

    Args:
        path: a file, or a URL.
        mpp: microns per pixel, instead of what the file says.
        series: which of its images, by number or name; None for the main one.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: naming what makes it unreadable, and the remedy.
    """
    check_mpp(mpp, path)
    try:
        with tiff_of_parts(path) as file:
            contents = contents_of(file, path, series)
            page = contents.levels[0]
            if not _streamed(page, contents, path):
                return decode_image(path, mpp=mpp, series=series)
            check_known(page, path)
            check_whole(page, file.filehandle.size, path)
            check_upright(page, path)
            scale = None if mpp is not None else scale_of(file, page, path, contents.series)
            if by_gdal(page):
                first = page.offset == file.pages[0].offset
                return raster.open_gdal_tiff(path, contents, first=first, mpp=mpp, scale=scale)
            return _by_tifffile(path, contents, mpp if scale is None else scale.mpp(path))
    except DAMAGE as error:
        raise undecodable(error, path) from error


def by_gdal(page: Any) -> bool:  # noqa: ANN401 (tifffile is not typed)
    """Whether GDAL gives the samples of a page as they are stored, or as the colours that they mean."""
    codec, kind = page.compression.name, page.photometric.name
    if codec not in _CODECS or (codec == "JPEG" and page.bitspersample != 8):
        return False
    return kind in _COLOURS or (kind == "YCBCR" and codec == "JPEG")


def _streamed(page: Any, contents: Contents, path: Path) -> bool:  # noqa: ANN401
    """Whether the image stays on disk, or on the network."""
    pixels = page.imagewidth * page.imagelength
    mapped = contents.masked or any(tag in page.tags for tag in _OF_GDAL)
    halved = page.compression == _JPEG and by_gdal(page) and page.subsampling not in (None, (1, 1))
    if url_of(path) is not None:
        return True
    plain = not mapped and not halved and not side_car(path)  # decoders widen halved chroma in their own ways
    return pixels > raster.IN_MEMORY or len(contents.levels) > 1 or not plain


def check_upright(page: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse pixels that would have to be turned.

    Raises:
        ImageError: with the remedy.
    """
    if orientation_of_page(page) not in (0, 1):
        raise ImageError(
            "a TIFF that is stored rotated or mirrored",
            where=path,
            remedy="Turn it upright and save it again.",
        )


def _by_tifffile(path: Path, contents: Contents, mpp: float | None) -> TiffImage:
    page = contents.levels[0]
    full = page.imagelength, page.imagewidth
    levels = tuple(
        Level.of((one.imagelength, one.imagewidth), full, block_of(one)) for one in contents.levels
    )
    raster.check_blocks(levels[0], path, _TILES)
    bands, offsets = bands_of_page(page, path), tuple(one.offset for one in contents.levels)
    return TiffImage(path, levels, bands, offsets=offsets, mpp=mpp)
