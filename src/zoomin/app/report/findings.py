"""What a report is about: the answers for labelled images, and what is known of how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...data.manifest import Record

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
    record: Record | None = field(default=None, compare=False, repr=False)

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
        classes: of the model, in order.
        answers: one per image; in a cross-validation one per image and seed.
        evaluated: which images these are, as text.
        origin: how the model was made.
        notes: what a reader must know to read the numbers rightly.
        folds: what crossval.json holds, for a cross-validation.
    """

    title: str
    classes: tuple[str, ...]
    answers: tuple[Answer, ...]
    evaluated: str
    origin: Origin = Origin()
    notes: tuple[str, ...] = ()
    folds: Mapping[str, Any] | None = None

    @property
    def answered(self) -> list[Answer]:
        """Those with a label and an answer."""
        return [a for a in self.answers if a.label is not None and a.probabilities]

    @property
    def failed(self) -> list[Answer]:
        """Those that could not be read."""
        return [a for a in self.answers if not a.probabilities]

    def predicted(self, answer: Answer) -> str | None:
        """The class of highest probability, None where the image failed."""
        return self.classes[_best(answer.probabilities)] if answer.probabilities else None

    def probability(self, answer: Answer, label: str | None) -> float | None:
        """Of a class, None where it or the answer is unknown."""
        known = bool(answer.probabilities) and label is not None
        return answer.probabilities[self.classes.index(str(label))] if known else None

    def is_right(self, answer: Answer) -> bool | None:
        """Whether the prediction is right; None where either is unknown."""
        predicted = self.predicted(answer)
        return None if predicted is None or answer.label is None else predicted == answer.label

    def tensors(
        self, answers: Sequence[Answer] | None = None
    ) -> tuple[Float[Tensor, "n classes"], Int[Tensor, " n"]]:
        """Probabilities and true classes of answers; by default of all with a label."""
        chosen = self.answered if answers is None else answers
        place = {name: index for index, name in enumerate(self.classes)}
        probabilities = torch.tensor([a.probabilities for a in chosen], dtype=torch.float64)
        labels = torch.tensor([place[str(a.label)] for a in chosen], dtype=torch.int64)
        return probabilities.reshape(-1, len(self.classes)), labels


def _best(probabilities: Sequence[float]) -> int:
    return max(range(len(probabilities)), key=probabilities.__getitem__)
