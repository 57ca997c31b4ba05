"""What is laid over the image as picture tiles: the attention of both stages, the outline of the ROI."""

from __future__ import annotations

import math

import numpy as np

from ...annotations.annotation import Annotation
from ...explanation import Evidence
from ...explanation.evidence import Stage
from ...explanation.palette import ROI, heat_rgba, rgb
from ...geometry import Region
from .pyramid import PICTURE_TILE, EncodedTile, Place, encode_png

__all__ = ["LAYER_PIXELS", "attention_tile", "roi_tile"]

LAYER_PIXELS = 256  # along a side of a picture tile of a layer
_ROI_WIDTH = 2  # pixels, of which the outermost is a dark seam
_SEAM = (17, 17, 17)


def attention_tile(evidence: Evidence, stage: Stage, place: Place) -> EncodedTile:
    """A picture tile of the attention, transparent where it is at or below its mean."""
    x, y, side, _ = place.region
    step = (side / LAYER_PIXELS,) * 2
    values = evidence.heat_map(
        LAYER_PIXELS, LAYER_PIXELS, step, origin=(float(y), float(x)), stage=stage
    ).numpy()
    values[_first_beyond(evidence.size[0] - y, side) :] = 0
    values[:, _first_beyond(evidence.size[1] - x, side) :] = 0
    return encode_png(heat_rgba(values))


def roi_tile(annotation: Annotation, place: Place) -> EncodedTile:
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
    picture[near[w:-w, w:-w]] = (*_SEAM, 255)
    picture[line[w:-w, w:-w]] = (*rgb(ROI), 255)
    picture[inside[w:-w, w:-w]] = 0
    return encode_png(picture)


def _first_beyond(left: int, side: int) -> int:
    """The first pixel of a layer's picture tile that lies wholly beyond the border."""
    return math.ceil(max(0, left) * LAYER_PIXELS / side)
