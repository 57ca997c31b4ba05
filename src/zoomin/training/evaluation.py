"""Careful evaluation of a trained network on loaded batches: many draws, the same for every batch size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..classifiers import Classifier
from ..data.batch import Batch
from ..data.failures import with_readable
from ..errors import DataError, ImageError
from ..model.targets import target_of
from .task import evaluation_keys

__all__ = ["Evaluated", "evaluate"]


class Evaluated(NamedTuple):
    """What a network says of some images, and the truth.

    Attributes:
        answers: of the network, such as the probability of each class.
        labels: the truth, such as true classes.
        features: of each image, what the head makes logits of.
        image: number of each image in the manifest.
        failed: images that could not be read, with the reason; they are in no row.
    """

    answers: Float[Tensor, "n classes"]
    labels: Shaped[Tensor, "n ..."]
    features: Float[Tensor, "n dims"]
    image: Int[Tensor, " n"]
    failed: dict[str, str]


@torch.no_grad()
def evaluate(
    net: Classifier,
    batches: Iterable[Batch],
    *,
    sampling: str | None = None,
    replicates: int = 1,
    seed: int = 0,
) -> Evaluated:
    """Answers for all images, in evaluation mode and single precision.

    Args:
        net: a network; afterwards it is in evaluation mode.
        batches: labelled images, at least one.
        sampling: how tiles and positions are drawn; the network's own by default.
        replicates: estimates averaged.
        seed: of the draws; an image's draws depend on it and on the number of the image alone.

    Raises:
        DataError: if no image can be read.
    """
    net.eval()
    target, parts = target_of(net.config), []
    failed: dict[str, str] = {}

    def run(batch: Batch, kept: Int[Tensor, " kept"]) -> tuple[Tensor, ...]:
        keys = evaluation_keys(seed, batch.index)
        out = net(batch.images, keys=keys, sampling=sampling, replicates=replicates)
        answers, features = target.answers(out.logits.float()), out.replicates.mean(0).float()
        return answers.cpu(), batch.labels.cpu(), features.cpu(), batch.index.cpu()

    def note(name: str, error: ImageError) -> None:
        failed[name] = str(error)

    for batch in batches:
        if (part := with_readable(batch.to(net.device), run, note)) is not None:
            parts.append(part)
    if not parts:
        first = next(iter(failed.values()), "there are none")
        raise DataError(f"none of the images to evaluate could be read; the first: {first}")
    answers, labels, features, image = (torch.cat(column) for column in zip(*parts, strict=True))
    return Evaluated(answers, labels, features, image, failed)
