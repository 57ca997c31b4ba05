"""The size of a pixel on the ground: a map's unit is a metre only where its projection keeps lengths.

Web Mercator's metres are twice too long at 60 degrees, and a degree of longitude shrinks towards the poles.
The scale of an image is that of its centre.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

from .georeference import Georeference
from .physical import square_mpp

__all__ = ["Ground", "ground_of", "mpp_of_map"]

_LOG = logging.getLogger(__name__)
_RADIUS, _FLATTENING = 6_378_137.0, 1 / 298.257223563  # WGS 84
_ECCENTRIC = _FLATTENING * (2 - _FLATTENING)
_KEPT = 0.01  # a projection that keeps lengths this well is taken at its word
_UNEQUAL = 0.01
_WEB_MERCATOR = ("Pseudo-Mercator", "Popular Visualisation", "Auxiliary Sphere", "Auxiliary_Sphere")


class Ground(NamedTuple):
    """A pixel at the centre of an image, on the ground.

    Attributes:
        x: metres along the image's rows.
        y: metres along its columns.
        source: for people: what tells it.
    """

    x: float
    y: float
    source: str


def mpp_of_map(
    dataset: Any,  # noqa: ANN401 (rasterio is not typed)
    georeference: Georeference | None,
    path: Path,
) -> tuple[float | None, str]:
    """Microns of ground that a pixel covers at the centre, and what tells it; None where the map does not.

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
    if abs(found.x - found.y) > _UNEQUAL * max(found.x, found.y):
        _LOG.warning(
            "%s: its pixels are %.4g m wide and %.4g m high on the ground; taken as squares of the same area",
            path, found.x, found.y,
        )  # fmt: skip
    side = math.sqrt(found.x * found.y) if found.x != found.y else found.x
    return side * 1e6, found.source


def ground_of(dataset: Any, georeference: Georeference | None, path: Path) -> Ground | None:  # noqa: ANN401
    """Width and height on the ground of the pixel at the centre, None where the map does not tell.

    Raises:
        ImageError: if the pixels are not square on a map in units of length.
    """
    if georeference is None or dataset.crs is None:
        return None
    crs = dataset.crs
    if crs.is_projected:
        unit, factor = crs.linear_units_factor
        x, y = (side * factor for side in georeference.pixel_size)
        side = square_mpp(x * 1e6, y * 1e6, path) / 1e6
        if any(name in crs.to_wkt() for name in _WEB_MERCATOR):
            place = _place(dataset, georeference)
            if place is None:
                return Ground(side, side, f"map in {unit}")
            shrunk = side * math.cos(math.radians(place[1]))  # its sphere has WGS 84's latitudes
            return Ground(shrunk, shrunk, f"Web Mercator at {place[1]:.2f} degrees north")
        found = _on_ellipsoid(dataset, georeference)
        if found is None or max(abs(found[0] / x - 1), abs(found[1] / y - 1)) <= _KEPT:
            return Ground(side, side, f"map in {unit}")
        return Ground(*found, f"map in {unit}, corrected at the image's centre")
    if not crs.is_geographic or not _on_globe(dataset):
        return None
    found = _on_ellipsoid(dataset, georeference)
    return None if found is None else Ground(*found, "map in degrees, at the image's centre")


def _place(dataset: Any, georeference: Georeference) -> tuple[float, float] | None:  # noqa: ANN401
    """Longitude and latitude of the centre."""
    found = _lonlat(dataset.crs, [georeference.to_map(dataset.width / 2, dataset.height / 2)])
    return None if found is None else found[0]


def _lonlat(crs: Any, points: list[tuple[float, float]]) -> list[tuple[float, float]] | None:  # noqa: ANN401
    from rasterio._err import CPLE_BaseError  # which rasterio lets through, and names nowhere else
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    try:
        lon, lat = transform(crs, "EPSG:4326", [p[0] for p in points], [p[1] for p in points])[:2]
    except (RasterioError, CPLE_BaseError, ValueError, RuntimeError):
        return None
    pairs = list(zip(lon, lat, strict=True))
    return pairs if all(math.isfinite(a) and math.isfinite(b) and abs(b) < 89.999 for a, b in pairs) else None


def _on_globe(dataset: Any) -> bool:  # noqa: ANN401
    """Whether a map in degrees lies between the poles."""
    _, bottom, _, top = dataset.bounds
    return bool(min(bottom, top) >= -90.001 and max(bottom, top) <= 90.001)


def _on_ellipsoid(dataset: Any, georeference: Georeference) -> tuple[float, float] | None:  # noqa: ANN401
    """Metres along a row and along a column at the centre, over a pixel each."""
    x, y = dataset.width / 2, dataset.height / 2
    ends = [(x - 0.5, y), (x + 0.5, y), (x, y - 0.5), (x, y + 0.5), (x, y)]
    points = _lonlat(dataset.crs, [georeference.to_map(*end) for end in ends])
    if points is None:
        return None
    latitude = math.radians(points[4][1])
    bend = 1 - _ECCENTRIC * math.sin(latitude) ** 2
    north = _RADIUS * (1 - _ECCENTRIC) / bend**1.5
    east = _RADIUS / math.sqrt(bend) * math.cos(latitude)
    sides = []
    for (lon, lat), (lon2, lat2) in (points[:2], points[2:4]):
        turn = (lon2 - lon + 180) % 360 - 180
        sides.append(math.hypot(math.radians(turn) * east, math.radians(lat2 - lat) * north))
    return (sides[0], sides[1]) if min(sides) > 0 else None
