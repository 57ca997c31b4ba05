"""The XML that ASAP writes, as in Camelyon16 and Camelyon17."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, ParseError, SubElement, indent

import shapely
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from ..errors import DataError
from .geojson import EXCLUDING
from .limits import check_file, check_vertices
from .polygons import Outline, polygon_of

__all__ = ["read_asap", "write_asap"]

_AREAS = ("polygon", "rectangle", "spline")
_SAVE = "Save it again in ASAP, or download it again."


def read_asap(path: Path | str) -> list[Outline]:
    """The polygons, rectangles and splines of an ASAP file, level-0 pixels, named by their group.

    Groups _2, Exclusion and Normal are cut out of the ROI (Camelyon16), and so are all groups below them; so
    is what stands in no group (None) where other polygons stand in one that is ROI. All other groups are ROI.
    Dots and measures have no area: they do not count. Corners are taken in the order of their numbers;
    outlines are closed.

    Raises:
        DataError: naming the file, the annotation and the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("no such annotation", where=path, remedy="Check the path.")
    try:
        check_file(path)
        root = parse(path).getroot()
    except (ParseError, DefusedXmlException, OSError, ValueError, LookupError) as error:
        raise DataError(f"not a readable XML file ({error})", where=path, remedy=_SAVE) from error
    if root.tag != "ASAP_Annotations":
        raise DataError(
            f"an XML file of <{root.tag}>, not of <ASAP_Annotations>",
            where=path,
            remedy="Give the XML that ASAP saves, or export the annotation as GeoJSON.",
        )
    found = [a for a in root.iter("Annotation") if a.get("Type", "polygon").lower() in _AREAS]
    groups = [(a.get("PartOfGroup") or "None").strip() for a in found]
    above = {
        (group.get("Name") or "").strip(): (group.get("PartOfGroup") or "None").strip()
        for group in root.iter("Group")
    }
    grouped = any(group.casefold() != "none" and not _excluded(group, above) for group in groups)
    drawn = [_corners(annotation, path) for annotation in found]
    check_vertices(sum(map(len, drawn)), path)
    outlines = []
    for corners, group in zip(drawn, groups, strict=True):
        out = _excluded(group, above) or (grouped and group.casefold() == "none")
        try:
            outlines.append(Outline(polygon_of(corners), group, out))
        except DataError as error:
            raise DataError(error.what, where=path, remedy=error.remedy) from error
    return outlines


def write_asap(path: Path | str, outlines: Iterable[Outline]) -> None:
    """Write outlines as ASAP does: a polygon each, holes as polygons of the group Exclusion."""
    root = Element("ASAP_Annotations")
    annotations, groups = SubElement(root, "Annotations"), SubElement(root, "AnnotationGroups")
    rings = []
    for outline in outlines:
        own = outline.name or ("Exclusion" if outline.excludes else "Tumor")
        for polygon in shapely.get_parts(outline.polygons):
            rings.append((own, polygon.exterior))
            rings += [("Exclusion", hole) for hole in polygon.interiors]
    for number, (group, ring) in enumerate(rings):
        attributes = {
            "Name": f"Annotation {number}",
            "Type": "Polygon",
            "PartOfGroup": group,
            "Color": "#F4FA58",
        }
        coordinates = SubElement(SubElement(annotations, "Annotation", attributes), "Coordinates")
        for order, (x, y) in enumerate(ring.coords[:-1]):
            SubElement(coordinates, "Coordinate", {"Order": str(order), "X": f"{x:.10g}", "Y": f"{y:.10g}"})
    for group in dict.fromkeys(group for group, _ in rings):
        SubElement(groups, "Group", {"Name": group, "PartOfGroup": "None", "Color": "#00ff00"})
    indent(root)
    ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _excluded(group: str, above: Mapping[str, str]) -> bool:
    """Whether a group, or one that it is nested in, is cut out of the ROI."""
    seen: set[str] = set()
    while group not in seen and group.casefold() != "none":
        if group.casefold() in EXCLUDING:
            return True
        seen.add(group)
        group = above.get(group, "None")
    return False


def _corners(annotation: Element, path: Path) -> list[tuple[float, float]]:
    """The corners of an annotation in the order of their numbers."""
    name = annotation.get("Name", "without name")
    corners: dict[int, tuple[float, float]] = {}
    for place, corner in enumerate(annotation.iter("Coordinate")):
        try:
            order = int(float(corner.get("Order", place)))
            x, y = (float(corner.attrib[side].replace(",", ".")) for side in "XY")
        except (KeyError, ValueError, OverflowError) as error:
            raise DataError(
                f"annotation {name!r}: corner {place} lacks a number X, Y or Order", where=path, remedy=_SAVE
            ) from error
        if order in corners:
            raise DataError(
                f"annotation {name!r}: two corners have the Order {order}",
                where=path,
                remedy="Number the corners along the outline.",
            )
        corners[order] = x, y
    return [corners[order] for order in sorted(corners)]
