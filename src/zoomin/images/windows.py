"""Which stored blocks a set of boxes touches, and how to read each of them once, in bounded pieces.

All coordinates are pixels of one stored level. A *window* is a row x0, y0, x1, y1 with x1 and y1 exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Piece", "Window", "count_blocks", "pieces"]

Windows = npt.NDArray[np.int64]

_PIECE = 1 << 22  # pixels read at a time, unless one block is larger


class Window(NamedTuple):
    """A box of a stored level, x1 and y1 exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def area(self) -> int:
        """Pixels."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass
class Piece:
    """One read: the window to decode, and the parts of boxes that lie in it.

    Attributes:
        window: the smallest that holds all the parts.
        parts: which box, and the part of its window.
    """

    window: Window
    parts: list[tuple[int, Window]] = field(default_factory=list)


def count_blocks(window: Window, block: tuple[int, int]) -> int:
    """Stored blocks (height, width) that a window touches.

    Example:
        >>> count_blocks(Window(10, 0, 300, 256), (256, 256))
        2
    """
    height, width = block
    rows = -(-window.y1 // height) - window.y0 // height
    columns = -(-window.x1 // width) - window.x0 // width
    return rows * columns


def pieces(windows: Windows, block: tuple[int, int]) -> Iterator[Piece]:
    """Reads that together cover all windows and touch each stored block once.

    Blocks that adjoin are read together, up to about four million pixels.

    Args:
        windows: one row per box; rows without area are left out.
        block: height and width of a stored block.
    """
    sides = np.array([block[1], block[0], block[1], block[0]])
    spans = windows // sides
    spans[:, 2:] = -(-windows[:, 2:] // sides[2:])
    filled = np.flatnonzero((windows[:, 2] > windows[:, 0]) & (windows[:, 3] > windows[:, 1]))
    if not len(filled):
        return
    origin = spans[filled, :2].min(0)
    columns, rows = spans[filled, 2:].max(0) - origin
    spans = spans - np.tile(origin, 2)
    size = block[0] * block[1]
    if len(filled) == 1 and columns <= _widest(block) and rows * columns * size <= _PIECE:
        only = Window(*windows[filled[0]].tolist())
        yield Piece(only, [(int(filled[0]), only)])
        return
    touched = np.zeros((rows, columns), dtype=bool)
    for x0, y0, x1, y1 in spans[filled].tolist():
        touched[y0:y1, x0:x1] = True
    owner, count = _rectangles(touched, block)
    parts: list[list[tuple[int, Window]]] = [[] for _ in range(count)]
    bounds = _bounds_of_owners(owner, count) + np.tile(origin, 2)
    limits = (bounds * sides).tolist()
    for index, (bx0, by0, bx1, by1) in zip(filled.tolist(), spans[filled].tolist(), strict=True):
        x0, y0, x1, y1 = windows[index].tolist()
        own = owner[by0:by1, bx0:bx1]
        for one in {int(own[0, 0])} if own.size == 1 else set(np.unique(own).tolist()):
            left, top, right, bottom = limits[one]
            part = Window(max(x0, left), max(y0, top), min(x1, right), min(y1, bottom))
            parts[one].append((index, part))
    for own_parts in parts:
        corners = [window for _, window in own_parts]
        x0s, y0s, x1s, y1s = zip(*corners, strict=True)
        yield Piece(Window(min(x0s), min(y0s), max(x1s), max(y1s)), own_parts)


def _rectangles(touched: npt.NDArray[np.bool_], block: tuple[int, int]) -> tuple[npt.NDArray[np.int64], int]:
    """Number the touched blocks by rectangle, -1 elsewhere: runs in a row, stacked where they are equal."""
    height, width = block
    widest = _widest(block)
    owner = np.full(touched.shape, -1, dtype=np.int64)
    count = 0
    open_runs: dict[tuple[int, int], tuple[int, int]] = {}  # columns -> rectangle, its rows
    for row in range(touched.shape[0]):
        runs = _runs(touched[row], widest)
        still: dict[tuple[int, int], tuple[int, int]] = {}
        for run in runs:
            one, rows = open_runs.get(run, (-1, 0))
            if one < 0 or (rows + 1) * height * width * (run[1] - run[0]) > _PIECE:
                one, rows, count = count, 0, count + 1
            owner[row, run[0] : run[1]] = one
            still[run] = (one, rows + 1)
        open_runs = still
    return owner, count


def _widest(block: tuple[int, int]) -> int:
    """Columns of blocks that are read together at most."""
    return max(1, int((_PIECE**0.5) // block[1]))


def _runs(row: npt.NDArray[np.bool_], widest: int) -> list[tuple[int, int]]:
    """Runs of true values, first and beyond last, none longer than `widest`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
    runs = []
    for start, stop in edges.reshape(-1, 2).tolist():
        runs += [(first, min(first + widest, stop)) for first in range(start, stop, widest)]
    return runs


def _bounds_of_owners(owner: npt.NDArray[np.int64], count: int) -> Windows:
    """Columns and rows that each rectangle spans: x0, y0, x1, y1 in blocks."""
    rows, columns = np.nonzero(owner >= 0)
    own = owner[rows, columns]
    bounds = np.empty((count, 4), dtype=np.int64)
    bounds[:, :2], bounds[:, 2:] = np.iinfo(np.int64).max, -1
    np.minimum.at(bounds[:, 0], own, columns)
    np.minimum.at(bounds[:, 1], own, rows)
    np.maximum.at(bounds[:, 2], own, columns + 1)
    np.maximum.at(bounds[:, 3], own, rows + 1)
    return bounds
