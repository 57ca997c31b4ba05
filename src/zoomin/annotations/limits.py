"""How much an annotation may ask for: what cannot be computed in minutes is refused, naming the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..errors import DataError

__all__ = ["BYTES", "MOST", "check_crossings", "check_file", "check_vertices"]

BYTES = 1 << 29  # of a file of polygons: read at once, it takes ten times its size
MOST = 2_000_000  # corners of a file; drawn by hand, slides have thousands, traced by a program 10^5
_CROSSINGS = 10  # of an edge with others, on average, beside a million: drawings have next to none
_SPARE = 1_000_000
_PAIRS = 1 << 24  # of edges that are compared together
_SIMPLIFY = (
    "Simplify the outlines (QuPath: Objects, Annotations, Simplify shape), or give a mask image of a lower "
    "resolution."
)


def check_file(path: Path) -> None:
    """Refuse a file that is too large to read as polygons.

    Raises:
        DataError: naming it.
        OSError: if it cannot be looked at.
    """
    if (size := path.stat().st_size) > BYTES:
        raise DataError(
            f"{size / 2**20:,.0f} MiB of polygons, more than {BYTES >> 20}", where=path, remedy=_SIMPLIFY
        )


def check_vertices(count: int, path: Path | str) -> None:
    """Refuse a number of corners.

    Raises:
        DataError: naming the file.
    """
    if count > MOST:
        raise DataError(f"polygons of {count:,} corners, more than {MOST:,}", where=path, remedy=_SIMPLIFY)


def check_crossings(shapes: Sequence[Any], name: Path | str | None = None) -> None:
    """Refuse outlines that cross each other or themselves all over: n edges may cross n^2 / 4 times.

    Args:
        shapes: polygons or rings of shapely, valid or not.
        name: of the annotation, for the message.

    Raises:
        DataError: naming it, if far more edges cross than in any drawing.
    """
    edges = _edges(shapes)
    limit = _CROSSINGS * len(edges) + _SPARE
    if len(edges) ** 2 <= limit:  # whatever they do
        return
    lines = shapely.linestrings(edges)
    tree = shapely.STRtree(lines)
    for how in (None, "crosses"):  # boxes of edges meet more often than edges, and are compared faster
        if not _more(lines, tree, how, limit):
            return
    raise DataError(
        f"outlines of {len(edges):,} edges that cross almost everywhere", where=name, remedy=_SIMPLIFY
    )


def _more(lines: NDArray[Any], tree: Any, how: str | None, limit: int) -> bool:  # noqa: ANN401 (of shapely)
    """Whether more pairs than so many meet."""
    step = max(1, _PAIRS // len(lines))
    met = 0
    for first in range(0, len(lines), step):
        met += tree.query(lines[first : first + step], predicate=how).shape[1]
        if met > limit:
            return True
    return False


def _edges(shapes: Sequence[Any]) -> NDArray[np.float64]:
    """Both ends of each edge: (n, 2, 2)."""
    rings = shapely.get_rings(np.asarray(shapes, dtype=object))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    ends = np.stack([points[:-1], points[1:]], axis=1)
    return np.asarray(ends[ring[1:] == ring[:-1]])
