"""What the model returns: the answer, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from ..geometry import TileGrid

__all__ = ["Attention", "Explained", "Looked", "StageAttention", "SubTiles", "Tiles", "ZoomInOutput"]


@dataclass(frozen=True)
class StageAttention:
    """Attention of one stage to boxes, blocks or tiles: a row per box drawn by the stage above, or per image.

    Attributes:
        grid: the boxes of the stage, of all images.
        image: image of each row.
        inside: the box of each row, by place in the grid of the stage above; in the first stage its image.
        place: place of each cell's box in the flat list of the grid.
        log_p: log attention over the cells of each row; -inf where there is none, and where it is background.
        capacity: positions that can be drawn in each cell.
    """

    grid: TileGrid
    image: Int[Tensor, " rows"]
    inside: Int[Tensor, " rows"]
    place: Int[Tensor, "rows cells"]
    log_p: Float[Tensor, "rows cells"]
    capacity: Int[Tensor, "rows cells"]

    def boxes(self) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The boxes attended to: row, cell, and place in the grid of each."""
        row, cell = self.log_p.isfinite().nonzero(as_tuple=True)
        return row, cell, self.place[row, cell]


@dataclass(frozen=True)
class Attention:
    """Attention over the tiles of each image: of stage 1, or of all stages down to the tiles together.

    With stages above the tiles, what a block has that was not drawn is spread evenly over its tiles.

    Attributes:
        grid: the tiles themselves.
        log_alpha: log attention, row-major over the tiles of each image; -inf beyond an image's last tile and
            where a tile is background.
        no_foreground: places in the batch of images whose every tile is background: all were attended.
    """

    grid: TileGrid
    log_alpha: Float[Tensor, "batch tiles"]
    no_foreground: tuple[int, ...] = ()

    @property
    def alpha(self) -> Float[Tensor, "batch tiles"]:
        """Attention over the tiles of each image; each row sums to 1."""
        return self.log_alpha.exp()

    def of_attended(self, values: Float[Tensor, "tiles n"]) -> list[Float[Tensor, "attended n"]]:
        """Of values of all tiles, those of the tiles that are not background, image by image."""
        grid, kept = self.grid, self.log_alpha[self.grid.image, self.grid.index].isfinite()
        parts = zip(*(x.split(grid.count.tolist()) for x in (values, kept)), strict=True)
        return [own[there] for own, there in parts]

    def map(self, image: int) -> Float[Tensor, "rows columns"]:
        """The attention map of one image of the batch, one cell per tile."""
        rows, columns = int(self.grid.rows[image]), int(self.grid.columns[image])
        return self.alpha[image, : rows * columns].reshape(rows, columns)


@dataclass(frozen=True)
class Tiles:
    """The tiles that were drawn, each once, and the attention maps inside them.

    Attributes:
        image: image index of each tile.
        index: row-major index of each tile in its image's grid.
        regions: x, y, width, height, level-0 pixels.
        log_alpha: log attention of each tile among the tiles of its image.
        log_beta: log attention over the positions of each tile; -inf where a position lies beyond the border.
            Without positions where `keep_maps=False` let go of them.
        map_size: rows and columns of the attention maps.
    """

    image: Int[Tensor, " drawn"]
    index: Int[Tensor, " drawn"]
    regions: Int[Tensor, "drawn 4"]
    log_alpha: Float[Tensor, " drawn"]
    log_beta: Float[Tensor, "drawn positions"]
    map_size: tuple[int, int]

    @property
    def maps(self) -> Float[Tensor, "drawn rows columns"]:
        """Stage-2 attention maps; each sums to 1."""
        return self.log_beta.exp().reshape(-1, *self.map_size)


@dataclass(frozen=True)
class SubTiles:
    """The sub-tiles that were drawn.

    Attributes:
        image: image index of each sub-tile.
        tile: its tile, a row of `Tiles`.
        position: row-major position in that tile's attention map.
        regions: x, y, width, height, level-0 pixels.
        weight: its weight in the feature of the image (over all replicates); a rare one is drawn twice and
            stands twice.
        features: what the feature network made of it, without gradient.
        replicate: the replicate that drew it.
    """

    image: Int[Tensor, " n"]
    tile: Int[Tensor, " n"]
    position: Int[Tensor, " n"]
    regions: Int[Tensor, "n 4"]
    weight: Float[Tensor, " n"]
    features: Float[Tensor, "n dims"]
    replicate: Int[Tensor, " n"]


@dataclass(frozen=True)
class Looked:
    """Where the network looked in one image of a batch.

    Attributes:
        tile_size: side of a tile, level-0 pixels.
        attention: attention over the tiles; sums to 1.
        tiles: x, y, width, height of the tiles drawn, level-0 pixels; of one stage, the whole image.
        alpha: attention of each drawn tile.
        beta: attention map inside each drawn tile.
        tile: the tile of each sub-tile of the image, a row of `tiles`.
        one_stage: whether there are no tiles: one attention map covers the whole image.
    """

    tile_size: float
    attention: Float[Tensor, "rows columns"]
    tiles: Float64[Tensor, "drawn 4"]
    alpha: Float[Tensor, " drawn"]
    beta: Float[Tensor, "drawn u v"]
    tile: Int[Tensor, " n"]
    one_stage: bool = False


@runtime_checkable
class Explained(Protocol):
    """The answer for a batch of images, with the evidence for it."""

    @property
    def logits(self) -> Float[Tensor, "batch classes"]: ...  # noqa: D102
    @property
    def features(self) -> Float[Tensor, "batch dims"]:
        """What the head classified."""
        ...

    @property
    def sub_tiles(self) -> SubTiles:
        """The sub-tiles drawn."""
        ...

    @property
    def stages(self) -> tuple[StageAttention, ...]:
        """Attention of each stage to boxes, the coarsest first; empty where there are none."""
        ...

    @property
    def context(self) -> Float[Tensor, "batch context"] | None:
        """Features of a view of each whole image, the last ones in `features`."""
        ...

    def looked(self, image: int) -> Looked:
        """Where the network looked in one image, on the processor, without gradient."""
        ...


@dataclass(frozen=True)
class ZoomInOutput:
    """The answer of the network for a batch of images.

    Attributes:
        logits: of each class.
        features: estimate of the expected feature, the mean of the replicates.
        tiles: tiles drawn.
        sub_tiles: sub-tiles drawn for the feature; those of the contrastive pass are not among them.
        attention: attention over all tiles of each image.
        stages: attention of each stage to boxes, the coarsest first; the last one is that to the tiles.
        replicates: the feature estimate of each replicate.
        contrast_image: images for which a contrastive feature was drawn.
        contrast_features: expected feature under the complement laws, one for each of those.
        contrast_logits: its logits.
        view_pixels: pixels of a view of a box of each stage (of a tile at s1 alone, by default), of a tile at
            s2, and of a sub-tile.
        context: features of a view of each whole image, the last ones in `features`; none by default.
        context_pixels: of that view, at most.
    """

    logits: Float[Tensor, "batch classes"]
    features: Float[Tensor, "batch dims"]
    tiles: Tiles
    sub_tiles: SubTiles
    attention: Attention
    replicates: Float[Tensor, "replicates batch dims"]
    contrast_image: Int[Tensor, " positives"]
    contrast_features: Float[Tensor, "positives dims"]
    contrast_logits: Float[Tensor, "positives classes"]
    view_pixels: tuple[int, ...]
    stages: tuple[StageAttention, ...]
    context: Float[Tensor, "batch context"] | None = None
    context_pixels: int = 0

    def looked(self, image: int) -> Looked:
        """Where the network looked in one image, on the processor, without gradient."""
        drawn = self.tiles.image == image
        row = (drawn.cumsum(0) - 1)[self.sub_tiles.tile[self.sub_tiles.image == image]]
        return Looked(
            tile_size=float(self.attention.grid.tile_size),
            attention=self.attention.map(image).detach().float().cpu(),
            tiles=self.tiles.regions[drawn].double().cpu(),
            alpha=self.tiles.log_alpha[drawn].detach().exp().float().cpu(),
            beta=self.tiles.maps[drawn].detach().float().cpu(),
            tile=row.cpu(),
        )

    @property
    def no_foreground(self) -> tuple[int, ...]:
        """Places in the batch of images whose every tile is background: all were attended."""
        return self.attention.no_foreground

    @property
    def views_read(self) -> Int[Tensor, " batch"]:
        """Sub-tiles drawn in each image."""
        return torch.bincount(self.sub_tiles.image, minlength=len(self.logits))

    @property
    def pixels_read(self) -> Int[Tensor, " batch"]:
        """Pixels of the boxes attended to, of drawn tiles, of sub-tiles and of the view of each image."""
        batch = len(self.logits)
        *boxes, tile, sub_tile = self.view_pixels
        drawn = torch.bincount(self.tiles.image, minlength=batch)
        read = drawn * tile + self.views_read * sub_tile + self.context_pixels
        for stage, pixels in zip(self.stages, boxes, strict=True):
            row, _, _ = stage.boxes()
            read = read + torch.bincount(stage.image[row], minlength=batch) * pixels
        return read
