"""Iterative selection with a memory: every tile is encoded without gradients, the M best with.

Bergner, Lippert & Mahendran, Iterative Patch Selection for High-Resolution Image Recognition, ICLR 2023
(arXiv 2210.13007), section 3.

    e_k    = f(tile k)
    a      = softmax over tiles of (W_q q)' W_k e_k / sqrt(head_width)      q: learned; one map per head
    scan   : the memory holds M tiles; I more are encoded, all M + I are scored by the mean of a over the
             heads, and the M best are kept; until no tile is left; without gradients, in evaluation mode
    logits = g(cross-attention of q to the M tiles of the memory), encoded again with gradients

The scan encodes I tiles of every image at once, so that memory grows with M + I and not with the image; its
work grows with the image. Tiles come in random order while training, in their own order otherwise. Defaults
are those of the publication's traffic signs (M = 10, I = 32, tiles of 100 pixels, 8 heads of 64, inner width
4 D).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..geometry import TileGrid, view_size
from ..images.image import ImageBatch
from ..model.networks import LinearHead
from ..model.sampling import uniforms
from .baseline import Baseline, BaselineConfig, BaselineOutput, Drawing, Rows

__all__ = ["IPS", "CrossAttention", "IPSConfig"]


@dataclass(frozen=True)
class IPSConfig(BaselineConfig):
    """Iterative selection of tiles."""

    name: Literal["ips"] = "ips"
    """The baseline: ips, iterative selection of tiles."""

    tile_size: int = 100
    """Side of the tiles that cover the image, in level-0 pixels; 100 is the publication's."""

    scale: float = 1.0
    """Scale in (0, 1] at which tiles are read."""

    memory: int = 10
    """M, tiles that are kept and trained on; 10 is the publication's."""

    scanned: int = 32
    """I, tiles that are scored against the memory at a time; more need more memory, and change no result."""

    features: str = "lenet_released"
    """Network f: "lenet_released", "lenet", "resnet16", "timm:MODEL" or the name of a plug-in."""

    heads: int = 8
    """Heads of the cross-attention; 8 is the publication's."""

    head_width: int = 64
    """Width of queries, keys and values; 64 is the publication's."""

    dropout: float = 0.1
    """Share of values dropped in the attention and after layers, while training."""

    _counts: ClassVar[tuple[str, ...]] = ("tile_size", "memory", "scanned", "heads", "head_width")
    _scales: ClassVar[tuple[str, ...]] = ("scale",)
    _shares: ClassVar[tuple[str, ...]] = ("dropout",)


class CrossAttention(nn.Module):
    """A learned query that attends to tiles, and two layers behind it; residual connections, layer norms."""

    def __init__(self, dims: int, heads: int, head_width: int, dropout: float) -> None:
        """Build the layers for features of `dims` numbers."""
        super().__init__()
        inner = heads * head_width
        self.heads, self.scale = heads, head_width**-0.5
        self.query = nn.Parameter(torch.empty(dims).uniform_(-self.scale, self.scale))
        self.to_query = nn.Linear(dims, inner, bias=False)
        self.to_keys = nn.Linear(dims, inner, bias=False)
        self.to_values = nn.Linear(dims, inner, bias=False)
        self.out = nn.Linear(inner, dims, bias=False)
        self.norm_1 = nn.LayerNorm(dims, eps=1e-6)
        self.inner = nn.Sequential(nn.Linear(dims, 4 * dims), nn.ReLU(), nn.Linear(4 * dims, dims))
        self.norm_2 = nn.LayerNorm(dims, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def attention(
        self, tiles: Float[Tensor, "batch tiles dims"], inside: Bool[Tensor, "batch tiles"]
    ) -> Float[Tensor, "batch heads tiles"]:
        """Attention to the tiles that are inside the image, one map per head."""
        query = self.to_query(self.query).unflatten(0, (self.heads, -1))
        keys = self.to_keys(tiles).unflatten(2, (self.heads, -1))
        logits = torch.einsum("hd,bthd->bht", query, keys) * self.scale
        attention: Tensor = logits.masked_fill(~inside[:, None], -torch.inf).softmax(2)
        return attention

    def forward(
        self, tiles: Float[Tensor, "batch tiles dims"], inside: Bool[Tensor, "batch tiles"]
    ) -> Float[Tensor, "batch dims"]:
        """One feature per image."""
        attention = self.dropout(self.attention(tiles, inside))
        values = self.to_values(tiles).unflatten(2, (self.heads, -1))
        read = torch.einsum("bht,bthd->bhd", attention, values).flatten(1)
        attended = self.norm_1(self.query + self.dropout(self.out(read)))
        out: Tensor = self.norm_2(attended + self.dropout(self.inner(attended)))
        return out


class IPS(Baseline[IPSConfig]):
    """Scan all tiles for those worth learning from.

    Example:
        >>> net = IPS(IPSConfig(tile_size=40, memory=4, scanned=3))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = IPSConfig

    def __init__(self, config: IPSConfig) -> None:
        """Build the networks."""
        super().__init__(config)
        side = view_size(config.tile_size, config.scale)
        self.features, dims = self.build_features(config.features, side, "tile_size")
        self.attention = CrossAttention(dims, config.heads, config.head_width, config.dropout)
        self.head = LinearHead(dims, config.n_classes)
        self.to(memory_format=torch.channels_last)

    def classify(
        self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Select tiles without gradients, encode them with gradients, attend to them, classify."""
        grid = TileGrid.of(batch.sizes, self.config.tile_size)
        tile, inside = self.select(batch, grid, how.keys)
        tiles = self._encoded(batch, grid, tile, inside)
        features = self.attention(tiles, inside)
        return BaselineOutput(
            logits=self.head(features),
            features=features,
            replicates=features[None],
            pixels_read=grid.count * view_size(self.config.tile_size, self.config.scale) ** 2,
            views_read=grid.count,
            penalty=self.nothing(),
        )

    @torch.no_grad()
    def select(
        self, batch: ImageBatch, grid: TileGrid, keys: Int[Tensor, " batch"]
    ) -> tuple[Int[Tensor, "batch memory"], Bool[Tensor, "batch memory"]]:
        """Places, in their image, of the tiles that a scan ends with; and which of them there are.

        Args:
            batch: the images.
            grid: their tiles.
            keys: decide the order of the tiles while training.
        """
        order, listed = self._order(grid, keys)
        tile, inside = order[:, : self.config.memory], listed[:, : self.config.memory]
        if order.shape[1] <= self.config.memory:
            return tile, inside
        rest = zip(
            order[:, self.config.memory :].split(self.config.scanned, dim=1),
            listed[:, self.config.memory :].split(self.config.scanned, dim=1),
            strict=True,
        )
        with _evaluating(self.features, self.attention):
            encoded = self._encoded(batch, grid, tile, inside)
            for more, more_inside in rest:
                tile, inside = torch.cat([tile, more], 1), torch.cat([inside, more_inside], 1)
                encoded = torch.cat([encoded, self._encoded(batch, grid, more, more_inside)], 1)
                score = self.attention.attention(encoded, inside).mean(1).masked_fill(~inside, -1.0)
                best = score.topk(self.config.memory, dim=1).indices
                tile, inside = tile.gather(1, best), inside.gather(1, best)
                encoded = encoded.gather(1, best[:, :, None].expand(-1, -1, encoded.shape[2]))
        return tile, inside

    def _order(
        self, grid: TileGrid, keys: Int[Tensor, " batch"]
    ) -> tuple[Int[Tensor, "batch widest"], Bool[Tensor, "batch widest"]]:
        """The tiles of every image in the order of its scan, those that are padding last."""
        place = torch.arange(int(grid.count.max()), device=self.device).expand(len(keys), -1)
        listed = place < grid.count[:, None]
        if not self.training:
            return place, listed
        order = uniforms(keys, place.shape[1], stream=11).masked_fill(~listed, 2.0).argsort(1)
        return order, listed

    def _encoded(
        self,
        batch: ImageBatch,
        grid: TileGrid,
        tile: Int[Tensor, "batch tiles"],
        inside: Bool[Tensor, "batch tiles"],
    ) -> Float[Tensor, "batch tiles dims"]:
        """Features of tiles, 0 where there is none."""
        image, column = inside.nonzero(as_tuple=True)
        place = grid.first[image] + tile[image, column]
        side, scale = self.config.tile_size, self.config.scale
        if self.known is None:
            features = self.chunks.apply(self.features, batch, image, grid.regions[place], side, scale)
        else:
            rows = Rows("sub_tiles", side, scale, grid.regions[:, :2], grid.count)
            features = self.known(batch, rows, self._tiles)[place]
        padded = features.new_zeros(*tile.shape, features.shape[1])
        return padded.index_put((image, column), features)

    def _tiles(self, network: nn.Module, batch: ImageBatch) -> Float[Tensor, "n dims"]:
        """What the network makes of all tiles of some images."""
        side, scale = self.config.tile_size, self.config.scale
        grid = TileGrid.of(batch.sizes, side)
        return self.chunks.apply(network, batch, grid.image, grid.regions, side, scale)

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """The tiles that are encoded at once."""
        side, view_side = self.config.tile_size, view_size(self.config.tile_size, self.config.scale)
        tiles = -(-height // side) * -(-width // side)
        return min(tiles, self.config.memory + self.config.scanned) * view_side**2


@contextmanager
def _evaluating(*networks: nn.Module) -> Iterator[None]:
    """Networks in evaluation mode, afterwards each layer as it was."""
    layers = [layer for network in networks for layer in network.modules()]
    modes = [layer.training for layer in layers]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
