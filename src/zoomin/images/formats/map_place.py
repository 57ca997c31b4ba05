"""Where a raster lies on a map: its transform, a file of its coordinate system beside it, control points."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from ..georeference import Georeference
from ..urls import url_of
from .gdal import has_world_file
from .ome_files import text_of

__all__ = ["georeference_of"]

_LOG = logging.getLogger(__name__)
_OFF = 0.5  # pixels by which control points may miss the plane through them
_FEWEST = 3  # points that make a plane


def georeference_of(dataset: Any, path: Path) -> Georeference | None:  # noqa: ANN401 (rasterio is not typed)
    """Where an open raster lies on a map; None where it does not say.

    Args:
        dataset: rasterio's.
        path: of the file, beside which a world file and the coordinate system of it may lie.
    """
    if dataset.crs is None and dataset.transform.is_identity:
        points, crs = dataset.gcps
        return _by_points(points, crs, path) if points else None
    crs = dataset.crs if dataset.crs is not None else _beside(path)
    return Georeference(crs=None if crs is None else crs.to_wkt(), transform=tuple(dataset.transform)[:6])


def _beside(path: Path) -> Any:  # noqa: ANN401
    """What a .prj beside an image and its world file names; GDAL does not read it."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    if url_of(path) is not None or not has_world_file(path):
        return None
    text = next((found for end in (".prj", ".PRJ") if (found := text_of(path.with_suffix(end)).strip())), "")
    try:
        return CRS.from_wkt(text, morph_from_esri_dialect=True) if text else None
    except CRSError:
        _LOG.warning("%s: the .prj beside it names no coordinate reference system that is known", path)
        return None


def _by_points(points: list[Any], crs: Any, path: Path) -> Georeference | None:  # noqa: ANN401
    """By ground control points, where one plane goes through all of them: others need a warp."""
    from rasterio.transform import from_gcps

    off = np.inf
    if len(points) >= _FEWEST:
        plane = from_gcps(points)
        if plane.determinant:
            found = [~plane @ (point.x, point.y) for point in points]
            off = float(np.abs(np.subtract(found, [(point.col, point.row) for point in points])).max())
        if off <= _OFF:
            return Georeference(crs=None if crs is None else crs.to_wkt(), transform=tuple(plane)[:6])
    _LOG.warning(
        "%s: placed on its map by %d control points%s; it counts as an image without a map. To give it one: "
        "gdalwarp IN OUT.",
        path, len(points), f", which a plane misses by up to {off:.3g} pixels" * bool(np.isfinite(off)),
    )  # fmt: skip
    return None
