"""The colours of pictures and GeoJSON, distinguishable by colour-blind readers too (Okabe & Ito; inferno)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["AGAINST", "BLOCK", "FOR", "HEAT_TOP", "ROI", "TILE", "heat_colours", "heat_rgba", "rgb"]

FOR = "#d55e00"  # speaks for the class predicted
AGAINST = "#0072b2"  # speaks against it
TILE = "#f0e442"  # tiles drawn
BLOCK = "#009e73"  # blocks of tiles drawn, where a stage above the tiles draws them
ROI = "#12d8c4"  # annotated truth
HEAT_TOP = 1000.0  # times uniform attention: the last colour, the same everywhere so that pictures compare
_FIRST = 0.2  # where inferno begins: its black would darken the image


def rgb(colour: str) -> list[int]:
    """Red, green and blue, 0 to 255.

    Example:
        >>> rgb("#d55e00")
        [213, 94, 0]
    """
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


@lru_cache(1)
def heat_colours() -> NDArray[np.uint8]:
    """256 colours of the attention and their opacity, from its mean, clear, to `HEAT_TOP`."""
    from matplotlib import colormaps

    at = np.linspace(0, 1, 256)
    colours = colormaps["inferno"](_FIRST + (1 - _FIRST) * at)
    colours[:, 3] = np.sqrt(at)
    return (255 * colours).round().astype(np.uint8)


def heat_rgba(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The colours of attention relative to its mean, on a logarithmic scale."""
    strength = np.log(np.maximum(values, 1)) / math.log(HEAT_TOP)
    return heat_colours()[np.clip(strength * 255 + 0.5, 0, 255).astype(np.uint8)]
