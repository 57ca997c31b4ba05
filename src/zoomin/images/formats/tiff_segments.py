"""Samples of a window of a TIFF page, decoded from its tiles or strips by tifffile and imagecodecs.

What tifffile leaves to others is done here: luma and chroma that no image codec took apart, which TIFF stores
in units of several lumas with one pair of chromas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tifffile

from ..colour import ycbcr_to_rgb
from ..pixels import Bytes, Pixels
from ..windows import Window

__all__ = ["Fetch", "block_of", "blocks_of", "codec_ycbcr", "read_window", "stored_ycbcr"]

_LARGE, _MOST, _RATIO = 1 << 26, 1 << 31, 20_000  # bytes of a decoded block, and for a stored byte
Fetch = Callable[[int, int], bytes]
_SELF_COLOURED = ("JPEG", "OJPEG", "ALT_JPEG", "WEBP", "JPEGXL", "JPEGXL_DNG", "JPEG_2000_LOSSY", "JPEG2000",
                  "APERIO_JP2000_YCBC", "APERIO_JP2000_RGB", "JPEGXR", "JPEGXR_NDPI", "PNG")  # fmt: skip


def block_of(page: Any) -> tuple[int, int]:  # noqa: ANN401 (tifffile is not typed)
    """Height and width of a stored block: a tile, or a strip over the whole width."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return int(min(page.rowsperstrip, page.imagelength)), int(page.imagewidth)


def stored_ycbcr(page: Any) -> bool:  # noqa: ANN401
    """Whether luma and chroma are stored as such: image codecs give red, green and blue themselves."""
    return page.photometric.name == "YCBCR" and page.compression.name not in _SELF_COLOURED


def codec_ycbcr(page: Any, block: bytes | None = None) -> bool:  # noqa: ANN401
    """Whether a JPEG 2000 gives luma and chroma: Aperio's compression 33003, or tags that say so.

    Args:
        page: of an open TIFF.
        block: one stored block, which shows whether the codec takes luma and chroma apart itself; None: any.
    """
    codec = page.compression.name
    if codec == "JPEG2000" and page.photometric.name == "YCBCR":
        return block is None or not _mixes_components(block)
    return bool(codec == "APERIO_JP2000_YCBC")


def read_window(page: Any, window: Window, fetch: Fetch) -> Pixels:  # noqa: ANN401
    """The samples of a window inside a page: (height, width, samples); luma and chroma as colours.

    Args:
        page: of an open TIFF; only its tables are used.
        window: in pixels of the page.
        fetch: bytes of the file, given their offset and count.

    Raises:
        ValueError: or another of `tiff.DAMAGE`, if the samples cannot be decoded.
    """
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    shape = window.y1 - window.y0, window.x1 - window.x0, page.samplesperpixel
    result: Pixels | None = None
    for plane in range(planes):
        for index, y, x in blocks_of(page, window, plane):
            block = _decode(page, index, fetch)
            if result is None:
                result = np.zeros(shape, dtype=page.dtype if block is None else block.dtype)
            if block is None:
                continue
            top, left = max(y, window.y0), max(x, window.x0)
            bottom = min(y + block.shape[0], window.y1, page.imagelength)
            right = min(x + block.shape[1], window.x1, page.imagewidth)
            part = block[top - y : bottom - y, left - x : right - x]
            channels = slice(plane, plane + 1) if planes > 1 else slice(None)
            result[top - window.y0 : bottom - window.y0, left - window.x0 : right - window.x0, channels] = (
                part
            )
    if result is None:
        raise ValueError("the page has no blocks")
    return result


def blocks_of(page: Any, window: Window, plane: int = 0) -> Iterator[tuple[int, int, int]]:  # noqa: ANN401
    """Index, top and left of each block that a window touches."""
    height, width = block_of(page)
    across, down = math.ceil(page.imagewidth / width), math.ceil(page.imagelength / height)
    for row in range(window.y0 // height, math.ceil(window.y1 / height)):
        for column in range(window.x0 // width, math.ceil(window.x1 / width)):
            yield plane * across * down + row * across + column, row * height, column * width


def _decode(page: Any, index: int, fetch: Fetch) -> Pixels | None:  # noqa: ANN401
    """One block (height, width, samples), None where it is not stored."""
    offset, count = page.dataoffsets[index], page.databytecounts[index]
    if count == 0:
        return None
    missing = offset + count - page.parent.filehandle.size
    if missing > 0:  # asked for, it might be gigabytes of memory
        raise ValueError(f"block {index} ends {missing} bytes early")
    data = fetch(offset, count)
    if len(data) < count:
        raise ValueError(f"block {index} ends {count - len(data)} bytes early")
    height, width = block_of(page)
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    declared = height * width * samples * max(1, page.bitspersample // 8)
    if declared > _MOST or (declared > _LARGE and declared > _RATIO * count):
        raise ValueError(f"block {index} of {count:,} bytes declares {declared:,}")
    if stored_ycbcr(page):
        return _luma_and_chroma(page, index, data)
    block, _, _ = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
    if block is not None and block.shape[-1] == 3 and codec_ycbcr(page, data):
        return ycbcr_to_rgb(np.asarray(block)[0], **_ycbcr_tags(page))
    return None if block is None else np.asarray(block)[0]


def _mixes_components(data: bytes) -> bool:
    """Whether the codestream of a JPEG 2000 takes luma and chroma apart itself: the decoder gives colours."""
    place = data.find(b"\xff\x52\x00")  # COD: length, style, progression, layers, transformation
    return place >= 0 and data[place + 8 : place + 9] == b"\x01"


def _luma_and_chroma(page: Any, index: int, data: bytes) -> Bytes:  # noqa: ANN401
    """A block of stored luma and chroma, as colours (height, width, 3)."""
    if page.bitspersample != 8 or page.samplesperpixel != 3 or page.planarconfig == 2 or page.predictor != 1:
        raise ValueError("luma and chroma of another layout than bytes, pixel by pixel")
    if page.fillorder == 2:
        raise ValueError("luma and chroma with reversed bits")
    height, width = block_of(page)
    if not page.is_tiled:
        height = min(height, page.imagelength - index * height)
    if page.compression != 1:
        data = tifffile.TIFF.DECOMPRESSORS[page.compression](data)
    across, down = page.subsampling or (2, 2)
    units = math.ceil(height / down), math.ceil(width / across)
    size = across * down + 2
    if len(data) < units[0] * units[1] * size:
        raise ValueError(f"block {index} holds too few bytes")
    unit = np.frombuffer(data, np.uint8, units[0] * units[1] * size).reshape(*units, size)
    rows = unit[..., :-2].reshape(*units, down, across).transpose(0, 2, 1, 3)
    luma = rows.reshape(units[0] * down, units[1] * across)
    chroma = unit[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
    ycc = np.concatenate([luma[..., None], chroma], axis=2)[:height, :width]
    return ycbcr_to_rgb(ycc, **_ycbcr_tags(page))


def _ycbcr_tags(page: Any) -> dict[str, Any]:  # noqa: ANN401
    """Coefficients and reference values, where they are stated; a fraction of zero parts states nothing."""
    found: dict[str, Any] = {}
    for name, tag, count in (("coefficients", 529, 3), ("black_white", 532, 6)):
        value = page.tags.valueof(tag)
        if value is not None and len(value) == 2 * count and all(value[1::2]):  # rationals
            found[name] = tuple(value[i] / value[i + 1] for i in range(0, 2 * count, 2))
    return found


def luma_shares(page: Any) -> tuple[float, ...] | None:  # noqa: ANN401
    """Shares of red, green and blue in the luma, where they are stated."""
    return _ycbcr_tags(page).get("coefficients")
