"""How good are predicted hazards: Harrell's concordance, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from .bootstrap import FEWEST_DRAWN, with_intervals
from .checks import check_answers
from .intervals import FEWEST, Interval, bounded_interval, group_numbers

__all__ = ["concordance", "survival_metrics", "survival_scores"]

_MOST = 4000  # images whose pairs are kept in memory for an interval


def concordance(
    risk: Float64[np.ndarray, " n"], time: Float64[np.ndarray, " n"], event: Bool[np.ndarray, " n"]
) -> float | None:
    """The share of comparable pairs of which that at higher risk came first (Harrell 1982); equal risks: 1/2.

    Two images are comparable where it is known which came first: that of an event before the other's time, or
    at the time at which the other was censored. None where there is no such pair.

    Example:
        >>> risk, time = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
        >>> round(concordance(risk, time, np.array([True, True, True])), 3)
        0.667
    """
    right = total = 0.0
    for rows in np.array_split(np.arange(len(time)), -(-len(time) // 1000)):
        own, pairs = _pairs(risk, time, event, rows)
        right, total = right + float(own.sum()), total + float(pairs.sum())
    return right / total if total else None


def survival_scores(risk: Float[Tensor, " n"], truth: Float[Tensor, "n two"]) -> dict[str, float | None]:
    """The concordance.

    Args:
        risk: predicted, such as the log hazard.
        truth: time, and 1 where the event happened then.

    Raises:
        DataError: if there is no image, or a risk is not a number.
    """
    check_answers(risk)
    return {"concordance": concordance(*_arrays(risk, truth))}


def survival_metrics(
    risk: Float[Tensor, " n"], truth: Float[Tensor, "n two"], *, groups: Sequence[object | None] | None = None
) -> dict[str, Any]:
    """The concordance with an interval (`intervals.bounded_interval`), and `events`.

    Raises:
        DataError: if there is no image, or a risk is not a number.
    """
    check_answers(risk)
    own, time, event = _arrays(risk, truth)
    n, too_many = len(own), len(own) > _MOST
    interval = Interval(None, f"too many images: there are {n}, at most {_MOST} are compared in pairs")
    if not too_many:
        interval = _interval(own, time, event, None if groups is None else group_numbers(groups))

    def scores(rows: Int64[np.ndarray, " m"]) -> dict[str, float | None]:
        return {"concordance": concordance(own[rows], time[rows], event[rows])}

    found = with_intervals(scores, n, groups, known={"concordance": interval})
    return {**found, "events": int(event.sum())}


def _interval(
    risk: Float64[np.ndarray, " n"],
    time: Float64[np.ndarray, " n"],
    event: Bool[np.ndarray, " n"],
    groups: Int64[np.ndarray, " n"] | None,
) -> Interval:
    """Wilson's interval, for so many images as would give a share the variance of the concordance.

    The variance is that of the pairs of each image (U statistics); a concordance has no larger one than a
    share of half as many images as there are events.
    """
    n, events = len(time), int(event.sum())
    count = n if groups is None else int(groups.max()) + 1
    if count < FEWEST_DRAWN:
        what = "images" if groups is None else "groups"
        return Interval(None, f"not enough {what}: there are {count}, {FEWEST_DRAWN} are needed")
    if events < FEWEST:
        return Interval(None, f"not enough images: {events} with an event, {FEWEST} are needed")
    right, pairs = _pairs(risk, time, event, np.arange(n))
    total = float(pairs.sum(dtype=np.float64))
    if not total:
        return Interval(None, "no two images can be compared")
    value = float(right.sum(dtype=np.float64)) / total
    each = [part.sum(0, dtype=np.float64) + part.sum(1, dtype=np.float64) for part in (right, pairs)]
    influence = (each[0] - value * each[1]) / total * math.sqrt(n / (n - 1))
    return bounded_interval(value, influence, events / 2, events - 1.0, groups)


def _arrays(
    risk: Tensor, truth: Tensor
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    own, pair = risk.detach().cpu().double().numpy(), truth.detach().cpu().double().numpy()
    return own, pair[:, 0], pair[:, 1] > 0


def _pairs(
    risk: Float64[np.ndarray, " n"],
    time: Float64[np.ndarray, " n"],
    event: Bool[np.ndarray, " n"],
    rows: Int64[np.ndarray, " m"],
) -> tuple[Float32[np.ndarray, "m n"], Float32[np.ndarray, "m n"]]:
    """Of some images with all: how right the order of their risks is, and which pairs are comparable."""
    own = time[rows, None]
    before = event[rows, None] & ((own < time) | ((own == time) & ~event))
    right = (risk[rows, None] > risk) + 0.5 * (risk[rows, None] == risk)
    return (before * right).astype(np.float32), before.astype(np.float32)
