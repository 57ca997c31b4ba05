"""Decode TIFF and BigTIFF of any compression that tifffile and imagecodecs know."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
import tifffile
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import Image as PillowImage
from PIL import TiffImagePlugin

from ..errors import ImageError
from .physical import PLAUSIBLE
from .pixels import Bytes, Pixels, check_size, over_white, to_bytes, upright

__all__ = ["DAMAGE", "check_whole", "decode_tiff", "mpp_of", "only_page"]

_CENTIMETRE = 3
_MICRONS = {"µm": 1.0, "\u03bcm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_PREMULTIPLIED, _ALPHA = 1, 2  # values of the tag ExtraSamples
DAMAGE = (
    tifffile.TiffFileError,
    OSError,
    ValueError,
    RuntimeError,  # the codecs of imagecodecs
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    ZeroDivisionError,
    OverflowError,
    EOFError,
    struct.error,
    zlib.error,
)


def decode_tiff(path: Path) -> tuple[Bytes, float | None]:
    """The pixels (height, width, 3), and microns per pixel where the file can be believed.

    Raises:
        ImageError: if the file is damaged, holds several pages or channels, or no image.
    """
    try:
        with tifffile.TiffFile(path) as file:
            page = only_page(file, path)
            check_size(page.imagewidth, page.imagelength, path)
            check_whole(page, file.filehandle.size, path)
            if _left_to_pillow(page):
                pixels = _by_pillow(path)
            else:
                pixels = upright(_rgb(page, path), int(page.tags.valueof("Orientation", 1)))
            mpp = mpp_of(file, page)
    except DAMAGE as error:
        raise ImageError(
            f"the TIFF is damaged, cut short or of an unknown kind ({error})",
            where=path,
            remedy="Copy or download it again, or export it anew.",
        ) from error
    return np.ascontiguousarray(pixels), mpp


def only_page(file: tifffile.TiffFile, path: Path) -> Any:  # noqa: ANN401 (tifffile is not typed)
    """The first page of the main image; lower resolutions, labels and thumbnails stand beside it."""
    if not file.pages:
        raise ImageError("the TIFF holds no image", where=path, remedy="Export it again.")
    main = file.series[0].levels[0]
    planes = {axis: n for axis, n in zip(main.axes, main.shape, strict=True) if axis not in "YXS" and n > 1}
    if planes:
        count = int(np.prod(list(planes.values())))
        kind = "channels" if set(planes) == {"C"} else "pages"
        raise ImageError(
            f"the TIFF holds {count} {kind} of one size (axes {main.axes})",
            where=path,
            remedy="Save the one to use, or red, green and blue, as an image of its own.",
        )
    return main.keyframe


def check_whole(page: Any, size: int, path: Path) -> None:  # noqa: ANN401
    """Refuse a page whose pixels reach beyond the end of the file: some codecs would invent the rest."""
    count = min(len(page.dataoffsets), len(page.databytecounts))  # a slide has a hundred thousand blocks
    ends = np.add(page.dataoffsets[:count], page.databytecounts[:count], dtype=np.int64)
    end = int(ends.max(initial=0))
    if end > size:
        raise ImageError(
            f"the TIFF is cut short: {size} bytes, of at least {end}",
            where=path,
            remedy="Copy or download it again.",
        )


def _rgb(page: Any, path: Path) -> Bytes:  # noqa: ANN401
    """The pixels of a page: (height, width, 3)."""
    kind = page.photometric.name
    if kind not in ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE", "SEPARATED", "YCBCR"):
        raise ImageError(f"a TIFF of colours {kind}", where=path, remedy="Save it as grey or RGB.")
    samples = page.asarray().reshape(page.shape)
    if page.samplesperpixel > 1 and page.planarconfig == 2:
        samples = np.moveaxis(samples, 0, -1)
    if samples.ndim == 2:
        samples = samples[..., None]
    if kind == "PALETTE":
        return _paint(samples[..., 0], page.colormap)
    samples = to_bytes(samples, path, bits=_bits(page))
    if kind == "SEPARATED" and samples.shape[2] == 4:
        return np.array(PillowImage.fromarray(np.ascontiguousarray(samples), mode="CMYK").convert("RGB"))
    if kind == "MINISWHITE":
        samples[..., 0] = 255 - samples[..., 0]
    return _colour(samples, tuple(int(extra) for extra in page.extrasamples), path)


def _colour(samples: Bytes, extra: tuple[int, ...], path: Path) -> Bytes:
    """Grey or red-green-blue, with or without alpha, as red, green and blue."""
    channels = samples.shape[2]
    colours = channels - len(extra)
    has_alpha = len(extra) == 1 and extra[0] in (_PREMULTIPLIED, _ALPHA)
    if channels == 4 and extra in ((), (0,)):
        colours = 3  # a fourth sample of unknown meaning is left out
    if colours not in (1, 3) or channels > colours + 1 or (channels == 2 and not has_alpha):
        raise ImageError(
            f"the TIFF has {channels} channels",
            where=path,
            remedy="Save grey or red-green-blue, with or without alpha.",
        )
    pixels = samples[..., :colours]
    if has_alpha:
        pixels = over_white(pixels, samples[..., -1], premultiplied=extra[0] == _PREMULTIPLIED)
    return np.repeat(pixels, 3, axis=2) if colours == 1 else pixels


def _paint(index: Pixels, palette: Pixels) -> Bytes:
    """Colours of a palette: (height, width, 3). Palettes are of 16 bits; some writers give 8."""
    shift = 0 if palette.max() < 256 else 8
    colours = np.right_shift(palette.astype(np.uint16), shift).astype(np.uint8)
    return colours.T[index]


def _bits(page: Any) -> int | None:  # noqa: ANN401
    bits = page.bitspersample
    return int(bits) if isinstance(bits, int) and bits < 64 else None


def _left_to_pillow(page: Any) -> bool:  # noqa: ANN401
    """Whether the colour space is one that tifffile leaves as it is."""
    kind = page.photometric.name
    return kind in ("CIELAB", "ICCLAB", "ITULAB") or (kind == "YCBCR" and page.compression.name != "JPEG")


def _by_pillow(path: Path) -> Bytes:
    """Pixels by Pillow, which turns those of a TIFF upright itself."""
    with TiffImagePlugin.TiffImageFile(str(path)) as image:
        return np.array(image.convert("RGB"))


def mpp_of(file: Any, page: Any) -> float | None:  # noqa: ANN401
    """Microns per pixel, from OME metadata, or a resolution in centimetres that a microscope can have."""
    sides = _ome_sides(file) or _resolution_sides(page)
    if sides is None:
        return None
    low, high = PLAUSIBLE
    alike = abs(sides[0] - sides[1]) <= 0.01 * sides[0]
    return sum(sides) / 2 if alike and low <= sides[0] <= high else None


def _resolution_sides(page: Any) -> tuple[float, float] | None:  # noqa: ANN401
    if page.tags.valueof("ResolutionUnit") != _CENTIMETRE:
        return None
    (x, per_x), (y, per_y) = (page.tags.valueof(f"{axis}Resolution", (0, 0)) for axis in "XY")
    return (10_000 * per_x / x, 10_000 * per_y / y) if x and per_x and y and per_y else None


def _ome_sides(file: Any) -> tuple[float, float] | None:  # noqa: ANN401
    """Width and height of a pixel of the first image of OME metadata, microns."""
    if not file.is_ome:
        return None
    try:
        root = fromstring(file.ome_metadata)
    except (ParseError, DefusedXmlException, TypeError):
        return None
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return None
    sides = []
    for axis in "XY":
        factor = _MICRONS.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = pixels.get(f"PhysicalSize{axis}")
        if factor is None or size is None:
            return None
        sides.append(float(size) * factor)
    return sides[0], sides[1]
