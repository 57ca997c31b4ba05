"""What a report is about: the answers for labelled images, and what is known of how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ...data.manifest import Record
from ...model.choices import is_unlike
from ...model.targets import Target

__all__ = ["Answer", "Findings", "Origin"]


@dataclass(frozen=True)
class Answer:
    """The answer for one image, and the truth.

    Attributes:
        image: path or name.
        label: its true class; None where unknown.
        probabilities: of each class; empty where the image failed.
        standard_error: of the predicted class's probability; None where unknown.
        pixels_read: pixels of the views that were read; None where unknown.
        seed: the training that answered, in a cross-validation.
        fold: the fold that held the image out, in a cross-validation.
        ood_p_value: how like the training images it is; None where unknown.
        abstained: why no answer was given, "" where one was.
        error: why the image failed.
        record: the image's record, where the images are known.
    """

    image: str
    label: str | None
    probabilities: tuple[float, ...]
    standard_error: float | None = None
    pixels_read: int | None = None
    seed: int | None = None
    fold: int | None = None
    error: str = ""
    ood_p_value: float | None = None
    abstained: str = ""
    record: Record | None = field(default=None, compare=False, repr=False)

    @property
    def unlike(self) -> bool:
        """Whether the image is unlike the training images."""
        return is_unlike(self.ood_p_value)

    @property
    def name(self) -> str:
        """Without its folder."""
        return Path(self.image).name


@dataclass(frozen=True)
class Origin:
    """How the model was made.

    Attributes:
        config: the configuration as YAML, or None.
        versions: what versions.json holds.
        commands: commands that make it again.
        history: one row per epoch, of metrics.csv; empty where unknown.
        chosen_epoch: the epoch of the saved model, from 0; None where nothing was chosen.
        chosen_by: what it was chosen by.
        counts: images by split and class.
    """

    config: str | None = None
    versions: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    history: tuple[Mapping[str, float], ...] = ()
    chosen_epoch: int | None = None
    chosen_by: str | None = None
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """Everything that a report is made of but for pictures.

    Attributes:
        title: of the report.
        target: of the model.
        answers: one per image; in a cross-validation one per image and seed.
        evaluated: which images these are, as text.
        origin: how the model was made.
        notes: what a reader must know to read the numbers rightly.
        folds: what crossval.json holds, for a cross-validation.
    """

    title: str
    target: Target
    answers: tuple[Answer, ...]
    evaluated: str
    origin: Origin = Origin()
    notes: tuple[str, ...] = ()
    folds: Mapping[str, Any] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the target, in order."""
        return self.target.names

    @property
    def answered(self) -> list[Answer]:
        """Those with a label and an answer."""
        return [a for a in self.answers if a.label is not None and a.probabilities]

    @property
    def failed(self) -> list[Answer]:
        """Those that could not be read."""
        return [a for a in self.answers if not a.probabilities]

    def predicted(self, answer: Answer) -> str | None:
        """The answer in a word, such as the class of highest probability; None where the image failed."""
        return self.target.decide(answer.probabilities) if answer.probabilities else None

    def probability(self, answer: Answer, label: str | None) -> float | None:
        """Of a class, None where it or the answer is unknown, or the target has no classes."""
        if not answer.probabilities or label is None or not self.target.picks_one:
            return None
        return answer.probabilities[self.classes.index(label)]

    def merit(self, answer: Answer) -> float | None:
        """How good an answer is: the probability of the truth; of labels its mean; minus a value's error.

        None where that is unknown, as of a single time of survival.
        """
        if answer.label is None or not answer.probabilities or self.target.kind == "survival":
            return None
        if self.target.picks_one:
            return self.probability(answer, answer.label)
        own, truth = self.tensors([answer])
        if self.target.kind == "value":
            return -float((own[0, 0] - truth[0]).abs())
        known = truth[0].isfinite()
        return float((1 - (own[0] - truth[0]).abs())[known].mean())

    def sure(self, answer: Answer) -> float:
        """The highest probability, or the number; 0 where the image failed."""
        return max(answer.probabilities, default=0.0)

    def is_right(self, answer: Answer) -> bool | None:
        """Whether the prediction is right; None where either is unknown, or the answer is a number."""
        predicted = self.predicted(answer)
        if predicted is None or answer.label is None or not self.target.has_probabilities:
            return None
        if self.target.picks_one:
            return predicted == answer.label
        own, truth = self.tensors([answer])
        return bool((((own >= 0.5) == (truth > 0)) | truth.isnan()).all())

    def tensors(
        self, answers: Sequence[Answer] | None = None
    ) -> tuple[Float[Tensor, "n classes"], Shaped[Tensor, "n ..."]]:
        """Answers and truth, such as probabilities and true classes; by default of all with a label."""
        chosen = self.answered if answers is None else answers
        probabilities = torch.tensor([a.probabilities for a in chosen], dtype=torch.float64)
        return probabilities.reshape(-1, len(self.classes)), self.target.truth([a.label for a in chosen])
