"""Initialise the head by logistic regression: every drawn sub-tile learns the label of its image.

The head sees one feature per image, the expected one, and where images are few and features many it separates
the training images by whatever they happen to have. The sub-tiles of which that feature is the weighted mean
are many times as many. A head that tells those of one class from those of the others, standardised channel by
channel, begins where the difference is the object's. Logits are linear in the features: the logit of an image
is the mean of those of its sub-tiles, and nothing changes in how images are classified.

Sub-tiles of a positive image that miss the object have a wrong label; attention that was warmed up makes them
few. Not in the paper; instances that learn the label of their bag are common in multiple-instance learning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ..data.batch import Batch
from ..model.zoom_in import ZoomIn

__all__ = ["fit_linear", "start_head"]

_REPLICATES = 2  # draws of every image
_ITERATIONS = 200  # of L-BFGS at most


def start_head(
    net: ZoomIn,
    batches: Iterable[Batch],
    keys_of: Callable[[Batch], Int[Tensor, " batch"]],
    cached_embeddings: Callable[[Batch], Tensor | None],
    l2: float,
) -> list[float]:
    """Fit the head, in place, to the sub-tiles that the network draws from some images.

    Holds the features of all of them: replicates x N x dims numbers per image.

    Args:
        net: the network; its head changes.
        batches: every image once.
        keys_of: seeds of the draws of a batch.
        cached_embeddings: embeddings of the tiles of a batch, or None.
        l2: penalty of the squared weights of standardised channels.

    Returns:
        The loss at each evaluation.

    Raises:
        ImageError: if pixels cannot be read.
    """
    features, labels, weights = [], [], []
    modes = [(module, module.training) for module in net.modules()]
    net.eval()  # so that looking changes no statistics
    with torch.no_grad():
        for batch in batches:
            out = net(
                batch.images,
                keys=keys_of(batch),
                replicates=_REPLICATES,
                tile_embeddings=cached_embeddings(batch),
            )
            drawn = out.sub_tiles
            total = drawn.weight.new_zeros(len(batch)).index_add_(0, drawn.image, drawn.weight)
            features.append(drawn.features.float())
            labels.append(batch.labels[drawn.image])
            weights.append(drawn.weight / total[drawn.image])
    for module, training in modes:
        module.training = training
    known, label, weight = torch.cat(features), torch.cat(labels), torch.cat(weights)
    share = weight.new_zeros(net.config.n_classes).index_add_(0, label, weight)
    weight = weight / (share[label] * (share > 0).sum())  # classes weigh alike, and in sum 1
    return fit_linear(net.head, known, label, weight, l2)


@torch.enable_grad()
def fit_linear(
    layer: nn.Linear,
    features: Float[Tensor, "n dims"],
    labels: Int[Tensor, " n"],
    weight: Float[Tensor, " n"],
    l2: float,
) -> list[float]:
    """Weighted multinomial logistic regression on standardised channels, written into a layer.

    Args:
        layer: takes its place; sees channels as they are.
        features: a row an example.
        labels: the class of each.
        weight: of each, 1 in sum.
        l2: the loss is the weighted cross-entropy and l2 / 2 times the sum of squared weights, biases free.

    Returns:
        The loss at each evaluation of L-BFGS.
    """
    std, mean = torch.std_mean(features, 0, correction=0)
    std = std.clamp(min=float(1e-3 * std.mean()) + torch.finfo(std.dtype).tiny)
    standard = (features - mean) / std
    slopes = torch.zeros_like(layer.weight, requires_grad=True)
    offsets = torch.zeros_like(layer.bias, requires_grad=True)
    search = torch.optim.LBFGS([slopes, offsets], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")
    losses: list[float] = []

    def loss() -> Tensor:
        search.zero_grad()
        wrong = functional.cross_entropy(
            functional.linear(standard, slopes, offsets), labels, reduction="none"
        )
        value = (weight * wrong).sum() + l2 / 2 * slopes.square().sum()
        value.backward()
        losses.append(float(value.detach()))
        return value

    search.step(loss)
    with torch.no_grad():
        layer.weight.copy_(slopes / std)
        layer.bias.copy_(offsets - layer.weight @ mean)
    return losses
