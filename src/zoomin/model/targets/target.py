"""What every kind of target is: truth as numbers, loss, from logits to an answer, metrics."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

__all__ = ["NONE", "Target"]

NONE = "none"  # several labels, of which an image has none
Truth = Shaped[Tensor, "n ..."]


@dataclass(frozen=True)
class Target(ABC):
    """A kind of target and the names of its logits; the head of the network is linear whatever the kind.

    Attributes:
        names: of the logits: classes, labels, grades, or the one number.
        kind: its name in settings.
        has_probabilities: whether answers are probabilities, one for each name.
        picks_one: whether exactly one of the names is true.
        least_batch: images in a step below which the loss means little.
        curvature: of the loss by a logit, about; that of a logistic loss is 1/4. Penalties count beside it.
        score: the metric by which folds and epochs are compared; higher is better.
        scores: the metrics shown, with what they are called, the most telling first.
        in_percent: whether tables show the metrics in %.
    """

    names: tuple[str, ...]
    kind: ClassVar[str]
    has_probabilities: ClassVar[bool] = True
    picks_one: ClassVar[bool] = False
    least_batch: ClassVar[int] = 1
    curvature: ClassVar[float] = 0.25
    score: ClassVar[str]
    scores: ClassVar[Mapping[str, str]]
    in_percent: ClassVar[bool] = True

    @property
    def columns(self) -> list[str]:
        """The columns of a table of predictions that hold the answer, beside `prediction`."""
        return [f"prob_{name}" for name in self.names]

    @abstractmethod
    def truth(self, labels: Sequence[str | None]) -> Truth:
        """What images are, from the words of the manifest, one row per image; -1 or NaN where unknown.

        Raises:
            KeyError: of a name that is not among `names`.
        """

    @abstractmethod
    def loss(
        self, logits: Float[Tensor, "n c"], truth: Truth, class_weights: Float[Tensor, " c"] | None = None
    ) -> Float[Tensor, ""]:
        """The loss, a mean over images."""

    @abstractmethod
    def copy_losses(
        self, logits: Float[Tensor, "k n c"], truth: Shaped[Tensor, "k n ..."], weight: Float[Tensor, "k n"]
    ) -> Float[Tensor, " k"]:
        """The loss of each of k models side by side, each with its own images and what these weigh."""

    def importance(self, truth: Truth, rows: Int[Tensor, " rows"], *, balanced: bool) -> Float[Tensor, " n"]:
        """What each image weighs in the loss of a model that learns from some of them."""
        return torch.ones(len(truth))

    @abstractmethod
    def answers(self, logits: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """What the logits mean: probabilities, or numbers in their own unit."""

    def fits(self, label: str) -> bool:
        """Whether words are a truth of this target."""
        try:
            self.truth([label])
        except (KeyError, ValueError):
            return False
        return True

    @abstractmethod
    def decide(self, answer: Sequence[float]) -> str:
        """The answer for one image in a word."""

    @abstractmethod
    def explained_name(self, answer: Sequence[float]) -> str:
        """The name whose answer pictures explain."""

    def words(self, label: str) -> str:
        """A decision as people write it."""
        return label

    def truth_words(self, label: str) -> str:
        """A truth as people write it."""
        return self.words(label)

    def verdict(self, answer: Sequence[float], standard_error: float = math.nan) -> str:
        """The answer with how sure it is, as people write it: "positive 88 ± 2 %"."""
        return self._sure_of(answer, self.explained_name(answer), standard_error)

    def _sure_of(self, answer: Sequence[float], name: str, standard_error: float = math.nan) -> str:
        """The answer for a name, its standard error before its unit."""
        number, _, unit = self.answer_text(answer, name).partition(" ")
        spread = self.error_text(standard_error)
        return " ".join(part for part in (name, number, spread and f"± {spread}", unit) if part)

    def answer_text(self, answer: Sequence[float], name: str) -> str:
        """The answer for a name, as text; a probability is not written as certain."""
        share = answer[self.names.index(name)]
        return "<1 %" if share < 0.005 else ">99 %" if share > 0.995 else f"{100 * share:.0f} %"

    def error_text(self, standard_error: float) -> str:
        """A standard error as text, "" where it is unknown or hardly shows."""
        known = standard_error == standard_error and standard_error >= 0.005
        return f"{100 * standard_error:.0f}" if known else ""

    def score_text(self, value: float | None) -> str:
        """A metric as tables show it."""
        return "-" if value is None else f"{100 * value:.1f}" if self.in_percent else f"{value:.3g}"

    def interval_text(self, value: float | None, interval: Sequence[float] | None) -> str:
        """A metric with its interval, where it has one."""
        if value is None or not interval:
            return self.score_text(value)
        return f"{self.score_text(value)} ({self.score_text(interval[0])} to {self.score_text(interval[1])})"

    def spread_text(self, mean: float | None, sd: float | None) -> str:
        """A metric over several trainings."""
        return self.score_text(mean) + ("" if mean is None or sd is None else f" ± {self.score_text(sd)}")

    @abstractmethod
    def evidence(self, parts: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """What parts of logits say for each name; linear, so that evidence sums as the parts do."""

    @abstractmethod
    def slope(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """The derivative of the answer that pictures explain, by the logits."""

    @abstractmethod
    def point_scores(self, answers: Float[Tensor, "n c"], truth: Truth) -> dict[str, float | None]:
        """The metrics without intervals; None where one is not defined.

        Raises:
            DataError: if there is no image, or an answer is not a number.
        """

    @abstractmethod
    def metrics(
        self, answers: Float[Tensor, "n c"], truth: Truth, groups: Sequence[object | None] | None = None
    ) -> dict[str, Any]:
        """The metrics with 95 % intervals, ready for JSON.

        Returns:
            n_images; n_groups (None without groups); each of `scores`; `NAME_interval`, [low, high] or None,
            with the reason in `interval_reasons`.

        Raises:
            DataError: if there is no image, or an answer is not a number.
        """

    def known(self, truth: Truth) -> Bool[Tensor, " n"]:
        """Whether the truth of each image is known."""
        return truth >= 0 if not truth.is_floating_point() else ~truth.flatten(1).isnan().all(1)

    @abstractmethod
    def strata(self, truth: Truth) -> Int[Tensor, " n"]:
        """Images alike, by number: both sides of a split get their share of each."""

    def empty(self, truth: Truth, negative: int | None) -> Bool[Tensor, " n"]:
        """Images with nothing to find; `negative`: the class that says so."""
        return torch.zeros(len(truth), dtype=torch.bool)

    def witnesses(self, evidence: Float[Tensor, "n tiles c"], truth: Truth) -> Float[Tensor, "n tiles"]:
        """How much each tile contributed to its image's answer; to a number, in either direction."""
        return evidence.sum(2).abs()
