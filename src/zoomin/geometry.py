"""Where things are: level-0 regions, the grid of tiles, the positions inside a tile.

Every coordinate is in level-0 pixels (the full-resolution frame of the image), x to the right and y down,
unless its name says otherwise. Tensors of regions have the columns x, y, width, height, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from .errors import ConfigError

__all__ = [
    "Region",
    "TileGrid",
    "count_boxes",
    "count_positions_inside",
    "most_boxes",
    "positions_inside",
    "sub_tile_regions",
    "view_size",
]


class Region(NamedTuple):
    """A box of an image in level-0 pixels; it may reach beyond the border.

    Example:
        >>> Region(x=10, y=20, width=250, height=250)
        Region(x=10, y=20, width=250, height=250)
    """

    x: int
    y: int
    width: int
    height: int


def view_size(length: int, scale: float) -> int:
    """Pixels of a view of `length` level-0 pixels read at `scale`: rounded half up, at least one.

    Example:
        >>> view_size(250, 0.1), view_size(3, 0.1)
        (25, 1)
    """
    return max(1, int(length * scale + 0.5))


def count_boxes(height: int, width: int, side: int) -> int:
    """Boxes of `side` pixels that cover an image."""
    return -(-height // side) * -(-width // side)


def most_boxes(height: int, width: int, sides: Sequence[int], drawn: int) -> list[int]:
    """Most boxes of each zoom stage that an image makes: all of the first, those in drawn ones of the next.

    Args:
        height: of the image, level-0 pixels.
        width: of the image.
        sides: of the boxes of each stage, the coarsest first.
        drawn: most boxes drawn in a stage.

    Example:
        >>> most_boxes(1000, 1000, [500, 250], drawn=1), most_boxes(1000, 1000, [250], drawn=1)
        ([4, 4], [16])
    """
    seen = [count_boxes(height, width, sides[0])]
    for outer, inner in pairwise(sides):
        some = min(seen[-1], drawn) * (outer // inner) ** 2
        seen.append(min(count_boxes(height, width, inner), some))
    return seen


@dataclass(frozen=True)
class TileGrid:
    """The non-overlapping tiles of a batch of images of any sizes, as one flat ragged list.

    `ceil(height / tile_size) x ceil(width / tile_size)` tiles per image, in row-major order; those of the
    last row and column reach beyond the border (paper, section 2.1).

    Attributes:
        tile_size: side of a tile, level-0 pixels.
        image: image index of each tile, sorted.
        index: index of each tile inside its image.
        regions: x, y, width, height of each tile.
        rows: rows of tiles of each image.
        columns: columns of tiles of each image.
    """

    tile_size: int
    image: Int[Tensor, " tiles"]
    index: Int[Tensor, " tiles"]
    regions: Int[Tensor, "tiles 4"]
    rows: Int[Tensor, " batch"]
    columns: Int[Tensor, " batch"]

    @classmethod
    def of(cls, sizes: Int[Tensor, "batch 2"], tile_size: int) -> TileGrid:
        """The grid of images of the given sizes (height, width), level-0 pixels.

        Example:
            >>> grid = TileGrid.of(torch.tensor([[500, 501]]), tile_size=250)
            >>> grid.rows.tolist(), grid.columns.tolist(), grid.regions[-1].tolist()
            ([2], [3], [500, 250, 250, 250])

        Raises:
            ConfigError: if `tile_size` is not positive.
        """
        if tile_size < 1:
            raise ConfigError(f"tile_size is {tile_size}", remedy="Give a tile size of at least one pixel.")
        rows = (sizes[:, 0] + tile_size - 1) // tile_size
        columns = (sizes[:, 1] + tile_size - 1) // tile_size
        count = rows * columns
        image = torch.repeat_interleave(count)
        index = torch.arange(image.numel(), device=sizes.device) - (count.cumsum(0) - count)[image]
        y = index // columns[image] * tile_size
        x = index % columns[image] * tile_size
        side = torch.full_like(x, tile_size)
        return cls(tile_size, image, index, torch.stack([x, y, side, side], 1), rows, columns)

    @property
    def count(self) -> Int[Tensor, " batch"]:
        """Number of tiles of each image."""
        return self.rows * self.columns

    @property
    def first(self) -> Int[Tensor, " batch"]:
        """Place of each image's first tile in the flat list."""
        return self.count.cumsum(0) - self.count

    def inside(self, outer: TileGrid) -> tuple[Int[Tensor, " tiles"], Int[Tensor, " tiles"]]:
        """Where each tile lies in a coarser grid of the same images, whose boxes are whole tiles wide.

        Returns:
            The place of its box in that grid's flat list, and its own place in that box, row-major.

        Example:
            >>> sizes = torch.tensor([[500, 750]])
            >>> box, cell = TileGrid.of(sizes, 250).inside(TileGrid.of(sizes, 500))
            >>> box.tolist(), cell.tolist()
            ([0, 0, 1, 0, 0, 1], [0, 1, 0, 2, 3, 2])
        """
        many, columns = outer.tile_size // self.tile_size, self.columns[self.image]
        row, column = self.index // columns, self.index % columns
        across = row // many * outer.columns[self.image] + column // many
        return outer.first[self.image] + across, row % many * many + column % many

    def by_image(self, values: Float[Tensor, " n"], place: Int[Tensor, " n"]) -> Float[Tensor, "batch tiles"]:
        """Values of some tiles, a row per image; -inf where there is none.

        Args:
            values: of the tiles.
            place: of each in the flat list.
        """
        padded = values.new_full((len(self.rows), int(self.count.max())), -torch.inf)
        return padded.index_put((self.image[place], self.index[place]), values)

    def any_inside(self, outer: TileGrid, chosen: Bool[Tensor, " tiles"]) -> Bool[Tensor, " boxes"]:
        """Which boxes of a coarser grid hold any of the chosen tiles."""
        box, _ = self.inside(outer)
        return torch.bincount(box[chosen], minlength=len(outer.image)) > 0


def sub_tile_regions(
    tiles: Int[Tensor, "n 4"], position: Int[Tensor, " n"], map_size: tuple[int, int], sub_tile_size: int
) -> Int[Tensor, "n 4"]:
    """The sub-tiles centred on positions of tiles' attention maps.

    Row i of a map of u rows covers the level-0 pixels [i h/u, (i+1) h/u) of its tile of height h, and its
    centre is (i + 0.5) h/u: the half-cell offset without which every sub-tile would be shifted up and left.

    Args:
        tiles: the tile of each sub-tile, level-0 pixels.
        position: row-major index into the attention map of that tile.
        map_size: rows and columns of the attention maps.
        sub_tile_size: side of a sub-tile, level-0 pixels.

    Example:
        >>> tile = torch.tensor([[0, 0, 250, 250]])
        >>> sub_tile_regions(tile, torch.tensor([51]), (50, 50), 27).tolist()
        [[-6, -6, 27, 27]]
    """
    rows, columns = map_size
    centre_y = (2 * (position // columns) + 1) * tiles[:, 3]  # in units of 1 / (2 rows) pixels
    centre_x = (2 * (position % columns) + 1) * tiles[:, 2]
    y = tiles[:, 1] + _half_up(centre_y - sub_tile_size * rows, 2 * rows)
    x = tiles[:, 0] + _half_up(centre_x - sub_tile_size * columns, 2 * columns)
    side = torch.full_like(x, sub_tile_size)
    return torch.stack([x, y, side, side], 1)


def positions_inside(
    tiles: Real[Tensor, "n 4"], sizes: Real[Tensor, "n 2"], map_size: tuple[int, int]
) -> Bool[Tensor, "n positions"]:
    """Which positions of each tile's attention map have their centre inside the image.

    Tiles of the last row and column reach beyond the border; there is nothing to see there. The first
    position of a tile always counts.

    Args:
        tiles: x, y, width and height, level-0 pixels.
        sizes: height and width of the image of each tile.
        map_size: rows and columns of the attention maps.

    Example:
        >>> tile = torch.tensor([[0, 0, 4, 4]])
        >>> positions_inside(tile, torch.tensor([[3, 9]]), (2, 2)).tolist()
        [[True, True, False, False]]
    """
    in_rows, in_columns = _lines_inside(tiles, sizes, map_size)
    return (in_rows[:, :, None] & in_columns[:, None, :]).flatten(1)


def count_positions_inside(
    tiles: Real[Tensor, "n 4"], sizes: Real[Tensor, "n 2"], map_size: tuple[int, int]
) -> Int[Tensor, " n"]:
    """How many positions of each tile `positions_inside` finds, without listing them.

    Example:
        >>> tile = torch.tensor([[0, 0, 4, 4]])
        >>> count_positions_inside(tile, torch.tensor([[3, 9]]), (2, 2)).tolist()
        [2]
    """
    in_rows, in_columns = _lines_inside(tiles, sizes, map_size)
    return in_rows.sum(1) * in_columns.sum(1)


def _lines_inside(
    tiles: Real[Tensor, "n 4"], sizes: Real[Tensor, "n 2"], map_size: tuple[int, int]
) -> tuple[Bool[Tensor, "n rows"], Bool[Tensor, "n columns"]]:
    """Which rows and which columns of each tile's attention map have their centre inside the image."""
    rows, columns = map_size
    row = torch.arange(rows, device=tiles.device)
    column = torch.arange(columns, device=tiles.device)
    in_rows = (2 * row + 1) * tiles[:, 3:] < 2 * rows * (sizes[:, :1] - tiles[:, 1:2])
    in_columns = (2 * column + 1) * tiles[:, 2:3] < 2 * columns * (sizes[:, 1:] - tiles[:, :1])
    return in_rows | (row == 0), in_columns | (column == 0)


def _half_up(numerator: Int[Tensor, " n"], denominator: int) -> Int[Tensor, " n"]:
    """Round a fraction to the nearest integer, halves up, in exact integer arithmetic."""
    return torch.div(2 * numerator + denominator, 2 * denominator, rounding_mode="floor")
