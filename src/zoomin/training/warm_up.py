"""Warm up the attention networks from image labels alone, before sub-tiles are drawn.

Attention that starts uniform draws a tiny object so rarely that the mean of the drawn features hardly differs
between the classes: on a slide of which 1 % decides, one sub-tile in a hundred. So a and b are first trained
as detectors by multiple-instance learning: the logit of an image is the log-mean-exp of the logits of its
cells (Pinheiro & Collobert, CVPR 2015), which is near their mean at first and near their maximum once some
stand out, and is classified as negative (class 0) or not. Not in the paper, which starts uniform.

Stage 1 pools over all tiles of an image; stage 2 over the positions of the tiles that a ranks highest, in
negative images the ones most like the object. Both keep the weights that they end with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..data.batch import Batch
from ..data.datamodule import BatchKey, ZoomInDataModule
from ..errors import ConfigError
from ..geometry import TileGrid
from ..model import ZoomIn
from .config import WarmUp

__all__ = ["WarmUpStep", "log_mean_exp", "warm_up"]

_WARM_UP = 7  # stream of random numbers
_AUGMENTED = 1 << 20  # epochs of warm-up batches, so that training draws other augmentations


class WarmUpStep(NamedTuple):
    """What is recorded of a step.

    Attributes:
        stage: 1: tiles, 2: positions.
        step: number of the step in its stage.
        loss: cross-entropy of the pooled logits of the batch.
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


def warm_up(
    net: ZoomIn,
    data: ZoomInDataModule,
    config: WarmUp,
    seed: int = 0,
    remembered: Callable[[Batch], Tensor | None] = lambda batch: None,
    progress: bool = False,
) -> list[WarmUpStep]:
    """Train both attention networks as detectors on the training images; weights that are frozen stay.

    Args:
        net: the network; its a and b change.
        data: the images; the training split is used.
        config: how.
        seed: of the batches.
        remembered: embeddings of the tiles of a batch where the trunk of a is frozen, else None.
        progress: show a progress bar.

    Returns:
        A record a step, empty where the warm-up is off.

    Raises:
        ConfigError: if the training images are all negative, or none is.
        ImageError: if pixels cannot be read.
    """
    if not config.steps:
        return []
    loader = _Loader(data, config.batch_size, seed)

    def tiles(batch: Batch) -> Tensor:
        grid = TileGrid.of(batch.images.sizes, net.config.tile_size)
        return net.tile_logits(batch.images, grid, remembered(batch))

    def positions(batch: Batch) -> Tensor:
        with torch.no_grad():
            logits = tiles(batch)
            best = logits.topk(min(config.top_tiles, logits.shape[1]), 1)
        grid = TileGrid.of(batch.images.sizes, net.config.tile_size)
        image, rank = best.values.isfinite().nonzero(as_tuple=True)
        found = net.position_logits(batch.images, grid, grid.first[image] + best.indices[image, rank])
        rows = found.new_full((len(batch), best.values.shape[1], found.shape[1]), -torch.inf)
        return rows.index_put((image, rank), found).flatten(1)

    steps = _train(net.tile_attention, tiles, loader, config, 1, config.steps, progress)
    if config.position_steps:
        steps += _train(net.position_attention, positions, loader, config, 2, config.position_steps, progress)
    return steps


def _train(
    network: nn.Module,
    logits_of: Callable[[Batch], Tensor],
    loader: _Loader,
    config: WarmUp,
    stage: int,
    steps: int,
    progress: bool,
) -> list[WarmUpStep]:
    """One stage: Adam on the weights of a network that learn."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    adam = torch.optim.Adam(weights, config.learning_rate, weight_decay=config.weight_decay)
    falls = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps) if config.schedule == "cosine" else None
    pool = log_mean_exp if config.pooling == "log_mean_exp" else _highest
    records = []
    for step in _shown(steps, stage, progress):
        batch = loader.batch(stage, step)
        target = (batch.labels > 0).float()
        loss = nn.functional.binary_cross_entropy_with_logits(pool(logits_of(batch)), target)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        adam.step()
        if falls is not None:
            falls.step()
        records.append(WarmUpStep(stage, step, float(loss.detach())))
    return records


def _shown(steps: int, stage: int, progress: bool) -> Iterable[int]:
    """The numbers of the steps, behind a progress bar."""
    from rich.console import Console
    from rich.progress import track

    title = f"Warming up stage {stage}"
    return track(range(steps), title, console=Console(stderr=True), disable=not progress)


def _highest(logits: Float[Tensor, "rows cells"]) -> Float[Tensor, " rows"]:
    return logits.amax(1)


class _Loader:
    """Balanced batches of training images, decided by the seed and the number of the step."""

    def __init__(self, data: ZoomInDataModule, batch_size: int, seed: int) -> None:
        self._data, self._size, self._seed = data, batch_size, seed
        rows = data.splits["train"]
        labels = data.labels[rows]
        self._negative, self._positive = rows[labels == 0], rows[labels > 0]
        if not len(self._negative) or not len(self._positive):
            raise ConfigError(
                "the warm-up needs negative and positive training images, and there are none of one kind",
                where="train.warm_up",
                remedy="Set train.warm_up.steps to 0, or check that the first class is the negative one.",
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


def _some(rows: Int[Tensor, " n"], count: int, generator: torch.Generator) -> Int[Tensor, " k"]:
    return rows[torch.randperm(len(rows), generator=generator)[:count]]
