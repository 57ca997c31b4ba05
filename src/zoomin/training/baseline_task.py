"""A training step of a competitor: cross-entropy, and what its method adds; the rest as for Zoom-In."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..baselines import Baseline, BaselineOutput
from ..data.batch import Batch
from ..data.failures import Failures
from ..model.losses import classification_loss
from .config import TrainConfig
from .task import EpochMeans, ZoomInTask

__all__ = ["BaselineTask"]


class BaselineTask(ZoomInTask):
    """Train a competitor under the optimisation, the draws and the records of `ZoomInTask`.

    Recorded of every epoch as there; of training also cross_entropy, penalty (what the method adds) and
    views (views encoded at the finest scale of an image, on average).
    """

    def __init__(
        self,
        net: Baseline[Any],
        config: TrainConfig,
        seed: int = 0,
        class_weights: Sequence[float] | None = None,
        failures: Failures | None = None,
    ) -> None:
        """Take the network to train; see `ZoomInTask`.

        Raises:
            ConfigError: if the loss is to look at pixel annotations, which competitors do not learn from.
        """
        super().__init__(net, replace(config, contrastive_from_epoch=None), seed, class_weights, failures)
        self.train_means = EpochMeans(("loss", "cross_entropy", "penalty", "views"))

    def _look(self, batch: Batch, keys: Int[Tensor, " batch"], **how: Any) -> BaselineOutput:  # noqa: ANN401
        how.pop("contrast", None)
        out: BaselineOutput = self.net(batch.images, keys=keys, labels=batch.labels, **how)
        return out

    def _objective(self, out: Any, images: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, " terms"]]:  # noqa: ANN401
        """The loss, and the numbers recorded of it."""
        cross_entropy = classification_loss(out.logits.float(), images.labels, self.class_weights)
        loss = cross_entropy + out.penalty
        return loss, torch.stack([loss, cross_entropy, out.penalty, out.views_read.float().mean()])
