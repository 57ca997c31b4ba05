"""How images look in a notebook."""

from __future__ import annotations

import torch

from ..geometry import Region
from ..runtime.notebook import SIDE, or_nothing, png
from .image import Image, layout_of

__all__ = ["image_png", "preview_scale"]

_MOST = 50_000_000  # pixels; decoding more takes too long


def preview_scale(image: Image) -> float:
    """The scale at which the longest side has `SIDE` pixels, 1 at most."""
    return min(1.0, SIDE / max(image.height, image.width))


@or_nothing
def image_png(image: Image, decoded: int) -> bytes | None:
    """The whole image at low magnification; None where it is not in three colours, or slow to decode.

    Args:
        image: the image.
        decoded: pixels that have to be decoded for that.
    """
    if decoded > _MOST or layout_of(image) != (3, torch.uint8):
        return None
    view = image.read([Region(0, 0, image.width, image.height)], preview_scale(image))[0]
    return png(view.permute(1, 2, 0).contiguous().numpy())
