"""An ROI drawn as polygons, of any number of vertices, on an image of any size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import shapely
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..geometry import Region
from .annotation import views_of
from .coverage import coverage
from .limits import check_crossings, check_vertices

__all__ = ["Outline", "PolygonAnnotation", "polygon_of", "ring_of"]

Polygons = Any  # shapely's Polygon or MultiPolygon, which has no types
Ring = Any  # a sequence of corners x, y, or an array with these columns

_VERTICES = 256  # of a piece: larger polygons are cut, so that a view looks only at what is near
_PIXELS = 1 << 24  # of views that are computed at once


class Outline(NamedTuple):
    """One shape that somebody drew.

    Attributes:
        polygons: a valid Polygon or MultiPolygon of shapely, level-0 pixels, x to the right, y down.
        name: the class or group that it was given, or "".
        excludes: whether it is cut out of the ROI.
    """

    polygons: Polygons
    name: str = ""
    excludes: bool = False


class PolygonAnnotation:
    """The union of polygons, without those that are excluded.

    The share of ROI in a view pixel is its exact area. Reading takes memory for the view and for the edges in
    it, none for the image.

    Args:
        outlines: shapely polygons, or outlines with their names; they may overlap.
        height: of the image, level-0 pixels.
        width: of the image, level-0 pixels.
        name: what to call the annotation in messages, usually its path.

    Example:
        >>> triangle = polygon_of([(0, 0), (8, 0), (0, 8)])
        >>> annotation = PolygonAnnotation([triangle], height=8, width=8)
        >>> annotation.read([Region(0, 0, 8, 8)], scale=0.25)
        tensor([[[1.0000, 0.5000],
                 [0.5000, 0.0000]]])
    """

    def __init__(
        self, outlines: Iterable[Outline | Polygons], height: int, width: int, *, name: str = "polygons"
    ) -> None:
        """Keep the polygons; they are merged when first needed."""
        self.outlines = tuple(o if isinstance(o, Outline) else Outline(o) for o in outlines)
        self.height = height
        self.width = width
        self.name = name

    @property
    def empty(self) -> bool:
        """Whether there is no ROI in the image at all."""
        return bool(self.roi.is_empty)

    @cached_property
    def roi(self) -> Polygons:
        """The whole ROI inside the image as one valid polygon or multi-polygon of shapely.

        Raises:
            DataError: if there are too many corners, or outlines cross almost everywhere.
        """
        shapes = [o.polygons for o in self.outlines]
        check_vertices(int(shapely.get_num_coordinates(shapes).sum()), self.name)
        check_crossings(shapes, self.name)
        drawn = shapely.union_all([o.polygons for o in self.outlines if not o.excludes])
        cut = [o.polygons for o in self.outlines if o.excludes]
        if cut:
            drawn = shapely.difference(drawn, shapely.union_all(cut))
        return _areas(shapely.intersection(drawn, shapely.box(0, 0, self.width, self.height)))

    @property
    def area(self) -> float:
        """Area of the ROI, level-0 pixels."""
        return float(self.roi.area)

    def read(self, regions: Sequence[Region], scale: float) -> Float[Tensor, "n h w"]:
        """The exact share of ROI in each view pixel; see `Annotation.read`."""
        return self.read_boxes(*views_of(regions, scale, self.name))

    def read_boxes(
        self, boxes: Float64[np.ndarray, "n 4"], rows: int, columns: int
    ) -> Float[Tensor, "n rows columns"]:
        """The share of ROI in views of boxes with fractional corners.

        Args:
            boxes: x, y, width, height, level-0 pixels.
            rows: of a view.
            columns: of a view.
        """
        pieces = self._pieces
        found = torch.empty(len(boxes), rows, columns)
        step = max(1, _PIXELS // (rows * columns))
        for first in range(0, len(boxes), step):
            part = boxes[first : first + step]
            view, piece = pieces.tree.query(shapely.box(*part[:, :2].T, *(part[:, :2] + part[:, 2:]).T))
            count = pieces.length[piece]
            which = np.repeat(view, count)
            edge = np.arange(len(which)) + np.repeat(pieces.first[piece] - (count.cumsum() - count), count)
            scale = np.array([columns, rows]) / part[:, 2:]
            moved = (pieces.edges[edge] - np.tile(part[which, :2], 2)) * np.tile(scale[which], 2)
            covered = coverage(moved, which, (len(part), rows, columns))
            found[first : first + step] = torch.from_numpy(covered)
        return found

    @cached_property
    def _pieces(self) -> _Pieces:
        return _Pieces.of(self.roi)

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: the outlines, not what was derived from them."""
        return {name: self.__dict__[name] for name in ("outlines", "height", "width", "name")}


class _Pieces(NamedTuple):
    """Disjoint polygons of few vertices, as edges.

    Attributes:
        edges: x0, y0, x1, y1 of each edge, oriented as `coverage` wants them, piece by piece.
        first: the first edge of each piece.
        length: the number of edges of each piece.
        tree: finds the pieces that a box meets.
    """

    edges: NDArray[np.float64]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    tree: Any

    @classmethod
    def of(cls, polygons: Polygons) -> _Pieces:
        """Cut polygons into pieces and list their edges."""
        parts = np.array(_cut(list(shapely.get_parts(polygons))), dtype=object)
        parts = shapely.orient_polygons(parts)  # y points down: interiors lie on the right, as wanted
        rings = shapely.get_rings(parts)
        points = shapely.get_coordinates(rings)
        ring = np.repeat(np.arange(len(rings)), shapely.get_num_coordinates(rings))
        owner = np.repeat(np.arange(len(parts)), shapely.get_num_interior_rings(parts) + 1)
        joined = ring[1:] == ring[:-1]
        edges = np.concatenate([points[:-1], points[1:]], axis=1)[joined]
        count = np.bincount(owner[ring[1:][joined]], minlength=len(parts))
        return cls(edges, count.cumsum() - count, count, shapely.STRtree(parts))


def _cut(polygons: list[Polygons]) -> list[Polygons]:
    """Halve polygons across their longer side until each has few vertices."""
    small: list[Polygons] = []
    while polygons:
        polygon = polygons.pop()
        if shapely.get_num_coordinates(polygon) <= _VERTICES:
            small.append(polygon)
            continue
        x0, y0, x1, y1 = polygon.bounds
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        halves = (
            [(x0, y0, x, y1), (x, y0, x1, y1)] if x1 - x0 > y1 - y0 else [(x0, y0, x1, y), (x0, y, x1, y1)]
        )
        parts = [part for half in halves for part in _polygons(shapely.clip_by_rect(polygon, *half))]
        if abs(sum(part.area for part in parts) - polygon.area) > 1e-9 * polygon.area:
            boxes = [shapely.box(*half) for half in halves]  # slower, and never wrong
            parts = [part for box in boxes for part in _polygons(shapely.intersection(polygon, box))]
        polygons += parts
    return small


def polygon_of(shell: Ring, holes: Sequence[Ring] = ()) -> Polygons:
    """A valid shape of the rings given, open or closed, in either direction.

    A ring that crosses itself becomes all that it goes around, so that both halves of a figure of eight
    remain, and so does what a closing stroke that overshoots goes around twice: the nonzero rule, by which
    QuPath and ASAP tell what lies inside. Rings that enclose nothing give an empty shape.

    Args:
        shell: corners x, y, level-0 pixels.
        holes: corners of each hole.

    Raises:
        DataError: if a coordinate is not finite, a corner has not two, or the shell crosses itself almost
            everywhere.

    Example:
        >>> polygon_of([(0, 0), (4, 4), (4, 0), (0, 4)]).area
        8.0
        >>> overshot = [(0, 0), (8, 0), (8, 8), (0, 8), (1, -1), (4, -1), (4, 3), (-1, 3)]
        >>> round(polygon_of(overshot).area, 2)
        67.17
    """
    corners = [ring_of(ring) for ring in (shell, *holes)]
    if len(np.unique(corners[0], axis=0)) < 3:
        return shapely.MultiPolygon()
    inner = [ring for ring in corners[1:] if len(np.unique(ring, axis=0)) >= 3]
    polygon = shapely.Polygon(corners[0], inner)
    if polygon.is_valid:
        return polygon
    check_crossings([polygon])
    return _areas(shapely.make_valid(polygon, method="structure", keep_collapsed=False))


def ring_of(corners: Ring) -> NDArray[np.float64]:
    """The corners of a ring as an array with the columns x, y.

    Raises:
        DataError: if a coordinate is not finite, or a corner has not two.
    """
    try:
        points = np.array([(corner[0], corner[1]) for corner in corners], dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError, IndexError) as error:
        raise DataError(
            "a corner is not a pair of numbers x, y", remedy="Export the polygon again."
        ) from error
    if not np.isfinite(points).all():
        raise DataError("a corner is not finite", remedy="Export the polygon again.")
    return points


def _polygons(shape: Polygons) -> list[Polygons]:
    """The polygons of a shape that may hold points and lines too."""
    parts = [shape]
    while any(part.geom_type in ("GeometryCollection", "MultiPolygon") for part in parts):
        parts = list(shapely.get_parts(parts))
    return [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]


def _areas(shape: Polygons) -> Polygons:
    """What of a shape has an area."""
    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    return shapely.MultiPolygon(_polygons(shape))
