"""GeoJSON polygons, as QuPath, GIS programs and this one write them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..errors import DataError
from ..files import parse_json, write_json
from .frames import Frame, map_to_pixels
from .limits import check_file, check_vertices
from .polygons import Outline, polygon_of, ring_of

__all__ = ["EXCLUDING", "read_geojson", "write_geojson"]

EXCLUDING = frozenset({"exclusion", "exclude", "excluded", "normal", "_2"})
_UNDRAWN = frozenset({"tile", "tma_core", "root", "pathtileobject", "tmacoreobject", "pathrootobject"})
_EXPORT = "Export it again; QuPath: File, Export objects as GeoJSON."


def read_geojson(path: Path | str, *, frame: Frame | None = None) -> list[Outline]:
    """The polygons of a FeatureCollection, a Feature, a geometry, or Features in a list or line by line.

    Coordinates are level-0 pixels, as QuPath writes them, or map coordinates: see `frames.map_to_pixels`.

    Each feature is named by `properties.classification.name`, or `properties.label`, `class` or `name`. What
    is named exclusion or normal, or is of a class that QuPath derives from these ("Normal: Positive"), is cut
    out of the ROI. Names that end in `*` mean "to be ignored", as in QuPath; its tiles, TMA cores and root
    were drawn by nobody; points and lines have no area: none of them counts.

    Args:
        path: the file.
        frame: of the image; None: the coordinates are as they stand.

    Raises:
        DataError: naming the file, the feature and the remedy.
    """
    path = Path(path)
    content = _load(path)
    features = _features(content, path)
    drawn = [one for number, feature in enumerate(features) for one in _drawn(feature, number, path)]
    shells = [rings[0] for _, rings in drawn]
    mapper = None if frame is None else map_to_pixels(content, shells, path, frame)
    check_vertices(sum(len(ring) for _, rings in drawn for ring in rings), path)
    outlines = []
    for name, rings in drawn:
        mapped = rings if mapper is None else [mapper(ring) for ring in rings]
        try:
            shape = polygon_of(mapped[0], mapped[1:])
        except DataError as error:
            raise DataError(error.what, where=path, remedy=error.remedy) from error
        outlines.append(Outline(shape, name, _base(name).casefold() in EXCLUDING))
    return outlines


def _drawn(feature: dict[str, Any], number: int, path: Path) -> list[tuple[str, list[NDArray[np.float64]]]]:
    """The name and the rings of each polygon of a feature that counts."""
    properties = feature.get("properties") or {}
    name = _name(properties if isinstance(properties, dict) else {})
    classes = [part.strip() for part in name.split(":")]
    if classes[0].endswith("*") or classes[-1].endswith("*") or _kind(feature, properties) in _UNDRAWN:
        return []
    if feature.get("geometry") is None and feature.get("place") is not None:
        raise DataError(
            f"feature {number}: its geometry is the member place, as in JSON-FG, which is not read",
            where=path,
            remedy="Write plain GeoJSON: ogr2ogr -f GeoJSON OUT.geojson IN.json.",
        )
    try:
        return [(name, [ring_of(ring) for ring in rings]) for rings in _polygons(feature.get("geometry"))]
    except (DataError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        what = error.what if isinstance(error, DataError) else "its geometry cannot be read"
        raise DataError(f"feature {number}: {what}", where=path, remedy=_EXPORT) from error


def write_geojson(path: Path | str, outlines: Iterable[Outline], *, sync: bool = True) -> None:
    """Write outlines as QuPath reads them: one feature each, level-0 pixels, named by its classification.

    Args:
        path: of the file.
        outlines: level-0 pixels.
        sync: wait until the disk has it; see `whole_file`.

    Raises:
        WriteError: if the disk is full or the folder cannot be written to.
    """
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(outline.polygons),
            "properties": {
                "objectType": "annotation",
                "classification": {"name": outline.name or ("Exclusion" if outline.excludes else "ROI")},
            },
        }
        for outline in outlines
    ]
    write_json(path, {"type": "FeatureCollection", "features": features}, indent=None, sync=sync)


def _load(path: Path) -> Any:  # noqa: ANN401 (JSON)
    if not path.is_file():
        raise DataError("no such annotation", where=path, remedy="Check the path.")
    try:
        check_file(path)
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in text.replace("\x1e", "\n").splitlines() if line.strip()]
        if len(lines) > 1 and all(line.strip()[0] + line.strip()[-1] == "{}" for line in lines):
            return list(map(parse_json, lines))  # a feature per line (RFC 8142), as GIS programs write
        return parse_json(text.lstrip("\x1e"))
    except ValueError as error:
        raise DataError(f"not a readable JSON file ({error})", where=path, remedy=_EXPORT) from error
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", where=path, remedy="Check its permissions."
        ) from error


def _features(content: Any, path: Path) -> list[dict[str, Any]]:  # noqa: ANN401 (JSON)
    """Whatever the file holds, as a list of Features."""
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection":
        content = content.get("features")
    elif kind == "Feature":
        content = [content]
    elif kind in ("Polygon", "MultiPolygon", "GeometryCollection"):
        content = [{"geometry": content}]
    if not isinstance(content, list) or not all(
        isinstance(feature, dict) and "geometry" in feature for feature in content
    ):
        raise DataError("not a GeoJSON FeatureCollection", where=path, remedy=_EXPORT)
    return content


def _base(name: str) -> str:
    """The class that a class of QuPath is derived from, such as Tumor of "Tumor: Positive"."""
    return name.split(":", maxsplit=1)[0].strip()


def _kind(feature: dict[str, Any], properties: Any) -> str:  # noqa: ANN401 (JSON)
    """What kind of object QuPath says it is: 0.3 and later in the properties, earlier ones in the id."""
    kind = properties.get("objectType") if isinstance(properties, dict) else None
    return str(kind or feature.get("id") or "").casefold()


def _name(properties: dict[str, Any]) -> str:
    found = properties.get("classification")
    if isinstance(found, str) and found.lstrip().startswith("{"):  # GDAL writes what is nested as text
        with contextlib.suppress(ValueError):
            found = parse_json(found)
    if isinstance(found, dict):
        names = found.get("names")
        found = found.get("name") or (": ".join(map(str, names)) if isinstance(names, list) else names)
    for key in ("label", "class", "name"):
        found = found or properties.get(key)
    return found if isinstance(found, str) else ""


def _polygons(geometry: Any) -> Iterator[list[Any]]:  # noqa: ANN401 (JSON)
    """The rings of each polygon of a geometry."""
    kind = None if geometry is None else geometry["type"]
    if kind == "Polygon":
        yield from [geometry["coordinates"]] if geometry["coordinates"] else []
    elif kind == "MultiPolygon":
        yield from (rings for rings in geometry["coordinates"] if rings)
    elif kind == "GeometryCollection":
        for inner in geometry["geometries"]:
            yield from _polygons(inner)
    elif kind not in (None, "Point", "MultiPoint", "LineString", "MultiLineString"):
        raise DataError(f"the unknown geometry {kind!r}")
