"""The scores of an epoch, for any kind of target."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torchmetrics import Metric

from ..errors import DataError
from ..model.targets import Target

__all__ = ["TargetScores"]


class TargetScores(Metric):
    """`Target.point_scores` of all batches since the last reset, as a torchmetrics object.

    Example:
        >>> from zoomin.model.targets import target_named
        >>> scores = TargetScores(target_named("classes", ["cat", "dog"]))
        >>> scores.update(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0, 1]))
        >>> scores.compute()["accuracy"]
        0.5
    """

    full_state_update = False
    higher_is_better = True
    answers: list[Tensor]
    truth: list[Tensor]

    def __init__(self, target: Target) -> None:
        """Start empty."""
        super().__init__()
        self.target = target
        self.add_state("answers", default=[], dist_reduce_fx="cat")
        self.add_state("truth", default=[], dist_reduce_fx="cat")

    def update(self, answers: Float[Tensor, "n c"], truth: Shaped[Tensor, "n ..."]) -> None:
        """Add a batch."""
        self.answers.append(answers.detach())
        self.truth.append(truth)

    def compute(self) -> dict[str, float | None]:
        """The scores of everything added.

        Raises:
            DataError: if nothing was added, or an answer is not a number.
        """
        if not len(self.truth):
            raise DataError("no image to evaluate", remedy="Give at least one image.")
        return self.target.point_scores(_joined(self.answers).cpu(), _joined(self.truth).cpu())


def _joined(parts: list[Tensor] | Tensor) -> Tensor:
    """A list state is one tensor after torchmetrics has gathered it from several processes."""
    return parts if isinstance(parts, Tensor) else torch.cat(parts)
