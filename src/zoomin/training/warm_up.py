"""Warm up the attention networks from image labels alone, before sub-tiles are drawn.

Attention that starts uniform draws a tiny object so rarely that the mean of the drawn features hardly differs
between the classes: on a slide of which 1 % decides, one sub-tile in a hundred. So a and b are first trained
as detectors by multiple-instance learning: the logit of an image is the log-mean-exp of the logits of its
cells (Pinheiro & Collobert, CVPR 2015), which is near their mean at first and near their maximum once some
stand out, and is classified as negative (class 0) or not. Not in the paper, which starts uniform.

Stage 1 pools over all tiles of an image; stage 2 over the positions of the tiles that a ranks highest, in
negative images the ones most like the object. Stages above the tiles come first, each pooled over all of its
blocks. All keep the weights that they end with; where the trunks are frozen, the best of several starts
(`detectors.py`). Then the head may be initialised from what is drawn (`head_start.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..data.batch import Batch
from ..data.datamodule import BatchKey, ZoomInDataModule
from ..errors import ConfigError
from ..geometry import TileGrid, positions_inside
from ..images.image import ImageBatch
from ..images.tissue import attended_tiles
from ..model.networks import Embedding, trunk_of
from ..model.sampling import derive_keys
from ..model.zoom_in import ZoomIn
from ..progress import track
from .config import WarmUp
from .detectors import LARGEST_GRADIENT, Detectors, pooled_loss
from .embedding_cache import EmbeddingCache
from .head_start import start_head

__all__ = ["WarmUpStep", "embed_positions", "log_mean_exp", "warm_up"]

_WARM_UP = 7  # stream of random numbers
_AUGMENTED = 1 << 20  # epochs of warm-up batches, so that training draws other augmentations


class WarmUpStep(NamedTuple):
    """What is recorded of a step.

    Attributes:
        stage: 1: tiles, 2: positions, 3: the head; from 4: the stages of blocks, the coarsest first.
        step: number of the step in its stage.
        loss: cross-entropy of the pooled logits of the batch; of the head, of all sub-tiles, and its penalty.
    """

    stage: int
    step: int
    loss: float


def log_mean_exp(logits: Float[Tensor, "rows cells"]) -> Float[Tensor, " rows"]:
    """Log of the mean of exp over the finite cells of each row.

    Example:
        >>> log_mean_exp(torch.tensor([[0.0, 0.0, -torch.inf], [3.0, 3.0, 3.0]]))
        tensor([0., 3.])
    """
    cells = logits.isfinite().sum(1).clamp(min=1)
    return logits.logsumexp(1) - cells.to(logits.dtype).log()


def embed_positions(
    net: ZoomIn, batch: ImageBatch, grid: TileGrid, drawn: Int[Tensor, " drawn"]
) -> list[Float[Tensor, "inside channels"]]:
    """What the trunk of a `timm` position attention makes of the positions inside some tiles.

    Args:
        net: whose position attention it is.
        batch: images.
        grid: their tiles.
        drawn: places of the tiles in the grid's flat list.

    Returns:
        The positions inside the image, row by row, of each tile.

    Raises:
        ConfigError: if the position attention has no trunk.
    """
    image, regions = grid.image[drawn], grid.regions[drawn]
    side, scale = net.config.tile_size, net.config.sub_tile_scale
    network = Embedding(trunk_of(net.position_attention), maps=True)
    maps = net.chunks.apply(network, batch, image, regions, side, scale).flatten(2).transpose(1, 2)
    inside = positions_inside(regions, batch.sizes[image], net.map_size)
    return [tile[there] for tile, there in zip(maps, inside, strict=True)]


def warm_up(
    net: ZoomIn,
    data: ZoomInDataModule,
    config: WarmUp,
    seed: int = 0,
    cached_embeddings: Callable[[Batch], Tensor | None] = lambda batch: None,
    progress: bool = False,
) -> list[WarmUpStep]:
    """Train both attention networks as detectors on the training images, then begin the head.

    Weights that are frozen stay.

    Args:
        net: the network; its a, b and head change, as configured.
        data: the images; the training split is used.
        config: how.
        seed: of the batches.
        cached_embeddings: embeddings of the tiles of a batch where the trunk of a is frozen, else None.
        progress: show a progress bar.

    Returns:
        One record per step, empty where the warm-up is off.

    Raises:
        ConfigError: if the training images are all negative, or none is.
        ImageError: if pixels cannot be read.
    """
    if not config.is_on:
        return []
    loader = _Loader(data, config.batch_size, seed)
    work = _Work(net, loader, config, seed, cached_embeddings, progress)
    steps: list[WarmUpStep] = []
    if config.steps:
        steps += work.best_of_several() if config.starts > 1 else work.one_start()
    if config.head_l2 is not None:
        batches = track(list(loader.every(3)), "Initialising the head", shown=progress)
        losses = start_head(net, batches, lambda batch: _keys(seed, batch), cached_embeddings, config.head_l2)
        steps += [WarmUpStep(3, step, loss) for step, loss in enumerate(losses)]
    return steps


def _keys(seed: int, batch: Batch) -> Int[Tensor, " batch"]:
    """Seeds of the draws of a batch, image by image."""
    return derive_keys(derive_keys(torch.full_like(batch.index, seed), _WARM_UP), batch.index)


@dataclass(frozen=True)
class _Work:
    """The warm-up of both attention networks (see `warm_up`)."""

    net: ZoomIn
    loader: _Loader
    config: WarmUp
    seed: int
    cached_embeddings: Callable[[Batch], Tensor | None]
    progress: bool

    def one_start(self) -> list[WarmUpStep]:
        """Both networks from where they are, by whatever of them learns."""
        net, config = self.net, self.config

        def tiles(batch: Batch) -> Tensor:
            return net.tile_logits(batch.images, self._grid(batch), self.cached_embeddings(batch))

        def positions(batch: Batch) -> Tensor:
            with torch.no_grad():
                logits = tiles(batch)
            image, rank, place = _best_tiles(self._grid(batch), logits, config.top_tiles)
            found = net.position_logits(batch.images, self._grid(batch), place)
            width = min(config.top_tiles, logits.shape[1])
            rows = found.new_full((len(batch), width, found.shape[1]), -torch.inf)
            return rows.index_put((image, rank), found).flatten(1)

        steps: list[WarmUpStep] = []
        for number, network in enumerate(net.block_attention):
            steps += self._train(network, partial(self._block_logits, number), 4 + number, config.steps)
        steps += self._train(net.tile_attention, tiles, 1, config.steps)
        return steps + self._train(net.position_attention, positions, 2, config.position_steps)

    def best_of_several(self) -> list[WarmUpStep]:
        """Both last layers, of frozen trunks, each the best of several starts.

        Raises:
            ConfigError: if the training images are augmented, so that nothing can be cached.
        """
        net, config, cache = self.net, self.config, EmbeddingCache()

        @torch.no_grad()
        def tiles(batch: Batch) -> list[Tensor]:
            grid = self._grid(batch)
            kept = attended_tiles(batch.images, grid).tiles
            count = torch.bincount(grid.image[kept], minlength=len(batch)).tolist()
            return list(self._embedded(batch)[kept].split(count))

        def embedded_positions(batch: Batch) -> list[Tensor]:
            grid = self._grid(batch)
            logits = net.tile_logits(batch.images, grid, self._embedded(batch))
            image, _, place = _best_tiles(grid, logits, config.top_tiles)
            found = iter(embed_positions(net, batch.images, grid, place))
            count = torch.bincount(image, minlength=len(batch)).tolist()
            return [torch.cat(list(islice(found, few))) for few in count]

        def positions(batch: Batch) -> list[Tensor]:
            return cache.of(batch, embedded_positions)

        steps = self._detect(trunk_of(net.tile_attention).logit, tiles, 1, config.steps)
        if config.position_steps:
            layer = trunk_of(net.position_attention).logit
            steps += self._detect(layer, positions, 2, config.position_steps)
        return steps

    def _block_logits(self, number: int, batch: Batch) -> Tensor:
        """Logits of all blocks of a stage."""
        grid, images = self._grid(batch), batch.images
        blocks = TileGrid.of(images.sizes, self.net.config.blocks[number].size)
        found = grid.any_inside(blocks, attended_tiles(images, grid).tiles).nonzero()[:, 0]
        return blocks.by_image(self.net.box_logits(images, number, blocks, found), found)

    def _grid(self, batch: Batch) -> TileGrid:
        return TileGrid.of(batch.images.sizes, self.net.config.tile_size)

    def _embedded(self, batch: Batch) -> Tensor:
        embeddings = self.cached_embeddings(batch)
        if embeddings is None:
            raise ConfigError(
                "several starts need fixed embeddings, and these images are augmented",
                where="train.warm_up.starts",
                remedy="Switch data.augmentation off, or take one start.",
            )
        return embeddings

    def _detect(
        self, layer: nn.Conv2d, embed: Callable[[Batch], list[Tensor]], stage: int, steps: int
    ) -> list[WarmUpStep]:
        """One stage: detectors on embeddings that stay; the best of them becomes the layer."""
        batches = track(list(self.loader.every(stage)), f"Embedding for stage {stage}", shown=self.progress)
        mean, std = _standard(embed(batch) for batch in batches)
        config = replace(self.config, steps=steps)
        detectors = Detectors(layer, mean, std, _pool(config), config, self.seed)
        losses = []
        for step in track(range(steps), f"Warming up stage {stage}", shown=self.progress):
            batch = self.loader.batch(stage, step)
            losses.append(detectors.step(embed(batch), _positive(batch)))
        best = _least_loss(detectors, embed, list(self.loader.every(stage)))
        detectors.keep(best)
        return [WarmUpStep(stage, step, float(loss[best])) for step, loss in enumerate(losses)]

    def _train(
        self, network: nn.Module, logits_of: Callable[[Batch], Tensor], stage: int, steps: int
    ) -> list[WarmUpStep]:
        """One stage: Adam on the weights of a network that learn."""
        if not steps:
            return []
        config, pool = self.config, _pool(self.config)
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        adam = torch.optim.Adam(weights, config.learning_rate, weight_decay=config.weight_decay)
        cosine = config.schedule == "cosine"
        falls = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps) if cosine else None
        records = []
        for step in track(range(steps), f"Warming up stage {stage}", shown=self.progress):
            batch = self.loader.batch(stage, step)
            loss = pooled_loss(pool(logits_of(batch)), _positive(batch))
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, LARGEST_GRADIENT)
            adam.step()
            if falls is not None:
                falls.step()
            records.append(WarmUpStep(stage, step, float(loss.detach())))
        return records


def _best_tiles(
    grid: TileGrid, logits: Float[Tensor, "batch tiles"], most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The tiles of highest logit of every image: their images, ranks, and places in the grid's flat list."""
    best = logits.topk(min(most, logits.shape[1]), 1)
    image, rank = best.values.isfinite().nonzero(as_tuple=True)
    return image, rank, grid.first[image] + best.indices[image, rank]


@torch.no_grad()
def _least_loss(detectors: Detectors, embed: Callable[[Batch], list[Tensor]], batches: list[Batch]) -> int:
    """The detector of least loss over all training images, negative and positive ones weighing alike."""
    losses = torch.cat([detectors.losses(embed(batch), _positive(batch)) for batch in batches])
    positive = torch.cat([_positive(batch) for batch in batches]) > 0
    return int((losses[positive].mean(0) + losses[~positive].mean(0)).argmin())


def _standard(parts: Iterable[list[Tensor]]) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Mean and standard deviation of each channel over all cells, which are not held together."""
    count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
    dtype = torch.float32
    for part in parts:
        cells = torch.cat(part)
        count, dtype = count + len(cells), cells.dtype
        wide = cells if cells.device.type == "mps" else cells.double()
        total, squares = total.to(wide) + wide.sum(0), squares.to(wide) + wide.square().sum(0)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    least = 1e-3 * std.mean() + torch.finfo(dtype).tiny  # a channel that hardly changes means nothing
    return mean.to(dtype), std.clamp(min=float(least)).to(dtype)


def _positive(batch: Batch) -> Float[Tensor, " batch"]:
    return (batch.labels > 0).float()


def _pool(config: WarmUp) -> Callable[[Tensor], Tensor]:
    return log_mean_exp if config.pooling == "log_mean_exp" else lambda logits: logits.amax(1)


class _Loader:
    """Balanced batches of training images, decided by the seed and the number of the step."""

    def __init__(self, data: ZoomInDataModule, batch_size: int, seed: int) -> None:
        self._data, self._size, self._seed = data, batch_size, seed
        rows = data.splits["train"]
        labels = data.labels[rows]
        self._negative, self._positive = rows[labels == 0], rows[labels > 0]
        if not len(self._negative) or not len(self._positive):
            raise ConfigError(
                "the warm-up needs negative and positive training images, and one kind is missing",
                where="train.warm_up",
                remedy="Switch train.warm_up off (steps, head_l2), or check that class 0 is negative.",
            )

    def batch(self, stage: int, step: int) -> Batch:
        state = np.random.SeedSequence((self._seed, _WARM_UP, stage, step)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
        half = self._size // 2
        rows = torch.cat(
            [
                _some(self._negative, half, generator),
                _some(self._positive, self._size - half, generator),
            ]
        )
        return self._data.batch(BatchKey(tuple(rows.tolist()), _AUGMENTED + stage, step))

    def every(self, stage: int) -> Iterator[Batch]:
        """All training images, in their order."""
        rows = torch.cat([self._negative, self._positive]).sort().values
        for number, part in enumerate(rows.split(self._size)):
            yield self._data.batch(BatchKey(tuple(part.tolist()), _AUGMENTED + stage, number))


def _some(rows: Int[Tensor, " n"], count: int, generator: torch.Generator) -> Int[Tensor, " k"]:
    return rows[torch.randperm(len(rows), generator=generator)[:count]]
