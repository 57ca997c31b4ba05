"""What the model returns: the answer, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geometry import TileGrid

__all__ = ["Attention", "SubTiles", "Tiles", "ZoomInOutput"]


@dataclass(frozen=True)
class Attention:
    """Stage-1 attention over the tiles of each image.

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
class ZoomInOutput:
    """The answer of the network for a batch of images.

    Attributes:
        logits: of each class.
        features: estimate of the expected feature, the mean of the replicates.
        tiles: tiles drawn.
        sub_tiles: sub-tiles drawn for the feature; those of the contrastive pass are not among them.
        attention: attention over all tiles of each image.
        replicates: the feature estimate of each replicate.
        contrast_image: images for which a contrastive feature was drawn.
        contrast_features: expected feature under the complement laws, one for each of those.
        contrast_logits: its logits.
        view_pixels: pixels of a view of a tile at s1, of one at s2, and of a sub-tile.
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
    view_pixels: tuple[int, int, int]
    context: Float[Tensor, "batch context"] | None = None
    context_pixels: int = 0

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
        """Pixels of the tiles attended to, of drawn tiles, of sub-tiles and of the view of each image."""
        attended = self.attention.log_alpha.isfinite().sum(1)
        drawn = torch.bincount(self.tiles.image, minlength=len(attended))
        overview, tile, sub_tile = self.view_pixels
        return attended * overview + drawn * tile + self.views_read * sub_tile + self.context_pixels
