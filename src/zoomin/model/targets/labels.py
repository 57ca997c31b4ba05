"""Several labels, of which an image has any number."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from .target import NONE, Target

__all__ = ["Labels", "agree", "listed"]

_UNKNOWN = "?"
_SHOWN = 4  # labels of an answer in a title


def listed(words: str, names: Collection[str] = ()) -> str:
    """Several labels as people write them; one of the names stays as it is.

    Example:
        >>> listed("open;short"), listed("open;short?"), listed("a;b", ["a;b"])
        ('open, short', 'open, short unknown', 'a;b')
    """
    if words in names:
        return words
    parts = [(part, part.removesuffix(_UNKNOWN)) for part in words.split(";")]
    return ", ".join(part if part in names or part == name else f"{name} unknown" for part, name in parts)


def agree(truth: str, predicted: str) -> bool:
    """Whether labels are those of the truth, in any order; what is unknown there may be either.

    Example:
        >>> agree("open;short", "short;open"), agree("open;short?", "open"), agree("none", "open")
        (True, True, False)
    """
    has, given = set(truth.split(";")), set(predicted.split(";"))
    unknown = {part[:-1] for part in has - given if part.endswith(_UNKNOWN)}
    has, given = has - {name + _UNKNOWN for name in unknown}, given - unknown
    return (has or {NONE}) == (given or {NONE})


class Labels(Target):
    """Any number of several labels: a sigmoid and a binary cross-entropy each.

    The words of an image are its labels, "open;short"; "none" where it has none of them; "open;short?" where
    nobody looked for "short", which then counts in no loss and no metric.

    Example:
        >>> target = Labels(("open", "short"))
        >>> target.truth(["short", "none", "open;short?"]).tolist()
        [[0.0, 1.0], [0.0, 0.0], [1.0, nan]]
        >>> target.decide([0.9, 0.7]), target.decide([0.2, 0.1]), target.explained_name([0.2, 0.1])
        ('open;short', 'none', 'open')
    """

    kind = "labels"
    score = "auroc"
    scores: ClassVar[Mapping[str, str]] = {
        "auroc": "mean AUROC",
        "average_precision": "mean average precision",
        "f1": "F1 of all labels",
        "label_accuracy": "labels right",
        "all_right": "images with all labels right",
    }

    def truth(self, labels: Sequence[str | None]) -> Float[Tensor, "n c"]:
        """1 for each label that an image has, 0 for others, NaN where that is unknown."""
        place = {name: index for index, name in enumerate(self.names)}
        rows = torch.zeros(len(labels), len(self.names))
        for row, label in zip(rows, labels, strict=True):
            if label is None:
                row.fill_(torch.nan)
                continue
            for name in label.split(";") if label != NONE else ():
                is_known = name in place or not name.endswith(_UNKNOWN)
                row[place[name if is_known else name[:-1]]] = 1.0 if is_known else torch.nan
        return rows

    def loss(self, logits: Tensor, truth: Tensor, class_weights: Tensor | None = None) -> Float[Tensor, ""]:
        """Binary cross-entropy: a mean over the known labels of an image, then over images."""
        return _entropies(logits, truth).mean()

    def copy_losses(self, logits: Tensor, truth: Tensor, weight: Tensor) -> Float[Tensor, " k"]:
        """The same of each model, a weighted mean over its images."""
        return (weight * _entropies(logits, truth)).sum(-1) / weight.sum(-1)

    def answers(self, logits: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """A probability for each label."""
        return logits.sigmoid()

    def decide(self, answer: Sequence[float]) -> str:
        """The labels of probability 0.5 and more."""
        has = [name for name, share in zip(self.names, answer, strict=True) if share >= 0.5]
        return ";".join(has) or NONE

    def words(self, label: str) -> str:
        """Labels, separated by commas."""
        return listed(label, self.names)

    def verdict(self, answer: Sequence[float], standard_error: float = math.nan) -> str:
        """Every label decided, the most probable first, whose standard error it is; "none" with the nearest.

        Example:
            >>> target = Labels(("open", "short"))
            >>> target.verdict([0.6, 0.87], 0.02), target.verdict([0.12, 0.1])
            ('short 87 ± 2 %, open 60 %', 'none (open 12 %)')
        """
        order = sorted(zip(answer, self.names, strict=True), key=lambda one: -one[0])
        has = [name for share, name in order if share >= 0.5]
        first = self._sure_of(answer, order[0][1], standard_error)
        if not has:
            return f"{NONE} ({first})"
        others = [self._sure_of(answer, name) for name in has[1:_SHOWN]]
        left = len(has) - _SHOWN
        return ", ".join([first, *others]) + (f" and {left} more" if left > 0 else "")

    def explained_name(self, answer: Sequence[float]) -> str:
        """The most probable label."""
        return self.names[max(range(len(answer)), key=answer.__getitem__)]

    def evidence(self, parts: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """The logits themselves."""
        return parts

    def slope(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """That of the highest probability."""
        p = logits.sigmoid()
        return functional.one_hot(p.argmax(1), p.shape[1]) * p * (1 - p)

    def point_scores(self, answers: Tensor, truth: Tensor) -> dict[str, float | None]:
        """Means over the labels, F1 over all of them."""
        from ...metrics.labels import label_scores

        return label_scores(answers, truth)

    def metrics(
        self, answers: Tensor, truth: Tensor, groups: Sequence[object | None] | None = None
    ) -> dict[str, Any]:
        """The same with intervals, and AUROC and average precision of each label in `labels`."""
        from ...metrics.labels import label_metrics

        return label_metrics(answers, truth, self.names, groups=groups)

    def strata(self, truth: Tensor) -> Int[Tensor, " n"]:
        """The rarest label that an image has, from 1; 0 where it has none."""
        has = truth > 0
        rarest = has.sum(0).argsort(stable=True)
        return torch.where(has.any(1), has[:, rarest].int().argmax(1) + 1, 0)

    def empty(self, truth: Tensor, negative: int | None) -> Bool[Tensor, " n"]:
        """Those without any label."""
        return (truth == 0).all(1)

    def witnesses(self, evidence: Float[Tensor, "n tiles c"], truth: Tensor) -> Float[Tensor, "n tiles"]:
        """The most that each tile contributed to a label of its image."""
        has = (truth > 0)[:, None, :]
        most = evidence.masked_fill(~has, -torch.inf).amax(2)
        return most.where(has.any(2), 0.0)


def _entropies(logits: Float[Tensor, "*n c"], truth: Float[Tensor, "*n c"]) -> Float[Tensor, "*n"]:
    """Mean over the known labels of each image; 0 where none is known."""
    known = truth.isfinite()
    truth = truth.nan_to_num().to(logits)
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (each * known).sum(-1) / known.sum(-1).clamp(min=1)
