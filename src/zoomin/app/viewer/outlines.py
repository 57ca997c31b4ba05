"""What the map outlines of an explanation: the drawn blocks and tiles, and the sub-tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...explanation import Explanation
from ...explanation.draw import NumberLabel, number_labels

__all__ = ["Outlines", "outlines"]

_DRAWN = 4000  # outlines of sub-tiles on the map
_DRAWN_TILES = 4000


@dataclass(frozen=True)
class Outlines:
    """What is outlined on the map, heaviest first.

    Attributes:
        tiles: x, y, width, height of drawn tiles, level-0 pixels.
        sub_tiles: likewise, of the distinct sub-tiles.
        weight: of each sub-tile.
        evidence: what each says for the predicted class.
        strength: how strongly each is drawn, 0 to 1.
        numbers: of the boxes that carry them.
        label: the predicted class.
        blocks: x, y, width, height of the blocks drawn by stages above the tiles, all stages together.
    """

    tiles: list[list[float]]
    sub_tiles: list[list[float]]
    weight: list[float]
    evidence: list[float]
    strength: list[float]
    numbers: list[NumberLabel]
    label: str
    blocks: list[list[float]]


def outlines(explanation: Explanation) -> Outlines:
    """The drawn blocks and tiles and the distinct sub-tiles, the heaviest few thousand of each."""
    places = explanation.places()
    weight = places.weight[:_DRAWN]
    most = max(float(weight.max()), 1e-12) if len(weight) else 1.0
    tiles = [] if explanation.one_stage else explanation.top_tiles()[:_DRAWN_TILES].tolist()
    return Outlines(
        tiles=explanation.tiles[tiles].tolist(),
        sub_tiles=places.regions[:_DRAWN].tolist(),
        weight=weight.tolist(),
        evidence=places.evidence[:_DRAWN].tolist(),
        strength=[0.35 + 0.65 * math.sqrt(max(w, 0) / most) for w in weight.tolist()],
        numbers=number_labels(explanation, _DRAWN),
        label=explanation.label,
        blocks=[box for stage in explanation.blocks for box in stage.regions[:_DRAWN_TILES].tolist()],
    )
