"""Attention as a picture: exact averages over its pixels, wherever they lie, and round scale bars."""

from __future__ import annotations

import pytest
import torch

from zoomin.explanation.density import attention_density
from zoomin.explanation.scale_bar import round_length

TILES = torch.tensor([[0.0, 0.0, 6.0, 6.0], [6.0, 12.0, 6.0, 6.0]])
BETA = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0))
ATTENTION = torch.rand(3, 2, generator=torch.Generator().manual_seed(1))


def by_pixels() -> torch.Tensor:
    """The value at each level-0 pixel of the 18 x 12 that the tiles cover, cell by cell."""
    heat = ATTENTION.repeat_interleave(6, 0).repeat_interleave(6, 1)
    for (x, y, _, _), cells in zip(TILES.int().tolist(), BETA, strict=True):
        heat[y : y + 6, x : x + 6] += cells.repeat_interleave(2, 0).repeat_interleave(3, 1)
    return heat


def test_every_pixel_is_the_mean_of_what_it_covers() -> None:
    expected = by_pixels()
    assert torch.allclose(attention_density(6.0, ATTENTION, TILES, BETA, (18, 12), (1.0, 1.0)), expected)
    shrunk = attention_density(6.0, ATTENTION, TILES, BETA, (2, 3), (9.0, 4.0))
    assert torch.allclose(shrunk, expected.unflatten(0, (2, 9)).unflatten(2, (3, 4)).mean((1, 3)))


def test_a_part_is_cut_out_and_beyond_the_tiles_there_is_nothing() -> None:
    part = attention_density(6.0, ATTENTION, TILES, BETA, (8, 7), (1.0, 1.0), origin=(12.0, 7.0))
    assert torch.allclose(part[:6, :5], by_pixels()[12:, 7:])
    assert float(part[6:].abs().sum() + part[:, 5:].abs().sum()) == 0


def test_no_peak_is_lost_in_fractional_pixels() -> None:
    heat = attention_density(6.0, ATTENTION, TILES, BETA, (5, 5), (3.7, 2.5))
    assert float(heat.sum() * 3.7 * 2.5) == pytest.approx(float(by_pixels().sum()), rel=1e-5)


@pytest.mark.parametrize(
    ("most", "mpp", "expected"),
    [
        (100.0, 0.25, (80, "20 µm")),
        (99.0, 1.0, (50, "50 µm")),
        (3000.0, 0.5, (2000, "1 mm")),
        (0.3, None, (1, "1 px")),
        (5000.0, 5e5, (4000, "2 km")),
        (50.0, 0.01, (50, "500 nm")),
    ],
)
def test_scale_bars_are_round_and_fit(most, mpp, expected) -> None:
    length, text = round_length(most, mpp)
    assert (length, text) == (pytest.approx(expected[0]), expected[1])
    assert length <= max(most * (1 + 1e-6), 1)
