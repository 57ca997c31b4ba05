"""A training step of a baseline: cross-entropy, and what its method adds."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..baselines.baseline import Baseline, BaselineOutput
from ..data.batch import Batch
from ..errors import ConfigError
from .task import ClassifierTask, Draws

__all__ = ["BaselineTask"]


class BaselineTask(ClassifierTask[BaselineOutput]):
    """Train a baseline under the optimisation, the draws and the records that Zoom-In has.

    Recorded of training also: cross_entropy, penalty (what the method adds) and views (views encoded at the
    finest scale of an image, on average).
    """

    net: Baseline[Any]
    terms = ("loss", "cross_entropy", "penalty", "views")

    def check(self) -> None:
        """Refuse to freeze where there is no network."""
        if self.config.freeze_trunks and not self.frozen_parts():
            raise ConfigError(
                "there is no network to freeze",
                where="train.freeze_trunks",
                remedy="Switch it off: stored features are frozen.",
            )

    def frozen_parts(self) -> list[nn.Module]:
        """The network that encodes views, where asked for."""
        network = getattr(self.net, "features", None)
        return [network] if self.config.freeze_trunks and isinstance(network, nn.Module) else []

    def answer(self, batch: Batch, draws: Draws) -> BaselineOutput:
        """What the network answers; penalties may depend on the labels."""
        out: BaselineOutput = self.net(
            batch.images,
            keys=draws.keys,
            labels=batch.labels if self.target.kind == "classes" else None,
            sampling=draws.sampling,
            replicates=draws.replicates,
        )
        return out

    def objective(
        self, out: BaselineOutput, batch: Batch, labelled: float = 1.0
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " terms"]]:
        """The loss, and the numbers that `terms` names."""
        cross_entropy = labelled * self.target.loss(out.logits.float(), batch.labels, self.class_weights)
        loss = cross_entropy + out.penalty
        return loss, torch.stack([loss, cross_entropy, out.penalty, out.views_read.float().mean()])
