"""Fit copies of gated attention side by side, each to its own images, in one batched network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from ...model.networks import GatedCopies
from ...model.targets import Target
from ..frozen_config import FrozenConfig

__all__ = ["Bags", "FittedCopies", "bags_of", "fit_copies"]

WIDTH = 64  # features of a copy


class Bags(NamedTuple):
    """Projected embeddings of the sub-tiles of images, padded to the longest.

    Attributes:
        x: embeddings.
        mask: True where there is a sub-tile.
        log_attention: what the tile attention gives each; 0 where it is uniform.
    """

    x: Float[Tensor, "images tiles components"]
    mask: Bool[Tensor, "images tiles"]
    log_attention: Float[Tensor, "images tiles"]

    def select(self, rows: Int[Tensor, " rows"]) -> Bags:
        """Some of the images."""
        return Bags(self.x[rows], self.mask[rows], self.log_attention[rows])


def bags_of(
    embeddings: Sequence[Float[Tensor, "_ components"]],
    log_attention: Sequence[Float[Tensor, " _"]] | None = None,
) -> Bags:
    """Pad what belongs to each image."""
    x = torch.nn.utils.rnn.pad_sequence(list(embeddings), batch_first=True)
    count = torch.tensor([len(own) for own in embeddings])
    mask = torch.arange(x.shape[1]) < count[:, None]
    if log_attention is None:
        return Bags(x, mask, torch.zeros(mask.shape))
    return Bags(x, mask, torch.nn.utils.rnn.pad_sequence(list(log_attention), batch_first=True))


class FittedCopies(NamedTuple):
    """Copies of gated attention and their linear layers.

    Attributes:
        network: from embeddings to h and g.
        weight: of the linear layers.
        bias: of the linear layers.
    """

    network: GatedCopies
    weight: Float[Tensor, "copies width classes"]
    bias: Float[Tensor, "copies 1 classes"]

    @torch.no_grad()
    def logits(
        self, bags: Bags, read: Bool[Tensor, "images tiles"] | None = None
    ) -> Float[Tensor, "k images c"]:
        """Logits of each copy, from the sub-tiles that are read: by default all."""
        return self._attend(bags, bags.mask if read is None else read)[0]

    @torch.no_grad()
    def evidence(self, bags: Bags, target: Target) -> Float[Tensor, "k images tiles classes"]:
        """What each sub-tile says for each class, its attention counted in (`Target.evidence`)."""
        _, attention, h = self._attend(bags, bags.mask)
        logits = torch.einsum("kbtw,kwc->kbtc", h, self.weight)
        return attention[..., None] * target.evidence(logits)

    @torch.no_grad()
    def features(self, bags: Bags) -> Float[Tensor, "k images width"]:
        """What the linear layer of each copy sees of images."""
        _, attention, h = self._attend(bags, bags.mask)
        return torch.einsum("kbt,kbtw->kbw", attention, h)

    def _attend(self, bags: Bags, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, attention and features, some images at a time."""
        k, parts = len(self.weight), []
        for some in torch.arange(len(bags.x)).split(32):
            columns = bags.x[some], read[some], bags.log_attention[some]
            parts.append(_forward(self, *(part.expand(k, *part.shape) for part in columns)))
        logits, attention, h = (torch.cat(column, 1) for column in zip(*parts, strict=True))
        return logits, attention, h


def fit_copies(
    bags: Bags,
    labels: Shaped[Tensor, "images ..."],
    rows: Sequence[Int[Tensor, " _"]],
    target: Target,
    config: FrozenConfig,
    seed: int,
) -> FittedCopies:
    """Train one copy for each entry of `rows`, side by side.

    Args:
        bags: of all images.
        labels: of all images.
        rows: the images that each copy learns from.
        target: what is learned.
        config: how to train.
        seed: of the first weights, of the order of the images and of dropout.
    """
    k, n_classes = len(rows), len(target.names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GatedCopies(bags.x.shape[2], WIDTH, k, config.dropout)
        bound = WIDTH**-0.5
        weight = torch.empty(k, WIDTH, n_classes).uniform_(-bound, bound).requires_grad_()
        bias = torch.empty(k, 1, n_classes).uniform_(-bound, bound).requires_grad_()
        fitted = FittedCopies(network, weight, bias)
        optimiser = torch.optim.AdamW(
            [*network.parameters(), weight, bias], lr=config.learning_rate, weight_decay=config.weight_decay
        )
        balanced = config.class_weights == "balanced"
        importance = torch.stack([target.importance(labels, own, balanced=balanced) for own in rows])
        for _ in range(config.epochs):
            for chosen, present in _batches(rows, max(config.batch_size, target.least_batch)):
                optimiser.zero_grad()
                logits, _, _ = _forward(fitted, *(part[chosen] for part in bags))
                weights = importance.gather(1, chosen) * present
                target.copy_losses(logits, labels[chosen], weights).sum().backward()
                optimiser.step()
    network.eval().requires_grad_(False)
    return FittedCopies(network, weight.detach(), bias.detach())


def _forward(
    fitted: FittedCopies, x: Tensor, mask: Tensor, log_attention: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (k, images, classes), attention (k, images, tiles) and features (k, images, tiles, width)."""
    k, images, tiles, components = x.shape
    h, g = fitted.network(x.reshape(k, images * tiles, components))
    h = h.view(k, images, tiles, -1)
    attention = (g.view(k, images, tiles) + log_attention).masked_fill(~mask, -torch.inf).softmax(-1)
    pooled = torch.einsum("kbt,kbtw->kbw", attention, h)
    return torch.baddbmm(fitted.bias, pooled, fitted.weight), attention, h


def _batches(rows: Sequence[Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images of each copy in an order of its own, (k, size), and 0 where a copy has none left."""
    longest = max(len(own) for own in rows)
    order = torch.stack(
        [functional.pad(own[torch.randperm(len(own))], (0, longest - len(own)), value=-1) for own in rows]
    )
    for part in order.split(size, 1):
        present = part >= 0
        if present.any(1).all():
            yield part.clamp(min=0), present.float()
