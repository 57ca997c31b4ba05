"""Area averages of boxes whose edges fall anywhere, not only between pixels.

The weights are separable: the overlap of a view pixel with a source pixel is the product of their overlaps
along rows and columns. Sums are of single precision; where the edges fall between pixels they are sums of
integers, hence exact for boxes of up to 65,000 pixels, and agree with `averaging.average_boxes` to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError

__all__ = ["Axis", "average_crops", "average_windows", "checked_boxes", "contract", "finish", "sums_of"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_GROUP = 16  # view pixels weighted in one product of matrices
_SNAP = 1e-6  # edges this near to a whole number were meant to be one
_HALF_UP = np.float32(0.5 + 1e-4)  # single precision must not round a tie down


@dataclass(frozen=True)
class Axis:
    """Where the view pixels of n boxes lie along one axis, in pixels of the source.

    Attributes:
        edges: (n, count + 1), ascending.
        border: length of the source; beyond it lies the background. Not necessarily whole.
    """

    edges: Doubles
    border: float

    @classmethod
    def of(cls, start: Doubles, length: Doubles, count: int, pixel: float, border: float) -> Axis:
        """Boxes that start and reach so far, cut into `count` view pixels.

        Args:
            start: level-0 pixels, (n,).
            length: level-0 pixels, (n,).
            count: view pixels.
            pixel: level-0 pixels of one source pixel.
            border: level-0 pixels of the image.
        """
        edges = (start[:, None] * count + np.arange(count + 1) * length[:, None]) / (count * pixel)
        whole = np.rint(edges)
        return cls(np.where(np.abs(edges - whole) < _SNAP, whole, edges), border / pixel)

    @property
    def inside(self) -> Doubles:
        """The edges, drawn in to the border."""
        return np.clip(self.edges, 0.0, self.border)

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """The pixel in which each box starts, maybe beyond the border; (n,)."""
        return np.floor(self.edges[:, 0]).astype(np.int64)

    @property
    def reach(self) -> int:
        """Pixels from the first that hold any of the boxes, border or not."""
        return int((np.ceil(self.edges[:, -1]).astype(np.int64) - self.first).max())

    @property
    def whole(self) -> bool:
        """Whether every view pixel is one source pixel."""
        if not bool((self.edges[:, 0] == np.rint(self.edges[:, 0])).all()):
            return False
        return bool((np.abs(self.edges - self.edges[:, :1] - np.arange(self.edges.shape[1])) < _SNAP).all())

    def rows(self, index: slice) -> Axis:
        """Some of the boxes."""
        return Axis(self.edges[index], self.border)


def contract(values: npt.NDArray[Any], edges: Doubles) -> Floats:
    """Sums of (n, length, m) over the intervals between the edges (n, count + 1): (n, count, m).

    Only the values of one product of matrices are in single precision at a time.

    Example:
        >>> contract(np.array([[[1], [2], [4]]], dtype=np.float32), np.array([[0, 1.5, 3]])).ravel().tolist()
        [2.0, 5.0]
    """
    count, length = edges.shape[1] - 1, values.shape[1]
    sums = np.zeros((len(values), count, values.shape[2]), dtype=np.float32)
    for start in range(0, count, _GROUP):
        own = edges[:, start : start + _GROUP + 1]
        low, high = max(int(own.min()), 0), min(int(np.ceil(own.max())), length)
        if low >= high:
            continue
        pixel = np.arange(low, high)
        stop = np.minimum(own[:, 1:, None], pixel + 1)
        weights = np.maximum(stop - np.maximum(own[:, :-1, None], pixel), 0).astype(np.float32)
        np.matmul(
            weights, values[:, low:high].astype(np.float32, copy=False), out=sums[:, start : start + _GROUP]
        )
    return sums


def sums_of(pixels: npt.NDArray[Any], y_edges: Doubles, x_edges: Doubles) -> Floats:
    """Weighted sums of (n, height, width, channels) over boxes: (n, rows, columns, channels)."""
    n, height, width, channels = pixels.shape
    down = contract(pixels.reshape(n, height, width * channels), y_edges)
    rows = down.shape[1]
    turned = down.reshape(n, rows, width, channels).transpose(0, 2, 1, 3).reshape(n, width, rows * channels)
    across = contract(turned, x_edges)
    return across.reshape(n, -1, rows, channels).transpose(0, 2, 1, 3)


def finish(
    sums: Floats, y: Axis, x: Axis, background: tuple[float | int, ...], dtype: npt.DTypeLike = np.uint8
) -> npt.NDArray[Any]:
    """Means from sums over what is inside: the rest of each box is background. Bytes are rounded half up."""
    sizes = [np.diff(axis.edges).astype(np.float32) for axis in (y, x)]
    covers = [np.diff(axis.inside).astype(np.float32) for axis in (y, x)]
    area = (sizes[0][:, :, None] * sizes[1][:, None, :])[..., None]
    cover = (covers[0][:, :, None] * covers[1][:, None, :])[..., None]
    if bool((cover < area).any()):
        sums = sums + (area - cover) * np.array(background, dtype=np.float32)
    if dtype != np.uint8:
        return (sums / area).astype(dtype)
    return np.floor(sums / area + _HALF_UP).clip(0, 255).astype(np.uint8)


def average_crops(
    crops: npt.NDArray[Any],
    y: Axis,
    x: Axis,
    background: tuple[float | int, ...],
    dtype: npt.DTypeLike = np.uint8,
) -> npt.NDArray[Any]:
    """The views of n boxes from crops (n, height, width, 3) that start at the axes' first pixels."""
    y_edges, x_edges = y.inside - y.first[:, None], x.inside - x.first[:, None]
    return finish(sums_of(crops, y_edges, x_edges), y, x, background, dtype)


def checked_boxes(boxes: object, rows: int, columns: int, name: str) -> Doubles:
    """Boxes x, y, width, height as an array (n, 4).

    Raises:
        ImageError: if a box or the view is empty, or a number is not finite.
    """
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if rows < 1 or columns < 1 or not np.isfinite(array).all() or bool((array[:, 2:] <= 0).any()):
        raise ImageError(
            f"boxes without area, or a view of {rows} x {columns} pixels",
            where=name,
            remedy="Give finite boxes of positive width and height, and at least one view pixel.",
        )
    return array


def average_windows(
    source: Bytes, boxes: Doubles, size: tuple[int, int], background: tuple[int, int, int]
) -> Bytes:
    """The views of boxes x, y, width, height of a whole image in memory (height, width, 3).

    Returns:
        (n, rows, columns, 3).
    """
    views = np.empty((len(boxes), *size, 3), dtype=np.uint8)
    for view, (x, y, width, height) in zip(views, boxes[:, None, :, None].transpose(0, 2, 1, 3), strict=True):
        axes = (
            Axis.of(y[0], height[0], size[0], 1.0, float(source.shape[0])),
            Axis.of(x[0], width[0], size[1], 1.0, float(source.shape[1])),
        )
        (top, bottom), (left, right) = ((int(a.inside[0, 0]), int(np.ceil(a.inside[0, -1]))) for a in axes)
        crop = source[top:bottom, left:right][None]
        sums = sums_of(crop, axes[0].inside - top, axes[1].inside - left)
        view[:] = finish(sums, *axes, background)[0]
    return views
