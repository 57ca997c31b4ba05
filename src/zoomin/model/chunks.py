"""Read views and pass them through a network, chunk by chunk, so that thousands of tiles fit into memory.

Activations are kept for the backward pass, or recomputed in it (activation checkpointing): the memory of
training is then that of one chunk and of the views, which are bytes, whatever the number of tiles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import ConfigError
from ..geometry import view_size
from ..images.image import ImageBatch, Started
from .engine import Engine

__all__ = ["CHECKPOINT_PIXELS", "Chunks", "together"]

CPU_CHUNK = 32  # views in one network call on a CPU; `zoomin bench --parts scale` measures it
CPU_PIXELS = 1 << 15  # view pixels in one network call on a CPU: 32 channels of them are 4 MiB. Larger maps
# leave the processor's caches, and the C library maps them again each time, page by page
GPU_PIXELS = 1 << 24  # and on a GPU: 2 GiB
READ_PIXELS = 1 << 21  # view pixels in one read, which gives readers neighbours to merge
CHECKPOINT_PIXELS = 1 << 22  # view pixels of a stage above which "auto" recomputes activations


@dataclass(frozen=True)
class Chunks:
    """How views reach a network.

    Attributes:
        size: most views in one call.
        recompute: "always" recomputes activations in the backward pass, "never" keeps them, "auto"
            recomputes them where the views of a stage have more than `CHECKPOINT_PIXELS` pixels.
        mean: what is subtracted from views, of red, green and blue, or of each channel.
        std: what they are divided by.
        engine: computes the networks.
    """

    size: int
    recompute: str
    mean: Float[Tensor, "c 1 1"]
    std: Float[Tensor, "c 1 1"]
    engine: Engine = field(default_factory=lambda: Engine("torch"))

    def apply(
        self,
        network: nn.Module,
        batch: ImageBatch,
        image: Int[Tensor, " n"],
        regions: Int[Tensor, "n 4"],
        side: int,
        scale: float,
    ) -> Float[Tensor, "n ..."]:
        """What the network makes of square regions of the images, read at a scale.

        Args:
            network: from standardised views to rows.
            batch: the images.
            image: which of them each row reads.
            regions: level-0 pixels.
            side: of the regions, level-0 pixels.
            scale: to read them at.
        """
        return together(len(image), self.parts(network, batch, image, regions, side, scale))

    def parts(
        self,
        network: nn.Module,
        batch: ImageBatch,
        image: Int[Tensor, " n"],
        regions: Int[Tensor, "n 4"],
        side: int,
        scale: float,
    ) -> Iterator[Float[Tensor, "some ..."]]:
        """What `apply` gives, some rows at a time: those that are read together.

        Args:
            network: from standardised views to rows.
            batch: the images.
            image: which of them each row reads.
            regions: level-0 pixels.
            side: of the regions, level-0 pixels.
            scale: to read them at.
        """
        pixels = view_size(side, scale) ** 2
        step = -(-len(image) // max(1, -(-len(image) // self._size(network, pixels)))) or 1
        many = step * max(1, READ_PIXELS // (step * pixels))
        recompute = self._recomputes(network, len(image) * pixels)
        run = self.engine.on(network)
        for views in _read(batch, image.split(many), regions.split(many), scale):
            passed = (self._pass(network, run, part, recompute) for part in views.split(step))
            yield together(len(views), passed)

    def through(self, network: nn.Module, views: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n ..."]:
        """What the network makes of views that have been read.

        Args:
            network: from standardised views to rows.
            views: of all rows.
        """
        pixels = views.shape[-2] * views.shape[-1]
        recompute = self._recomputes(network, len(views) * pixels)
        parts, run = views.split(self._size(network, pixels)), self.engine.on(network)
        return torch.cat([self._pass(network, run, part, recompute) for part in parts])

    def _pass(
        self,
        network: nn.Module,
        run: Callable[[Tensor], Tensor],
        views: Shaped[Tensor, "n c h w"],
        recompute: bool,
    ) -> Tensor:
        if views.shape[1] != len(self.mean):
            raise ConfigError(
                f"views of {views.shape[1]} channels for a model of {len(self.mean)}",
                remedy="Open the images for the model's channels: open_image(path, channels=...).",
            )

        def compute(views: Tensor) -> Tensor:
            standard = (views - self.mean).div_(self.std)
            return run(standard).float()

        if not recompute:
            return compute(views)
        out: Tensor = checkpoint(
            compute, views, use_reentrant=False, context_fn=lambda: _first_and_second(network)
        )
        return out

    def _size(self, network: nn.Module, pixels: int) -> int:
        """Most views in one call, of so many pixels each, so that activations stay small.

        Few on a CPU, which would map memory again for larger ones. Batch normalisation must see the whole
        batch while it trains.
        """
        if any(module.training for module in _batch_norms(network)):
            return self.size
        if self.mean.device.type == "cpu":
            return max(1, min(self.size, CPU_CHUNK, CPU_PIXELS // pixels))
        return max(1, min(self.size, GPU_PIXELS // pixels))

    def _recomputes(self, network: nn.Module, pixels: int) -> bool:
        if self.recompute == "never" or not torch.is_grad_enabled():
            return False
        learns = any(parameter.requires_grad for parameter in network.parameters())
        return learns and (self.recompute == "always" or pixels > CHECKPOINT_PIXELS)


def _read(
    batch: ImageBatch, images: Sequence[Tensor], regions: Sequence[Tensor], scale: float
) -> Iterator[Shaped[Tensor, "n c h w"]]:
    """Views, read by read; while one is processed the next is being read."""
    waiting: deque[Started] = deque()
    try:
        for image, region in zip(images, regions, strict=True):
            waiting.append(batch.start(image, region, scale))
            if len(waiting) > 1:
                yield waiting.popleft().views()
        while waiting:
            yield waiting.popleft().views()
    finally:
        for started in waiting:
            started.cancel()


def together(n: int, parts: Iterable[Float[Tensor, "some ..."]]) -> Float[Tensor, "n ..."]:
    """Rows that come in parts; those without gradients are laid into their place, not kept apart first.

    Args:
        n: rows of all parts.
        parts: one at least.
    """
    apart: list[Tensor] = []
    whole: Tensor | None = None
    filled = 0
    for part in parts:
        if part.requires_grad:
            apart.append(part)
            continue
        if whole is None:
            whole = part if len(part) == n else part.new_empty(n, *part.shape[1:])
        if whole is not part:
            whole[filled : filled + len(part)] = part
        filled += len(part)
    return torch.cat(apart) if whole is None else whole


def _batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def _first_and_second(
    network: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first pass and around the second, in which running statistics must not move once more."""
    return nullcontext(), _statistics_stay(network)


@contextmanager
def _statistics_stay(network: nn.Module) -> Iterator[None]:
    moving = [norm for norm in _batch_norms(network) if norm.training and norm.track_running_stats]
    momenta = [norm.momentum for norm in moving]
    for norm in moving:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(moving, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1
