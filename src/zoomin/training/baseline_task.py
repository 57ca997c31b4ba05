"""A training step of a baseline: cross-entropy, and what its method adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..baselines.baseline import Baseline, BaselineOutput
from ..classifiers import Classifier
from ..data.batch import Batch
from ..data.failures import Failures
from ..errors import ConfigError
from ..model.losses import classification_loss
from .config import TrainConfig
from .frozen.known_features import KnownFeatures
from .task import ClassifierTask

__all__ = ["BaselineTask"]


class BaselineTask(ClassifierTask[BaselineOutput]):
    """Train a baseline under the optimisation, the draws and the records that Zoom-In has.

    Recorded of training also: cross_entropy, penalty (what the method adds) and views (views encoded at the
    finest scale of an image, on average).
    """

    net: Baseline[Any]
    terms = ("loss", "cross_entropy", "penalty", "views")

    def __init__(
        self,
        net: Classifier,
        config: TrainConfig,
        seed: int = 0,
        class_weights: Sequence[float] | None = None,
        failures: Failures | None = None,
        cache: str | None = None,
    ) -> None:
        """Take the network to train; see `ClassifierTask`.

        Args:
            net: the network.
            config: how to train it.
            seed: of all draws.
            class_weights: weight of each class in the cross-entropy.
            failures: where images that cannot be read are recorded.
            cache: folder for what a frozen network sees; None: memory alone.

        Raises:
            ConfigError: if a frozen network is asked for, and the method has none.
        """
        super().__init__(net, config, seed, class_weights, failures)
        self._frozen: nn.Module | None = None
        if config.freeze_trunks:
            self._frozen = getattr(net, "features", None)
            if not isinstance(self._frozen, nn.Module):
                raise ConfigError(
                    "there is no network to freeze",
                    where="train.freeze_trunks",
                    remedy="Switch it off: stored features are frozen.",
                )
            self._frozen.requires_grad_(False)
            self.net.known = KnownFeatures(self.net, self._frozen, cache)

    def train(self, mode: bool = True) -> BaselineTask:
        """Switch training on or off; the statistics of a frozen network stay."""
        super().train(mode)
        if self._frozen is not None:
            self._frozen.eval()
        return self

    def on_fit_start(self) -> None:
        """Switch training on, but for a frozen network: Lightning keeps the modes that it finds."""
        self.train()

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
