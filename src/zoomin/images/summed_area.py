"""Sums of a map over boxes with any edges, exact where each of its cells has one value everywhere."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float64, Int, Shaped
from torch import Tensor

__all__ = ["SummedArea"]


class SummedArea:
    """The summed-area table of a map: whole numbers in the smallest type that holds their sum.

    Args:
        cells: the map; bool counts the cells that are true.

    Example:
        >>> table = SummedArea(torch.tensor([[True, False], [True, True]]))
        >>> edges = torch.tensor([[0.0, 1.0, 2.0]]).double()
        >>> table.between(edges, edges)
        tensor([[[1., 0.],
                 [1., 1.]]], dtype=torch.float64)
        >>> table.between(torch.tensor([[0.0, 2.0]]).double(), torch.tensor([[0.5, 1.5]]).double())
        tensor([[[1.5000]]], dtype=torch.float64)
    """

    def __init__(self, cells: Bool[Tensor, "rows columns"] | Shaped[Tensor, "rows columns"]) -> None:
        """Add up what is above and to the left of each corner."""
        rows, columns = cells.shape
        dtype = torch.float64
        if not cells.is_floating_point():
            dtype = torch.int32 if cells.dtype == torch.bool and cells.numel() < 2**31 else torch.int64
        self.sums: Shaped[Tensor, "corners columns"] = torch.zeros(rows + 1, columns + 1, dtype=dtype)
        torch.cumsum(cells, 0, dtype=dtype, out=self.sums[1:, 1:])
        torch.cumsum(self.sums[1:, 1:], 1, out=self.sums[1:, 1:])

    @property
    def total(self) -> float:
        """The sum of the whole map."""
        return float(self.sums[-1, -1])

    def between(
        self, y: Float64[Tensor, "n rows_1"], x: Float64[Tensor, "n columns_1"]
    ) -> Float64[Tensor, "n rows columns"]:
        """The sums between consecutive edges, counted in cells from the top and the left, for n grids."""
        at = self._at(y, x)
        return at[:, 1:, 1:] - at[:, :-1, 1:] - at[:, 1:, :-1] + at[:, :-1, :-1]

    def _at(self, y: Float64[Tensor, "n i"], x: Float64[Tensor, "n j"]) -> Float64[Tensor, "n i j"]:
        """The table between its corners: bilinear."""
        (top, down), (left, right) = (
            _cell(edge, count - 1) for edge, count in zip((y, x), self.sums.shape, strict=True)
        )
        top, down = top[:, :, None], down[:, :, None]
        left, right = left[:, None, :], right[:, None, :].expand(-1, y.shape[1], -1)
        upper, lower = (
            torch.lerp(self.sums[row, left].double(), self.sums[row, left + 1].double(), right)
            for row in (top, top + 1)
        )
        return torch.lerp(upper, lower, down.expand_as(upper))


def _cell(edge: Float64[Tensor, "n edges"], count: int) -> tuple[Int[Tensor, "n edges"], Tensor]:
    """The cell that each edge lies in, and how far in it."""
    edge = edge.clamp(0, count)
    cell = edge.floor().long().clamp(max=count - 1)
    return cell, edge - cell
