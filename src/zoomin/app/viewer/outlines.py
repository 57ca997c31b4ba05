"""What the map outlines of an explanation: the drawn tiles and the sub-tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...explanation import Explanation

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
        label: the predicted class.
    """

    tiles: list[list[int]]
    sub_tiles: list[list[int]]
    weight: list[float]
    evidence: list[float]
    strength: list[float]
    label: str


def outlines(explanation: Explanation) -> Outlines:
    """The drawn tiles and the distinct sub-tiles, the heaviest few thousand of each."""
    places, k = explanation.places(), explanation.classes.index(explanation.label)
    evidence = places.contribution[:, k] - places.contribution.mean(1)
    weight = places.weight[:_DRAWN]
    most = max(float(weight.max()), 1e-12) if len(weight) else 1.0
    order = explanation.alpha.argsort(descending=True, stable=True)[:_DRAWN_TILES]
    return Outlines(
        tiles=explanation.tiles[order].tolist(),
        sub_tiles=places.regions[:_DRAWN].tolist(),
        weight=weight.tolist(),
        evidence=evidence[:_DRAWN].tolist(),
        strength=[0.35 + 0.65 * math.sqrt(max(w, 0) / most) for w in weight.tolist()],
        label=explanation.label,
    )
