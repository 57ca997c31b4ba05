"""What a stage above the tiles saves: pixels read and peak memory of one forward pass, two stages and three.

    python benchmarks/zoom_stages.py

The images are made up while they are read, so that nothing but the network is measured; a process each.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from zoomin import ZoomIn, ZoomInConfig
from zoomin.geometry import Region, view_size
from zoomin.model import BlockStage

SIDES = (25_000, 50_000, 100_000)


class Noise:
    """An image of any size that is stored nowhere."""

    name, mpp = "noise", None

    def __init__(self, side: int) -> None:
        """A square of `side` pixels."""
        self.height = self.width = side

    def read(self, regions: Sequence[Region], scale: float) -> Tensor:
        """Random bytes."""
        height, width = (view_size(side, scale) for side in regions[0][:1:-1])
        return torch.randint(256, (len(regions), 3, height, width), dtype=torch.uint8)


def measure(side: int, stages: int) -> str:
    """One row of the table.

    Args:
        side: of the image, pixels.
        stages: 2 or 3.
    """
    torch.manual_seed(0)
    blocks = (BlockStage(3200, 1 / 32, "lenet_relu"),) if stages == 3 else ()
    net = ZoomIn(
        ZoomInConfig(
            tile_size=400,
            sub_tile_size=64,
            tile_scale=0.125,
            sub_tile_scale=0.25,
            n_samples=32,
            sampling="systematic",
            tile_attention="lenet_relu",
            blocks=blocks,
        )
    ).eval()
    with torch.inference_mode():
        out = net([Noise(side)], generator=torch.Generator().manual_seed(0))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    read = int(out.pixels_read[0]) / 1e6
    return f"| {side:,} x {side:,} | {stages} | {read:.1f} million | {peak:,} MB |"


def main() -> None:
    """Print the table, or one row of it."""
    if len(sys.argv) == 3:
        print(measure(int(sys.argv[1]), int(sys.argv[2])))
        return
    print("| image | stages | pixels read | peak memory |\n| --- | --- | --- | --- |")
    for side in SIDES:
        for stages in (2, 3):
            command = [sys.executable, str(Path(__file__)), str(side), str(stages)]
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


if __name__ == "__main__":
    main()
