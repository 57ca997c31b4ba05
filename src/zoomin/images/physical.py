"""Microns per pixel: what to believe of what files say."""

from __future__ import annotations

import math
from pathlib import Path

from ..errors import ConfigError, ImageError

__all__ = ["check_mpp", "square_mpp"]

PLAUSIBLE = (0.05, 20.0)  # of a microscope's pixels, microns; 72 dots an inch would be 353
_UNEQUAL = 0.01


def check_mpp(mpp: float | None, path: Path) -> None:
    """Refuse what a caller cannot have meant.

    Raises:
        ConfigError: if `mpp` is given and not a positive number.
    """
    if mpp is not None and not (0 < mpp < math.inf):
        raise ConfigError(f"{mpp} microns per pixel", where=path, remedy="Give a positive number, or none.")


def square_mpp(x: float, y: float, path: Path) -> float:
    """The side of a pixel that is x by y microns.

    Raises:
        ImageError: if the sides differ by more than a hundredth.

    Example:
        >>> square_mpp(0.5, 0.5, Path("a.svs"))
        0.5
    """
    if abs(x - y) > _UNEQUAL * max(x, y):
        raise ImageError(
            f"pixels that are not square: {x:g} x {y:g} microns",
            where=path,
            remedy="Resample the image to square pixels, or state mpp to read it as if they were.",
        )
    return math.sqrt(x * y) if x != y else x
