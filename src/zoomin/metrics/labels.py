"""How good are probabilities of several labels: means over the labels, and each label by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from .bootstrap import FEWEST_DRAWN, bootstrap, with_intervals
from .checks import check_answers
from .intervals import (
    FEWEST,
    Interval,
    auroc_influence,
    auroc_interval,
    bounded_interval,
    group_numbers,
    share_interval,
)

__all__ = ["label_metrics", "label_scores"]

Numbers = Float64[np.ndarray, "n labels"]


def label_scores(
    probabilities: Float[Tensor, "n labels"], truth: Float[Tensor, "n labels"]
) -> dict[str, float | None]:
    """AUROC and average precision, means over the labels that some images have and some have not; F1.

    Args:
        probabilities: of each label.
        truth: 1 where an image has the label, 0 where not, NaN where that is unknown and does not count.

    Returns:
        auroc, average_precision (None where no label is had by some and not by others), f1 (of all decisions
        at 0.5 together, None where there is no label at all), label_accuracy (share of decisions that are
        right), all_right (share of images with no wrong decision).

    Raises:
        DataError: if there is no image, or a probability is not a number.

    Example:
        >>> import torch
        >>> p, t = torch.tensor([[0.9, 0.2], [0.6, 0.8]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> label_scores(p, t)["auroc"], label_scores(p, t)["f1"], label_scores(p, t)["all_right"]
        (1.0, 0.8, 0.5)
    """
    check_answers(probabilities)
    return _scores(*_arrays(probabilities, truth), np.arange(len(truth)))


def label_metrics(
    probabilities: Float[Tensor, "n labels"],
    truth: Float[Tensor, "n labels"],
    names: Sequence[str],
    *,
    groups: Sequence[object | None] | None = None,
) -> dict[str, Any]:
    """`label_scores` with intervals, and each label by itself.

    The intervals of shares are Wilson's, F1 being one that is bent: f1 = 2 j / (1 + j), j the share that is
    right of all decisions that found a label or should have; that of the mean AUROC is
    `intervals.bounded_interval`, that of the average precision a bootstrap's.

    Args:
        probabilities: of each label.
        truth: see `label_scores`.
        names: of the labels.
        groups: what each image belongs to, such as a patient; whole groups are drawn.

    Returns:
        What `bootstrap.with_intervals` returns; and `labels`: of each its images with and without, `auroc`
        with the interval of `intervals.auroc_interval`, and `average_precision` with a bootstrap's.

    Raises:
        DataError: if there is no image, or a probability is not a number.
    """
    check_answers(probabilities)
    p, t = _arrays(probabilities, truth)
    numbers = None if groups is None else group_numbers(groups)
    known = _known_intervals(p, t, numbers)
    found = with_intervals(lambda rows: _scores(p, t, rows), len(t), groups, known=known)
    found["labels"] = {name: _one(p[:, k], t[:, k], numbers) for k, name in enumerate(names)}
    return found


def _known_intervals(p: Numbers, t: Numbers, groups: Int64[np.ndarray, " n"] | None) -> dict[str, Interval]:
    """Those of shares and of the mean AUROC."""
    n = len(t)
    known, right = np.isfinite(t), ((p >= 0.5) == (t > 0)) | ~np.isfinite(t)
    images = np.broadcast_to((np.arange(n) if groups is None else groups)[:, None], t.shape)
    matter = known & ((p >= 0.5) | (t > 0))
    nothing = Interval(None, "there is no label at all")
    bent = share_interval(right[matter], images[matter]) if matter.any() else nothing
    ends = None if bent.ends is None else (_bent(bent.ends[0]), _bent(bent.ends[1]))
    return {
        "auroc": _mean_area(p, t, groups),
        "f1": Interval(ends, bent.reason),
        "label_accuracy": share_interval(right[known], images[known]) if known.any() else nothing,
        "all_right": share_interval(right.all(1), groups),
    }


def _bent(share: float) -> float:
    return 2 * share / (1 + share)


def _mean_area(p: Numbers, t: Numbers, groups: Int64[np.ndarray, " n"] | None) -> Interval:
    """The interval of the mean AUROC; no label may have fewer images on a side than keep the coverage."""
    count = len(t) if groups is None else int(groups.max()) + 1
    if count < FEWEST_DRAWN:
        what = "images" if groups is None else "groups"
        return Interval(None, f"not enough {what}: there are {count}, {FEWEST_DRAWN} are needed")
    areas, fewest, influence = [], [], np.zeros(len(t))
    for own, truth in zip(p.T, t.T, strict=True):
        here = np.isfinite(truth)
        positive = truth[here] > 0
        sides = np.array([(~positive).sum(), positive.sum()])
        if not sides.all():
            continue
        if sides.min() < FEWEST:
            what = f"a label has {sides.min()} on one side, {FEWEST} are needed"
            return Interval(None, f"not enough images: {what}")
        area, each = auroc_influence(own[here], positive)
        areas.append(area)
        fewest.append(int(sides.min()))
        influence[here] += each * np.sqrt(sides / (sides - 1))[positive.astype(np.int64)]
    if not areas:
        return Interval(None, "no label is had by some images and not by others")
    least = 1 / np.mean(1 / np.sqrt(fewest)) ** 2  # the areas of several labels may move together
    freedom = 1 / np.mean(1 / (np.array(fewest) - 1))
    return bounded_interval(
        float(np.mean(areas)), influence / len(areas), float(least), float(freedom), groups
    )


def _one(
    p: Float64[np.ndarray, " n"], t: Float64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"] | None
) -> dict[str, Any]:
    """What is known of a label."""
    here = np.isfinite(t)
    p, positive = p[here], t[here] > 0
    own = None if groups is None else np.unique(groups[here], return_inverse=True)[1].astype(np.int64)
    row: dict[str, Any] = {"with": int(positive.sum()), "without": int((~positive).sum())}
    if not (row["with"] and row["without"]):
        nothing = ("auroc", "auroc_interval", "average_precision", "average_precision_interval")
        return {**row, **dict.fromkeys(nothing)}
    area, influence = auroc_influence(p, positive)
    interval = auroc_interval(area, influence, positive.astype(np.int64), own)

    def precision(rows: Int64[np.ndarray, " m"]) -> dict[str, float | None]:
        return {"ap": _precision(p[rows], positive[rows])}

    drawn = bootstrap(precision, len(p), own, times=300)["ap"]
    row |= {"auroc": area, "auroc_interval": _ends(interval)}
    return {**row, "average_precision": precision(np.arange(len(p)))["ap"],
            "average_precision_interval": _ends(drawn)}  # fmt: skip


def _ends(found: Interval) -> list[float] | None:
    return None if found.ends is None else list(found.ends)


def _arrays(probabilities: Tensor, truth: Tensor) -> tuple[Numbers, Numbers]:
    p, t = (part.detach().cpu().double().numpy() for part in (probabilities, truth))
    return p, t


def _precision(p: Float64[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float | None:
    """The average precision as scikit-learn defines it, but faster: a bootstrap asks a thousand times."""
    if not positive.any():
        return None
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))  # equal probabilities count together
    hits = np.cumsum(positive[order])[ends]
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / hits[-1])


def _scores(p: Numbers, t: Numbers, rows: Int64[np.ndarray, " m"]) -> dict[str, float | None]:
    p, t = p[rows], t[rows]
    known, has = np.isfinite(t), t > 0
    areas, precisions = [], []
    for k in range(t.shape[1]):
        own, positive = p[known[:, k], k], has[known[:, k], k]
        if positive.any() and not positive.all():
            areas.append(auroc_influence(own, positive)[0])
            precisions.append(_precision(own, positive) or 0.0)
    predicted, right = p >= 0.5, ((p >= 0.5) == has) | ~known
    hits = float((predicted & has).sum())
    found = float((predicted & known).sum() + has.sum())
    return {
        "auroc": float(np.mean(areas)) if areas else None,
        "average_precision": float(np.mean(precisions)) if precisions else None,
        "f1": 2 * hits / found if found else None,
        "label_accuracy": float(right[known].mean()) if known.any() else None,
        "all_right": float(right.all(1).mean()),
    }
