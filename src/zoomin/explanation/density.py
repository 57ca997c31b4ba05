"""Attention as a dense map of the whole image, exactly averaged over the pixels of the map."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["attention_density"]


def attention_density(
    size: tuple[int, int],
    tile_size: float,
    attention: Float[Tensor, "rows columns"],
    tiles: Float[Tensor, "drawn 4"],
    beta: Float[Tensor, "drawn u v"],
    shape: tuple[int, int],
    step: tuple[float, float] | None = None,
) -> Float[Tensor, "height width"]:
    """Attention relative to looking everywhere alike (1), averaged over each pixel of a picture.

    Tile attention times position attention where a tile was drawn; elsewhere tile attention, spread evenly.
    No peak is lost, however small the picture.

    Args:
        size: height and width of the image, level-0 pixels.
        tile_size: side of a tile, level-0 pixels.
        attention: over all tiles; sums to 1.
        tiles: x, y, width, height of the tiles drawn.
        beta: attention map inside each; sums to 1.
        shape: rows and columns of the picture.
        step: height and width of its pixels, level-0 pixels; by default the picture covers the image.

    Example:
        >>> attention = torch.tensor([[0.75, 0.25]])
        >>> drawn, beta = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[[0.5, 0.5], [0.0, 0.0]]])
        >>> attention_density((4, 8), 4.0, attention, drawn, beta, (2, 4))
        tensor([[3.0000, 3.0000, 0.5000, 0.5000],
                [0.0000, 0.0000, 0.5000, 0.5000]])
    """
    dy, dx = step or (size[0] / shape[0], size[1] / shape[1])
    rows, columns = attention.shape
    across = _shares(shape[0], dy, 0.0, tile_size, rows), _shares(shape[1], dx, 0.0, tile_size, columns)
    heat = across[0] @ (attention.double() * (rows * columns)) @ across[1].T
    u, v = beta.shape[1:]
    for (x, y, width, height), cells in zip(tiles.tolist(), beta.double(), strict=True):
        alpha = float(attention[round(y / tile_size), round(x / tile_size)]) * rows * columns
        top, bottom = _span(y, height, dy, shape[0])
        left, right = _span(x, width, dx, shape[1])
        in_y = _shares(bottom - top, dy, y - top * dy, height / u, u)
        in_x = _shares(right - left, dx, x - left * dx, width / v, v)
        heat[top:bottom, left:right] += alpha * (in_y @ (cells * (u * v) - 1) @ in_x.T)
    return heat.clamp(min=0).float()


def _span(start: float, length: float, step: float, count: int) -> tuple[int, int]:
    """The pixels that touch [start, start + length)."""
    first = min(max(int(start // step), 0), count)
    return first, min(max(int(-(-(start + length) // step)), first), count)


def _shares(
    pixels: int, step: float, offset: float, cell: float, cells: int
) -> Float[Tensor, "pixels cells"]:
    """The share of pixel i, [i step, (i+1) step), that lies in cell j, [offset + j cell, ... + cell)."""
    begin = torch.arange(pixels, dtype=torch.float64)[:, None] * step
    edge = torch.arange(cells, dtype=torch.float64)[None] * cell + offset
    overlap = torch.minimum(begin + step, edge + cell) - torch.maximum(begin, edge)
    return overlap.clamp(min=0) / step
