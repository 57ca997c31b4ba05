"""Microns per pixel: what to believe of what files say."""

from __future__ import annotations

import math
from pathlib import Path

from ..errors import ConfigError, ImageError

__all__ = ["FINEST_PRINT", "MICRONS", "PLAUSIBLE", "check_mpp", "microns", "square_mpp"]

PLAUSIBLE = (0.05, 20.0)  # of a microscope's pixels, microns; 72 dots an inch would be 353
_UNEQUAL = 0.01

FINEST_PRINT = 2.0  # microns: 12,700 dots an inch, which no printer or scanner of pictures has

_UNITS = {"um": 1.0, "µm": 1.0, "μm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "km": 1e9, "m": 1e6}

# Units of length as OME, ImageJ and other programs write them, in microns.
MICRONS = {
    **_UNITS,
    **dict.fromkeys(("micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"), 1.0),
    **dict.fromkeys(("nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("Å", "\u212b", "angstrom", "Angstrom"), 1e-4),
    **dict.fromkeys(("millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("in", "inch", "inches"), 25_400.0),
    "pm": 1e-6,
    "dm": 1e5,
    "meter": 1e6,
    "metre": 1e6,
    "mil": 25.4,
    "ft": 304_800.0,
}


def microns(length: float | str, where: str = "mpp") -> float:
    """A length in microns, given as a number of microns or with its unit (um, mm, cm, m, km, nm).

    Args:
        length: such as 0.25, "0.25um" or "10m".
        where: the setting, for the message.

    Raises:
        ConfigError: if it is not a positive number with a known unit or none.

    Example:
        >>> microns("0.25um"), microns(0.5), microns("10 m")
        (0.25, 0.5, 10000000.0)
    """
    text = str(length).strip()
    unit = next((name for name in _UNITS if text.endswith(name)), "")
    try:
        value = float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(
            f"{length!r} is not a valid pixel size",
            where=where,
            remedy='Give microns as a positive number, or a unit with it, such as "0.25um" or "10m".',
        )
    return value


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
