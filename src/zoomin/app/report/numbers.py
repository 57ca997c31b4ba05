"""Curves and numbers beyond `metrics`: ROC, precision and recall, calibration, scores of each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...metrics.intervals import wilson

__all__ = [
    "Bin",
    "CalibrationCurve",
    "ClassScores",
    "Curve",
    "RiskCoverage",
    "calibration",
    "class_scores",
    "curves",
    "kaplan_meier",
    "risk_coverage",
]

_POINTS = 400  # most points of a drawn curve
_BINS = 10


class Curve(NamedTuple):
    """A curve to draw and what lies under it.

    Attributes:
        name: what it belongs to.
        x: values along.
        y: values above them.
        area: under the ROC curve, or the average precision.
    """

    name: str
    x: list[float]
    y: list[float]
    area: float


class Bin(NamedTuple):
    """Predictions of similar confidence.

    Attributes:
        confidence: their mean probability of the class predicted.
        accuracy: share that is right.
        low: lower end of its 95 % interval (Wilson).
        high: upper end.
        images: how many there are.
    """

    confidence: float
    accuracy: float
    low: float
    high: float
    images: int


class CalibrationCurve(NamedTuple):
    """How far probabilities are from frequencies.

    Attributes:
        bins: those that hold a prediction, by confidence.
        error: expected calibration error, the mean over predictions of |accuracy - confidence| of their bin.
        brier: mean over images of the squared distance between probabilities and truth, summed over classes.
    """

    bins: list[Bin]
    error: float
    brier: float


class RiskCoverage(NamedTuple):
    """What abstaining from the least sure answers would give.

    Attributes:
        coverage: share of the images answered.
        risk: share of these answers that are wrong.
        area: the mean risk over all coverages (Geifman et al., ICLR 2019).
        least: the probability that the answers given have at least.
    """

    coverage: list[float]
    risk: list[float]
    area: float
    least: list[float]


class ClassScores(NamedTuple):
    """One class against the rest; None where a score is not defined.

    Attributes:
        name: of the class.
        images: of it, that there are.
        precision: share of those predicted as it that are; None where none is predicted.
        recall: share of its images found; None where it has none.
        auroc: None unless some images are of it and some are not.
        average_precision: None unless some images are of it and some are not.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None
    auroc: float | None
    average_precision: float | None


def curves(
    probabilities: Float[Tensor, "n classes"], members: Float[Tensor, "n classes"], classes: tuple[str, ...]
) -> tuple[list[Curve], list[Curve]]:
    """ROC and precision-recall curves of each class that occurs and is not alone, one class against the rest.

    With two classes, of which each image has one, the curves of the second alone are given, which say all.

    Args:
        probabilities: of each class or label.
        members: 1 where an image has it, 0 where not, NaN where that is unknown.
        classes: names.
    """
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

    roc, precision = [], []
    one = len(classes) == 2 and bool((members.sum(1) == 1).all())
    for index in [1] if one else range(len(classes)):
        truth, score = _known(probabilities, members, index)
        if truth.all() or not truth.any():
            continue
        false, true, _ = roc_curve(truth, score)
        x, y = _thin(false.tolist()), _thin(true.tolist())
        roc.append(Curve(classes[index], x, y, float(auc(false, true))))
        right, found, _ = precision_recall_curve(truth, score)
        x, y = _thin(found[::-1].tolist()), _thin(right[::-1].tolist())
        precision.append(Curve(classes[index], x, y, float(average_precision_score(truth, score))))
    return roc, precision


def calibration(probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> CalibrationCurve:
    """Confidence against accuracy in ten bins of equal width (Guo et al., ICML 2017), and the Brier score.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.9, 0.1]], dtype=torch.float64)
        >>> c = calibration(p, torch.tensor([0, 1]))
        >>> round(c.error, 3), round(c.brier, 3), c.bins[0].images
        (0.4, 0.82, 2)
    """
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    place = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    bins = []
    for index in torch.unique(place).tolist():
        inside = place == index
        share, count = float(right[inside].mean()), int(inside.sum())
        bins.append(Bin(float(confidence[inside].mean()), share, *wilson(share, count), count))
    error = sum(b.images * abs(b.accuracy - b.confidence) for b in bins) / max(1, len(labels))
    truth = torch.nn.functional.one_hot(labels, probabilities.shape[1])
    brier = float((probabilities - truth).square().sum(1).mean())
    return CalibrationCurve(bins, error, brier)


def risk_coverage(confidence: Float[Tensor, " n"], right: Bool[Tensor, " n"]) -> RiskCoverage:
    """The share of errors among the surest answers, however many of them are given.

    Example:
        >>> sure, right = torch.tensor([0.9, 0.8, 0.6, 0.6]), torch.tensor([True, True, True, False])
        >>> found = risk_coverage(sure, right)
        >>> found.coverage, found.risk, round(found.area, 3)
        ([0.25, 0.5, 1.0], [0.0, 0.0, 0.25], 0.125)
    """
    surest = confidence.argsort(descending=True, stable=True)
    errors = (~right[surest]).double().cumsum(0)
    n = len(right)
    ends = [k for k in range(n) if k + 1 == n or confidence[surest[k]] > confidence[surest[k + 1]]]
    risk = [float(errors[k]) / (k + 1) for k in ends]
    new = [after - before for before, after in pairwise([-1, *ends])]
    area = sum(r * images for r, images in zip(risk, new, strict=True)) / max(1, n)
    coverage = [(k + 1) / n for k in ends]
    return RiskCoverage(
        _thin(coverage), _thin(risk), area, _thin([float(confidence[surest[k]]) for k in ends])
    )


def _known(probabilities: Tensor, members: Tensor, index: int) -> tuple[Any, Any]:
    """Whether images have a class, and its probability, where that is known."""
    known = members[:, index].isfinite()
    return (members[known, index] > 0).numpy(), probabilities[known, index].numpy()


def kaplan_meier(time: Sequence[float], event: Sequence[bool]) -> tuple[list[float], list[float]]:
    """The share still without the event (Kaplan & Meier 1958): times of its steps, and its values.

    Example:
        >>> kaplan_meier([1.0, 2.0, 3.0], [True, False, True])
        ([0.0, 1.0, 3.0], [1.0, 0.6666666666666667, 0.0])
    """
    x, y = [0.0], [1.0]
    for at in sorted({t for t, happened in zip(time, event, strict=True) if happened}):
        there = sum(t >= at for t in time)
        gone = sum(t == at and happened for t, happened in zip(time, event, strict=True))
        x.append(at)
        y.append(y[-1] * (1 - gone / there))
    last = max(time, default=0.0)
    return ([*x, last], [*y, y[-1]]) if last > x[-1] else (x, y)


def class_scores(
    probabilities: Float[Tensor, "n classes"],
    members: Float[Tensor, "n classes"],
    predicted: Bool[Tensor, "n classes"],
    classes: tuple[str, ...],
) -> list[ClassScores]:
    """The scores of every class against the rest.

    Args:
        probabilities: of each class or label.
        members: 1 where an image has it, 0 where not, NaN where that is unknown.
        predicted: whether that was predicted.
        classes: names.
    """
    from sklearn.metrics import auc, average_precision_score, roc_curve

    rows = []
    for index, name in enumerate(classes):
        known = members[:, index].isfinite()
        truth, claimed = members[known, index] > 0, predicted[known, index]
        hits = int((truth & claimed).sum())
        auroc = average = None
        if truth.any() and not truth.all():
            score = probabilities[known, index].numpy()
            false, true, _ = roc_curve(truth.numpy(), score)
            auroc, average = float(auc(false, true)), float(average_precision_score(truth.numpy(), score))
        rows.append(
            ClassScores(
                name,
                int(truth.sum()),
                hits / int(claimed.sum()) if claimed.any() else None,
                hits / int(truth.sum()) if truth.any() else None,
                auroc,
                average,
            )
        )
    return rows


def _thin(values: Sequence[float]) -> list[float]:
    """At most `_POINTS` values, both ends among them."""
    step = max(1, math.ceil(len(values) / _POINTS))
    kept = list(values[::step])
    return kept if (len(values) - 1) % step == 0 else [*kept, values[-1]]
