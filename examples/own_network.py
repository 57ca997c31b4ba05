"""Your own networks: any `torch.nn.Module` as f, a or b of a Zoom-In model, saved and loaded again.

python examples/own_network.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from zoomin import ZoomIn, ZoomInConfig
from zoomin.errors import ConfigError


class Edges(nn.Module):
    """f: from sub-tiles (n, 3, h, w) to features (n, dims); their number is measured."""

    def __init__(self, dims: int = 24) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, dims, 3, padding=1), nn.GELU(), nn.Conv2d(dims, dims, 3, stride=2), nn.GELU()
        )

    def forward(self, sub_tiles: Tensor) -> Tensor:
        return self.layers(sub_tiles).amax((2, 3))


class Wide(nn.Module):
    """a: from views (n, 3, h, w) to one map of logits for each (n, rows, columns), of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 1, 9, padding=4)

    def forward(self, views: Tensor) -> Tensor:
        return self.convolution(views).squeeze(1)


def main(folder: Path) -> None:
    """Build, train a step, save, load."""
    config = ZoomInConfig(tile_size=64, sub_tile_size=15, tile_scale=0.25, n_samples=4)
    net = ZoomIn(config, features=Edges(), tile_attention=Wide())
    images = torch.randint(256, (2, 3, 130, 150), dtype=torch.uint8)
    nn.functional.cross_entropy(net(images).logits, torch.tensor([0, 1])).backward()
    print("networks:", net.config.tile_attention, net.config.position_attention, net.config.features)

    net.save_pretrained(folder / "model")
    try:
        ZoomIn.from_pretrained(folder / "model")
    except ConfigError as error:
        print("without them:", error)
    again = ZoomIn.from_pretrained(folder / "model", features=Edges(), tile_attention=Wide())
    keys = torch.arange(2)
    same = torch.equal(net.eval()(images, keys=keys).logits, again(images, keys=keys).logits)
    print("loaded, same answers:", same)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
