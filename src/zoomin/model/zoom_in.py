"""The Zoom-In network on one page (Kong & Henao, CVPR 2022; docs/method.md).

    alpha  = softmax over tiles      a(V(x, s1, c))        a: tile attention, one logit per tile
    beta^c = softmax over positions  b(V(x, s2, c))        b: position attention, one logit per position
    F      = sum_c alpha_c  sum_c' beta^c_c'  f(sub-tile(c, c'))
    logits = g(F)

F is estimated from N drawn sub-tiles. A forward pass makes three batched reads and three network calls for
all images of the batch together. Letters of shapes: B images, S estimates, T tiles, P positions, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..geometry import TileGrid, count_positions_inside, positions_inside, sub_tile_regions, view_size
from ..images.batch import as_batch, read_ahead
from ..images.image import Image, ImageBatch
from ..images.tissue import attended_tiles
from .config import ZoomInConfig
from .estimates import plan_estimates
from .estimators import expected_feature, sample_weights
from .network import Network
from .networks import (
    Embedding,
    Maps,
    PyramidAttention,
    TimmAttention,
    UniformAttention,
    build_networks,
    classifier,
    pool_overview,
    trunk_of,
    with_own_names,
)
from .output import Attention, SubTiles, Tiles, ZoomInOutput
from .sampling import complement_at, derive_keys, design, draw_positions, law_of
from .storage import load_pretrained

__all__ = ["ZoomIn", "ZoomInConfig"]


class ZoomIn(Network):
    """Classify images of any size by sampling tiles and sub-tiles with attention.

    Example:
        >>> net = ZoomIn(ZoomInConfig(n_classes=2, tile_size=64, sub_tile_size=15, n_samples=4))
        >>> images = torch.randint(256, (3, 3, 130, 150), dtype=torch.uint8)
        >>> out = net(images, generator=torch.Generator().manual_seed(0))
        >>> tuple(out.logits.shape), tuple(out.attention.alpha.shape)
        ((3, 2), (3, 9))
    """

    config_class = ZoomInConfig
    explains = True

    def __init__(
        self,
        config: ZoomInConfig,
        *,
        tile_attention: nn.Module | None = None,
        position_attention: nn.Module | None = None,
        features: nn.Module | None = None,
    ) -> None:
        """Build a, b, f and g.

        Args:
            config: every number, and the names of the networks.
            tile_attention: your own network a, from views (n, 3, h, w), or (n, channels, h, w), to logits
                (n, u, v).
            position_attention: your own network b, likewise.
            features: your own network f, from sub-tiles (n, 3, h, w) to features (n, dims).

        Raises:
            ConfigError: if a network is unknown, its weights cannot be loaded, it gives another shape, or
                sub-tiles are too small for it.
        """
        own = dict(tile_attention=tile_attention, position_attention=position_attention, features=features)
        config = with_own_names(config, own)
        super().__init__(config)
        self.config = config
        sides = dict(
            tile_attention=view_size(config.tile_size, config.tile_scale),
            position_attention=view_size(config.tile_size, config.sub_tile_scale),
            features=config.sub_tile_size,
        )
        names = {name: getattr(config, name) for name in own}
        built = build_networks(names, own, sides, config.pretrained, channels=config.n_channels)
        self.tile_attention = built.tile_attention
        self.position_attention = built.position_attention
        gates = config.gate_copies, config.gate_components, config.gate_width
        self.features, self.head = classifier(
            built, config.n_classes, gates, config.context_side > 0, config.gate_overview
        )
        self.map_size = built.map_size
        # Always the same one, so that an engine compiles it once; in a tuple, so that weights are saved once.
        self._embedding = (Embedding(self._tile_trunk),) if config.gate_overview else ()
        self.to(memory_format=torch.channels_last)

    def forward(
        self,
        images: Sequence[Image] | Tensor | ImageBatch,
        *,
        generator: torch.Generator | None = None,
        keys: Int[Tensor, " batch"] | None = None,
        n_samples: int | None = None,
        sampling: str | None = None,
        replicates: int = 1,
        contrast: Bool[Tensor, " batch"] | None = None,
        tile_embeddings: Float[Tensor, "tiles channels"] | None = None,
    ) -> ZoomInOutput:
        """Classify a batch of images.

        Args:
            images: images, a (B, 3, H, W) tensor (uint8, or float in [0, 1]), or a batch that reads.
            generator: seeds the draws of this call; without `keys` and generator, torch's global one does.
            keys: seed of each image's draws; an image with the same key is drawn the same in any batch.
            n_samples: N, sub-tiles per image and replicate; the configuration's by default.
            sampling: "multinomial", "systematic", "exact" or "top"; the configuration's by default.
            replicates: independent estimates whose features are averaged before the head.
            contrast: images for which the feature is estimated under the complement laws too.
            tile_embeddings: what `embed_tiles` gave for these images, instead of reading stage 1 again.

        Returns:
            logits, features, what was drawn, and the attention.

        Raises:
            ConfigError: if the sampling is unknown, N or `replicates` is not positive.
            ImageError: if pixels cannot be read.
        """
        batch = as_batch(images, self.device, self.config.resolution, self.config.foreground)
        law = design(sampling or self.config.sampling)
        n = self.config.n_samples if n_samples is None else n_samples
        estimates = plan_estimates(len(batch), self.device, generator, keys, n, replicates, contrast)

        # Stage 1: attend to the tiles of every overview, draw tiles.
        grid = TileGrid.of(batch.sizes, self.config.tile_size)
        if self.config.gate_overview and tile_embeddings is None:
            tile_embeddings = self.embed_tiles(batch)  # which the head sees too
        attention = self._attend_tiles(batch, grid, tile_embeddings)
        log_alpha = attention.log_alpha  # (B, T)
        log_p = law_of(estimates.contrast, log_alpha[estimates.image])  # (S, T)
        capacity = self._capacity(batch, grid, log_alpha)[estimates.image]
        draw = law.tiles(log_p.detach(), n, capacity, estimates.keys)
        estimate, tile = draw.count.nonzero(as_tuple=True)  # one row per drawn tile of an estimate
        count, kappa_tile, log_p_tile = (
            draw.count[estimate, tile],
            draw.kappa[estimate, tile],
            log_p[estimate, tile],
        )

        # Stage 2: attend to the positions inside the drawn tiles, each tile once, draw positions.
        drawn, row = torch.unique(grid.first[estimates.image[estimate]] + tile, return_inverse=True)
        tiles = self._attend_positions(batch, grid, drawn, log_alpha)
        contrast_row, keys_row = estimates.contrast[estimate], derive_keys(estimates.keys[estimate], tile)
        draws = draw_positions(law, tiles.log_beta.detach(), row, contrast_row, count, keys_row)
        r, i = draws.taken.nonzero(as_tuple=True)  # one row per drawn sub-tile
        position, kappa = draws.index[r, i], kappa_tile[r] * draws.kappa[r, i]
        log_attention = log_p_tile[r] + _log_of(contrast_row[r], tiles.log_beta, row[r], position)

        # Zoom: read and encode the sub-tiles, estimate the expected feature, classify it.
        regions = sub_tile_regions(tiles.regions[row[r]], position, self.map_size, self.config.sub_tile_size)
        e = estimate[r]
        encoded = self._encode(batch, estimates.image[e], regions)
        features = expected_feature(encoded, log_attention, kappa, e, len(estimates.image))
        context = self._beside(batch, attention, tile_embeddings)
        features = torch.cat([features, context[estimates.image]], 1)
        replicated = features[: replicates * len(batch)].unflatten(0, (replicates, len(batch)))
        feature, contrastive = replicated.mean(0), features[replicates * len(batch) :]
        kept = ~estimates.contrast[e]
        weight = sample_weights(log_attention, kappa).detach() / replicates
        sub_tiles = SubTiles(
            image=estimates.image[e][kept],
            tile=row[r][kept],
            position=position[kept],
            regions=regions[kept],
            weight=weight[kept],
            features=encoded.detach()[kept],
            replicate=estimates.replicate[e][kept],
        )
        return ZoomInOutput(
            logits=self.head(feature),
            features=feature,
            tiles=tiles,
            sub_tiles=sub_tiles,
            attention=attention,
            replicates=replicated,
            contrast_image=estimates.image[estimates.contrast],
            contrast_features=contrastive,
            contrast_logits=self.head(contrastive),
            view_pixels=self._view_pixels,
            context=context.detach(),
            context_pixels=self.config.context_side**2,
        )

    def tile_logits(
        self, batch: ImageBatch, grid: TileGrid, embeddings: Tensor | None = None
    ) -> Float[Tensor, "batch tiles"]:
        """Logits of the tiles before the softmax: the mean of a's map of each.

        They are -inf where there is no tile and where a tile is background, which is not read either.

        Args:
            batch: images.
            grid: their tiles.
            embeddings: what `embed_tiles` gave for them; by default the tiles are read.
        """
        return self._tile_logits(batch, grid, attended_tiles(batch, grid).tiles, embeddings)

    def embed_tiles(self, batch: ImageBatch) -> Float[Tensor, "tiles channels"]:
        """What the trunk of a `timm` tile attention makes of every tile, image by image.

        Background is not read: its embeddings are 0. The others stay as they are while the trunk is frozen.

        Raises:
            ConfigError: if the tile attention has no trunk.
        """
        grid = TileGrid.of(batch.sizes, self.config.tile_size)
        kept = attended_tiles(batch, grid).tiles
        [network] = self._embedding or (Embedding(self._tile_trunk),)
        network.training = self.training
        embeddings = self._apply_to_tiles(network, batch, grid, kept)
        return embeddings.new_zeros(len(kept), embeddings.shape[1]).index_put((kept,), embeddings)

    def position_logits(
        self, batch: ImageBatch, grid: TileGrid, drawn: Int[Tensor, " drawn"]
    ) -> Float[Tensor, "drawn positions"]:
        """Logits of the positions inside some tiles before the softmax; -inf beyond the border.

        Args:
            batch: images.
            grid: their tiles.
            drawn: places of the tiles in the grid's flat list.
        """
        if isinstance(self.position_attention, UniformAttention):
            return self.mean.new_zeros(len(drawn), 1)
        image, regions = grid.image[drawn], grid.regions[drawn]
        side, scale = self.config.tile_size, self.config.sub_tile_scale
        logits = self.chunks.apply(self.position_attention, batch, image, regions, side, scale)
        inside = positions_inside(regions, batch.sizes[image], self.map_size)
        return logits.flatten(1).masked_fill(~inside, -torch.inf)

    def embed_positions(
        self, batch: ImageBatch, grid: TileGrid, drawn: Int[Tensor, " drawn"]
    ) -> list[Float[Tensor, "inside channels"]]:
        """What the trunk of a `timm` position attention makes of the positions inside some tiles.

        Args:
            batch: images.
            grid: their tiles.
            drawn: places of the tiles in the grid's flat list.

        Returns:
            The positions inside the image, row by row, of each tile.

        Raises:
            ConfigError: if the position attention has no trunk.
        """
        image, regions = grid.image[drawn], grid.regions[drawn]
        side, scale = self.config.tile_size, self.config.sub_tile_scale
        network = Maps(trunk_of(self.position_attention))
        maps = self.chunks.apply(network, batch, image, regions, side, scale).flatten(2).transpose(1, 2)
        inside = positions_inside(regions, batch.sizes[image], self.map_size)
        return [tile[there] for tile, there in zip(maps, inside, strict=True)]

    def read_context(self, batch: ImageBatch) -> Float[Tensor, "batch context"]:
        """Features of a view of each whole image; none where the configuration has none."""
        if not self.config.context_side:
            return self.mean.new_zeros(len(batch), 0)
        rows = []
        for place, (height, width) in enumerate(batch.sizes.tolist()):
            region = torch.tensor([[0, 0, width, height]], device=self.device)
            scale = min(1.0, self.config.context_side / max(height, width))
            views = batch.read(torch.tensor([place], device=self.device), region, scale)
            rows.append(self.chunks.through(self.features, views))
        return torch.cat(rows)

    def _beside(self, batch: ImageBatch, attention: Attention, embeddings: Tensor | None) -> Tensor:
        """What the head sees of whole images beside sub-tiles: a view of each, its overview, or nothing."""
        if not self.config.gate_overview or embeddings is None:
            return self.read_context(batch)
        grid = attention.grid
        kept = attention.log_alpha[grid.image, grid.index].isfinite()
        parts = zip(embeddings.split(grid.count.tolist()), kept.split(grid.count.tolist()), strict=True)
        return torch.stack([pool_overview(own[there]) for own, there in parts])

    def attend(self, images: Sequence[Image] | Tensor | ImageBatch) -> tuple[Attention, Tiles]:
        """Both attention stages over every tile, nothing drawn and no sub-tile read: for images that fit.

        Returns:
            The attention over tiles, and all tiles of all images with the maps inside them, image by image.
        """
        batch = as_batch(images, self.device, self.config.resolution, self.config.foreground)
        grid = TileGrid.of(batch.sizes, self.config.tile_size)
        attention = self._attend_tiles(batch, grid)
        every = torch.arange(len(grid.image), device=self.device)
        return attention, self._attend_positions(batch, grid, every, attention.log_alpha)

    @property
    def n_samples(self) -> int:
        """N, sub-tiles drawn of an image."""
        return self.config.n_samples

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", **own: nn.Module | None
    ) -> ZoomIn:
        """The model that `save_pretrained` wrote, in evaluation mode.

        Args:
            folder: with `model.safetensors` and `config.json`.
            device: where to compute.
            own: `tile_attention`, `position_attention`, `features`: the networks that the model was built
                with, where they are the caller's own; their weights are loaded.

        Raises:
            CheckpointError: if a file is missing or damaged, or does not fit the configuration.
            ConfigError: if an own network is not given.
        """
        return load_pretrained(lambda c: cls(c, **own), folder, device, ZoomInConfig.from_dict)

    def design_for(self, height: int, width: int, sampling: str, exact_budget: int) -> str:
        """What is asked for; "auto": `prediction_sampling`, else all of few sub-tiles and draws of others."""
        if sampling != "auto":
            return sampling
        if self.config.prediction_sampling is not None:
            return self.config.prediction_sampling
        return "exact" if self._tiles(height, width) * prod(self.map_size) <= exact_budget else "systematic"

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """The tiles at s1, those drawn at s2, and sub-tiles: as many as drawn, or all."""
        tiles = self._tiles(height, width)
        every = tiles * prod(self.map_size)
        count = every if drawn is None else min(every, drawn)
        overview, tile, sub_tile = self._view_pixels
        return tiles * overview + min(tiles, count) * tile + count * sub_tile + self.config.context_side**2

    def read_ahead(self, images: ImageBatch) -> None:
        """Start to read the tiles of images on disk at s1. Returns at once."""
        if self.config.tile_attention == "uniform":
            return
        read_ahead(images, self.config.tile_size, self.config.tile_scale)

    def _tiles(self, height: int, width: int) -> int:
        return int(TileGrid.of(torch.tensor([[height, width]]), self.config.tile_size).count[0])

    @property
    def _tile_trunk(self) -> TimmAttention | PyramidAttention:
        """The tile attention, whose trunk is wanted."""
        a = self.tile_attention
        return a if isinstance(a, PyramidAttention) else trunk_of(a)

    @property
    def _view_pixels(self) -> tuple[int, int, int]:
        """Pixels of a tile's view at s1, of one at s2, and of a sub-tile; uniform attention reads none."""
        config = self.config
        scales = {"tile_attention": config.tile_scale, "position_attention": config.sub_tile_scale}
        sides = [
            0 if getattr(config, name) == "uniform" else view_size(config.tile_size, scale)
            for name, scale in scales.items()
        ]
        return sides[0] ** 2, sides[1] ** 2, config.sub_tile_size**2

    def _attend_tiles(self, batch: ImageBatch, grid: TileGrid, embeddings: Tensor | None = None) -> Attention:
        """Attention to every image: a on the tiles of the overviews, one softmax per image."""
        attended = attended_tiles(batch, grid)
        logits = self._tile_logits(batch, grid, attended.tiles, embeddings)
        return Attention(grid, logits.log_softmax(1), attended.no_foreground)

    def _tile_logits(
        self, batch: ImageBatch, grid: TileGrid, kept: Bool[Tensor, " listed"], embeddings: Tensor | None
    ) -> Float[Tensor, "batch tiles"]:
        """Logits of the tiles that are kept, -inf elsewhere."""
        if isinstance(self.tile_attention, UniformAttention):
            logits = self.mean.new_zeros(int(kept.sum()))
        elif embeddings is None:
            logits = self._apply_to_tiles(self.tile_attention, batch, grid, kept).mean((1, 2))
        else:
            logits = self._tile_trunk.mean_logits(embeddings[kept])
        padded = logits.new_full((len(batch), int(grid.count.max())), -torch.inf)
        return padded.index_put((grid.image[kept], grid.index[kept]), logits)

    def _apply_to_tiles(
        self, network: nn.Module, batch: ImageBatch, grid: TileGrid, kept: Bool[Tensor, " tiles"]
    ) -> Float[Tensor, "kept ..."]:
        """What a network makes of some tiles at s1."""
        side, scale = self.config.tile_size, self.config.tile_scale
        image, regions = grid.image[kept], grid.regions[kept]
        batch.prefetch(image, regions, scale)
        return self.chunks.apply(network, batch, image, regions, side, scale)

    def _attend_positions(
        self, batch: ImageBatch, grid: TileGrid, drawn: Int[Tensor, " drawn"], log_alpha: Tensor
    ) -> Tiles:
        """Attention logs inside the drawn tiles: b on each; positions beyond the border get no attention."""
        image, index, regions = grid.image[drawn], grid.index[drawn], grid.regions[drawn]
        log_beta = self.position_logits(batch, grid, drawn).log_softmax(1)
        return Tiles(image, index, regions, log_alpha[image, index], log_beta, self.map_size)

    def _encode(
        self, batch: ImageBatch, image: Int[Tensor, " n"], regions: Int[Tensor, "n 4"]
    ) -> Float[Tensor, "n dims"]:
        """Features of the sub-tiles, of unit length where the configuration says so."""
        features = self.chunks.apply(self.features, batch, image, regions, self.config.sub_tile_size, 1.0)
        return nn.functional.normalize(features, dim=1) if self.config.normalize_features else features

    def _capacity(self, batch: ImageBatch, grid: TileGrid, log_alpha: Tensor) -> Int[Tensor, "batch tiles"]:
        """Number of positions inside the image of every tile that can be drawn."""
        inside = count_positions_inside(grid.regions, batch.sizes[grid.image], self.map_size)
        capacity = torch.zeros_like(log_alpha, dtype=torch.int64)
        return capacity.index_put((grid.image, grid.index), inside) * log_alpha.isfinite()


def _log_of(
    contrast: Bool[Tensor, " n"],
    log_beta: Float[Tensor, "drawn positions"],
    row: Int[Tensor, " n"],
    position: Int[Tensor, " n"],
) -> Float[Tensor, " n"]:
    """Log probability of drawn positions under the law of each: attention, or its complement."""
    log_q = log_beta[row, position]
    if not contrast.any():
        return log_q
    cells = log_beta.isfinite().sum(1)[row]
    return torch.where(contrast, complement_at(log_q, cells), log_q)
