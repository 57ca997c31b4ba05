"""What is laid over the image as picture tiles: the attention of both stages, the outline of the ROI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ...annotations.base import Annotation
from ...explanation import Explanation
from ...geometry import Region
from .pyramid import Encoded, Place, encode_png

__all__ = ["LAYER_PIXELS", "STAGES", "AttentionLayer", "Stage", "colours", "roi_tile"]

Stage = Literal["both", "tiles", "positions"]
STAGES: tuple[Stage, ...] = get_args(Stage)

LAYER_PIXELS = 256  # along a side of a picture tile of a layer
_LEAST_TOP = 10.0  # times the mean: an attention that is nearly even everywhere stays pale
_SATURATED = 0.15  # share of the attention that is shown in the last colour
_ROI_COLOUR = (0, 200, 83)
_ROI_WIDTH = 3  # pixels

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
            stage: "tiles" (stage 1), "positions" (stage 2, in the drawn tiles alone) or "both": their product in
                the drawn tiles, stage 1 elsewhere.
            region: level-0 pixels.
            pixels: along a side of the answer.
        """
        canvas = np.zeros((pixels, pixels), dtype=np.float32)
        side = self.explanation.tile_size
        if stage != "positions":
            rows, columns = self._alpha.shape
            _paste(canvas, self._alpha, Region(0, 0, columns * side, rows * side), region)
        if stage != "tiles":
            tiles = self._tiles
            near = (
                (tiles[:, 0] < region.x + region.width)
                & (tiles[:, 0] + tiles[:, 2] > region.x)
                & (tiles[:, 1] < region.y + region.height)
                & (tiles[:, 1] + tiles[:, 3] > region.y)
            )
            for k in np.flatnonzero(near):
                share = self._drawn_alpha[k] if stage == "both" else np.float32(1)
                _paste(canvas, self._beta[k] * share, Region(*tiles[k].tolist()), region)
        return canvas

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
        alpha, beta, drawn = self._alpha, self._beta, self._drawn_alpha
        cells = beta[0].size if beta.size else 1
        rest = alpha.ravel()
        if beta.size:
            side = self.explanation.tile_size
            rest = np.delete(rest, self._tiles[:, 1] // side * alpha.shape[1] + self._tiles[:, 0] // side)
        product = (beta * drawn[:, None, None]).ravel()
        return {
            "both": _saturation(np.concatenate([rest, product]), _areas(rest.size, 1.0, product.size, 1 / cells)),
            "tiles": _saturation(alpha.ravel(), _areas(alpha.size, 1.0)),
            "positions": _saturation(beta.ravel(), _areas(beta.size, 1.0)),
        }

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
    def _tiles(self) -> NDArray[np.int64]:
        return self.explanation.tiles.numpy().astype(np.int64).reshape(-1, 4)


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
    near = inside.copy()
    for _ in range(_ROI_WIDTH):
        grown = near.copy()
        grown[1:] |= near[:-1]
        grown[:-1] |= near[1:]
        grown[:, 1:] |= near[:, :-1]
        grown[:, :-1] |= near[:, 1:]
        near = grown
    w = _ROI_WIDTH
    outline = (near & ~inside)[w:-w, w:-w]
    picture = np.zeros((*outline.shape, 4), dtype=np.uint8)
    picture[outline] = (*_ROI_COLOUR, 255)
    picture[inside[w:-w, w:-w]] = (*_ROI_COLOUR, 28)
    return encode_png(picture)


def _areas(*parts: float) -> NDArray[np.float32]:
    """Pairs of a count and the area of each of so many cells."""
    counts = [int(count) for count in parts[::2]]
    return np.repeat(np.array(parts[1::2], dtype=np.float32), counts)


def _saturation(values: NDArray[np.float32], areas: NDArray[np.float32]) -> float:
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


def _paste(
    canvas: NDArray[np.float32], values: NDArray[np.float32], covers: Region, region: Region
) -> None:
    """Draw a map that covers a region, averaged over the pixels of another region's canvas."""
    pixels = len(canvas)
    spans = []
    for start, length, origin, side, cells in (
        (covers.x, covers.width, region.x, region.width, values.shape[1]),
        (covers.y, covers.height, region.y, region.height, values.shape[0]),
    ):
        first = min(max(round((start - origin) * pixels / side), 0), pixels - 1)
        last = min(max(round((start + length - origin) * pixels / side), first + 1), pixels)
        low, high = (
            min(max((pixel * side / pixels + origin - start) * cells / length, 0), cells)
            for pixel in (first, last)
        )
        if high <= low:
            return
        spans.append((first, last, low, high))
    (left, right, x0, x1), (top, bottom, y0, y1) = spans
    drawn = PillowImage.fromarray(values).resize(
        (right - left, bottom - top), PillowImage.Resampling.BOX, box=(x0, y0, x1, y1)
    )
    canvas[top:bottom, left:right] = np.asarray(drawn)
