"""How good are these probabilities: accuracy, balanced accuracy, AUROC, confusion matrix, with intervals."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import (
    binary_auroc,
    multiclass_auroc,
    multiclass_confusion_matrix,
)

from .errors import DataError

__all__ = ["ClassificationScores", "Scores", "classification_metrics", "point_scores"]

_LEVEL = 0.95
_CHUNK = 2**22  # numbers that one slice of the bootstrap holds


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
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The scores with 95 % bootstrap intervals, and the confusion matrix, ready for JSON.

    The bootstrap draws whole images with replacement and takes the 2.5 and 97.5 percentiles. A resample that
    has lost a class has no balanced accuracy and no AUROC over the same classes; it is left out of these two
    intervals and counted.

    Args:
        probabilities: of each class, one row per image.
        labels: true class of each image.
        n_bootstrap: resamples; 0 for no intervals.
        seed: of the resamples.

    Returns:
        n_images; accuracy, balanced_accuracy and auroc (None where only one class occurs); for each of them
        `NAME_interval`, [low, high] or None; confusion_matrix (true classes in rows, predicted in columns);
        n_bootstrap and resamples_dropped.

    Raises:
        DataError: if there is no image, a probability is not a number, or a label has no column.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
        >>> m = classification_metrics(p, torch.tensor([0, 1, 0, 1]))
        >>> m["accuracy"], m["auroc"], m["confusion_matrix"]
        (0.75, 1.0, [[2, 0], [1, 1]])
    """
    _check(probabilities, labels)
    probabilities, labels = probabilities.detach().cpu().double(), labels.cpu()
    confusion = _confusion(probabilities, labels)
    scores = _scores(probabilities, labels, confusion)
    samples, dropped = _bootstrap(probabilities, labels, n_bootstrap, seed)
    result: dict[str, Any] = {"n_images": len(labels)}
    for name, value in scores._asdict().items():
        result[name] = value
        result[f"{name}_interval"] = _interval(samples[name]) if value is not None else None
    result["confusion_matrix"] = confusion.tolist()
    result["n_bootstrap"] = n_bootstrap
    result["resamples_dropped"] = dropped
    return result


class ClassificationScores(Metric):
    """`point_scores` of all batches since the last reset, as a torchmetrics object.

    Example:
        >>> metric = ClassificationScores()
        >>> metric.update(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0, 1]))
        >>> metric.compute().accuracy
        0.5
    """

    full_state_update = False
    higher_is_better = True
    probabilities: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.add_state("probabilities", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> None:
        """Add a batch."""
        self.probabilities.append(probabilities.detach())
        self.labels.append(labels)

    def compute(self) -> Scores:
        """The scores of everything added.

        Raises:
            DataError: if nothing was added, or a probability is not a number.
        """
        if not len(self.labels):
            raise DataError("no image to evaluate", remedy="Give at least one image.")
        return point_scores(_joined(self.probabilities).cpu(), _joined(self.labels).cpu())


def _joined(parts: list[Tensor] | Tensor) -> Tensor:
    """A list state is one tensor after torchmetrics has gathered it from several processes."""
    return parts if isinstance(parts, Tensor) else torch.cat(parts)


def _check(probabilities: Tensor, labels: Tensor) -> None:
    if not len(labels):
        raise DataError("no image to evaluate", remedy="Give at least one image.")
    if not bool(probabilities.isfinite().all()):
        bad = int((~probabilities.isfinite().all(1)).sum())
        raise DataError(
            f"{bad} of {len(labels)} predictions are not numbers",
            remedy="The model has diverged: train it again with a smaller learning rate.",
        )
    if int(labels.min()) < 0 or int(labels.max()) >= probabilities.shape[1]:
        raise DataError(
            f"labels from {int(labels.min())} to {int(labels.max())} for {probabilities.shape[1]} classes",
            remedy="Labels count from 0, one column of probabilities per class.",
        )


def _confusion(probabilities: Tensor, labels: Tensor) -> Int[Tensor, "classes classes"]:
    n_classes = probabilities.shape[1]
    return multiclass_confusion_matrix(probabilities.argmax(1), labels, n_classes, validate_args=False)


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


def _bootstrap(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], n_bootstrap: int, seed: int
) -> tuple[dict[str, Tensor], int]:
    """Each score of each resample (not a number where undefined), and how many resamples lost a class."""
    n, classes = len(labels), torch.unique(labels).tolist()
    columns = [1] if probabilities.shape[1] == 2 else classes
    generator = torch.Generator().manual_seed(seed)
    right = (probabilities.argmax(1) == labels).double()
    parts: dict[str, list[Tensor]] = {name: [] for name in Scores._fields}
    step = max(1, _CHUNK // n)
    for start in range(0, n_bootstrap, step):
        rows = min(step, n_bootstrap - start)
        drawn = torch.randint(n, (rows, n), generator=generator)
        ones = torch.ones(1, dtype=torch.float64).expand(drawn.shape)
        weight = torch.zeros(rows, n, dtype=torch.float64).scatter_add_(1, drawn, ones)
        parts["accuracy"].append(weight @ right / n)
        members = [(labels == c).double() for c in classes]
        recalls = [(weight @ (m * right)) / (weight @ m) for m in members]
        parts["balanced_accuracy"].append(torch.stack(recalls).mean(0))
        areas = [_weighted_auroc(probabilities[:, c], labels == c, weight) for c in columns]
        parts["auroc"].append(torch.stack(areas).mean(0))
    samples = {name: torch.cat(part) if part else torch.empty(0) for name, part in parts.items()}
    return samples, int(samples["balanced_accuracy"].isnan().sum())


def _weighted_auroc(
    score: Float[Tensor, " n"], positive: Tensor, weight: Float[Tensor, "resamples n"]
) -> Float[Tensor, " resamples"]:
    """Share of (positive, negative) pairs in the right order, ties half, for each row of image weights."""
    _, rank = torch.unique(score, return_inverse=True)
    steps = int(rank.max()) + 1
    empty = weight.new_zeros(len(weight), steps)
    up = empty.index_add(1, rank, weight * positive)
    down = empty.index_add(1, rank, weight * ~positive)
    below = down.cumsum(1) - down / 2
    return (up * below).sum(1) / (up.sum(1) * down.sum(1))


def _interval(samples: Float[Tensor, " resamples"]) -> list[float] | None:
    defined = samples[~samples.isnan()]
    if not len(defined):
        return None
    tail = (1 - _LEVEL) / 2
    low, high = defined.quantile(torch.tensor([tail, 1 - tail], dtype=defined.dtype)).tolist()
    return [low, high]
