"""What is laid over the image as picture tiles: the attention of both stages, the outline of the ROI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...annotations.annotation import Annotation
from ...explanation import Explanation
from ...explanation.palette import ROI, rgb
from ...geometry import Region
from .pyramid import PICTURE_TILE, Encoded, Place, encode_png

__all__ = ["LAYER_PIXELS", "STAGES", "AttentionLayer", "Stage", "colours", "roi_tile"]

Stage = Literal["both", "tiles", "positions"]
STAGES: tuple[Stage, ...] = get_args(Stage)

LAYER_PIXELS = 256  # along a side of a picture tile of a layer
_LEAST_TOP = 10.0  # times the mean: an attention that is nearly even everywhere stays pale
_SATURATED = 0.15  # share of the attention that is shown in the last colour
_ROI_WIDTH = 3  # pixels, of which the outermost is a white seam
_WHITE = (255, 255, 255)

Box = tuple[float, float, float, float]

# From the mean, clear, to the top: blue-green, yellow, orange, red; opacity grows along.
_STOPS = (
    (0.00, (38, 130, 142), 0.0),
    (0.15, (31, 158, 137), 0.45),
    (0.40, (122, 209, 81), 0.75),
    (0.65, (253, 231, 37), 0.9),
    (0.85, (253, 141, 33), 1.0),
    (1.00, (215, 25, 28), 1.0),
)


@dataclass(frozen=True)
class AttentionLayer:
    """The attention over one image, drawn for any region.

    Attributes:
        explanation: of the image.
    """

    explanation: Explanation

    def top(self, stage: Stage) -> float:
        """The attention, times its mean, above which the last colour is shown."""
        return self._tops[stage]

    def values(self, stage: Stage, region: Region, pixels: int) -> NDArray[np.float32]:
        """Attention, times its mean, averaged over each pixel of a square region; 0 where nothing was seen.

        Args:
            stage: "tiles" (stage 1), "positions" (stage 2, in the drawn tiles alone) or "both": their
                product in the drawn tiles, stage 1 elsewhere.
            region: level-0 pixels.
            pixels: along a side of the answer.
        """
        canvas = np.zeros((pixels, pixels), dtype=np.float64)
        side = self.explanation.tile_size
        if stage != "positions":
            sums = self._sums[stage]
            whole = 0.0, 0.0, (sums.shape[1] - 1) * side, (sums.shape[0] - 1) * side
            _add(canvas, sums, whole, region)
        if stage != "tiles":
            tiles = self._tiles
            near = (
                (tiles[:, 0] < region.x + region.width)
                & (tiles[:, 0] + tiles[:, 2] > region.x)
                & (tiles[:, 1] < region.y + region.height)
                & (tiles[:, 1] + tiles[:, 3] > region.y)
            )
            for k in np.flatnonzero(near):
                share = float(self._drawn_alpha[k]) if stage == "both" else 1.0
                _add(canvas, self._beta_sums[k], tuple(tiles[k].tolist()), region, share)
        return canvas.astype(np.float32)

    def tile(self, stage: Stage, place: Place) -> Encoded:
        """A picture tile of the attention, transparent where it is at or below its mean."""
        values = self.values(stage, place.region, LAYER_PIXELS)
        beyond_y = _first_beyond(self.explanation.size[0] - place.region.y, place.region.height)
        beyond_x = _first_beyond(self.explanation.size[1] - place.region.x, place.region.width)
        values[beyond_y:] = 0
        values[:, beyond_x:] = 0
        strength = np.log(np.maximum(values, 1)) / math.log(self.top(stage))
        index = np.clip(strength * 255 + 0.5, 0, 255).astype(np.uint8)
        return encode_png(colours()[index])

    @cached_property
    def _tops(self) -> dict[Stage, float]:
        alpha, beta = self._alpha, self._beta
        share = self._drawn_alpha[:, None, None]
        rest = self._undrawn[self._undrawn > 0]
        area = 1 / beta[0].size if beta.size else 1.0
        both = np.concatenate([rest, (beta * share).ravel()])
        areas = np.repeat(np.array([1, area]), [rest.size, beta.size])
        return {
            "both": _saturation(both, areas),
            "tiles": _saturation(alpha.ravel(), np.ones(alpha.size)),
            "positions": _saturation(beta.ravel(), np.ones(beta.size)),
        }

    @cached_property
    def _undrawn(self) -> NDArray[np.float32]:
        """Attention of the tiles that were not drawn; 0 in the others."""
        rest, side = self._alpha.copy(), self.explanation.tile_size
        place = np.rint(self._tiles[:, :2] / side).astype(int)
        rest[place[:, 1], place[:, 0]] = 0
        return rest

    @cached_property
    def _sums(self) -> dict[Stage, NDArray[np.float64]]:
        return {"tiles": _summed(self._alpha), "both": _summed(self._undrawn)}

    @cached_property
    def _beta_sums(self) -> list[NDArray[np.float64]]:
        return [_summed(one) for one in self._beta]

    @cached_property
    def _alpha(self) -> NDArray[np.float32]:
        attention = self.explanation.attention
        return (attention * attention.numel()).numpy().astype(np.float32)

    @cached_property
    def _beta(self) -> NDArray[np.float32]:
        beta = self.explanation.beta
        return (beta * (beta.shape[1] * beta.shape[2])).numpy().astype(np.float32)

    @cached_property
    def _drawn_alpha(self) -> NDArray[np.float32]:
        explanation = self.explanation
        return (explanation.alpha * explanation.attention.numel()).numpy().astype(np.float32)

    @cached_property
    def _tiles(self) -> NDArray[np.float64]:
        return self.explanation.tiles.numpy().reshape(-1, 4)


def colours() -> NDArray[np.uint8]:
    """The 256 colours of the attention, with their opacity, from the mean to the top."""
    at = np.linspace(0, 1, 256)
    stops = np.array([stop[0] for stop in _STOPS])
    channels = [np.interp(at, stops, [stop[1][k] for stop in _STOPS]) for k in range(3)]
    opacity = 255 * np.interp(at, stops, [stop[2] for stop in _STOPS])
    return np.stack([*channels, opacity], 1).round().astype(np.uint8)


def roi_tile(annotation: Annotation, place: Place) -> Encoded:
    """A picture tile with the ROI outlined from outside, so that the smallest one shows.

    Raises:
        DataError: if the annotation cannot be read.
    """
    region = place.region
    margin = round(_ROI_WIDTH / place.scale)
    wider = Region(
        region.x - margin, region.y - margin, region.width + 2 * margin, region.height + 2 * margin
    )
    inside = annotation.read([wider], place.scale)[0].numpy() > 0
    near, line = inside.copy(), inside
    for _ in range(_ROI_WIDTH):
        line, grown = near, near.copy()
        grown[1:] |= near[:-1]
        grown[:-1] |= near[1:]
        grown[:, 1:] |= near[:, :-1]
        grown[:, :-1] |= near[:, 1:]
        near = grown
    w = _ROI_WIDTH
    picture = np.zeros((PICTURE_TILE, PICTURE_TILE, 4), dtype=np.uint8)
    picture[near[w:-w, w:-w]] = (*_WHITE, 255)
    picture[line[w:-w, w:-w]] = (*rgb(ROI), 255)
    picture[inside[w:-w, w:-w]] = 0
    return encode_png(picture)


def _saturation(values: NDArray[np.float32], areas: NDArray[np.float64]) -> float:
    """The value above which a share of the whole lies, at least `_LEAST_TOP`."""
    if not values.size:
        return _LEAST_TOP
    order = np.argsort(-values)
    mass = np.cumsum((values * areas)[order], dtype=np.float64)
    place = int(np.searchsorted(mass, _SATURATED * mass[-1]))
    return max(float(values[order[min(place, values.size - 1)]]), _LEAST_TOP)


def _first_beyond(left: int, side: int) -> int:
    """The first pixel of a layer's picture tile that lies wholly beyond the border."""
    return math.ceil(max(0, left) * LAYER_PIXELS / side)


def _summed(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sum of what is above and to the left of each corner of a map's cells."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    return sums


def _add(
    canvas: NDArray[np.float64],
    sums: NDArray[np.float64],
    covers: Box,
    region: Region,
    share: float = 1.0,
) -> None:
    """Add a map that covers a region to the canvas of another, exactly averaged over each pixel.

    Args:
        canvas: square, of `region`.
        sums: what `_summed` gave.
        covers: x, y, width, height, level-0 pixels.
        region: level-0 pixels.
        share: factor of the map.
    """
    pixels = len(canvas)
    across = _edges(covers[0], covers[2], sums.shape[1] - 1, region.x, region.width, pixels)
    down = _edges(covers[1], covers[3], sums.shape[0] - 1, region.y, region.height, pixels)
    if across is None or down is None:
        return
    (left, x, width), (top, y, height) = across, down
    row, column = np.minimum(y.astype(int), len(sums) - 2), np.minimum(x.astype(int), len(sums[0]) - 2)
    rows = sums[row] + (sums[row + 1] - sums[row]) * (y - row)[:, None]
    corners = rows[:, column] + (rows[:, column + 1] - rows[:, column]) * (x - column)
    inside = np.diff(np.diff(corners, axis=0), axis=1)
    canvas[top : top + len(y) - 1, left : left + len(x) - 1] += inside * (share / (width * height))


def _edges(
    start: float, length: float, cells: int, origin: int, side: int, pixels: int
) -> tuple[int, NDArray[np.float64], float] | None:
    """Along one axis: the first pixel that a map touches, the pixels' edges and their width in its cells."""
    first = max(math.floor((start - origin) * pixels / side), 0)
    last = min(math.ceil((start + length - origin) * pixels / side), pixels)
    if last <= first:
        return None
    edges = (np.arange(first, last + 1) * (side / pixels) + (origin - start)) * (cells / length)
    return first, np.clip(edges, 0, cells), side / pixels * cells / length
