"""How good are these probabilities: accuracy, balanced accuracy, AUROC, confusion matrix, with intervals."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    multiclass_auroc,
    multiclass_confusion_matrix,
)

from ..errors import DataError
from .checks import check_answers
from .intervals import (
    Interval,
    auroc_influence,
    auroc_interval,
    balanced_interval,
    group_numbers,
    share_interval,
)

__all__ = ["Scores", "classification_metrics", "confusion_matrix", "point_scores"]


class Scores(NamedTuple):
    """What a set of probabilities is worth.

    Attributes:
        accuracy: share of images whose most probable class is the true one.
        balanced_accuracy: mean, over the classes that occur, of the share of their images found.
        auroc: area under the receiver operating curve; with more than two classes the mean, over the classes
            that occur, of class against rest; None where only one class occurs.
    """

    accuracy: float
    balanced_accuracy: float
    auroc: float | None


def point_scores(probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Scores:
    """Accuracy, balanced accuracy and AUROC, without intervals.

    Args:
        probabilities: of each class, one row per image.
        labels: true class of each image.

    Raises:
        DataError: if there is no image, a probability is not a number, or a label has no column.

    Example:
        >>> import torch
        >>> p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])
        >>> s = point_scores(p, torch.tensor([0, 1, 0]))
        >>> round(s.accuracy, 3), s.balanced_accuracy, s.auroc
        (0.667, 0.5, 1.0)
    """
    _check(probabilities, labels)
    return _scores(probabilities, labels, _confusion(probabilities, labels))


def classification_metrics(
    probabilities: Float[Tensor, "n classes"],
    labels: Int[Tensor, " n"],
    *,
    groups: Sequence[object | None] | None = None,
) -> dict[str, Any]:
    """The scores with 95 % intervals, and the confusion matrix, ready for JSON.

    The intervals are those of `zoomin.metrics.intervals`, which keep their coverage with few images too. They
    show what other images like these would give, not what another training would.

    Args:
        probabilities: of each class, one row per image.
        labels: true class of each image.
        groups: what each image belongs to, such as a patient, None where it stands alone; whole groups
            count, not their images.

    Returns:
        n_images; n_groups (None without groups); accuracy, balanced_accuracy and auroc (None where only one
        class occurs); for each of them `NAME_interval`, [low, high] or None, with the reason in
        `interval_reasons`; confusion_matrix (true class per row, predicted class per column).

    Raises:
        DataError: if there is no image, a probability is not a number, or a label has no column.

    Example:
        >>> import torch
        >>> p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
        >>> m = classification_metrics(p, torch.tensor([0, 1, 0, 1]))
        >>> m["accuracy"], m["auroc"], m["confusion_matrix"]
        (0.75, 1.0, [[2, 0], [1, 1]])
        >>> [round(end, 2) for end in m["accuracy_interval"]], m["auroc_interval"]
        ([0.3, 0.95], None)
        >>> m["interval_reasons"]["auroc"]
        'not enough images: a class has 2 images, 3 are needed'
    """
    _check(probabilities, labels)
    probabilities, labels = probabilities.detach().cpu().double(), labels.cpu()
    confusion = _confusion(probabilities, labels)
    scores = _scores(probabilities, labels, confusion)
    numbers = None if groups is None else group_numbers(groups)
    intervals = _intervals(probabilities.numpy(), labels.long().numpy(), scores, numbers)
    result: dict[str, Any] = {
        "n_images": len(labels),
        "n_groups": None if numbers is None else int(numbers.max()) + 1,
    }
    for name, value in scores._asdict().items():
        ends = intervals[name].ends
        result[name] = value
        result[f"{name}_interval"] = None if ends is None else list(ends)
    result["interval_reasons"] = {name: found.reason for name, found in intervals.items() if found.reason}
    result["confusion_matrix"] = confusion.tolist()
    return result


def _intervals(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    scores: Scores,
    groups: NDArray[np.int64] | None,
) -> dict[str, Interval]:
    right = probabilities.argmax(1) == labels
    found = {
        "accuracy": share_interval(right, groups),
        "balanced_accuracy": balanced_interval(right, labels, groups),
        "auroc": Interval(None, "all images are of one class"),
    }
    if scores.auroc is not None:
        columns = [1] if probabilities.shape[1] == 2 else np.unique(labels).tolist()
        each = [auroc_influence(probabilities[:, c], labels == c)[1] for c in columns]
        found["auroc"] = auroc_interval(scores.auroc, np.mean(each, axis=0), labels, groups)
    return found


def _check(probabilities: Tensor, labels: Tensor) -> None:
    check_answers(probabilities)
    if int(labels.min()) < 0 or int(labels.max()) >= probabilities.shape[1]:
        raise DataError(
            f"labels from {int(labels.min())} to {int(labels.max())} for {probabilities.shape[1]} classes",
            remedy="Labels count from 0, one column of probabilities per class.",
        )


def confusion_matrix(
    predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], n_classes: int
) -> Int[Tensor, "classes classes"]:
    """Images by true class, in rows, and predicted class."""
    return multiclass_confusion_matrix(predicted, labels, n_classes, validate_args=False)


def _confusion(probabilities: Tensor, labels: Tensor) -> Int[Tensor, "classes classes"]:
    return confusion_matrix(probabilities.argmax(1), labels, probabilities.shape[1])


def _scores(probabilities: Tensor, labels: Tensor, confusion: Tensor) -> Scores:
    confusion = confusion.double()
    per_class = confusion.sum(1)
    occurs = per_class > 0
    found = confusion.diagonal()[occurs] / per_class[occurs]
    auroc = None
    if int(occurs.sum()) > 1:
        if probabilities.shape[1] == 2:
            auroc = float(binary_auroc(probabilities[:, 1].double(), labels, validate_args=False))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", UserWarning
                )  # of the classes that do not occur, left out below
                each = multiclass_auroc(
                    probabilities.double(),
                    labels,
                    probabilities.shape[1],
                    average="none",
                    validate_args=False,
                )
            auroc = float(each[occurs].mean())
    return Scores(float(confusion.diagonal().sum() / per_class.sum()), float(found.mean()), auroc)
