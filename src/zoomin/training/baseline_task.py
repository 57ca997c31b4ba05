"""A training step of a baseline: cross-entropy, and what its method adds."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..baselines.baseline import Baseline, BaselineOutput
from ..data.batch import Batch
from ..model.losses import classification_loss
from .task import ClassifierTask

__all__ = ["BaselineTask"]


class BaselineTask(ClassifierTask[BaselineOutput]):
    """Train a baseline under the optimisation, the draws and the records that Zoom-In has.

    Recorded of training also: cross_entropy, penalty (what the method adds) and views (views encoded at the
    finest scale of an image, on average).
    """

    net: Baseline[Any]
    terms = ("loss", "cross_entropy", "penalty", "views")

    def answer(
        self,
        batch: Batch,
        keys: Int[Tensor, " batch"],
        *,
        sampling: str | None = None,
        replicates: int = 1,
        learning: bool = False,
    ) -> BaselineOutput:
        """What the network answers; penalties may depend on the labels."""
        out: BaselineOutput = self.net(
            batch.images, keys=keys, labels=batch.labels, sampling=sampling, replicates=replicates
        )
        return out

    def objective(
        self, out: BaselineOutput, batch: Batch
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " terms"]]:
        """The loss, and the numbers that `terms` names."""
        cross_entropy = classification_loss(out.logits.float(), batch.labels, self.class_weights)
        loss = cross_entropy + out.penalty
        return loss, torch.stack([loss, cross_entropy, out.penalty, out.views_read.float().mean()])
