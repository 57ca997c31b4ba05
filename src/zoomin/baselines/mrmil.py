"""MRMIL: attention MIL at low resolution chooses the tiles that attention MIL at high resolution reads.

Li et al., A Multi-resolution Model for Histopathology Image Classification and Localization with Multiple
Instance Learning, Computers in Biology and Medicine 2021 (PMC7984430); a baseline of Kong & Henao (CVPR
2022) on Camelyon16 with 5x and then 20x (supplement L).

    low    : h = f_low(tile at low_scale), a = softmax over tiles, logits_low = g_low(sum a h)
    choose : the `kept` tiles of highest a; which ones is no smooth choice, and has no gradient
    high   : crops at high_scale that tile the chosen ones, h = f_high(crop), logits = g(sum a h)
    loss   = CE(logits, y) + CE(logits_low, y)

While training, instances are left out of the attention at random (instance dropout). Two departures: the
publication trains one resolution after the other, here both learn together; and it chooses whole clusters of
tiles (k-means of their features) by their mean attention, here the tiles of highest attention are chosen, so
that the number of crops is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ..errors import require
from ..geometry import TileGrid, view_size
from ..images.image import ImageBatch
from ..model.networks import LinearHead
from ..model.sampling import uniforms
from .abmil import BagAttention
from .bags import Bags, cut
from .baseline import Baseline, BaselineConfig, BaselineOutput, Drawing

__all__ = ["MRMIL", "MRMILConfig"]


@dataclass(frozen=True)
class MRMILConfig(BaselineConfig):
    """Attention MIL at two resolutions."""

    name: Literal["mrmil"] = "mrmil"
    """The baseline: mrmil."""

    tile_size: int = 108
    """Side of the tiles that are chosen from, in level-0 pixels; a multiple of `crop_size`."""

    low_scale: float = 0.25
    """Scale in (0, 1] at which all tiles are read."""

    crop_size: int = 27
    """Side of the crops that cover the chosen tiles, in level-0 pixels; 27 as Zoom-In's sub-tiles."""

    high_scale: float = 1.0
    """Scale in (0, 1] at which crops are read."""

    kept: int = 5
    """Maximum number of tiles that are chosen per image. 5, with 16 crops each, bound the crops to 80; more
    cost proportionally more."""

    instance_dropout: float = 0.5
    """Share of tiles and crops left out of the attention, while training: half, so that it does not come to
    rest on a few."""

    features: str = "lenet_released"
    """Network of each resolution: "lenet_released", "lenet", "resnet16", "timm:MODEL" or the name of a
    plug-in."""

    hidden: int = 128
    """Rows of the attention's matrix; 128 as attention MIL has."""

    gated: bool = False
    """Gated attention."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        for name in ("tile_size", "crop_size", "kept", "hidden"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "Give a whole number of at least 1.")
        for name in ("low_scale", "high_scale"):
            value = getattr(self, name)
            require(0 < value <= 1, name, value, "Give a scale above 0 and at most 1.")
        fits = self.tile_size % self.crop_size == 0
        require(fits, "tile_size", self.tile_size, f"Give a multiple of crop_size, {self.crop_size}.")
        drop = self.instance_dropout
        require(0 <= drop < 1, "instance_dropout", drop, "Give a number from 0 to below 1.")


class MRMIL(Baseline[MRMILConfig]):
    """Choose tiles at low resolution, classify their crops at high resolution.

    Example:
        >>> net = MRMIL(MRMILConfig(tile_size=60, crop_size=20, kept=2, low_scale=0.5))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = MRMILConfig
    any_target = False

    def __init__(self, config: MRMILConfig) -> None:
        """Build the networks.

        Raises:
            ConfigError: if the network is unknown, cannot be loaded, or views are too small for it.
        """
        super().__init__(config)
        low_side = view_size(config.tile_size, config.low_scale)
        side = view_size(config.crop_size, config.high_scale)
        self.low_features, dims = self.build_features(config.features, low_side, "low_scale")
        self.features, dims = self.build_features(config.features, side, "crop_size")
        self.low_attention = BagAttention(dims, config.hidden, config.gated)
        self.attention = BagAttention(dims, config.hidden, config.gated)
        self.low_head = LinearHead(dims, config.n_classes)
        self.head = LinearHead(dims, config.n_classes)
        self.to(memory_format=torch.channels_last)

    def classify(
        self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Weigh all tiles at low resolution, then the crops of the heaviest at high resolution."""
        side, scale = self.config.tile_size, self.config.low_scale
        grid = TileGrid.of(batch.sizes, side)
        low_features = self.chunks.apply(self.low_features, batch, grid.image, grid.regions, side, scale)
        tiles = Bags(low_features, grid.image, grid.index, grid.count)
        logits = self.low_attention(tiles.instances)
        low = self._mean(tiles, logits, how.keys, 12)
        crops = self._crops(batch, grid, tiles.padded(logits.detach(), -torch.inf).squeeze(2))
        features = self._mean(crops, self.attention(crops.instances), how.keys, 13)
        penalty = self.nothing() if labels is None else functional.cross_entropy(self.low_head(low), labels)
        pixels = grid.count * view_size(side, scale) ** 2 + crops.count * self._crop_pixels
        return BaselineOutput(
            logits=self.head(features),
            features=features,
            replicates=features[None],
            pixels_read=pixels,
            views_read=crops.count,
            penalty=penalty,
        )

    def _crops(self, batch: ImageBatch, grid: TileGrid, logits: Float[Tensor, "batch tiles"]) -> Bags:
        """The encoded crops of the tiles of highest attention; those beyond the border are left out."""
        best = logits.topk(min(self.config.kept, logits.shape[1]), dim=1).indices
        image, column = logits.gather(1, best).isfinite().nonzero(as_tuple=True)
        regions = cut(grid.regions[grid.first[image] + best[image, column]], self.config.crop_size)
        image = image[:, None].expand(regions.shape[:2]).flatten()
        regions = regions.flatten(0, 1)
        inside = (regions[:, :2].flip(1) < batch.sizes[image]).all(1)
        image, regions = image[inside], regions[inside]
        side, scale = self.config.crop_size, self.config.high_scale
        return Bags.of(
            self.chunks.apply(self.features, batch, image, regions, side, scale), image, len(batch)
        )

    def _mean(
        self, bags: Bags, logits: Float[Tensor, "n 1"], keys: Int[Tensor, " batch"], stream: int
    ) -> Float[Tensor, "batch dims"]:
        """The mean under the attention; while training some instances are left out, never all of a bag."""
        if self.training and self.config.instance_dropout:
            u = uniforms(keys, int(bags.count.max()), stream).masked_fill(~bags.inside, -1.0)
            kept = (u >= self.config.instance_dropout) | (u == u.amax(1, keepdim=True))
            logits = logits.masked_fill(~kept[bags.image, bags.index, None], -torch.inf)
        return bags.sum(bags.softmax(logits), bags.instances).squeeze(1)

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """All tiles at low resolution, the crops of the chosen ones at high resolution."""
        side = self.config.tile_size
        tiles = -(-height // side) * -(-width // side)
        crops = min(tiles, self.config.kept) * (side // self.config.crop_size) ** 2
        return tiles * view_size(side, self.config.low_scale) ** 2 + crops * self._crop_pixels

    @property
    def _crop_pixels(self) -> int:
        return view_size(self.config.crop_size, self.config.high_scale) ** 2
