"""A small residual network that learns from pixels on a CPU: few channels, an early large stride.

The features are means and maxima of the last map. What decides an image may be a few pixels of a sub-tile,
which the mean dilutes; but it reaches all weights from the first step on, as the maximum does not. The stem
halves the resolution three times at once, because three quarters of what a network of this size costs would
else go into its first maps.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["SmallResNet"]

_STEM = (16, 32)  # channels at stride 4 and 8
_BLOCKS = ((32, 1), (64, 2))  # channels and stride


def _convolution(channels: int, out: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    """A convolution and batch normalisation, which has the bias."""
    return nn.Sequential(nn.Conv2d(channels, out, kernel, stride, padding, bias=False), nn.BatchNorm2d(out))


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels, out, 3, stride, 1)
        self.second = _convolution(out, out, 3, 1, 1)
        same = channels == out and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(channels, out, 1, stride, 0)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(self.relu(self.first(x)))
        found: Tensor = self.relu(inner + self.shortcut(x))
        return found


class SmallResNet(nn.Sequential):
    """Convolutions of strides 4 and 2, two residual blocks to stride 16, mean and maximum of each channel.

    Input: sub-tiles (n, 3, h, w), float. Output: (n, dims).
    """

    dims = 2 * _BLOCKS[-1][0]

    def __init__(self) -> None:
        """Draw the weights."""
        first, second = _STEM
        layers: list[nn.Module] = [
            _convolution(3, first, 6, 4, 1),
            nn.ReLU(inplace=True),
            _convolution(first, second, 3, 2, 1),
            nn.ReLU(inplace=True),
        ]
        channels = second
        for out, stride in _BLOCKS:
            layers.append(_Block(channels, out, stride))
            channels = out
        super().__init__(*layers)

    def forward(self, sub_tiles: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n dims"]:
        """Features of sub-tiles."""
        for layer in self:
            sub_tiles = layer(sub_tiles)
        return torch.cat([sub_tiles.mean((2, 3)), sub_tiles.amax((2, 3))], 1)
