"""Zoom stages above the tiles, in the record of an answer: blocks drawn, and the attention inside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

__all__ = ["BlockEvidence", "block_attention"]


@dataclass(frozen=True, eq=False)
class BlockEvidence:
    """The blocks that one stage drew, that of highest attention first.

    Attributes:
        size: side of a block, level-0 pixels.
        regions: x, y, width, height of the blocks drawn.
        alpha: attention of each, the product of the stages down to it.
        inside: attention of the next stage inside each, over its blocks or tiles; each sums to 1.
        crops: pixels of the first blocks.
    """

    size: float
    regions: Float64[Tensor, "drawn 4"]
    alpha: Float[Tensor, " drawn"]
    inside: Float[Tensor, "drawn rows columns"]
    crops: UInt8[Tensor, "crops 3 side side"]

    def count(self, size: tuple[int, int]) -> int:
        """How many blocks there are in an image of this height and width, level-0 pixels."""
        return math.prod(math.ceil(side / self.size) for side in size)

    def holding(self, boxes: Float64[Tensor, "n 4"]) -> Int[Tensor, " n"]:
        """The block that holds each of some boxes of later stages, a row of `regions`."""
        centre = boxes[:, None, :2] + boxes[:, None, 2:] / 2
        low, side = self.regions[None, :, :2], self.regions[None, :, 2:]
        return ((centre >= low) & (centre < low + side)).all(2).to(torch.int8).argmax(1)


def block_attention(attention: Float[Tensor, "rows columns"], tiles: int) -> Float[Tensor, "_ _"]:
    """Attention over the blocks of an image, from that over its tiles.

    Args:
        attention: over the tiles; sums to 1.
        tiles: in a row of a block.

    Example:
        >>> block_attention(torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.1, 0.2]]), 2)
        tensor([[0.5000, 0.5000]])
    """
    rows, columns = (-(-n // tiles) for n in attention.shape)
    whole = attention.new_zeros(rows * tiles, columns * tiles)
    whole[: attention.shape[0], : attention.shape[1]] = attention
    return whole.reshape(rows, tiles, columns, tiles).sum((1, 3))
