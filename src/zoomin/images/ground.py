"""The size of a pixel on the ground: a map's unit is a metre only where its projection keeps lengths.

Web Mercator's metres are twice too long at 60 degrees, and a degree of longitude shrinks towards the poles.
The scale of an image is that of its centre, on the ellipsoid of the map itself: of the Moon or of Mars too.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

from .georeference import Georeference
from .physical import square_mpp

__all__ = ["Body", "Ground", "body_of", "ground_of", "mpp_of_map"]

_LOG = logging.getLogger(__name__)
_EARTH = 6_371_000.0  # metres
_KEPT = 0.01  # a projection that keeps lengths this well is taken at its word
_UNEQUAL = 0.01
_SCHEMA = "https://proj.org/schemas/v0.7/projjson.schema.json"
_WEB_MERCATOR = ("Pseudo-Mercator", "Popular Visualisation", "Auxiliary Sphere", "Auxiliary_Sphere")


class Body(NamedTuple):
    """The ellipsoid that a map shows, and its longitudes and latitudes.

    Attributes:
        crs: geographic, rasterio's.
        unit: of its angles, in radians.
        radius: at the equator, metres.
        flattening: 0 for a sphere.
    """

    crs: Any
    unit: float
    radius: float
    flattening: float

    @property
    def is_earth(self) -> bool:
        """Whether it is the Earth, by any ellipsoid or sphere."""
        return abs(self.radius / _EARTH - 1) < 0.01


class Ground(NamedTuple):
    """A pixel at the centre of an image, on the ground.

    Attributes:
        x: metres along the image's rows.
        y: metres along its columns.
        area: square metres; less than x times y where the sides are not at right angles.
        source: for people: what gives it.
    """

    x: float
    y: float
    area: float
    source: str

    @classmethod
    def square(cls, side: float, source: str) -> Ground:
        """A pixel that is as wide as high."""
        return cls(side, side, side * side, source)


def mpp_of_map(
    dataset: Any,  # noqa: ANN401 (rasterio is not typed)
    georeference: Georeference | None,
    path: Path,
) -> tuple[float | None, str]:
    """Microns of ground that a pixel covers at the centre, and what gives it; None where the map does not.

    Pixels whose sides differ on the ground, though not on the map, have the side of a square of their area,
    and a warning says so.

    Args:
        dataset: rasterio's.
        georeference: of the image.
        path: named in messages.

    Raises:
        ImageError: if the pixels are not square on a map in units of length.
    """
    found = ground_of(dataset, georeference, path)
    if found is None:
        return None, ""
    square = abs(found.x - found.y) <= _UNEQUAL * max(found.x, found.y)
    if not square or found.area < (1 - _UNEQUAL) * found.x * found.y:
        _LOG.warning(
            "%s: its pixels are %.4g m wide and %.4g m high on the ground%s; taken as squares of that area",
            path, found.x, found.y, ", and no squares" if square else "",
        )  # fmt: skip
    return math.sqrt(found.area) * 1e6, found.source


def ground_of(dataset: Any, georeference: Georeference | None, path: Path) -> Ground | None:  # noqa: ANN401
    """Width and height on the ground of the pixel at the centre, None where the map does not say.

    Raises:
        ImageError: if the pixels are not square on a map in units of length.
    """
    crs = _crs_of(dataset, georeference)
    if georeference is None or crs is None:
        return None
    if crs.is_geographic:
        found = _on_ellipsoid(crs, dataset, georeference) if _on_globe(crs, dataset, georeference) else None
        return None if found is None else Ground(*found, "map in degrees, at the image's centre")
    plan = crs.is_projected or _kind(crs) == "EngineeringCRS"  # a building site's own; no heights, no globe
    if not plan:
        return None
    unit, factor = crs.units_factor
    x, y = (side * factor for side in georeference.pixel_size)
    side = square_mpp(x * 1e6, y * 1e6, path) / 1e6
    if not crs.is_projected:
        return Ground.square(side, f"map in {unit}")
    if any(name in crs.to_wkt() for name in _WEB_MERCATOR):
        place = _latitude(crs, dataset, georeference)
        if place is None:
            _warn_unknown(path)
            return None
        shrunk = side * math.cos(place)  # its sphere has WGS 84's latitudes
        return Ground.square(shrunk, f"Web Mercator at {math.degrees(place):.2f} degrees north")
    found = _on_ellipsoid(crs, dataset, georeference)
    if found is None:
        _warn_unknown(path)
        return None
    if max(abs(found[0] / x - 1), abs(found[1] / y - 1), abs(found[2] / (x * y) - 1) / 2) <= _KEPT:
        return Ground.square(side, f"map in {unit}")
    return Ground(*found, f"map in {unit}, corrected at the image's centre")


def _crs_of(dataset: Any, georeference: Georeference | None) -> Any:  # noqa: ANN401
    """The coordinate reference system of a raster: GDAL's, or what else tells it; None where nothing does."""
    if dataset.crs is not None or georeference is None or georeference.crs is None:
        return dataset.crs
    from rasterio.crs import CRS

    return CRS.from_wkt(georeference.crs)


def _warn_unknown(path: Path) -> None:
    _LOG.warning(
        "%s: its centre lies outside of its map; the size of its pixels on the ground is not known", path
    )


def _kind(crs: Any) -> str:  # noqa: ANN401
    """Of a coordinate reference system, as PROJ names it."""
    return str(crs.to_dict(projjson=True).get("type", ""))


def body_of(crs: Any) -> Body | None:  # noqa: ANN401
    """What a map shows; None where PROJ does not tell."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    found = crs.to_dict(projjson=True)
    for inner in ("components", "source_crs", "base_crs"):  # compound with heights, bound to another datum
        while inner in found:
            found = found[inner][0] if inner == "components" else found[inner]
    datum = found.get("datum") or found.get("datum_ensemble") or {}
    ellipsoid = datum.get("ellipsoid", {})
    try:
        geographic = CRS.from_user_input(json.dumps({**found, "$schema": _SCHEMA}))
        unit = float(geographic.units_factor[1])
        radius = _metres(ellipsoid.get("semi_major_axis", ellipsoid.get("radius")))
        if "semi_minor_axis" in ellipsoid:
            flattening = 1 - _metres(ellipsoid["semi_minor_axis"]) / radius
        else:
            inverse = float(ellipsoid.get("inverse_flattening", 0))
            flattening = 1 / inverse if inverse else 0.0
    except (CRSError, TypeError, ValueError, KeyError, ZeroDivisionError):
        return None
    return Body(geographic, unit, radius, flattening) if geographic.is_geographic else None


def _metres(length: Any) -> float:  # noqa: ANN401 (a number, or one with its unit)
    if isinstance(length, dict):
        unit = length["unit"]
        return float(length["value"]) * (float(unit["conversion_factor"]) if isinstance(unit, dict) else 1.0)
    return float(length)


def _latitude(crs: Any, dataset: Any, georeference: Georeference) -> float | None:  # noqa: ANN401
    """Of the centre, in radians."""
    body = body_of(crs)
    centre = georeference.to_map(dataset.width / 2, dataset.height / 2)
    found = None if body is None else _lonlat(crs, body, [centre])
    return None if found is None else found[0][1]


def _lonlat(crs: Any, body: Body, points: list[tuple[float, float]]) -> list[tuple[float, float]] | None:  # noqa: ANN401
    """Longitudes and latitudes of places on the map, in radians."""
    from rasterio._err import CPLE_BaseError  # which rasterio lets through, and names nowhere else
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    try:
        lon, lat = transform(crs, body.crs, [p[0] for p in points], [p[1] for p in points])[:2]
    except (RasterioError, CPLE_BaseError, ValueError, RuntimeError):
        return None
    pairs = [(a * body.unit, b * body.unit) for a, b in zip(lon, lat, strict=True)]
    return pairs if all(math.isfinite(a) and abs(b) < 1.6 for a, b in pairs) else None


def _on_globe(crs: Any, dataset: Any, georeference: Georeference) -> bool:  # noqa: ANN401
    """Whether a map in degrees lies between the poles."""
    most = (math.pi / 2 + 1e-5) / crs.units_factor[1]
    corners = [(x, y) for x in (0.0, float(dataset.width)) for y in (0.0, float(dataset.height))]
    return all(abs(georeference.to_map(*corner)[1]) <= most for corner in corners)


def _on_ellipsoid(
    crs: Any,  # noqa: ANN401
    dataset: Any,  # noqa: ANN401
    georeference: Georeference,
) -> tuple[float, float, float] | None:
    """Metres along a row and a column of the pixel at the centre, chords between its edges; its area."""
    body = body_of(crs)
    if body is None:
        return None
    x, y = dataset.width / 2, dataset.height / 2
    ends = [(x - 0.5, y), (x + 0.5, y), (x, y - 0.5), (x, y + 0.5)]
    found = _lonlat(crs, body, [georeference.to_map(*end) for end in ends])
    if found is None:
        return None
    west, east, north, south = (_in_space(body, *place) for place in found)
    x, y = math.dist(west, east), math.dist(north, south)
    across = sum((b - a) * (d - c) for a, b, c, d in zip(west, east, north, south, strict=True))
    area = math.sqrt(max((x * y) ** 2 - across**2, 0.0))
    return (x, y, area) if area > 0 else None


def _in_space(body: Body, lon: float, lat: float) -> tuple[float, float, float]:
    """A place on the ellipsoid in metres from its centre; the poles and the date line are not exceptions."""
    eccentric = body.flattening * (2 - body.flattening)
    radius = body.radius / math.sqrt(1 - eccentric * math.sin(lat) ** 2)
    out = radius * math.cos(lat)
    return out * math.cos(lon), out * math.sin(lon), radius * (1 - eccentric) * math.sin(lat)
