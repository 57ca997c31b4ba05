"""Geometry of tiles and positions, in exact integers."""

from __future__ import annotations

import torch

from zoomin.geometry import TileGrid, count_positions_inside, positions_inside


def test_counts_are_those_of_the_listed_positions() -> None:
    sizes = torch.tensor([[1, 1], [130, 257], [64, 64], [65, 200]])
    for tile_size, map_size in ((64, (5, 7)), (30, (30, 30)), (200, (3, 2))):
        grid = TileGrid.of(sizes, tile_size)
        own = sizes[grid.image]
        listed = positions_inside(grid.regions, own, map_size).sum(1)
        assert torch.equal(count_positions_inside(grid.regions, own, map_size), listed)
        assert int(listed.min()) >= 1
