"""Curves and numbers beyond `metrics.py`: ROC, precision and recall, calibration, scores of each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve
from torch import Tensor

from ...metrics.intervals import wilson

__all__ = ["Bin", "CalibrationCurve", "ClassScores", "Curve", "calibration", "class_scores", "curves"]

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
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], classes: tuple[str, ...]
) -> tuple[list[Curve], list[Curve]]:
    """ROC and precision-recall curves of each class that occurs and is not alone, one class against the rest.

    With two classes the curves of the second one alone are given, which say all.
    """
    roc, precision = [], []
    for index in [1] if len(classes) == 2 else range(len(classes)):
        truth, score = (labels == index).numpy(), probabilities[:, index].numpy()
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


def class_scores(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], classes: tuple[str, ...]
) -> list[ClassScores]:
    """The scores of every class against the rest."""
    predicted = probabilities.argmax(1)
    rows = []
    for index, name in enumerate(classes):
        truth, claimed = labels == index, predicted == index
        hits = int((truth & claimed).sum())
        auroc = average = None
        if truth.any() and not truth.all():
            score = probabilities[:, index].numpy()
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
