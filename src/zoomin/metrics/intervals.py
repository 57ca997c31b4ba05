"""Intervals of 95 % that keep their coverage with few images: shares, their means, and areas under the curve.

The percentile bootstrap has no width where every answer is right, and is too narrow with few images. Instead:

- a share (accuracy, sensitivity) has Wilson's interval (1927);
- a mean of shares of separate images (balanced accuracy) has Newcombe's: the distances of the limits of each
  share from it, added in squares (Statist. Med. 17:873, 1998), the limits being exact (Clopper-Pearson): with
  Wilson's, the sum covers as little as 83 % at few images, with these 92 % or more;
- an AUROC has Wilson's interval too, for as many images as would give a share its variance (DeLong 1988),
  with Student's t for the few images behind that variance.

Images that come in groups, such as the slides of a patient, carry less information than separate ones. The
variance over groups (for AUROC that of Obuchowski, Biometrics 53:567, 1997) over that of separate images is
the design effect: so many images count as one. How often each interval holds the truth:
`benchmarks/interval_coverage.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.special import betaincinv, ndtr, stdtrit

__all__ = [
    "FEWEST",
    "Interval",
    "auroc_influence",
    "auroc_interval",
    "balanced_interval",
    "bounded_interval",
    "group_numbers",
    "share_interval",
    "wilson",
]

FEWEST = 3  # images, or groups, of each class: below, nothing keeps the coverage of an AUROC
_Z = 1.959963984540054  # of the standard normal, two-sided 95 %
_NOTHING = 1e-15  # variance of an area where no image differs from another

Numbers = Float64[np.ndarray, " n"]
Groups = Int64[np.ndarray, " n"] | None


class Interval(NamedTuple):
    """Two ends, or why there are none.

    Attributes:
        ends: lower and upper; None where there are too few images.
        reason: why there is no interval, or "".
    """

    ends: tuple[float, float] | None
    reason: str = ""


def wilson(share: float, count: float | int, quantile: float = _Z) -> tuple[float, float]:
    """The interval of a share (Wilson 1927).

    Args:
        share: 0 to 1.
        count: of separate images behind it; of grouped ones, how many separate ones they are worth.
        quantile: how many standard errors the ends are away.

    Example:
        >>> [round(end, 2) for end in wilson(0.0, 10)]
        [0.0, 0.28]
    """
    square = quantile**2 / count
    half = quantile * math.sqrt(share * (1 - share) / count + square / (4 * count))
    low, high = ((share + square / 2 + sign * half) / (1 + square) for sign in (-1, 1))
    return max(0.0, min(low, share)), min(1.0, max(high, share))


def _exact(share: float, count: float, quantile: float) -> tuple[float, float]:
    """The interval of a share that holds it at least as often as it says (Clopper and Pearson 1934)."""
    hits, tail = share * count, float(ndtr(-quantile))
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return min(low, share), max(high, share)


def share_interval(right: Bool[np.ndarray, " n"], groups: Groups = None) -> Interval:
    """The interval of the share of images that are right.

    Args:
        right: of each image.
        groups: a number for each image's group; None: all are separate.
    """
    return _share_interval(right, groups, wilson)


def _share_interval(
    right: Bool[np.ndarray, " n"], groups: Groups, ends: Callable[[float, float, float], tuple[float, float]]
) -> Interval:
    share = float(right.mean())
    found = _effect((right - share) / len(right), groups)
    if found is None:
        return Interval(None, "all images are of one group")
    return Interval(ends(share, len(right) / found[0], found[1]))


def balanced_interval(
    right: Bool[np.ndarray, " n"], labels: Int64[np.ndarray, " n"], groups: Groups = None
) -> Interval:
    """The interval of the mean, over the classes that occur, of the share of their images that are right."""
    below = above = middle = 0.0
    classes = np.unique(labels)
    for c in classes:
        own = labels == c
        interval = _share_interval(right[own], None if groups is None else groups[own], _exact)
        if interval.ends is None:
            return Interval(None, "all images of a class are of one group")
        share = float(right[own].mean())
        middle += share / len(classes)
        below += ((share - interval.ends[0]) / len(classes)) ** 2
        above += ((interval.ends[1] - share) / len(classes)) ** 2
    return Interval((max(0.0, middle - math.sqrt(below)), min(1.0, middle + math.sqrt(above))))


def auroc_influence(scores: Numbers, positive: Bool[np.ndarray, " n"]) -> tuple[float, Numbers]:
    """An AUROC, and how much each image moves it: the placements of DeLong (1988), centred.

    Returns:
        The area, ties counting half; and for each image (placement - area) / images of its side.

    Example:
        >>> scores, positive = np.array([0.1, 0.6, 0.4, 0.9]), np.array([False, False, True, True])
        >>> area, influence = auroc_influence(scores, positive)
        >>> area, influence.tolist()
        (0.75, [0.125, -0.125, -0.125, 0.125])
    """
    negatives, positives = np.sort(scores[~positive]), np.sort(scores[positive])
    placement = np.where(
        positive, _below(negatives, scores) / len(negatives), 1 - _below(positives, scores) / len(positives)
    )
    area = float(placement[positive].mean())
    return area, (placement - area) / np.where(positive, len(positives), len(negatives))


def _below(ordered: Float64[np.ndarray, " k"], scores: Numbers) -> Numbers:
    """How many of the ordered numbers lie below each score, ties half."""
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / 2


def auroc_interval(
    area: float, influence: Numbers, labels: Int64[np.ndarray, " n"], groups: Groups = None
) -> Interval:
    """The interval of an AUROC, or of a mean of several, class against rest.

    Args:
        area: measured.
        influence: of each image on it; of a mean of areas, the mean of the influences.
        labels: class of each image.
        groups: a number for each image's group; None: all are separate.

    Returns:
        No ends where a class has fewer than `FEWEST` images or groups.
    """
    members = [labels == c for c in np.unique(labels)]
    count = [int(own.sum()) if groups is None else len(np.unique(groups[own])) for own in members]
    if min(count) < FEWEST:
        what = ("image" if groups is None else "group") + "s" * (min(count) != 1)
        return Interval(None, f"not enough images: a class has {min(count)} {what}, {FEWEST} are needed")
    sizes = np.array([own.sum() for own in members])
    part = np.array([(influence[own] ** 2).sum() for own in members]) * sizes / (sizes - 1)
    variance, freedom = float(part.sum()), float(sizes.sum() - len(sizes))
    worth = float(sizes.min())  # no area has a larger variance; and what is sure where it shows none
    if variance > _NOTHING:
        freedom = variance**2 / float((part**2 / (sizes - 1)).sum())
        worth = min(max(area * (1 - area) / variance, worth), float(len(sizes) / (1 / sizes).sum() * 2))
    found = _effect(influence, groups)
    assert found is not None
    if groups is not None:
        freedom = min(freedom, float(min(count) - 1))
    return Interval(wilson(area, worth / found[0], float(stdtrit(freedom, 0.975))))


def bounded_interval(
    value: float, influence: Numbers, least: float, freedom: float, groups: Groups = None
) -> Interval:
    """Wilson's interval of a metric between 0 and 1, for as many images as would give a share its variance.

    Args:
        value: measured.
        influence: of each image on it.
        least: images that it is worth at least, which count where no image differs from another.
        freedom: degrees of freedom of its variance, at least 1.
        groups: a number for each image's group; None: all are separate.
    """
    found = _effect(influence, groups)
    if found is None:
        return Interval(None, "all images are of one group")
    variance = float((influence**2).sum())
    worth = max(value * (1 - value) / variance, least) if variance > _NOTHING else least
    quantile = max(found[1], float(stdtrit(max(freedom, 1.0), 0.975)))
    return Interval(wilson(value, worth / found[0], quantile))


def _effect(influence: Numbers, groups: Groups) -> tuple[float, float] | None:
    """The design effect, at least 1, and the quantile for so many groups; None for a single group.

    Where no image differs from another there is nothing to measure: every group counts as one image.
    """
    if groups is None:
        return 1.0, _Z
    n, number = len(influence), np.unique(groups, return_inverse=True)[1]
    clusters = int(number.max()) + 1
    if clusters == n:
        return 1.0, _Z
    if clusters < 2:
        return None
    quantile = float(stdtrit(clusters - 1, 0.975))
    separate = float((influence**2).sum()) * n / (n - 1)
    if separate <= _NOTHING:
        return n / clusters, quantile
    together = float((np.bincount(number, weights=influence) ** 2).sum()) * clusters / (clusters - 1)
    return max(1.0, together / separate), quantile


def group_numbers(groups: Sequence[object | None]) -> Int64[np.ndarray, " n"] | None:
    """A number for each image's group, one without group being its own; None where all are separate."""
    if all(group is None for group in groups):
        return None
    keys = [("image", place) if group is None else ("group", group) for place, group in enumerate(groups)]
    number: dict[tuple[str, object], int] = {}
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)
