"""Intervals of 95 % for any metric: images, or whole groups of them, drawn again with replacement.

The percentiles are taken a little further out than 2.5 and 97.5, by as much as Student's t lies beyond the
normal for so many images or groups (the expanded percentile interval of Hesterberg, Am. Stat. 69:371, 2015):
the plain ones are too narrow with few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64
from scipy.special import ndtr, stdtrit

from .intervals import Interval, group_numbers

__all__ = ["FEWEST_DRAWN", "bootstrap", "with_intervals"]

FEWEST_DRAWN = 10  # images, or groups: below, the draws do not show how others would differ
_TIMES = 1000
_ALIKE = 1e-9  # spread of draws below which they show nothing of how others would differ

Scores = Mapping[str, float | None]
Rows = Int64[np.ndarray, " n"]


def bootstrap(
    scores: Callable[[Rows], Scores], n: int, groups: Rows | None = None, times: int | None = None
) -> dict[str, Interval]:
    """The interval of each metric.

    Args:
        scores: the metrics of some images, given by their places, of which each may come several times.
        n: number of images.
        groups: a number for each image's group; None: all are separate.
        times: draws; None: 1,000.

    Example:
        >>> x = np.arange(100.0)
        >>> found = bootstrap(lambda rows: {"mean": float(x[rows].mean())}, 100)["mean"]
        >>> [round(end) for end in found.ends]
        [44, 55]
    """
    times = _TIMES if times is None else times
    members = [np.array([row]) for row in range(n)]
    if groups is not None:
        order = np.argsort(groups, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    count = len(members)
    names = list(scores(np.arange(n)))
    if count < FEWEST_DRAWN:
        what = "images" if groups is None else "groups"
        reason = f"not enough {what}: there are {count}, {FEWEST_DRAWN} are needed"
        return {name: Interval(None, reason) for name in names}
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(times):
        chosen = rng.integers(0, count, count)
        rows = chosen if groups is None else np.concatenate([members[k] for k in chosen])
        for name, value in scores(rows).items():
            if value is not None:
                drawn[name].append(value)
    share = float(ndtr(math.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.025)))
    return {name: _interval(values, share, times) for name, values in drawn.items()}


def _interval(values: Sequence[float], share: float, times: int) -> Interval:
    if len(values) < 0.9 * times:
        return Interval(None, "not defined in most of the draws")
    low, high = np.quantile(values, [share, 1 - share])
    if high - low < _ALIKE:
        return Interval(None, "not enough images: none of them differs in it, and every draw gives the same")
    return Interval((float(low), float(high)))


def with_intervals(
    scores: Callable[[Rows], Scores],
    n: int,
    groups: Sequence[object | None] | None,
    *,
    unless: str = "",
    known: Mapping[str, Interval] | None = None,
) -> dict[str, Any]:
    """The metrics of all images with their intervals, ready for JSON.

    Args:
        scores: the metrics of some images, given by their places.
        n: number of images.
        groups: what each image belongs to, None where it stands alone; None: all are separate.
        unless: why nothing is drawn, and no metric has an interval; "": it has.
        known: intervals of metrics for which there is a better method than drawing.

    Returns:
        n_images; n_groups (None without groups); each metric NAME and `NAME_interval`, [low, high] or None,
        with the reason in `interval_reasons`.
    """
    numbers = None if groups is None else group_numbers(groups)
    whole = scores(np.arange(n))
    known = known or {}
    found = dict.fromkeys(whole, Interval(None, unless))
    if not unless and set(whole) - set(known):
        found = bootstrap(scores, n, numbers)
    found |= known
    result: dict[str, Any] = {
        "n_images": n,
        "n_groups": None if numbers is None else int(numbers.max()) + 1,
    }
    for name, value in whole.items():
        ends = None if value is None else found[name].ends
        result |= {name: value, f"{name}_interval": None if ends is None else list(ends)}
    result["interval_reasons"] = {name: one.reason for name, one in found.items() if one.reason}
    return result
