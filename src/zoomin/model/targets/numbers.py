"""One number for an image: a value, or how soon something happens to whom it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from .target import Target

__all__ = ["Survival", "Value"]

_BINS = 5  # groups of like values, for splits
CENSORED = "+"


class Number(Target):
    """One number, shown under its one name."""

    has_probabilities: ClassVar[bool] = False
    column: ClassVar[str]

    @property
    def columns(self) -> list[str]:
        """The number."""
        return [self.column]

    def decide(self, answer: Sequence[float]) -> str:
        """The number to six digits."""
        return f"{answer[0]:.6g}"

    def words(self, label: str) -> str:
        """A decision to the digits of answers."""
        return self.answer_text([float(label)], self.names[0])

    def truth_words(self, label: str) -> str:
        """A truth as the manifest has it."""
        return label

    def explained_name(self, answer: Sequence[float]) -> str:
        """The one name."""
        return self.names[0]

    def error_text(self, standard_error: float) -> str:
        """To two digits."""
        return f"{standard_error:.2g}" if standard_error == standard_error and standard_error > 0 else ""


@dataclass(frozen=True)
class Value(Number):
    """A value in its own unit: mean + std * logit, with the squared error of the logit.

    Attributes:
        mean: of the values of the training images.
        std: likewise.

    Example:
        >>> target = Value(("defects",), mean=3.0, std=2.0)
        >>> target.answers(torch.tensor([[1.0]])).tolist(), target.decide([5.0])
        ([[5.0]], '5')
    """

    mean: float = 0.0
    std: float = 1.0
    kind: ClassVar[str] = "value"
    column: ClassVar[str] = "value"
    curvature: ClassVar[float] = 2.0
    score: ClassVar[str] = "r2"
    in_percent: ClassVar[bool] = False
    scores: ClassVar[Mapping[str, str]] = {
        "mae": "mean absolute error",
        "rmse": "root mean squared error",
        "r2": "R2",
        "spearman": "rank correlation",
    }

    def truth(self, labels: Sequence[str | None]) -> Float[Tensor, " n"]:
        """The value of each image, NaN where it is unknown."""
        return torch.tensor([torch.nan if label is None else float(label) for label in labels])

    def loss(self, logits: Tensor, truth: Tensor, class_weights: Tensor | None = None) -> Float[Tensor, ""]:
        """Mean squared error, in standard deviations of the training values."""
        return self._errors(logits, truth).mean()

    def copy_losses(self, logits: Tensor, truth: Tensor, weight: Tensor) -> Float[Tensor, " k"]:
        """The same of each model, a weighted mean over its images."""
        return (weight * self._errors(logits, truth)).sum(-1) / weight.sum(-1)

    def _errors(self, logits: Tensor, truth: Tensor) -> Tensor:
        return (logits[..., 0] - (truth.to(logits) - self.mean) / self.std).square()

    def answers(self, logits: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """The value."""
        return self.mean + self.std * logits

    def answer_text(self, answer: Sequence[float], name: str) -> str:
        """The value to four digits."""
        return f"{answer[0]:.4g}"

    def evidence(self, parts: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """In the unit of the value."""
        return self.std * parts

    def slope(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """That of the value."""
        return torch.full_like(logits, self.std)

    def point_scores(self, answers: Tensor, truth: Tensor) -> dict[str, float | None]:
        """Errors, R2 and rank correlation."""
        from ...metrics.values import value_scores

        return value_scores(answers[:, 0], truth)

    def metrics(
        self, answers: Tensor, truth: Tensor, groups: Sequence[object | None] | None = None
    ) -> dict[str, Any]:
        """The same with intervals, and the error of the constant answer that has the least."""
        from ...metrics.values import value_metrics

        return value_metrics(answers[:, 0], truth, groups=groups)

    def known(self, truth: Tensor) -> Bool[Tensor, " n"]:
        """Where the value is a number."""
        return ~truth.isnan()

    def strata(self, truth: Tensor) -> Int[Tensor, " n"]:
        """Fifths of the images by value, fewer where many are equal."""
        edges = torch.quantile(truth.double(), torch.linspace(0, 1, _BINS + 1, dtype=torch.float64)[1:-1])
        return torch.bucketize(truth.double(), edges.unique(), right=True)


class Survival(Number):
    """How soon: the logit is a log hazard, learned by Cox's partial likelihood of right-censored times.

    The words of an image are the time, "12.5", or "12.5+" where nothing had happened until then. Images are
    compared with those of the same batch that lasted as long; ties by Breslow's rule.

    Example:
        >>> target = Survival(("log_hazard",))
        >>> target.truth(["12.5", "3+"]).tolist()
        [[12.5, 1.0], [3.0, 0.0]]
        >>> early, late = target.truth(["1", "2"]), torch.tensor([[2.0], [0.0]])
        >>> bool(target.loss(late, early) < target.loss(-late, early))
        True
    """

    kind = "survival"
    column = "log_hazard"
    least_batch = 64
    curvature = 1.0
    score = "concordance"
    scores: ClassVar[Mapping[str, str]] = {"concordance": "concordance"}

    def truth(self, labels: Sequence[str | None]) -> Float[Tensor, "n two"]:
        """Time, and 1 where it happened then, 0 where it had not until then; NaN where unknown."""
        rows = [
            (torch.nan, torch.nan)
            if label is None
            else (float(label.removesuffix(CENSORED)), 0.0 if label.endswith(CENSORED) else 1.0)
            for label in labels
        ]
        return torch.tensor(rows).reshape(-1, 2)

    def loss(self, logits: Tensor, truth: Tensor, class_weights: Tensor | None = None) -> Float[Tensor, ""]:
        """Minus Cox's log partial likelihood, a mean over the events; 0 without any."""
        return self.copy_losses(logits[None], truth[None], torch.ones(1, len(truth)).to(logits))[0]

    def copy_losses(
        self, logits: Float[Tensor, "k n c"], truth: Shaped[Tensor, "k n ..."], weight: Float[Tensor, "k n"]
    ) -> Float[Tensor, " k"]:
        """The same of each model; images that weigh nothing are in no risk set."""
        score, (time, event) = logits[..., 0], truth.to(logits).unbind(-1)
        at_risk = (time[:, None, :] >= time[:, :, None]) & (weight > 0)[:, None, :]
        others = score[:, None, :].expand(at_risk.shape).masked_fill(~at_risk, -torch.inf)
        counts = event * weight
        terms = torch.where(counts > 0, others.logsumexp(2) - score, 0.0)
        return (counts * terms).sum(1) / counts.sum(1).clamp(min=1e-12)

    def answers(self, logits: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """The log hazard."""
        return logits

    def truth_words(self, label: str) -> str:
        """What happened, and when: a time beside a log hazard would read as another of these.

        Example:
            >>> target = Survival(("log_hazard",))
            >>> target.truth_words("8.57"), target.truth_words("12+")
            ('event at 8.57', 'none by 12')
        """
        time = label.removesuffix(CENSORED)
        return f"none by {time}" if label.endswith(CENSORED) else f"event at {time}"

    def answer_text(self, answer: Sequence[float], name: str) -> str:
        """The log hazard with its sign."""
        return f"{answer[0]:+.2f}"

    def evidence(self, parts: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """The log hazard itself."""
        return parts

    def slope(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """That of the log hazard."""
        return torch.ones_like(logits)

    def point_scores(self, answers: Tensor, truth: Tensor) -> dict[str, float | None]:
        """Harrell's concordance."""
        from ...metrics.survival import survival_scores

        return survival_scores(answers[:, 0], truth)

    def metrics(
        self, answers: Tensor, truth: Tensor, groups: Sequence[object | None] | None = None
    ) -> dict[str, Any]:
        """The same with an interval, and the number of events."""
        from ...metrics.survival import survival_metrics

        return survival_metrics(answers[:, 0], truth, groups=groups)

    def strata(self, truth: Tensor) -> Int[Tensor, " n"]:
        """Events and others, each early or late."""
        late = truth[:, 0] > truth[:, 0].median()
        return (2 * truth[:, 1] + late).long()
