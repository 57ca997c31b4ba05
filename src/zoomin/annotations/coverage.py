"""The exact share of polygons in the pixels of views: signed areas under edges, summed along rows.

An edge adds, to every pixel right of it, the height that it spans there, with the sign of its direction; in
the pixels that it crosses, the area to its right. Summed over the closed, equally oriented outline of a
polygon, what is left is the area inside: exact for any polygon, pixel and number of vertices.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

__all__ = ["coverage"]

_NOISE = 1e-11  # what is left of edges that cancel, in shares of a pixel
_AT_ONCE = 1 << 20  # crossings of edges with rows and columns of pixels: bounds the memory beside the views


def coverage(
    edges: Float64[np.ndarray, "edges 4"], view: Int64[np.ndarray, " edges"], shape: tuple[int, int, int]
) -> Float64[np.ndarray, "views rows columns"]:
    """The area, in pixels of a view, that closed outlines cover in each of its pixels.

    Args:
        edges: x0, y0, x1, y1 in pixels of the edge's view; they may reach beyond it. Outlines run so that
            their interior lies to the right of the way from (x0, y0) to (x1, y1) where y points down
            (clockwise on the screen), holes the other way. Interiors must not overlap.
        view: which view each edge is visible in.
        shape: number of views, rows and columns of a view.

    Example:
        >>> square = np.array([[0, 0, 1.5, 0], [1.5, 0, 1.5, 1], [1.5, 1, 0, 1], [0, 1, 0, 0]])
        >>> coverage(square, np.zeros(4, dtype=np.int64), (1, 1, 2)).tolist()
        [[[1.0, 0.5]]]
    """
    views, rows, columns = shape
    sums = np.zeros(views * rows * (columns + 1))
    top, bottom = np.minimum(edges[:, 1], edges[:, 3]), np.maximum(edges[:, 1], edges[:, 3])
    left = np.minimum(edges[:, 0], edges[:, 2])
    visible = (np.maximum(top, 0) < np.minimum(bottom, rows)) & (left < columns)
    edges, view = edges[visible], view[visible]
    for part in _chunks(edges, rows, columns):
        _add_edges(sums, edges[part], view[part], rows, columns)
    covered: NDArray[np.float64] = sums.reshape(views, rows, columns + 1).cumsum(axis=2)[:, :, :-1]
    covered[np.abs(covered) < _NOISE] = 0
    return covered.clip(0, 1)


def _chunks(edges: NDArray[np.float64], rows: int, columns: int) -> Iterator[slice]:
    """Parts of the edges that cross few rows and columns."""
    down = np.abs(edges[:, 3].clip(0, rows) - edges[:, 1].clip(0, rows)) + 2
    across = np.abs(edges[:, 2].clip(0, columns) - edges[:, 0].clip(0, columns)) + 2
    part = ((down + across).cumsum() // _AT_ONCE).astype(np.int64)
    cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(edges)]
    for start, stop in pairwise(cuts):
        if start < stop:
            yield slice(start, stop)


def _add_edges(
    sums: NDArray[np.float64], edges: NDArray[np.float64], view: NDArray[np.int64], rows: int, columns: int
) -> None:
    """Cut edges at the borders of rows, then of columns, and add each piece to its pixel."""
    x0, y0, x1, y1 = edges.T
    top, bottom = np.minimum(y0, y1).clip(0, rows), np.maximum(y0, y1).clip(0, rows)
    first = np.floor(top).astype(np.int64)
    edge, row = _spread(first, np.ceil(bottom).astype(np.int64) - first)
    upper, lower = np.maximum(top[edge], row), np.minimum(bottom[edge], row + 1)
    slope = ((x1 - x0) / (y1 - y0))[edge]
    reach = np.minimum(x0, x1)[edge], np.maximum(x0, x1)[edge]
    xa = (x0[edge] + (upper - y0[edge]) * slope).clip(*reach)
    xb = (x0[edge] + (lower - y0[edge]) * slope).clip(*reach)
    height = np.where(y0 > y1, 1.0, -1.0)[edge] * (lower - upper)
    place = (view[edge] * rows + row) * (columns + 1)

    left, right = np.minimum(xa, xb), np.maximum(xa, xb)
    with np.errstate(divide="ignore", invalid="ignore"):
        before = np.where(right > left, (np.minimum(right, 0) - left) / (right - left), left < 0).clip(0, 1)
    np.add.at(sums, place, height * before)  # what lies left of the view counts in the whole row
    start = np.floor(left.clip(0, columns)).astype(np.int64)
    stop = np.maximum(np.ceil(right.clip(0, columns)).astype(np.int64), start + (left >= 0))
    piece, column = _spread(start, np.minimum(stop, columns) - start)
    a, b = np.maximum(left[piece], column), np.minimum(right[piece], column + 1)
    width = (right - left)[piece]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(width > 0, (b - a) / width, 1.0)
    part = height[piece] * share
    middle = (a + b) / 2 - column
    np.add.at(sums, place[piece] + column, part * (1 - middle))
    np.add.at(sums, place[piece] + column + 1, part * middle)


def _spread(
    first: NDArray[np.int64], count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each item its numbers first, first + 1, ...: the item, and the number."""
    count = np.maximum(count, 0)
    item = np.repeat(np.arange(len(first)), count)
    return item, first[item] + np.arange(len(item)) - (count.cumsum() - count)[item]
