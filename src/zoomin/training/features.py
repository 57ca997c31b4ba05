"""Features of training images: their mean, where accounts start, and what new images are compared with."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..classifiers import Classifier
from ..data.batch import Batch
from ..data.datamodule import ZoomInDataModule
from ..data.failures import with_readable
from .task import evaluation_keys

__all__ = ["training_features"]

MOST = 256  # images: the error of the mean is then a sixteenth of the spread between images


@torch.no_grad()
def training_features(
    net: Classifier, data: ZoomInDataModule, seed: int, sampling: str | None = None, replicates: int = 1
) -> Float[Tensor, "n dims"]:
    """What the head sees of training images, at most `MOST`, spread over the list; none that is unreadable.

    Args:
        net: afterwards it is in evaluation mode.
        data: set up.
        seed: of the draws.
        sampling: how tiles and positions are drawn; the network's own by default.
        replicates: estimates averaged.
    """
    net.eval()
    rows = data.splits["train"]
    sample = data.with_splits({"train": rows[:: max(1, -(-len(rows) // MOST))]})
    parts: list[Tensor] = []

    def run(batch: Batch, kept: Int[Tensor, " kept"]) -> Tensor:
        keys = evaluation_keys(seed, batch.index)
        out = net(batch.images, keys=keys, sampling=sampling, replicates=replicates)
        return out.replicates.mean(0).float().cpu()

    for batch in sample.predict_dataloader():
        features = with_readable(batch.to(net.device), run, lambda name, error: None)
        parts += [] if features is None else [features]
    return torch.cat(parts) if parts else net.head.weight.new_zeros(0, 0).cpu()
