"""Microns per pixel: what to believe of what files say."""

from __future__ import annotations

import math
from pathlib import Path

from ..errors import ConfigError, ImageError

__all__ = [
    "FINEST_PRINT",
    "OBJECTIVE",
    "PLAUSIBLE",
    "check_mpp",
    "microns",
    "plausible_mpp",
    "square_mpp",
    "unit_in_microns",
]

PLAUSIBLE = (0.05, 20.0)  # of a microscope's pixels, microns; 72 dots an inch would be 353
OBJECTIVE = 10.0  # microns per pixel times magnification: 0.5 microns are 20 times
_UNEQUAL = 0.01

FINEST_PRINT = 2.0  # microns: 12,700 dots an inch, which no printer or scanner of pictures has

_UNITS = {"um": 1.0, "µm": 1.0, "μm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "km": 1e9, "m": 1e6}

_PREFIXES = {
    "yocto": -24, "zepto": -21, "atto": -18, "femto": -15, "pico": -12, "nano": -9, "micro": -6, "milli": -3,
    "centi": -2, "deci": -1, "": 0, "deca": 1, "hecto": 2, "kilo": 3, "mega": 6, "giga": 9, "tera": 12,
    "peta": 15, "exa": 18, "zetta": 21, "yotta": 24,
}  # fmt: skip
_SYMBOLS = {  # of OME, whose case counts: Mm is not mm
    **_UNITS,
    **{"ym": 1e-18, "zm": 1e-15, "am": 1e-12, "fm": 1e-9, "pm": 1e-6, "dm": 1e5, "dam": 1e7, "hm": 1e8},
    **{"Mm": 1e12, "Gm": 1e15, "Tm": 1e18, "Pm": 1e21, "Em": 1e24, "Zm": 1e27, "Ym": 1e30},
    **dict.fromkeys(("Å", "\u212b"), 1e-4),
    **{"in": 25_400.0, "thou": 25.4, "mil": 25.4, "li": 25_400.0 / 12, "pt": 25_400.0 / 72},
    **{"ft": 304_800.0, "yd": 914_400.0, "mi": 1_609_344_000.0},
}
_WORDS = {  # of NGFF, ImageJ and people, in any case, singular or plural
    **{
        prefix + metre: 10.0 ** (power + 6)
        for prefix, power in _PREFIXES.items()
        for metre in ("meter", "metre")
    },
    **{"micron": 1.0, "angstrom": 1e-4, "ångström": 1e-4},
    **{"inch": 25_400.0, "inche": 25_400.0, "foot": 304_800.0, "feet": 304_800.0},
    **{"yard": 914_400.0, "mile": 1_609_344_000.0},
}


def unit_in_microns(unit: str) -> float | None:
    """How many microns a unit of length is, as OME, NGFF, ImageJ or people write it; None if unknown.

    Example:
        >>> [unit_in_microns(unit) for unit in ("nm", "\u00b5m", "Microns", "picometer", "thou", "pixel")]
        [0.001, 1.0, 1.0, 1e-06, 25.4, None]
    """
    unit = unit.strip()
    if unit in _SYMBOLS:
        return _SYMBOLS[unit]
    word = unit.casefold()
    return _WORDS.get(word, _WORDS.get(word.removesuffix("s"), _UNITS.get(word)))


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
        raise ConfigError(
            f"mpp is {mpp}, not a positive number of microns per pixel",
            where=path,
            remedy="Give the size of a pixel in microns, or leave mpp out.",
        )


def plausible_mpp(x: float, y: float, path: Path) -> float | None:
    """`square_mpp` of a microscope's pixels, None where a side is beyond belief (0.05 to 20 microns).

    Raises:
        ImageError: if the pixels are not square.
    """
    low, high = PLAUSIBLE
    return square_mpp(x, y, path) if low <= x <= high and low <= y <= high else None


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
