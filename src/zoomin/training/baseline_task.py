"""A training step of a baseline: cross-entropy, and what its method adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..baselines.bags import MIL, Bags
from ..baselines.baseline import Baseline, BaselineOutput
from ..classifiers import Classifier
from ..data.batch import Batch
from ..data.failures import Failures
from ..errors import ConfigError
from ..images.augment import AugmentedBatch
from ..model.losses import classification_loss
from .config import TrainConfig
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
    ) -> None:
        """Take the network to train; see `ClassifierTask`.

        Args:
            net: the network.
            config: how to train it.
            seed: of all draws.
            class_weights: weight of each class in the cross-entropy.
            failures: where images that cannot be read are recorded.

        Raises:
            ConfigError: if a frozen network is asked for, and the method has none.
        """
        super().__init__(net, config, seed, class_weights, failures)
        self._frozen: nn.Module | None = None
        self._known: dict[int, Float[Tensor, "crops dims"]] = {}
        if config.freeze_trunks:
            self._frozen = getattr(net, "features", None)
            if not isinstance(self._frozen, nn.Module):
                raise ConfigError(
                    "there is no network to freeze",
                    where="train.freeze_trunks",
                    remedy="Switch it off: stored features are frozen.",
                )
            self._frozen.requires_grad_(False)

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
        if (
            isinstance(self.net, MIL)
            and self._frozen is not None
            and not isinstance(batch.images, AugmentedBatch)
        ):
            found: BaselineOutput = self.net.answer(self._bags(self.net, batch), keys, batch.labels)
            return found
        out: BaselineOutput = self.net(
            batch.images, keys=keys, labels=batch.labels, sampling=sampling, replicates=replicates
        )
        return out

    @torch.no_grad()
    def _bags(self, net: MIL[Any], batch: Batch) -> Bags:
        """What the frozen network makes of the crops of a batch; images seen before are not read again."""
        rows = batch.index.tolist()
        new = {row: place for place, row in enumerate(rows) if row not in self._known}
        if new:
            bags = net.bags(batch.select(torch.tensor(list(new.values()))).images)
            self._known.update(zip(new, bags.instances.split(bags.count.tolist()), strict=True))
        found = [self._known[row] for row in rows]
        count = torch.tensor([len(instances) for instances in found], device=found[0].device)
        return Bags.of(torch.cat(found), torch.repeat_interleave(count), len(found))

    def objective(
        self, out: BaselineOutput, batch: Batch, labelled: float = 1.0
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " terms"]]:
        """The loss, and the numbers that `terms` names."""
        cross_entropy = labelled * classification_loss(out.logits.float(), batch.labels, self.class_weights)
        loss = cross_entropy + out.penalty
        return loss, torch.stack([loss, cross_entropy, out.penalty, out.views_read.float().mean()])
