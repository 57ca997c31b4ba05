"""The Zoom-In network as a loop: one image, one tile and one sub-tile at a time, the way one first writes it.

Its structure is that of the authors' released program: for every image, a on each tile; for every drawn
tile, b on it, a draw, each sub-tile cut out by itself, f on the sub-tiles of that tile, and a sum.

It serves twice: as an oracle for the tests (the same keys give the same draws, hence the same logits and
gradients as `ZoomIn`), and as the slower side of the benchmarks. There it is treated fairly: pixels of every
scale are prepared once, as for the batched network, draws are torch's own, and the contrastive pass reuses
the attention of the first, which the released program computes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from ..errors import ConfigError
from ..geometry import Region, TileGrid, positions_inside, sub_tile_regions
from ..images.image import Image
from ..model.sampling import complement, derive_keys, design
from ..model.zoom_in import ZoomIn

__all__ = ["LoopImage", "LoopOutput", "forward_loop", "prepare"]


@dataclass(frozen=True)
class LoopImage:
    """The pixels of one image at the three scales, prepared once.

    Attributes:
        size: height and width, level-0 pixels.
        tiles: its tiles, level-0 pixels.
        overviews: views of its tiles at s1.
        views: views of its tiles at s2.
        pixels: level-0 pixels with a margin on every side, wide enough for any sub-tile.
        margin: that margin, level-0 pixels.
    """

    size: tuple[int, int]
    tiles: Int[Tensor, "tiles 4"]
    overviews: UInt8[Tensor, "tiles 3 h1 w1"]
    views: UInt8[Tensor, "tiles 3 h2 w2"]
    pixels: UInt8[Tensor, "3 height width"]
    margin: int

    def sub_tile(self, region: Int[Tensor, " 4"]) -> UInt8[Tensor, "3 h w"]:
        """Cut out one sub-tile."""
        x, y, width, height = region.tolist()
        x, y = x + self.margin, y + self.margin
        return self.pixels[:, y : y + height, x : x + width]


@dataclass(frozen=True)
class LoopOutput:
    """What the loop returns.

    Attributes:
        logits: of each class.
        features: estimate of the expected feature.
        contrast_features: the same under the complement laws, for the images of `contrast`.
        contrast_logits: its logits.
        log_alpha: log attention over the tiles, one tensor per image.
        log_beta: log attention over the positions of each tile that was drawn, one dictionary per image.
        regions: sub-tiles that were read, one tensor per image.
    """

    logits: Float[Tensor, "batch classes"]
    features: Float[Tensor, "batch dims"]
    contrast_features: Float[Tensor, "positives dims"]
    contrast_logits: Float[Tensor, "positives classes"]
    log_alpha: list[Tensor]
    log_beta: list[dict[int, Tensor]]
    regions: list[Tensor]


def prepare(net: ZoomIn, image: Image) -> LoopImage:
    """Read the pixels of an image at the scales of a network.

    Raises:
        ConfigError: if the network has more than the paper's two stages.
        ImageError: if they cannot be read.
    """
    if net.config.blocks:
        raise ConfigError("the loop has two stages", where="model.blocks", remedy="Leave blocks out.")
    config, height, width = net.config, image.height, image.width
    tiles = TileGrid.of(torch.tensor([[height, width]]), config.tile_size).regions
    boxes = [Region(*box) for box in tiles.tolist()]
    margin = config.sub_tile_size
    right, bottom = (tiles[:, :2] + tiles[:, 2:]).amax(0).tolist()
    everything = Region(-margin, -margin, right + 2 * margin, bottom + 2 * margin)
    return LoopImage(
        size=(height, width),
        tiles=tiles.to(net.device),
        overviews=image.read(boxes, config.tile_scale).contiguous().to(net.device),
        views=image.read(boxes, config.sub_tile_scale).contiguous().to(net.device),
        pixels=image.read([everything], 1.0)[0].contiguous().to(net.device),
        margin=margin,
    )


def forward_loop(
    net: ZoomIn,
    images: Sequence[LoopImage],
    *,
    keys: Int[Tensor, " batch"] | None = None,
    n_samples: int | None = None,
    sampling: str | None = None,
    contrast: Bool[Tensor, " batch"] | None = None,
) -> LoopOutput:
    """Classify images one by one.

    Args:
        net: the network whose parameters are used.
        images: from `prepare`.
        keys: the draws that `ZoomIn` makes with these keys; None: drawn with torch's own functions and its
            global generator, as a plain program does.
        n_samples: N; the configuration's by default.
        sampling: as in `ZoomIn`; the configuration's by default. Without keys, "multinomial" alone.
        contrast: images for which the feature is estimated under the complement laws too.

    Example:
        >>> from zoomin.model.config import ZoomInConfig
        >>> from zoomin.images.array import ArrayImage
        >>> scales = {"tile_scale": 0.25, "sub_tile_scale": 0.25}  # tiles of whole pixels: equal views
        >>> net = ZoomIn(ZoomInConfig(tile_size=32, sub_tile_size=9, n_samples=4, **scales))
        >>> image = ArrayImage(torch.randint(256, (3, 60, 70), dtype=torch.uint8))
        >>> loop = forward_loop(net, [prepare(net, image)], keys=torch.tensor([7]))
        >>> torch.allclose(loop.logits, net([image], keys=torch.tensor([7])).logits, atol=1e-5)
        True

    Raises:
        ConfigError: if the sampling is unknown, or needs keys.
    """
    n = net.config.n_samples if n_samples is None else n_samples
    name = sampling or net.config.sampling
    features, contrastive, passes = [], [], []
    for i, image in enumerate(images):
        key = None if keys is None else keys[i : i + 1].to(net.device)
        one = _Pass(net, image, name, n)
        features.append(one.estimate(key if key is None else derive_keys(key, 0), complementary=False))
        if contrast is not None and bool(contrast[i]):
            contrastive.append(one.estimate(key if key is None else derive_keys(key, -2), complementary=True))
        passes.append(one)
    feature = torch.stack(features)
    contrast_feature = torch.stack(contrastive) if contrastive else feature[:0]
    return LoopOutput(
        logits=net.head(feature),
        features=feature,
        contrast_features=contrast_feature,
        contrast_logits=net.head(contrast_feature),
        log_alpha=[one.log_alpha for one in passes],
        log_beta=[one.log_beta for one in passes],
        regions=[torch.cat(one.regions) for one in passes],
    )


@dataclass(frozen=True)
class _OneDraw:
    """Tiles of one image: sub-tiles to draw in each, and the weight of each tile's feature."""

    count: Tensor
    kappa: Tensor


@dataclass
class _Pass:
    """One image on its way through the network."""

    net: ZoomIn
    image: LoopImage
    sampling: str
    n: int
    log_alpha: Tensor = field(init=False)
    log_beta: dict[int, Tensor] = field(default_factory=dict)
    regions: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Stage 1: a on every tile, softmax over the tiles."""
        logits = [
            self.net.tile_attention(self._float(view[None])).float().mean() for view in self.image.overviews
        ]
        self.log_alpha = torch.stack(logits).log_softmax(0)

    def estimate(self, key: Tensor | None, *, complementary: bool) -> Float[Tensor, " dims"]:
        """Draw tiles and positions, encode the sub-tiles, add up the expected feature."""
        log_p = complement(self.log_alpha[None])[0] if complementary else self.log_alpha
        size = torch.tensor([self.image.size], device=self.net.device).expand(len(log_p), 2)
        capacity = positions_inside(self.image.tiles, size, self.net.map_size).sum(1)
        draw = self._draw_tiles(log_p.detach(), capacity, key)
        total: Tensor | float = 0.0
        for tile in draw.count.nonzero()[:, 0].tolist():
            log_q = self._attend(tile)
            if complementary:
                log_q = complement(log_q[None])[0]
            tile_key = None if key is None else derive_keys(key, tile)
            feature = self._tile_feature(tile, log_q, int(draw.count[tile]), tile_key)
            total = total + _weight(draw.kappa[tile], log_p[tile]) * feature
        assert isinstance(total, Tensor)
        return total

    def _attend(self, tile: int) -> Float[Tensor, " positions"]:
        """Stage 2: b on one tile, softmax over the positions inside the image."""
        if tile not in self.log_beta:
            logits = self.net.position_attention(self._float(self.image.views[tile][None])).float().flatten()
            size = torch.tensor([self.image.size], device=self.net.device)
            inside = positions_inside(self.image.tiles[tile][None], size, self.net.map_size)[0]
            self.log_beta[tile] = logits.masked_fill(~inside, -torch.inf).log_softmax(0)
        return self.log_beta[tile]

    def _tile_feature(
        self, tile: int, log_q: Tensor, count: int, key: Tensor | None
    ) -> Float[Tensor, " dims"]:
        """Draw positions of one tile, cut each sub-tile out, encode them, sum their weighted features."""
        position, kappa = self._draw_positions(log_q.detach(), count, key)
        box = self.image.tiles[tile].expand(len(position), 4)
        regions = sub_tile_regions(box, position, self.net.map_size, self.net.config.sub_tile_size)
        self.regions.append(regions)
        sub_tiles = torch.stack([self.image.sub_tile(region) for region in regions])
        features = self.net.features(self._float(sub_tiles)).float()
        if self.net.config.normalize_features:
            features = functional.normalize(features, dim=1)
        feature: Tensor = _weight(kappa, log_q[position]) @ features
        return feature

    def _draw_tiles(self, log_p: Tensor, capacity: Tensor, key: Tensor | None) -> _OneDraw:
        if key is not None:
            draw = design(self.sampling).tiles(log_p[None], self.n, capacity[None], key)
            return _OneDraw(draw.count[0], draw.kappa[0])
        if self.sampling != "multinomial":
            raise ConfigError(f"sampling is {self.sampling} and there are no keys", remedy="Give keys.")
        drawn = torch.multinomial(log_p.exp(), self.n, replacement=True)
        count = drawn.bincount(minlength=len(log_p))
        return _OneDraw(count.minimum(capacity), count / self.n)

    def _draw_positions(self, log_q: Tensor, count: int, key: Tensor | None) -> tuple[Tensor, Tensor]:
        if key is not None:
            number = torch.tensor([count], device=log_q.device)
            draw = design(self.sampling).positions(log_q[None], number, key)
            return draw.index[draw.taken], draw.kappa[draw.taken]
        gumbel = -torch.log(-torch.log(torch.rand_like(log_q)))
        position = (log_q + gumbel).topk(count).indices
        p = log_q[position].exp()
        if count == int(log_q.isfinite().sum()):
            return position, p
        left = 1 - (p.cumsum(0) - p)
        later = torch.arange(count - 1, -1, -1, device=p.device)
        return position, (left + p * later) / count

    def _float(self, views: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        out: Tensor = (views.float() - self.net.mean) / self.net.std
        return out


def _weight(kappa: Tensor, log_p: Tensor) -> Tensor:
    """Value kappa = u p, gradient u dp: the constant-weight form."""
    return kappa * (log_p - log_p.detach()).exp()
