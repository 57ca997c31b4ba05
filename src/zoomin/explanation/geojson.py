"""Drawn tiles and sub-tiles as GeoJSON: for QuPath in level-0 pixels, for QGIS in map coordinates."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .palette import AGAINST, BLOCK, FOR, TILE, rgb

if TYPE_CHECKING:
    from .evidence import Evidence, Source

__all__ = ["COORDINATES", "evidence_geojson"]

COORDINATES = ("auto", "pixels", "map", "wgs84")
Ring = list[tuple[float, float]]


def evidence_geojson(
    explanation: Evidence,
    *,
    top: int = 100,
    coordinates: str = "auto",
    bounds_offset: bool = False,
    attention_cells: bool = False,
) -> dict[str, Any]:
    """What `Explanation.to_geojson` gives, of any evidence.

    Raises:
        ConfigError: if the coordinates cannot be had.
    """
    place, crs = _placement(explanation.source, explanation.image, coordinates, bounds_offset)
    parts = [_blocks(explanation), _tiles(explanation), _sub_tiles(explanation, top)]
    if attention_cells:
        parts.append(_cells(explanation))
    features = [
        {
            "type": "Feature",
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{explanation.image} {properties['name']}")),
            "geometry": _polygon(place(_corners(box))),
            "properties": properties,
        }
        for part in parts
        for box, properties in part
    ]
    account = explanation.account()
    answer = {
        "prediction": explanation.prediction,
        "baseline": dict(zip(explanation.classes, explanation.baseline.tolist(), strict=True)),
        "logits": dict(zip(explanation.classes, explanation.logits.tolist(), strict=True)),
        "evidence at the start": account.start,
        **({} if explanation.overview_added is None else {"evidence of the overview": account.overview}),
        "evidence": account.end,
    }
    return {"type": "FeatureCollection", **crs, "zoomin": answer, "features": features}


def _blocks(one: Evidence) -> Iterator[tuple[Sequence[float], dict[str, Any]]]:
    for stage, blocks in enumerate(one.blocks, 1):
        for rank, (box, alpha) in enumerate(
            zip(blocks.regions.tolist(), blocks.alpha.tolist(), strict=True), 1
        ):
            name = f"block {rank}" if len(one.blocks) == 1 else f"block {stage}.{rank}"
            measured = {"attention": alpha}
            yield (
                _inside(box, one.size),
                _properties("annotation", name, "block drawn", BLOCK, measured, isLocked=True),
            )


def _tiles(one: Evidence) -> Iterator[tuple[Sequence[float], dict[str, Any]]]:
    for rank, row in enumerate([] if one.one_stage else one.top_tiles().tolist()):
        alpha = float(one.alpha[row])
        measured = {"attention": alpha, "attention / mean": alpha * one.attention.numel()}
        yield (
            _inside(one.tiles[row].tolist(), one.size),
            _properties("annotation", f"tile {rank + 1}", "tile drawn", TILE, measured, isLocked=True),
        )


def _sub_tiles(one: Evidence, top: int) -> Iterator[tuple[Sequence[float], dict[str, Any]]]:
    places = one.places()
    speaks = places.evidence.tolist()
    for k in range(min(top or len(speaks), len(speaks))):
        added = zip(one.classes, places.added[k].tolist(), strict=True)
        contributions = zip(one.classes, places.contribution[k].tolist(), strict=True)
        measured = {
            "weight": float(places.weight[k]),
            "evidence": speaks[k],
            **{f"added to {name}": value for name, value in added},
            **{f"contribution to {name}": value for name, value in contributions},
            **({} if one.one_stage else {"attention of the tile": float(places.alpha[k])}),
            "attention of the position": float(places.beta[k]),
            "times drawn": int(places.times[k]),
        }
        word, colour = ("for", FOR) if speaks[k] >= 0 else ("against", AGAINST)
        yield (
            places.regions[k].tolist(),
            _properties("detection", f"sub-tile {k + 1}", f"{word} {one.label}", colour, measured),
        )


def _cells(one: Evidence) -> Iterator[tuple[Sequence[float], dict[str, Any]]]:
    tiles, (u, v) = one.attention.numel(), one.beta.shape[1:]
    relative = one.alpha[:, None, None] * one.beta * (tiles * u * v)
    for row, i, j in (relative > 1).nonzero().tolist():
        x, y, width, height = one.tiles[row].tolist()
        box = x + j * width / v, y + i * height / u, width / v, height / u
        measured = {"attention / mean": float(relative[row, i, j])}
        name = f"cell {row + 1}.{i + 1}.{j + 1}"
        yield _inside(box, one.size), _properties("tile", name, "attention", TILE, measured)


def _properties(
    kind: str, name: str, label: str, colour: str, measurements: dict[str, float], **more: bool
) -> dict[str, Any]:
    return {
        "objectType": kind,
        "name": name,
        "classification": {"name": label, "color": rgb(colour)},
        "measurements": measurements,
        **more,
    }


def _inside(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of a box inside the image; tiles of the last row and column reach beyond it."""
    x, y, width, height = box
    return x, y, min(width, size[1] - x), min(height, size[0] - y)


def _corners(box: Sequence[float]) -> Ring:
    x, y, width, height = box
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _polygon(corners: Ring) -> dict[str, Any]:
    """A closed ring, counterclockwise in its own coordinates as RFC 7946 asks."""
    after = [*corners[1:], corners[0]]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, after, strict=True))
    ring = corners if area >= 0 else corners[::-1]
    return {"type": "Polygon", "coordinates": [[[x, y] for x, y in [*ring, ring[0]]]]}


def _placement(
    source: Source, image: str, coordinates: str, bounds_offset: bool
) -> tuple[Callable[[Ring], Ring], dict[str, Any]]:
    """How corners in level-0 pixels become coordinates, and the member that names these."""
    if coordinates not in COORDINATES:
        remedy = f"Choose one of {', '.join(COORDINATES)}."
        raise ConfigError(f"unknown coordinates {coordinates!r}", where="coordinates", remedy=remedy)
    georeference = source.georeference
    if coordinates == "pixels" or (coordinates == "auto" and georeference is None):
        x, y = (source.bounds.x, source.bounds.y) if bounds_offset and source.bounds else (0, 0)
        return lambda ring: [(a - x, b - y) for a, b in ring], {}
    if georeference is None or (coordinates == "wgs84" and georeference.crs is None):
        missing = "coordinate reference system" if georeference else "georeference"
        raise ConfigError(
            f"the image has no {missing}", where=image, remedy="Choose coordinates=pixels, or auto."
        )
    if coordinates != "wgs84":
        return lambda ring: [georeference.to_map(a, b) for a, b in ring], _crs_member(georeference.crs)
    return lambda ring: _degrees([georeference.to_map(a, b) for a, b in ring], georeference.crs), {}


def _degrees(ring: Ring, crs: str | None) -> Ring:
    from rasterio.warp import transform

    longitude, latitude = transform(crs, "EPSG:4326", [x for x, _ in ring], [y for _, y in ring])
    return list(zip(longitude, latitude, strict=True))


def _crs_member(crs: str | None) -> dict[str, Any]:
    """The member that GDAL and QGIS read, where the system has a name of an authority; else its WKT."""
    if crs is None:
        return {}
    from rasterio.crs import CRS

    authority = CRS.from_user_input(crs).to_authority()
    if authority is None:
        return {"crs_wkt": crs}
    return {
        "crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{authority[0]}::{authority[1]}"}}
    }
