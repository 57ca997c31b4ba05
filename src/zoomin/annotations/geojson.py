"""GeoJSON polygons, as QuPath, GIS programs and this one write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from ..errors import DataError
from ..files import write_json
from .polygons import Outline, polygon_of

__all__ = ["EXCLUDING", "MapFrame", "read_geojson", "write_geojson"]

EXCLUDING = frozenset({"exclusion", "exclude", "excluded", "normal", "_2"})
_LONGITUDE_LATITUDE = "OGC:CRS84"
_EXPORT = "Export it again; QuPath: File, Export objects as GeoJSON."
Mapper = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class MapFrame(NamedTuple):
    """Where an image lies on a map.

    Attributes:
        crs: coordinate reference system as WKT or as a name; None where unknown.
        transform: the numbers a to f that take level-0 pixels to the map, x' = a x + b y + c and
            y' = d x + e y + f.
        height: of the image, level-0 pixels.
        width: of the image, level-0 pixels.
    """

    crs: str | None
    transform: tuple[float, ...]
    height: int
    width: int


def read_geojson(path: Path | str, *, frame: MapFrame | None = None) -> list[Outline]:
    """The polygons of a FeatureCollection, a Feature, a geometry or a list of Features.

    Coordinates are level-0 pixels, as QuPath writes them. On an image with a georeference they are map
    coordinates instead, where the file names a coordinate reference system (the member `crs`), or where its
    numbers, taken for longitude and latitude as the standard has it, lie in the image.

    Each feature is named by `properties.classification.name`, or `properties.label`, `class` or `name`. What
    is named exclusion or normal is cut out of the ROI. Names that end in `*` mean "to be ignored", as in
    QuPath, and points and lines have no area: neither counts.

    Args:
        path: the file.
        frame: the georeference of the image, None where it has none.

    Raises:
        DataError: naming the file, the feature and the remedy.
    """
    path = Path(path)
    content = _load(path)
    features = _features(content, path)
    mapper = None if frame is None else _mapper(content, features, path, frame)
    outlines = []
    for number, feature in enumerate(features):
        properties = feature.get("properties") or {}
        name = _name(properties if isinstance(properties, dict) else {})
        if name.endswith("*"):
            continue
        try:
            for rings in _polygons(feature.get("geometry")):
                corners = [
                    ring if mapper is None else mapper(np.asarray(ring, dtype=float)) for ring in rings
                ]
                outlines.append(
                    Outline(polygon_of(corners[0], corners[1:]), name, name.casefold() in EXCLUDING)
                )
        except (DataError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            what = error.what if isinstance(error, DataError) else "its geometry cannot be read"
            raise DataError(f"feature {number}: {what}", where=path, remedy=_EXPORT) from error
    return outlines


def write_geojson(path: Path | str, outlines: Iterable[Outline]) -> None:
    """Write outlines as QuPath reads them: one feature each, level-0 pixels, named by its classification."""
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
    write_json(path, {"type": "FeatureCollection", "features": features}, indent=None)


def _load(path: Path) -> Any:  # noqa: ANN401 (JSON)
    if not path.is_file():
        raise DataError("no such annotation", where=path, remedy="Check the path.")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
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


def _name(properties: dict[str, Any]) -> str:
    found = properties.get("classification")
    if isinstance(found, dict):
        found = found.get("name") or (found.get("names") or [""])[0]
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


def _mapper(content: Any, features: list[dict[str, Any]], path: Path, frame: MapFrame) -> Mapper | None:  # noqa: ANN401
    """What takes the file's coordinates to level-0 pixels; None where they are level-0 pixels."""
    from rasterio.errors import CRSError  # imported late: most annotations need no map
    from rasterio.transform import Affine
    from rasterio.warp import transform as warp

    to_pixels = ~Affine(*frame.transform[:6])
    named = content.get("crs") if isinstance(content, dict) else None
    source = (named.get("properties") or {}).get("name") if isinstance(named, dict) else None

    def mapper(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points[:, 0], points[:, 1]
        if frame.crs is not None:
            x, y = (np.asarray(side) for side in warp(source or _LONGITUDE_LATITUDE, frame.crs, x, y))
        return np.stack(to_pixels @ (x, y), axis=1)

    if source is not None:
        try:
            mapper(np.zeros((1, 2)))
        except CRSError as error:
            raise DataError(
                f"the unknown coordinate reference system {source!r}",
                where=path,
                remedy="Save the file in longitude and latitude (EPSG:4326).",
            ) from error
        return mapper
    corners = np.array([c[:2] for f in features for c in _some_corners(f.get("geometry"))], dtype=float)
    if frame.crs is None or not len(corners) or (np.abs(corners) > (180, 90)).any():
        return None
    inside = mapper(corners)
    seen = (inside >= 0) & (inside <= (frame.width, frame.height))
    return mapper if seen.all(axis=1).any() else None


def _some_corners(geometry: Any) -> list[Any]:  # noqa: ANN401 (JSON)
    """The corners of the first ring of each polygon that can be read."""
    try:
        return [corner for rings in _polygons(geometry) for corner in rings[0] if len(corner) >= 2]
    except (DataError, TypeError, KeyError, IndexError):
        return []
