"""Networks that look at what is bright red, and dark images with one such object at a known place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor, nn

from zoomin.model import ZoomIn, ZoomInConfig

SIDE = 7  # of the object, level-0 pixels


class Redness(nn.Module):
    """Attention logits that grow with the red of the view; white, as beyond the border, is none."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, views: Tensor) -> Tensor:
        return self.strength * (views[:, 0] - views[:, 1])


def bright_net(
    tile_size: int = 37, tile_scale: float = 0.3, sub_tile_scale: float = 0.27, **settings: object
) -> ZoomIn:
    """A network that attends to red places; its classes are dark and bright."""
    torch.manual_seed(0)
    config = ZoomInConfig(
        tile_size=tile_size,
        sub_tile_size=9,
        tile_scale=tile_scale,
        sub_tile_scale=sub_tile_scale,
        n_samples=6,
        class_names=("dark", "bright"),
        **settings,  # type: ignore[arg-type]
    )
    net = ZoomIn(config)
    net.tile_attention, net.position_attention = Redness(60.0), Redness(6.0)
    return net.eval()


def dark_image(height: int, width: int, centre: tuple[float, float]) -> np.ndarray:
    """Dark noise with a red square centred at (x, y)."""
    pixels = np.random.default_rng(0).integers(0, 30, size=(height, width, 3), dtype=np.uint8)
    x, y = (int(c - SIDE / 2) for c in centre)
    pixels[y : y + SIDE, x : x + SIDE] = 255, 0, 0
    return pixels


def save_image(pixels: np.ndarray, path: Path) -> Path:
    """Write a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(pixels).save(path)
    return path
