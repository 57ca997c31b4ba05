"""How good are predicted grades: what `scores` measures, and how far a miss misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int64
from torch import Tensor

from .bootstrap import bootstrap
from .intervals import group_numbers, share_interval
from .scores import classification_metrics, confusion_matrix, point_scores

__all__ = ["grade_metrics", "grade_scores", "median_grade"]


def median_grade(probabilities: Float[Tensor, "n grades"]) -> Int[Tensor, " n"]:
    """The median of each distribution, the grade from which the expected distance is the least."""
    return (probabilities.double().cumsum(1) < 0.5 - 1e-12).sum(1).clamp(max=probabilities.shape[1] - 1)


def grade_scores(
    probabilities: Float[Tensor, "n grades"], labels: Int[Tensor, " n"]
) -> dict[str, float | None]:
    """Quadratic kappa and mean error of the median grade, its accuracy, and AUROC, grade against rest.

    Args:
        probabilities: of each grade, the lowest first.
        labels: true grade of each image.

    Returns:
        kappa (weighted by the squared distance, Cohen 1968; None where one grade is all there is),
        grade_error (mean distance in grades), accuracy, auroc.

    Raises:
        DataError: if there is no image, a probability is not a number, or a label has no column.

    Example:
        >>> import torch
        >>> p = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.6, 0.3]])
        >>> found = grade_scores(p, torch.tensor([0, 1, 2]))
        >>> {name: round(value, 3) for name, value in found.items()}
        {'kappa': 0.667, 'grade_error': 0.333, 'accuracy': 0.667, 'auroc': 1.0}
    """
    auroc = point_scores(probabilities, labels).auroc
    grade, true = median_grade(probabilities).numpy(), labels.cpu().numpy()
    return {**_distances(grade, true, np.arange(len(true))), "auroc": auroc}


def grade_metrics(
    probabilities: Float[Tensor, "n grades"],
    labels: Int[Tensor, " n"],
    *,
    groups: Sequence[object | None] | None = None,
) -> dict[str, Any]:
    """`grade_scores` with intervals, and the confusion matrix of the median grades.

    Raises:
        DataError: if there is no image, a probability is not a number, or a label has no column.
    """
    found = classification_metrics(probabilities, labels, groups=groups)
    probabilities, labels = probabilities.detach().cpu(), labels.cpu()
    own = median_grade(probabilities)
    grade, true = own.numpy(), labels.numpy()
    numbers = None if groups is None else group_numbers(groups)
    intervals = bootstrap(lambda rows: _distances(grade, true, rows), len(true), numbers)
    intervals["accuracy"] = share_interval(grade == true, numbers)
    reasons = {"auroc": found["interval_reasons"].get("auroc", "")}
    result: dict[str, Any] = {name: found[name] for name in ("n_images", "n_groups")}
    for name, value in _distances(grade, true, np.arange(len(true))).items():
        ends = None if value is None else intervals[name].ends
        result |= {name: value, f"{name}_interval": None if ends is None else list(ends)}
        reasons[name] = intervals[name].reason
    result |= {name: found[name] for name in ("auroc", "auroc_interval")}
    result["interval_reasons"] = {name: reason for name, reason in reasons.items() if reason}
    result["confusion_matrix"] = confusion_matrix(own, labels, probabilities.shape[1]).tolist()
    return result


def _distances(
    grade: Int64[np.ndarray, " n"], truth: Int64[np.ndarray, " n"], rows: Int64[np.ndarray, " m"]
) -> dict[str, float | None]:
    grade, truth = grade[rows], truth[rows]
    observed = float(np.square(grade - truth).mean())
    expected = float(
        np.square(grade).mean() + np.square(truth).mean() - 2 * grade.mean() * truth.mean()
    )  # of the same grades, paired at random
    return {
        "kappa": round(1 - observed / expected, 12) if expected > 1e-12 else None,  # 0, not 4e-16
        "grade_error": float(np.abs(grade - truth).mean()),
        "accuracy": float((grade == truth).mean()),
    }
