"""What an image file really holds: levels, other pictures, colours, and where the pixel size comes from."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ImageCms

from ..errors import ImageError
from .array import ArrayImage
from .formats.adapted import AdaptedSlide
from .formats.channels import ChannelImage
from .formats.decode import icc_of
from .formats.gdal import WORLD
from .formats.ome_files import companion_beside
from .formats.raster import RasterImage
from .formats.slide import SlideImage, slide_facts
from .formats.tiff import DAMAGE
from .formats.tiff_contents import contents_of
from .formats.tiff_image import TiffImage
from .formats.tiff_scale import scale_of
from .formats.zarr_image import ZarrImage
from .image import Image, reader_of
from .open_image import open_image
from .remote import reading_tiff
from .stored import StoredImage

__all__ = ["Description", "companions_of", "describe"]

_SIDE_CARS = (".ovr", ".msk", ".aux.xml")  # after the whole name
_INSTEAD = (*WORLD, ".prj", ".xml")  # of the suffix
_ICC = 34675
_OME = (".tif", ".tiff")


@dataclass(frozen=True)
class Description:
    """What a file holds, as text and numbers that a table can show.

    Attributes:
        reader: OpenSlide, GDAL, tifffile, zarr, or "whole" for files that are decoded whole.
        pixels: colours, bits and compression as the file states them, or "".
        levels: width and height of each stored resolution, finest first.
        series: images and pictures that the file holds, the image itself counted.
        associated: pictures beside the image, each as "NAME WIDTH x HEIGHT (series N)".
        icc: name of the colour profile, or "".
        mpp: microns per level-0 pixel, None where unknown.
        mpp_source: what gives it and in which unit, or "".
        companions: other files that belong to it.
    """

    reader: str
    pixels: str
    levels: tuple[tuple[int, int], ...]
    series: int
    associated: tuple[str, ...]
    icc: str
    mpp: float | None
    mpp_source: str
    companions: tuple[Path, ...]


def describe(
    path: Path | str, *, image: Image | None = None, mpp: float | None = None, series: int | str | None = None
) -> Description:
    """Look into an image file; only its tables are read, and a few pixels of its levels.

    Args:
        path: the file.
        image: the file as opened already; by default it is opened.
        mpp: microns per pixel that the user states.
        series: which image of a TIFF, by number or name.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: if the file cannot be opened.
    """
    path = Path(path)
    image = image if image is not None else open_image(path, mpp=mpp, series=series)
    reader = reader_of(image)
    associated: tuple[str, ...] = ()
    pixels, count, icc, source = "", 1, b"", ""
    if isinstance(image, SlideImage):
        facts = slide_facts(path)
        pixels, count = f"{image.vendor} slide", 1 + len(facts.associated)
        associated, icc, source = facts.associated, facts.icc, facts.mpp_source
    elif isinstance(image, ChannelImage):
        held = image.samples
        pixels = f"{len(held.names)} channels ({', '.join(held.names)}), {held.dtype}"
        source = held.mpp_source
    elif isinstance(image, ZarrImage):
        found = image.contents
        pixels, count, source = found.words, 1 + len(found.beside), found.mpp_source
        associated = found.beside
    elif isinstance(image, RasterImage | TiffImage | ArrayImage):
        pixels, count, associated, icc, source = _tiff(path, series)
    elif isinstance(image, AdaptedSlide):
        pixels = f"{image.vendor} slide".strip()
        source = f"property that {image.reader} tells in microns"
    if isinstance(image, RasterImage | ArrayImage) and image.mpp_source:
        source = image.mpp_source
    if image.mpp is None or mpp is not None:
        source = "" if image.mpp is None else "stated"
    return Description(
        reader=reader,
        pixels=pixels,
        levels=_levels(image),
        series=count,
        associated=associated,
        icc=_name_of(icc),
        mpp=image.mpp,
        mpp_source=source,
        companions=companions_of(path),
    )


def companions_of(path: Path) -> tuple[Path, ...]:
    """Side-cars that a reader uses: overviews, masks, world files, companions of OME, the folder of a MIRAX.

    Example:
        >>> companions_of(Path("nowhere.tif"))
        ()
    """
    names: Iterable[Path] = [path.with_name(path.name + end) for end in _SIDE_CARS]
    names = [*names, *(path.with_suffix(case) for end in _INSTEAD for case in (end, end.upper()))]
    if path.suffix.lower() == ".mrxs":
        names = [*names, path.with_suffix("")]
    if path.name.lower().endswith(_OME):
        names = [*names, *_ome_companion(path)]
    return tuple(name for name in names if name != path and name.exists())


def _ome_companion(path: Path) -> tuple[Path, ...]:
    try:
        with reading_tiff(path) as file:
            found = companion_beside(str(file.pages.first.description or ""), path) if file.is_ome else None
    except (ImageError, *DAMAGE):
        return ()
    return () if found is None else (found[0],)


def _levels(image: Image) -> tuple[tuple[int, int], ...]:
    if isinstance(image, StoredImage):
        return tuple((level.width, level.height) for level in image.levels)
    return ((image.width, image.height),)


def _tiff(path: Path, series: int | str | None) -> tuple[str, int, tuple[str, ...], bytes, str]:
    """Pixels, pictures, associated ones, colour profile, source of the scale; of others the profile."""
    try:
        with reading_tiff(path) as file:
            contents = contents_of(file, path, series)
            page = contents.levels[0]
            scale = scale_of(file, page, path, contents.series)
            beside = tuple(
                f"{one.name} {one.width} x {one.height} (series {one.series})" for one in contents.associated
            )
            icc = page.tags.valueof(_ICC, b"")
            return _pixels(page), contents.count, beside, icc, "" if scale is None else scale.source
    except (ImageError, *DAMAGE):  # no TIFF: the readers have said what is wrong with one
        return "", 1, (), icc_of(path), ""


def _pixels(page: Any) -> str:  # noqa: ANN401 (tifffile is not typed)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else "mixed"
    return f"{page.photometric.name}, {page.samplesperpixel} x {bits} bits, {page.compression.name}"


def _name_of(icc: bytes) -> str:
    """What a colour profile calls itself."""
    if not icc:
        return ""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return ImageCms.getProfileDescription(profile).strip() or f"{len(icc)} bytes"
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return f"{len(icc)} bytes, damaged"
