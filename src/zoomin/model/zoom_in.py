"""The Zoom-In network on one page (Kong & Henao, CVPR 2022; docs/method.md).

    alpha  = softmax over tiles      a(V(x, s1, c))        a: tile attention, one logit per tile
    beta^c = softmax over positions  b(V(x, s2, c))        b: position attention, one logit per position
    F      = sum_c alpha_c  sum_c' beta^c_c'  f(sub-tile(c, c'))
    logits = g(F)

F is estimated from N drawn sub-tiles. A forward pass makes a batched read and a network call per step for all
images together: three, and one per stage of blocks above the tiles. Letters: B images, T tiles, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..geometry import (
    TileGrid,
    count_boxes,
    count_positions_inside,
    most_boxes,
    positions_inside,
    sub_tile_regions,
    view_size,
)
from ..images.batch import as_batch, read_ahead
from ..images.image import Image, ImageBatch
from ..images.tissue import attended_tiles
from .chunks import together
from .config import ZoomInConfig
from .estimates import plan_estimates
from .estimators import expected_feature, sample_weights
from .network import Network
from .networks import (
    Embedding,
    PyramidAttention,
    TimmAttention,
    UniformAttention,
    block_networks,
    build_networks,
    classifier,
    pool_overview,
    trunk_of,
    with_own_names,
)
from .output import Attention, StageAttention, SubTiles, Tiles, ZoomInOutput
from .sampling import design
from .stages import (
    Boxes,
    boxes_of,
    draw_boxes,
    draw_in_parts,
    draw_in_tiles,
    start_paths,
    tile_attention,
)
from .storage import load_pretrained

__all__ = ["ZoomIn", "ZoomInConfig"]

_log_softmax = partial(torch.log_softmax, dim=1)  # positions beyond the border get no attention


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
    explains = zooms = True

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
        self.block_attention = block_networks(config.blocks, config.pretrained, config.n_channels)
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
        keep_maps: bool = True,
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
            keep_maps: keep the maps inside drawn tiles (`tiles.log_beta`), which no answer depends on.

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

        # Stages of boxes, at last tiles: attend inside what is drawn, first whole images, and draw there.
        grid = TileGrid.of(batch.sizes, self.config.tile_size)
        boxes, no_foreground = self._boxes(batch, grid)
        if self.config.gate_overview and tile_embeddings is None:
            tile_embeddings = self.embed_tiles(batch)  # which the head sees too
        paths, stages = start_paths(estimates, n, len(batch), self.mean), list[StageAttention]()
        for _ in boxes:
            stages.append(self._attend_boxes(batch, boxes, len(stages), paths.drawn, tile_embeddings))
            paths = draw_boxes(law, stages[-1], paths)
        attention = Attention(grid, tile_attention(boxes, stages), no_foreground)

        # Last stage: attend to the positions inside the drawn tiles, each tile once, draw positions.
        maps = map(_log_softmax, self._position_parts(batch, grid, paths.drawn))
        log_beta = together(len(paths.drawn), maps) if keep_maps else self.mean.new_empty(len(paths.drawn), 0)
        drawn = draw_in_tiles(law, log_beta, paths) if keep_maps else draw_in_parts(law, maps, paths)
        tiles = self._tiles(grid, paths.drawn, attention.log_alpha, log_beta)
        e, row, position, kappa, log_attention = drawn

        # Zoom: read and encode the sub-tiles, estimate the expected feature, classify it.
        regions = sub_tile_regions(tiles.regions[row], position, self.map_size, self.config.sub_tile_size)
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
            tile=row[kept],
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
            stages=tuple(stages),
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
        found = attended_tiles(batch, grid).tiles.nonzero()[:, 0]
        return grid.by_image(self.box_logits(batch, -1, grid, found, embeddings), found)

    def box_logits(
        self,
        batch: ImageBatch,
        stage: int,
        grid: TileGrid,
        found: Int[Tensor, " found"],
        embeddings: Tensor | None = None,
    ) -> Float[Tensor, " found"]:
        """Logits of some boxes of a stage before the softmax: the mean of its network's map of each.

        Args:
            batch: images.
            stage: of blocks, from 0, or of tiles, the last one (-1).
            grid: the boxes of the stage.
            found: places of the boxes in its flat list.
            embeddings: what `embed_tiles` gave for the tiles.
        """
        network, side, scale = self.box_stages[stage]
        if isinstance(network, UniformAttention):
            return self.mean.new_zeros(len(found))
        if embeddings is not None and network is self.tile_attention:
            return self._tile_trunk.mean_logits(embeddings[found])
        image, regions = grid.image[found], grid.regions[found]
        if network is self.box_stages[0][0]:
            batch.prefetch(image, regions, scale)
        return self.chunks.apply(network, batch, image, regions, side, scale).mean((1, 2))

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
        side, scale = self.config.tile_size, self.config.tile_scale
        image, regions = grid.image[kept], grid.regions[kept]
        batch.prefetch(image, regions, scale)
        embeddings = self.chunks.apply(network, batch, image, regions, side, scale)
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
        return together(len(drawn), self._position_parts(batch, grid, drawn))

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
        return torch.stack([pool_overview(own) for own in attention.of_attended(embeddings)])

    def attend(self, images: Sequence[Image] | Tensor | ImageBatch) -> tuple[Attention, Tiles]:
        """All attention stages over every tile, nothing drawn and no sub-tile read: for images that fit.

        Returns:
            The attention over tiles, and all tiles of all images with the maps inside them, image by image.
        """
        batch = as_batch(images, self.device, self.config.resolution, self.config.foreground)
        attention = self.attend_tiles(batch)
        every = torch.arange(len(attention.grid.image), device=self.device)
        log_beta = together(len(every), map(_log_softmax, self._position_parts(batch, attention.grid, every)))
        return attention, self._tiles(attention.grid, every, attention.log_alpha, log_beta)

    def attend_tiles(self, batch: ImageBatch) -> Attention:
        """All stages down to the tiles, in every block, nothing drawn."""
        grid = TileGrid.of(batch.sizes, self.config.tile_size)
        boxes, no_foreground = self._boxes(batch, grid)
        drawn, stages = torch.arange(len(batch), device=self.device), list[StageAttention]()
        for own in boxes:
            stages.append(self._attend_boxes(batch, boxes, len(stages), drawn))
            drawn = own.kept.nonzero()[:, 0]
        return Attention(grid, tile_attention(boxes, stages), no_foreground)

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
        tiles = count_boxes(height, width, self.config.tile_size)
        return "exact" if tiles * prod(self.map_size) <= exact_budget else "systematic"

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """The tiles at s1, those drawn at s2, and sub-tiles: as many as drawn, or all.

        With stages above the tiles, at most so many.
        """
        sides = [side for _, side, _ in self.box_stages]
        every = count_boxes(height, width, sides[-1]) * prod(self.map_size)
        count = every if drawn is None else min(every, drawn)
        seen = most_boxes(height, width, sides, count)
        views = *seen, min(seen[-1], count), count
        pixels = sum(n * pixels for n, pixels in zip(views, self._view_pixels, strict=True))
        return pixels + self.config.context_side**2

    def read_ahead(self, images: ImageBatch) -> None:
        """Start to read what the first stage sees of images on disk. Returns at once."""
        if not isinstance(self.box_stages[0][0], UniformAttention):
            read_ahead(images, self.config.tile_size, *self.config.first_stage)

    @property
    def box_stages(self) -> tuple[tuple[nn.Module, int, float], ...]:
        """The stages above the positions, tiles last: attention network, side of a box, scale of its view."""
        c = self.config
        above = ((a, b.size, b.scale) for a, b in zip(self.block_attention, c.blocks, strict=True))
        return *above, (self.tile_attention, c.tile_size, c.tile_scale)

    @property
    def _tile_trunk(self) -> TimmAttention | PyramidAttention:
        """The tile attention, whose trunk is wanted."""
        a = self.tile_attention
        return a if isinstance(a, PyramidAttention) else trunk_of(a)

    @property
    def _view_pixels(self) -> tuple[int, ...]:
        """Pixels of a view of a box of each stage, of a tile at s2, of a sub-tile; none for uniform ones."""
        config = self.config
        attended = *self.box_stages, (self.position_attention, config.tile_size, config.sub_tile_scale)
        sides = [
            0 if isinstance(a, UniformAttention) else view_size(side, scale) for a, side, scale in attended
        ]
        return *(side**2 for side in sides), config.sub_tile_size**2

    def _boxes(self, batch: ImageBatch, grid: TileGrid) -> tuple[list[Boxes], tuple[int, ...]]:
        """The boxes of every stage above the positions, and the images that are all background."""
        attended = attended_tiles(batch, grid)
        capacity = count_positions_inside(grid.regions, batch.sizes[grid.image], self.map_size)
        sides = [block.size for block in self.config.blocks]
        return boxes_of(grid, attended.tiles, capacity, batch.sizes, sides), attended.no_foreground

    def _attend_boxes(
        self,
        batch: ImageBatch,
        boxes: Sequence[Boxes],
        stage: int,
        drawn: Int[Tensor, " drawn"],
        embeddings: Tensor | None = None,
    ) -> StageAttention:
        """Attention of one stage to boxes, inside what the one above has drawn: one softmax in each."""
        own = boxes[stage]
        found, row = own.within(drawn)
        logits = self.box_logits(batch, stage, own.grid, found, embeddings)
        return own.attention(found, row, logits, drawn)

    def _position_parts(self, batch: ImageBatch, grid: TileGrid, drawn: Tensor) -> Iterator[Tensor]:
        """`position_logits`, some tiles at a time."""
        if isinstance(self.position_attention, UniformAttention):
            yield self.mean.new_zeros(len(drawn), 1)
            return
        image, regions, first = grid.image[drawn], grid.regions[drawn], 0
        side, scale, sizes = self.config.tile_size, self.config.sub_tile_scale, batch.sizes[image]
        for logits in self.chunks.parts(self.position_attention, batch, image, regions, side, scale):
            own = slice(first, first := first + len(logits))
            inside = positions_inside(regions[own], sizes[own], self.map_size)
            logits = logits.flatten(1)
            yield logits if inside.all() else logits.masked_fill(~inside, -torch.inf)
            del logits  # before the next are there

    def _tiles(self, grid: TileGrid, drawn: Tensor, log_alpha: Tensor, log_beta: Tensor) -> Tiles:
        """What is known of drawn tiles."""
        image, index = grid.image[drawn], grid.index[drawn]
        return Tiles(image, index, grid.regions[drawn], log_alpha[image, index], log_beta, self.map_size)

    def _encode(
        self, batch: ImageBatch, image: Int[Tensor, " n"], regions: Int[Tensor, "n 4"]
    ) -> Float[Tensor, "n dims"]:
        """Features of the sub-tiles, of unit length where the configuration says so."""
        features = self.chunks.apply(self.features, batch, image, regions, self.config.sub_tile_size, 1.0)
        return nn.functional.normalize(features, dim=1) if self.config.normalize_features else features
