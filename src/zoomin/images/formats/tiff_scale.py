"""Microns per pixel that a TIFF gives: OME metadata, Aperio's, ImageJ's, or a microscope's resolution."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from ..physical import FINEST_PRINT, PLAUSIBLE, square_mpp, unit_in_microns
from .ome_files import companion_beside, image_of_page, named_elements, parsed_xml

__all__ = ["Scale", "scale_of"]

_ROUNDED = 0.01
_INCH = 2  # value of the tag ResolutionUnit; TIFF's own default
_UNITS = {  # the last two are tifffile's, beyond the standard; 1 is no unit
    _INCH: ("inch", 25_400.0),
    3: ("centimetre", 10_000.0),
    4: ("millimetre", 1000.0),
    5: ("micron", 1.0),
}


class Scale(NamedTuple):
    """The size of a pixel and where the file gives it.

    Attributes:
        x: width in microns.
        y: height in microns.
        source: for people: which metadata and which unit.
    """

    x: float
    y: float
    source: str

    def mpp(self, path: Path) -> float:
        """The side of the pixel in microns.

        Args:
            path: named in the error.

        Raises:
            ImageError: if the sides differ.
        """
        return square_mpp(self.x, self.y, path)


def scale_of(
    file: Any,  # noqa: ANN401 (tifffile is not typed)
    page: Any,  # noqa: ANN401
    path: Path,
    series: int = 0,
) -> Scale | None:
    """Microns per pixel of an image of a TIFF, None where nothing credible gives them.

    Args:
        file: tifffile's.
        page: the image at full resolution.
        path: of the file, beside which a companion may lie.
        series: number of the image in OME metadata.
    """
    found = _ome(file, page, path, series) or _aperio(file, page) or _imagej(file, page) or _resolution(page)
    if found is None:
        return None
    (x, y), source = found
    low, high = PLAUSIBLE
    return Scale(x, y, source) if low <= min(x, y) and max(x, y) <= high else None


_Sides = tuple[tuple[float, float], str]


def _resolution(page: Any) -> _Sides | None:  # noqa: ANN401
    """By the tags of resolution. Inches are those of printers, unless no printer is that fine."""
    unit = page.tags.valueof("ResolutionUnit", _INCH)
    if int(unit) not in _UNITS:
        return None
    name, microns = _UNITS[int(unit)]
    (x, per_x), (y, per_y) = (page.tags.valueof(f"{axis}Resolution", (0, 0)) for axis in "XY")
    if not (x and per_x and y and per_y):
        return None
    sides = microns * per_x / x, microns * per_y / y
    if unit == _INCH and max(sides) > FINEST_PRINT:
        return None
    return sides, f"resolution per {name}"


def _aperio(file: Any, page: Any) -> _Sides | None:  # noqa: ANN401
    """By Aperio's description; OpenSlide reads those of slides in tiles, others are read as TIFF.

    Levels and thumbnails repeat the number of the full resolution.
    """
    text = str(page.description or "")
    found = re.search(
        r"\|\s*MPP\s*=\s*([0-9]*[.,]?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(?:\||$)", text, re.IGNORECASE
    )
    if found is None or not text.startswith("Aperio"):
        return None
    side, full = float(found[1].replace(",", ".")), file.pages.first
    sides = side * full.imagewidth / page.imagewidth, side * full.imagelength / page.imagelength
    if abs(sides[0] - sides[1]) > max(sides) * (_ROUNDED + 2 / min(page.imagewidth, page.imagelength)):
        return None  # another picture, or cut off
    return (sides[0], sides[0]), "Aperio's description in microns"


def _imagej(file: Any, page: Any) -> _Sides | None:  # noqa: ANN401
    """By ImageJ, which names a unit in its description and writes pixels of that unit as resolution."""
    text = str(page.description or "")
    if not file.is_imagej and not text.startswith("ImageJ="):
        return None
    named: dict[str, str] = dict(re.findall(r"^(unit|yunit)=(.+)$", text, re.MULTILINE))
    if "unit" not in named:
        return None
    units = [_of_java(named["unit"]), _of_java(named.get("yunit", named["unit"]))]  # yunit: where it differs
    sides = []
    for axis, unit in zip("XY", units, strict=True):
        factor = unit_in_microns(unit)
        count, per = page.tags.valueof(f"{axis}Resolution", (0, 0))
        if factor is None or not (count and per):
            return None
        sides.append(factor * per / count)
    return (sides[0], sides[1]), f"ImageJ metadata in {' and '.join(dict.fromkeys(units))}"


def _of_java(text: str) -> str:
    r"""A word whose letters beyond ASCII Java wrote as \u00B5."""
    return re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match.group(1), 16)), text.strip())


def _ome(file: Any, page: Any, path: Path, series: int) -> _Sides | None:  # noqa: ANN401
    """Width and height of a pixel of an image of OME metadata, microns."""
    if not file.is_ome:
        return None
    root = parsed_xml(file.ome_metadata or "")
    beside, words = companion_beside(file.ome_metadata or "", path), "OME metadata"
    if beside is not None:
        words = f"OME metadata of {beside[0].name}"
        root = image_of_page(beside[1], root, path, int(page.index))
    every = [] if root is None else list(named_elements(root, "Pixels"))
    if not every:
        return None
    pixels = every[series if series < len(every) else 0]
    given = [axis for axis in "XY" if pixels.get(f"PhysicalSize{axis}") is not None]
    sides, units = [], []
    for axis in given:
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        factor = unit_in_microns(unit)
        if factor is None:
            return None
        try:
            sides.append(float(pixels.get(f"PhysicalSize{axis}", "")) * factor)
        except ValueError:
            return None
        units.append(unit)
    if not given:
        return None
    alone = f", of {given[0]} alone: taken as square" if len(given) == 1 else ""
    return (sides[0], sides[-1]), f"{words} in {units[0]}{alone}"
