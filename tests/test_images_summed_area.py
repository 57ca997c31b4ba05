"""Sums over boxes with any edges."""

from __future__ import annotations

import pytest
import torch

from zoomin.images.summed_area import SummedArea


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_sums_are_those_of_a_map_of_finer_cells(dtype: torch.dtype, generator: torch.Generator) -> None:
    cells = torch.randint(0, 2 if dtype == torch.bool else 200, (5, 7), generator=generator).to(dtype)
    table = SummedArea(cells)
    assert table.total == float(cells.double().sum())
    assert table.sums.dtype == {torch.bool: torch.int32, torch.uint8: torch.int64}.get(dtype, torch.float64)
    y, x = torch.tensor([[-1.0, 0.25, 2.5, 9.0]]).double(), torch.tensor([[0.0, 0.0, 3.75, 6.5]]).double()
    fine = cells.double().repeat_interleave(4, 0).repeat_interleave(4, 1) / 16
    expected = [
        [float(fine[a:b, c:d].sum()) for c, d in ((0, 0), (0, 15), (15, 26))]
        for a, b in ((0, 1), (1, 10), (10, 20))
    ]
    assert torch.allclose(table.between(y, x)[0], torch.tensor(expected).double())
