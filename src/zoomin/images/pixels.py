"""From the pixels that files hold to red, green and blue bytes as a person expects to see them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, ImageError

__all__ = ["Bytes", "Pixels", "check_in_order", "check_size", "over_background", "to_bytes", "upright"]

Pixels = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

MAX_PIXELS = 1_000_000_000
_IN_ORDER, _VARIABLE = 10_000_000_000, "ZOOMIN_MAX_PIXELS"


def check_size(width: int, height: int, path: Path) -> None:
    """Refuse images without pixels, and those too large to decode whole.

    Raises:
        ImageError: naming the file and its size.
    """
    if width < 1 or height < 1:
        raise ImageError(
            f"an image without pixels ({width} x {height})",
            where=path,
            remedy="Remove it, or export it again.",
        )
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} pixels are too many to decode whole (at most {MAX_PIXELS:,})",
            where=path,
            remedy="Cut it into parts, or save it as a tiled pyramid (whole-slide or GeoTIFF).",
        )


def check_in_order(width: int, height: int, path: Path) -> None:
    """Refuse images without random access that would take hours to decode: a header says any size.

    Raises:
        ConfigError: if $ZOOMIN_MAX_PIXELS holds no number.
        ImageError: if there are more pixels than it says, by default ten billion.
    """
    given = os.environ.get(_VARIABLE, "")
    try:
        most = float(given) if given else _IN_ORDER
    except ValueError as error:
        raise ConfigError(f"{given!r} is not a number", where=_VARIABLE, remedy="Give a number.") from error
    if width * height > most:
        raise ImageError(
            f"{width} x {height} pixels are too many to decode row by row (at most {most:,.0f})",
            where=path,
            remedy=f"Store it in tiles (gdal_translate -of COG IN OUT), or raise the limit, {_VARIABLE}.",
        )


def to_bytes(pixels: Pixels, path: Path, *, bits: int | None = None) -> Bytes:
    """Any samples as 8 bits.

    * 1 bit: 0 and 255.
    * 16 bits: the upper byte (65535 is white); where the file stores fewer bits per sample, say 12, their
      largest value is white. It never depends on the values: images of one set would differ in scale.
    * floating point: 0 to 1.

    Args:
        pixels: samples of any shape.
        path: named in errors.
        bits: stored bits per sample, by default those of the type.

    Raises:
        ImageError: if the samples are of another type, not finite, or out of range.

    Example:
        >>> to_bytes(np.array([0, 255, 256, 65535], dtype=np.uint16), Path("a.tif"))
        array([  0,   0,   1, 255], dtype=uint8)
    """
    if pixels.dtype == np.bool_ or bits == 1:
        return np.where(pixels != 0, np.uint8(255), np.uint8(0))
    if pixels.dtype == np.uint8 and (bits or 8) == 8:
        return np.asarray(pixels, dtype=np.uint8)
    if pixels.dtype in (np.uint8, np.uint16):
        white = 2 ** (bits or 8 * pixels.dtype.itemsize) - 1
        if white < 256:  # few bits: all of 0 to 255
            scaled = (pixels.astype(np.uint16) * 255 + white // 2) // white
        else:
            scaled = pixels // ((white + 1) // 256)
        clipped: Bytes = np.minimum(scaled, 255).astype(np.uint8)
        return clipped
    if np.issubdtype(pixels.dtype, np.floating):
        return _from_float(pixels, path)
    raise ImageError(
        f"pixels of type {pixels.dtype}",
        where=path,
        remedy="Save it with 8 or 16 unsigned bits, or as floating point from 0 to 1.",
    )


def _from_float(pixels: Pixels, path: Path) -> Bytes:
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # also where one of them is not a number
        gaps = np.isnan(pixels).any()
        raise ImageError(
            "floating-point pixels that are not a number"
            if gaps
            else f"floating-point pixels from {low:g} to {high:g}",
            where=path,
            remedy="Save finite values from 0 to 1."
            + " Where NaN stands for missing, say so: gdal_edit.py -a_nodata nan FILE." * bool(gaps),
        )
    values: Bytes = np.floor(pixels.astype(np.float64) * 255 + 0.5).astype(np.uint8)
    return values


def over_background(colour: Bytes, alpha: Pixels, background: Sequence[int] = (255, 255, 255)) -> Bytes:
    """Lay (height, width, 3) over a background by its opacity from 0 to 255, rounded half up.

    Args:
        colour: red, green and blue, not multiplied by the opacity.
        alpha: (height, width).
        background: white by default.
    """
    opacity = alpha[..., None].astype(np.uint32)
    over = colour * opacity + np.array(background, dtype=np.uint32) * (255 - opacity)
    result: Bytes = ((over * 2 + 255) // 510).astype(np.uint8)
    return result


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo the EXIF orientation (1 to 8; anything else counts as 1) of rows and columns."""
    if 5 <= orientation <= 8:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
