"""One place converts frames: from the coordinates that a file of polygons is written in to level-0 pixels."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from ..errors import DataError
from ..images.georeference import Georeference
from ..images.ground import body_of

__all__ = ["Frame", "Mapper", "apart", "map_to_pixels", "meets", "place_in"]

logger = logging.getLogger(__name__)

Mapper = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_DEGREES = "OGC:CRS84"
_LINKED_FILE_BYTES = 1 << 16  # of a coordinate reference system in a file beside the GeoJSON
_REMEDY = (
    "Export it in level-0 pixels (as QuPath does), or name its coordinate reference system: the member "
    '"crs": {"type": "name", "properties": {"name": "EPSG:..."}}.'
)


class Frame(NamedTuple):
    """The stored image that an annotation speaks of.

    Attributes:
        height: level-0 pixels of the file.
        width: likewise.
        georeference: where it lies on a map; None where that is not known.
    """

    height: int
    width: int
    georeference: Georeference | None = None

    @classmethod
    def of(cls, image: Any) -> Frame:  # noqa: ANN401 (an Image, brought to another resolution or not)
        """The frame of an image's file, whatever resolution the image is read at."""
        file = getattr(image, "source", image)
        return cls(file.height, file.width, getattr(file, "georeference", None))


class _Reading(NamedTuple):
    """One way to understand the numbers of a file."""

    name: str
    mapper: Mapper
    pixels: NDArray[np.float64]


def meets(pixels: Float64[np.ndarray, "n 2"], frame: Frame) -> bool:
    """Whether the box around these places overlaps the image; nothing overlaps where there are no places."""
    if not len(pixels) or not np.isfinite(pixels).all():
        return False
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return bool((high > 0).all() and (low < (frame.width, frame.height)).all())


def apart(
    where: Path | str,
    frame: Frame,
    boxes: dict[str, NDArray[np.float64]],
    hint: str = "",
    what: str = "annotation",
) -> DataError:
    """That an annotation does not meet its image, with both boxes.

    Args:
        where: the annotation's file.
        frame: of the image.
        boxes: the places of the annotation, by what its numbers are taken for.
        hint: what else is known, or helps.
        what: the annotation, or a mask.
    """
    spans = "; ".join(f"taken for {name} {_box(places)}" for name, places in boxes.items())
    return DataError(
        f"the {what} does not meet its image: {spans}; the image spans x 0 to {frame.width}, "
        f"y 0 to {frame.height} level-0 pixels",
        where=where,
        remedy=f"{hint}{' ' if hint else ''}Check that it belongs to this image."
        + (f" {_REMEDY}" if what != "mask" else ""),
    )


def _box(places: NDArray[np.float64]) -> str:
    if not np.isfinite(places).all():
        return "it lies nowhere on the map of the image"
    (x0, y0), (x1, y1) = places.min(axis=0), places.max(axis=0)
    return f"it spans x {x0:.10g} to {x1:.10g}, y {y0:.10g} to {y1:.10g}"


def map_to_pixels(content: Any, shells: Sequence[NDArray[np.float64]], path: Path, frame: Frame) -> Mapper:  # noqa: ANN401
    """What takes the coordinates of a GeoJSON file to level-0 pixels.

    The coordinate reference system is that of the member `crs` (a name, a link that tells the number of
    EPSG or a file beside, or WKT) or `crs_wkt`. Where none is named, the numbers are what alone makes them
    meet the image: level-0 pixels (QuPath), longitude and latitude (RFC 7946), or coordinates of the image's
    own map. Writers name CRS84 unasked: numbers that are not degrees are then taken as if nothing were named.

    Args:
        content: of the file.
        shells: the corners of each of its outlines, as written.
        path: of the file.
        frame: of the image.

    Raises:
        DataError: if the outlines do not meet the image, more than one reading meets it, or the coordinate
            reference system is not known.
    """
    stated = _stated(content, path)
    if not shells:
        return _same
    corners = np.concatenate(shells)
    degrees = bool((np.abs(corners) <= (180, 90)).all())
    georeference = frame.georeference
    if stated is None or (_is_degrees(stated) and not degrees):
        if stated is not None:
            logger.warning(
                "%s: names longitude and latitude (%s), which its numbers are not", path, _short(stated)
            )
        return _guessed(shells, path, frame, degrees)
    if georeference is None:
        if (degrees and _is_degrees(stated)) or not meets(corners, frame):
            raise DataError(
                f"it is in the coordinate reference system {_short(stated)}, and the image has no "
                f"georeference; {_box(corners)}, the image spans x 0 to {frame.width}, y 0 to {frame.height}",
                where=path,
                remedy="Give the georeferenced image; or remove the member crs if these are level-0 pixels.",
            )
        logger.warning(
            "%s: names %s, but the image has no georeference: taken for pixels", path, _short(stated)
        )
        return _same
    if _is_degrees(stated) and (own := _degrees_on(georeference)) not in (None, _DEGREES):
        logger.warning("%s: names %s, on a map of another body: taken for its own", path, _short(stated))
        stated = own
    mapper = _mapper(stated, georeference, path)
    pixels = mapper(corners)
    if not meets(pixels, frame):
        hint = "As level-0 pixels it would: remove the member crs if it is in pixels." * meets(corners, frame)
        raise apart(path, frame, {f"{_short(stated)}, in level-0 pixels": pixels}, hint)
    return mapper


def place_in(frame: Frame, corners: NDArray[np.float64], crs: str | None, path: Path) -> NDArray[np.float64]:
    """Where places on a map are in an image, level-0 pixels (n, 2).

    Args:
        frame: of the image, which is georeferenced.
        corners: east and north.
        crs: their coordinate reference system; None: that of the image.
        path: named in errors.

    Raises:
        DataError: if a coordinate reference system is not known.
    """
    assert frame.georeference is not None
    return _mapper(crs, frame.georeference, path)(corners)


def _same(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points


def _guessed(shells: Sequence[NDArray[np.float64]], path: Path, frame: Frame, degrees: bool) -> Mapper:
    """The one reading of numbers without a coordinate reference system that meets the image."""
    corners = np.concatenate(shells)
    readings = [_Reading("level-0 pixels", _same, corners)]
    georeference = frame.georeference
    if georeference is not None:
        own = _mapper(None, georeference, path)
        readings.append(_Reading("the image's map coordinates, in level-0 pixels", own, own(corners)))
        if degrees and (named := _degrees_on(georeference)) is not None:
            warped = _mapper(named, georeference, path)
            pixels = warped(corners)
            if not np.allclose(pixels, readings[-1].pixels, atol=1e-3):
                readings.append(_Reading("longitude and latitude, in level-0 pixels", warped, pixels))
    good = [reading for reading in readings if meets(reading.pixels, frame)]
    if not good:
        raise apart(path, frame, {reading.name: reading.pixels for reading in readings})
    size, largest = (frame.width, frame.height), max(np.ptp(shell, axis=0).max() for shell in shells)
    if good[0].mapper is _same and largest < 1:  # nobody outlines less than a pixel: these are degrees
        if len(good) == 1 and degrees and largest > 0:
            raise DataError(
                f"its outlines are smaller than a pixel, as those in degrees are; {_box(corners)}",
                where=path,
                remedy="Write level-0 pixels; or longitude before latitude, for an image that is on a map.",
            )
        good = good[1:] or good
    if len(good) > 1:
        whole = [r for r in good if ((r.pixels > -1) & (r.pixels < np.add(size, 1))).all()]
        if len(whole) != 1:
            names = " and as ".join(reading.name for reading in good)
            raise DataError(f"it overlaps the image when read as {names}", where=path, remedy=_REMEDY)
        good = whole
    return good[0].mapper


# ------------------------------------------------------------- coordinate reference systems


def _stated(content: Any, path: Path) -> str | None:  # noqa: ANN401 (JSON)
    """The coordinate reference system that a file names, in words of PROJ; None where it names none."""
    member = content.get("crs") if isinstance(content, dict) else None
    member = _of_features(content, path) if member is None else member
    if isinstance(member, str) and member.strip():
        return _named(member, path)
    if isinstance(member, dict):
        properties = member.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        if str(member.get("type")).lower() == "link" or (
            properties.get("href") and not properties.get("name")
        ):
            return _linked(str(properties.get("href", "")), path)
        if properties.get("name"):
            return _named(str(properties["name"]), path)
        if properties.get("code"):  # of the draft before 2008
            return f"EPSG:{properties['code']}"
        if "$schema" in member or "coordinate_system" in member:  # PROJJSON
            return json.dumps(member)
        raise DataError("the member crs names no coordinate reference system", where=path, remedy=_REMEDY)
    wkt = content.get("crs_wkt") if isinstance(content, dict) else None
    return wkt.strip() if isinstance(wkt, str) and wkt.strip() else None


def _of_features(content: Any, path: Path) -> Any:  # noqa: ANN401 (JSON)
    """The member crs that features or geometries have instead of the whole, as PostGIS writes; or None."""
    inside = content if isinstance(content, list) else [content]
    if isinstance(content, dict):
        inside = content.get("features") or inside
    inside = [one for one in inside if isinstance(one, dict)]
    inside += [one["geometry"] for one in inside if isinstance(one.get("geometry"), dict)]
    members = [one["crs"] for one in inside if one.get("crs") is not None]
    if any(member != members[0] for member in members):
        raise DataError("its features are in different coordinate systems", where=path, remedy=_REMEDY)
    return members[0] if members else None


def _named(name: str, path: Path) -> str:
    """A name in words of PROJ, which would fetch one that is a link."""
    return _linked(name.strip(), path) if "://" in name else name.strip()


def _linked(href: str, path: Path) -> str:
    """What a link says: the number of EPSG or ESRI in it, or a file beside; nothing is fetched."""
    number = re.search(
        r"(?i)\b(epsg|esri)(?:\.xml|\.io)?\b(?:[/:_.-]+[0-9.]*)??[/:_.=#-]+([0-9]{4,6})\b", href
    )
    if number:
        return f"{number[1].upper()}:{number[2]}"
    if re.search(r"(?i)crs:?84\b", href):
        return _DEGREES
    name = href.removeprefix("./")
    beside = path.parent / name if name and "/" not in name and "\\" not in name else None
    if beside is not None and beside.is_file() and beside.stat().st_size <= _LINKED_FILE_BYTES:
        return beside.read_text(encoding="utf-8", errors="replace").strip()
    raise DataError(
        f"its coordinate reference system is behind a link, {href!r}, which is not followed",
        where=path,
        remedy=_REMEDY,
    )


def _is_degrees(stated: str) -> bool:
    plain = stated.strip().upper()
    return plain.endswith("CRS84") or bool(re.fullmatch(r"(URN:OGC:DEF:CRS:)?EPSG:[0-9.]*:?4326", plain))


def _degrees_on(georeference: Georeference) -> str | None:
    """Longitude and latitude on the body that a map shows, in words of PROJ; None where it shows none."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        body = None if georeference.crs is None else body_of(CRS.from_user_input(georeference.crs))
    except CRSError:
        return None
    if body is None:
        return None
    return _DEGREES if body.is_earth else str(body.crs.to_wkt())


def _short(stated: str) -> str:
    return repr(stated if len(stated) <= 60 else f"{stated[:57]}...")


def _mapper(stated: str | None, georeference: Georeference, path: Path) -> Mapper:
    """From a coordinate reference system (None: the image's own) to level-0 pixels; east before north."""
    from rasterio._err import CPLE_BaseError  # which rasterio lets through, and names nowhere else
    from rasterio.crs import CRS  # imported late: most annotations need no map
    from rasterio.errors import CRSError, RasterioError
    from rasterio.transform import Affine
    from rasterio.warp import transform as warp

    try:
        source = None if stated is None else CRS.from_user_input(stated)
        target = None if georeference.crs is None else CRS.from_user_input(georeference.crs)
    except CRSError as error:
        raise DataError(
            f"the unknown coordinate reference system {_short(stated or '')}",
            where=path,
            remedy="Save the file in longitude and latitude (EPSG:4326).",
        ) from error
    to_pixels = ~Affine(*georeference.transform)

    def mapper(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points[:, 0], points[:, 1]
        if source is not None and target is not None and source != target:
            try:
                x, y = (np.asarray(side) for side in warp(source, target, x, y))
            except RasterioError:  # outside of what the projection knows
                return np.full(points.shape, np.inf)
            except CPLE_BaseError as error:
                raise DataError(
                    f"its coordinate reference system {_short(stated or '')} cannot be converted to that "
                    "of the image",
                    where=path,
                    remedy="Save the file in the coordinate reference system of the image.",
                ) from error
        return np.stack(to_pixels @ (x, y), axis=1)

    return mapper
