"""Attention as a dense map of any region, exactly averaged over the pixels of the map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["attention_density"]


def attention_density(
    tile_size: float,
    attention: Float[Tensor, "rows columns"],
    tiles: Float[Tensor, "drawn 4"],
    beta: Float[Tensor, "drawn u v"],
    shape: tuple[int, int],
    step: tuple[float, float],
    origin: tuple[float, float] = (0.0, 0.0),
) -> Float[Tensor, "height width"]:
    """Sum of a map over all tiles and of maps inside some of them, averaged over each pixel of a picture.

    No peak is lost, however small the picture.

    Args:
        tile_size: side of a tile, level-0 pixels.
        attention: a value per tile.
        tiles: x, y, width, height of the tiles that have a map of their own.
        beta: that map.
        shape: rows and columns of the picture.
        step: height and width of its pixels, level-0 pixels.
        origin: y and x of its corner, level-0 pixels.

    Example:
        >>> attention = torch.tensor([[0.0, 0.5]])
        >>> drawn, beta = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[[3.0, 3.0], [0.0, 0.0]]])
        >>> attention_density(4.0, attention, drawn, beta, (2, 4), (2.0, 2.0))
        tensor([[3.0000, 3.0000, 0.5000, 0.5000],
                [0.0000, 0.0000, 0.5000, 0.5000]])
    """
    heat = torch.zeros(shape, dtype=torch.float64)
    rows, columns = attention.shape
    _add(heat, attention, (0.0, 0.0, columns * tile_size, rows * tile_size), step, origin)
    corner = torch.tensor(origin[::-1], dtype=torch.float64)
    end = corner + torch.tensor([shape[1] * step[1], shape[0] * step[0]], dtype=torch.float64)
    near = ((tiles[:, :2] < end) & (tiles[:, :2] + tiles[:, 2:] > corner)).all(1)
    for box, cells in zip(tiles[near].tolist(), beta[near], strict=True):
        _add(heat, cells, box, step, origin)
    return heat.float()


def _add(
    heat: Float[Tensor, "height width"],
    cells: Float[Tensor, "u v"],
    box: Sequence[float],
    step: tuple[float, float],
    origin: tuple[float, float],
) -> None:
    """Add a map that covers a box."""
    (top, bottom), in_y = _shares(len(heat), step[0], box[1] - origin[0], box[3], cells.shape[0])
    (left, right), in_x = _shares(heat.shape[1], step[1], box[0] - origin[1], box[2], cells.shape[1])
    heat[top:bottom, left:right] += in_y @ cells.double() @ in_x.T


def _shares(
    count: int, step: float, start: float, length: float, cells: int
) -> tuple[tuple[int, int], Float[Tensor, "pixels cells"]]:
    """Which of `count` pixels touch [start, start + length), and the share of each in each of its cells."""
    first = min(max(int(start // step), 0), count)
    last = min(max(int(-(-(start + length) // step)), first), count)
    begin = torch.arange(first, last, dtype=torch.float64)[:, None] * step
    edge = torch.arange(cells, dtype=torch.float64)[None] * (length / cells) + start
    overlap = torch.minimum(begin + step, edge + length / cells) - torch.maximum(begin, edge)
    return (first, last), overlap.clamp(min=0) / step
