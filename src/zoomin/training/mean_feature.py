"""The mean feature of the training images: where the account of an answer starts."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data.batch import Batch
from ..data.datamodule import ZoomInDataModule
from ..data.failures import with_readable
from ..model.zoom_in import ZoomIn
from .task import evaluation_keys

__all__ = ["mean_feature"]

MOST = 256  # images: the error of the mean is then a sixteenth of the spread between images


@torch.no_grad()
def mean_feature(net: ZoomIn, data: ZoomInDataModule, seed: int) -> Float[Tensor, " dims"] | None:
    """Mean of the features of training images, one estimate each, of at most `MOST` spread over the list.

    Args:
        net: afterwards it is in evaluation mode.
        data: set up.
        seed: of the draws.

    Returns:
        None if none of them can be read.
    """
    net.eval()
    rows = data.splits["train"]
    sample = data.with_splits({"train": rows[:: max(1, -(-len(rows) // MOST))]})
    parts: list[Tensor] = []

    def run(batch: Batch, kept: Int[Tensor, " kept"]) -> Tensor:
        features: Tensor = net(batch.images, keys=evaluation_keys(seed, batch.index)).features
        return features.float().cpu()

    for batch in sample.predict_dataloader():
        features = with_readable(batch.to(net.device), run, lambda name, error: None)
        parts += [] if features is None else [features]
    return torch.cat(parts).mean(0) if parts else None
