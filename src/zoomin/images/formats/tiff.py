"""Decode TIFF and BigTIFF of any compression that tifffile and imagecodecs know."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ...errors import ImageError
from ..mask_values import check_indices, drawn, measured, parted
from ..pixels import Bytes, Pixels, check_size, upright
from ..remote import reading_tiff
from ..windows import Window
from .bands import bands_of_page
from .tiff_contents import contents_of
from .tiff_scale import Scale, scale_of
from .tiff_segments import block_of, codec_ycbcr, read_window, stored_ycbcr

__all__ = [
    "DAMAGE",
    "check_known",
    "check_slide_whole",
    "check_whole",
    "decode_tiff",
    "is_exact_tiff",
    "nodata_of_page",
    "orientation_of_page",
    "stored_values",
    "undecodable",
]

_WHITE = (255, 255, 255)
_PHOTOMETRIC = 262
_OPACITY = (1, 2)  # values of the tag ExtraSamples
_NODATA = 42113  # GDAL's tag
_LOSSY = (
    "JPEG",
    "WEBP",
    "JPEG_2000_LOSSY",
    "APERIO_JP2000_YCBC",
    "APERIO_JP2000_RGB",
    "JPEGXR",
    "JPEGXR_NDPI",
)
_EXACT = ("NONE", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "ZSTD", "LZMA")
_PLAIN = ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE")
_NO_VALUES = ("CIELAB", "ICCLAB", "ITULAB", "SEPARATED")  # black is full ink, no value of 0
_LARGEST_BLOCK = 1 << 31  # bytes of one decoded block
_SUSPICIOUS, _RATIO = 1 << 28, 20_000  # bytes decoded, and how many of one stored byte
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
    MemoryError,
    struct.error,
    zlib.error,
)


def decode_tiff(path: Path, series: int | str | None = None) -> tuple[Bytes, Scale | None]:
    """The pixels (height, width, 3), and the size of a pixel where the file can be believed.

    Args:
        path: the file.
        series: which of its images, by number or name; None for the main one.

    Raises:
        ImageError: if the file is damaged, holds several pages or channels, or no image.
    """
    try:
        with reading_tiff(path) as file:
            contents = contents_of(file, path, series)
            page = contents.levels[0]
            check_known(page, path)
            check_size(page.imagewidth, page.imagelength, path)
            check_whole(page, file.filehandle.size, path)
            _check_ratio(page, path)
            bands = bands_of_page(page, path)
            pixels = bands.paint_all(_samples(page), _WHITE, path)
            pixels = upright(pixels, orientation_of_page(page))
            scale = scale_of(file, page, path, contents.series)
    except DAMAGE as error:
        raise undecodable(error, path) from error
    return np.ascontiguousarray(pixels), scale


def stored_values(path: Path) -> Pixels:
    """The samples of the main image as they are stored, (height, width, samples), opacity left out.

    What is stored counts, whatever colours it is meant to be seen in: a mask of "white is zero" holds 1 where
    its writer declared true. What was not measured is 0: not a number, and GDAL's value for missing samples.

    Raises:
        ImageError: as `decode_tiff`; if nothing but missing samples differs from 0.
    """
    try:
        with reading_tiff(path) as file:
            page = contents_of(file, path).levels[0]
            check_known(page, path)
            if page.photometric.name in _NO_VALUES:
                raise ImageError(
                    f"colours of {page.photometric.name}, whose values do not tell what was drawn",
                    where=path,
                    remedy="Save it as grey or as red, green and blue.",
                )
            check_size(page.imagewidth, page.imagelength, path)
            check_whole(page, file.filehandle.size, path)
            samples = upright(_samples(page), orientation_of_page(page))
            extra = [int(value) for value in page.extrasamples]
            nodata, lossy = nodata_of_page(page), page.compression.name in _LOSSY
            if page.colormap is not None:
                check_indices(samples[..., 0], (np.asarray(page.colormap) == 0).all(axis=0), path)
    except DAMAGE as error:
        raise undecodable(error, path) from error
    first = samples.shape[2] - len(extra)
    clear = [first + i for i, kind in enumerate(extra) if kind in _OPACITY]
    values = samples[..., [i for i in range(samples.shape[2]) if i not in clear]]
    unnamed = (values != 0)[..., first:].all(axis=(0, 1))
    if unnamed.any() and not (values[..., :first] != 0).all():
        raise ImageError(
            "a sample that the file does not name is not 0 anywhere: opacity, or all of it drawn",
            where=path,
            remedy="Save one plane: tifffile.imwrite(OUT, tifffile.imread(IN)[..., 0]).",
        )
    values = drawn(values, samples[..., clear[0]]) if clear else values
    return parted(values, path) if lossy else measured(values, nodata, path)


def is_exact_tiff(path: Path) -> bool:
    """Whether every decoder gives the same pixels of a TIFF: of plain colours, in a lossless compression."""
    try:
        with reading_tiff(path) as file:
            page = file.pages.first
            return page.compression.name in _EXACT and page.photometric.name in _PLAIN
    except DAMAGE:
        return False


def nodata_of_page(page: Any) -> float | None:  # noqa: ANN401 (tifffile is not typed)
    """GDAL's value for samples that are missing; None where it states none."""
    try:
        text = page.tags.valueof(_NODATA)
        return None if text is None else float(str(text).strip("\0 "))
    except ValueError:
        return None


def check_known(page: Any, path: Path) -> None:  # noqa: ANN401 (tifffile is not typed)
    """Refuse a page of which nobody says what its samples are, or that is stored in a way that few read.

    Raises:
        ImageError: naming the tag, and what to do.
    """
    if _PHOTOMETRIC not in page.tags:
        raise ImageError(
            "a TIFF that does not say what its samples are (no PhotometricInterpretation)",
            where=path,
            remedy="Set it: tiffset -s 262 2 FILE for red, green and blue, 1 for grey, 0 for black on white.",
        )
    for tag, value in (("PhotometricInterpretation", page.photometric), ("Compression", page.compression)):
        if not hasattr(value, "name"):  # tifffile has no word for it
            raise ImageError(
                f"a TIFF whose {tag} is {value}, which no standard defines",
                where=path,
                remedy="Save it again, uncompressed, as red, green and blue with the program that made it.",
            )
    if page.compression.name == "OJPEG":
        raise ImageError(
            "a TIFF of old-style JPEG (compression 6, withdrawn in 1995)",
            where=path,
            remedy="Save it again: gdal_translate -co COMPRESS=DEFLATE IN OUT.",
        )


def orientation_of_page(page: Any) -> int:  # noqa: ANN401 (tifffile is not typed)
    """The tag Orientation; 1, upright, where it is missing or no number."""
    found = page.tags.valueof("Orientation", 1)
    return int(found) if isinstance(found, int) else 1


def check_whole(page: Any, size: int, path: Path) -> None:  # noqa: ANN401 (tifffile is not typed)
    """Refuse a page without pixels, or with some beyond the end of the file: codecs would invent the rest."""
    count = min(len(page.dataoffsets), len(page.databytecounts))  # a slide has a hundred thousand blocks
    if not any(page.databytecounts[:count]) or not any(page.dataoffsets[:count]):
        raise _none_stored(count, path)
    if (size_of := block_of(page)[0] * block_of(page)[1] * page.samplesperpixel) > _LARGEST_BLOCK:
        raise ImageError(
            f"it declares blocks of {size_of:,} samples, in a file of {size:,} bytes",
            where=path,
            remedy="Its tags are damaged, or it was made to use up memory: export it again in small tiles.",
        )
    ends = np.add(page.dataoffsets[:count], page.databytecounts[:count], dtype=np.int64)
    end = int(ends.max(initial=0))
    if end > size:
        raise ImageError(
            f"the TIFF is cut short: {size} bytes, of at least {end}",
            where=path,
            remedy="Copy or download it again.",
        )


def check_slide_whole(path: Path) -> None:
    """Refuse a slide that is a TIFF and whose largest image has no tile at all: OpenSlide shows it as white.

    Raises:
        ImageError: naming the cause.
    """
    try:
        with tifffile.TiffFile(path) as file:
            tiled = [page for page in file.pages if page.is_tiled]
            page = max(tiled, key=lambda page: page.imagewidth * page.imagelength, default=None)
            if page is None or (any(page.databytecounts) and any(page.dataoffsets)):
                return
            count = len(page.dataoffsets)
    except DAMAGE:
        return  # OpenSlide says what is wrong with it
    raise _none_stored(count, path)


def _none_stored(count: int, path: Path) -> ImageError:
    return ImageError(
        f"none of its {count} blocks of pixels is stored",
        where=path,
        remedy="The program that wrote it stopped early, or left the pixels out: export it again.",
    )


def _check_ratio(page: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse a few bytes that would fill the memory; an image of one colour is stored in more."""
    declared = page.imagewidth * page.imagelength * page.samplesperpixel * page.dtype.itemsize
    stored = sum(page.databytecounts)
    if declared > _SUSPICIOUS and declared > _RATIO * stored:
        raise ImageError(
            f"{stored:,} bytes that declare {page.imagewidth} x {page.imagelength} pixels",
            where=path,
            remedy="Its tags are damaged, or it was made to use up memory: export it again.",
        )


def undecodable(error: BaseException, path: Path) -> ImageError:
    """What a failure of tifffile or of a codec means."""
    return ImageError(
        f"the TIFF is damaged, cut short or of an unknown kind ({error})",
        where=path,
        remedy="Copy or download it again, or export it again.",
    )


def _samples(page: Any) -> Pixels:  # noqa: ANN401 (tifffile is not typed)
    """All samples of a page: (height, width, samples); luma and chroma as colours."""
    if stored_ycbcr(page) or codec_ycbcr(page):
        handle = page.parent.filehandle

        def fetch(offset: int, count: int) -> bytes:
            handle.seek(offset)
            data: bytes = handle.read(count)
            return data

        return read_window(page, Window(0, 0, page.imagewidth, page.imagelength), fetch)
    samples: Pixels = page.asarray().reshape(page.shape)
    if page.samplesperpixel > 1 and page.planarconfig == 2:
        samples = np.moveaxis(samples, 0, -1)
    return samples if samples.ndim == 3 else samples[..., None]
