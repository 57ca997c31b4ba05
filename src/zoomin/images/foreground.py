"""Settings of the foreground: which tiles of an image can hold anything."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError, require

__all__ = ["Foreground", "foreground_from_dict"]


@dataclass(frozen=True)
class Foreground:
    """Which tiles of an image can hold anything: the others get no attention.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    method: Literal["none", "mask", "otsu"] = "none"
    """Which tiles count. "none": every tile. "mask": the tiles inside the mask file of the image (column
    `foreground` of the manifest), and every tile of an image without one. "otsu": likewise, but where there
    is no mask file, tissue is found in the overview: on bright glass by colour saturation, on a dark
    background by brightness."""

    min_share: float = 0.02
    """Smallest share of a tile, 0 to 1, that must be foreground for the tile to count. 0.02 keeps thin tissue
    and drops specks of dust."""

    side: int = 1024
    """Longest side of the overview in which tissue is detected, in pixels. 1024 takes a fraction of a second
    on a slide."""

    threshold: float | None = None
    """Threshold of the saturation (dark background: brightness), 0 to 1, instead of Otsu's; null: Otsu's,
    which adapts to each image."""

    pens: bool = True
    """Count strokes of green, blue and cyan pens as background. Where they cover half as much as the other
    tissue, or more, they are taken for a stain."""

    min_area: int = 16
    """Pieces of tissue, and holes in it, that are smaller than this are ignored; in pixels of the overview.
    16 removes noise."""

    def __post_init__(self) -> None:
        """Check the values."""
        methods = ("none", "mask", "otsu")
        require(self.method in methods, "foreground.method", self.method, "Choose none, mask or otsu.")
        require(0 <= self.min_share <= 1, "foreground.min_share", self.min_share, "Give a share from 0 to 1.")
        require(self.side >= 16, "foreground.side", self.side, "Give at least 16 pixels.")
        require(
            self.threshold is None or 0 <= self.threshold <= 1,
            "foreground.threshold",
            self.threshold,
            "Give a number from 0 to 1, or null.",
        )
        require(self.min_area >= 0, "foreground.min_area", self.min_area, "Give 0 or more pixels.")


def foreground_from_dict(values: dict[str, Any], where: str | None) -> Foreground:
    """The settings from plain values, as a saved model holds them.

    Raises:
        ConfigError: on a name that this version does not know, or a value that cannot work.
    """
    if unknown := sorted(set(values) - {f.name for f in dataclasses.fields(Foreground)}):
        raise ConfigError(
            f"unknown foreground settings {', '.join(unknown)}",
            where=where,
            remedy="The model was saved by another version of zoomin: upgrade, or remove these settings.",
        )
    return Foreground(**values)
