"""What the stored values of a mask mean, where not every value but 0 was drawn.

A mask is nonzero where something is. But a value may say that nothing was measured there; lossy compression
turns 0 into its neighbours; and a drawing on a transparent ground may differ in its opacity alone.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .pixels import Pixels

__all__ = ["check_indices", "drawn", "measured", "parted"]

_LOG = logging.getLogger(__name__)
_HALF, _WHITE = 128, 255
_RINGING, _ASTRAY = 64, 0.05  # how far a loss moves values, and the share of pixels that it may move further


def drawn(colours: Pixels, alpha: Pixels) -> Pixels:
    """The colours (h, w, samples), or the opacity (h, w) where it alone differs between the pixels.

    Example:
        >>> black = np.zeros((1, 2, 3), np.uint8)
        >>> drawn(black, np.array([[0, 255]], np.uint8)).tolist()
        [[0, 255]]
    """
    flat = (colours == colours[:1, :1]).all()
    return alpha if flat and (alpha != alpha[:1, :1]).any() else colours


def check_indices(indices: Pixels, black: NDArray[np.bool_], path: Path, *, by_colour: bool = False) -> None:
    """Refuse a palette whose indices do not tell what was drawn.

    An index of 0 is outside, as writers of labels mean it. Programs that reduce colours number them in any
    order: then index 0 may not be used, and black, which is meant to be outside, be another one.

    Args:
        indices: of the pixels.
        black: whether each colour of the palette is.
        path: named in errors.
        by_colour: whether the format has nothing but palettes, whose numbers then mean little.

    Raises:
        ImageError: if indices and colours disagree on what is outside, and nothing tells which is meant.
    """
    used = np.unique(indices)
    used = used[used < len(black)]
    if ((used == 0) == black[used]).all() or not black[used].any():
        return
    if not (by_colour or used.all()):
        _LOG.warning("%s: its palette shows another index black; index 0 is outside all the same", path)
        return
    raise ImageError(
        "a palette in which black is not the index 0: what is outside is not clear",
        where=path,
        remedy="Save it as grey: PIL.Image.open(IN).convert('L').save('OUT.png'), if black is outside.",
    )


def measured(values: Pixels, nodata: float | None, path: Path) -> Pixels:
    """The values, 0 where nothing was measured: not a number, or a value that the file declares.

    Args:
        values: as they are stored.
        nodata: the value that stands for missing samples; None where the file declares none.
        path: named in errors.

    Raises:
        ImageError: if nothing but missing samples differs from 0: which of the two is meant is not clear.
    """
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(0), values)
    if nodata is None or nodata == 0:
        return values
    missing = values == nodata
    if missing.any() and not (values[~missing] != 0).any():
        raise ImageError(
            f"nothing but 0 and {nodata:g}, which it declares to mean that nothing was measured",
            where=path,
            remedy=f"If {nodata:g} marks what was drawn, say so: gdal_edit.py -unsetnodata FILE, or rio "
            "edit-info --unset-nodata FILE. If not, leave the mask out.",
        )
    return np.where(missing, values.dtype.type(0), values)


def parted(values: Pixels, path: Path) -> Pixels:
    """The bytes of a mask compressed with loss, drawn in 0 and 255, as 0 and 1.

    Raises:
        ImageError: if the values are not two that a loss keeps apart.

    Example:
        >>> parted(np.array([[3, 250, 0]], np.uint8), Path("mask.jpg")).tolist()
        [[0, 1, 0]]
    """
    low = np.minimum(values, _HALF)
    off = np.minimum(low, _WHITE - np.maximum(values, _HALF)) if values.dtype == np.uint8 else low
    inside: Pixels = (values >= _HALF).astype(np.uint8)
    if values.dtype != np.uint8 or (off > _RINGING).mean() > _ASTRAY or (values.any() and not inside.any()):
        raise ImageError(
            "compressed with loss, which has changed its values",
            where=path,
            remedy="Save it without loss, as PNG; or draw it in 0 and 255, so that its values stay apart.",
        )
    return inside
