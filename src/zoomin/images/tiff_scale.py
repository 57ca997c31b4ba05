"""Microns per pixel that a TIFF tells: OME metadata, ImageJ's, or a resolution that a microscope can have."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from .physical import FINEST_PRINT, PLAUSIBLE, unit_in_microns

__all__ = ["Scale", "scale_of"]

_INCH, _CENTIMETRE = 2, 3  # values of the tag ResolutionUnit; TIFF's own default is the inch
_UNEQUAL = 0.01


class Scale(NamedTuple):
    """The size of a pixel and where the file tells it.

    Attributes:
        mpp: microns.
        source: for people: which metadata and which unit.
    """

    mpp: float
    source: str


def scale_of(file: Any, page: Any, series: int = 0) -> Scale | None:  # noqa: ANN401 (tifffile is not typed)
    """Microns per pixel of an image of a TIFF, None where nothing tells them that can be believed.

    Args:
        file: tifffile's.
        page: the image at full resolution.
        series: number of the image in OME metadata.
    """
    found = _ome(file, series) or _imagej(file, page) or _resolution(page)
    if found is None:
        return None
    (x, y), source = found
    low, high = PLAUSIBLE
    alike = abs(x - y) <= _UNEQUAL * max(x, y)
    return Scale((x + y) / 2, source) if alike and low <= x <= high else None


_Sides = tuple[tuple[float, float], str]


def _resolution(page: Any) -> _Sides | None:  # noqa: ANN401
    """By the tags of resolution. Inches are those of printers, unless no printer is that fine."""
    unit = page.tags.valueof("ResolutionUnit", _INCH)
    microns = {_INCH: 25_400.0, _CENTIMETRE: 10_000.0}.get(int(unit))
    if microns is None:
        return None
    (x, per_x), (y, per_y) = (page.tags.valueof(f"{axis}Resolution", (0, 0)) for axis in "XY")
    if not (x and per_x and y and per_y):
        return None
    sides = microns * per_x / x, microns * per_y / y
    if unit == _INCH and max(sides) > FINEST_PRINT:
        return None
    return sides, f"resolution per {'inch' if unit == _INCH else 'centimetre'}"


def _imagej(file: Any, page: Any) -> _Sides | None:  # noqa: ANN401
    """By ImageJ, which names a unit in its description and writes pixels of that unit as resolution."""
    text = str(page.description or "")
    if not file.is_imagej and not text.startswith("ImageJ="):
        return None
    named = re.search(r"^unit=(.+)$", text, re.MULTILINE)
    if named is None:
        return None
    unit = named.group(1).strip()
    if "\\u" in unit:  # Java's way to write letters beyond ASCII
        unit = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match.group(1), 16)), unit)
    factor = unit_in_microns(unit)
    (x, per_x), (y, per_y) = (page.tags.valueof(f"{axis}Resolution", (0, 0)) for axis in "XY")
    if factor is None or not (x and per_x and y and per_y):
        return None
    return (factor * per_x / x, factor * per_y / y), f"ImageJ metadata in {unit}"


def _ome(file: Any, series: int) -> _Sides | None:  # noqa: ANN401
    """Width and height of a pixel of an image of OME metadata, microns."""
    if not file.is_ome:
        return None
    try:
        root: Element = fromstring(file.ome_metadata)
    except (ParseError, DefusedXmlException, TypeError, ValueError, LookupError):
        return None
    every = root.findall(".//{*}Pixels")
    if not every:
        return None
    pixels = every[series if series < len(every) else 0]
    sides, units = [], []
    for axis in "XY":
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        factor, size = unit_in_microns(unit), pixels.get(f"PhysicalSize{axis}")
        if factor is None or size is None:
            return None
        try:
            sides.append(float(size) * factor)
        except ValueError:
            return None
        units.append(unit)
    return (sides[0], sides[1]), f"OME metadata in {units[0]}"
