"""How often do the 95 % intervals hold the truth? Simulated images of a known accuracy and AUROC.

    python benchmarks/interval_coverage.py --out results/interval_coverage.md

The scores of both classes are normal, of equal and of unequal spread, or exponential; the table holds the
worst of them. `zoomin` is what `zoomin.metrics` prints; the others are what else is in use.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from zoomin.metrics.intervals import (
    Interval,
    auroc_influence,
    auroc_interval,
    balanced_interval,
    share_interval,
    wilson,
)

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]
Ends = tuple[float, float]
Draw = Callable[[float, int, int, np.random.Generator], tuple[Scores, Scores]]

SIZES = ((3, 3), (4, 4), (10, 10), (20, 20), (50, 50), (100, 100), (200, 200), (5, 50), (10, 100))
AREAS = (0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
_Z = norm.ppf(0.975)
_RESAMPLES = 400


def normal(spread: float) -> Draw:
    """Scores of the class with this spread, of the others with spread 1."""

    def draw(area: float, m: int, n: int, rng: np.random.Generator) -> tuple[Scores, Scores]:
        if area == 1:
            return rng.random(m) + 2, rng.random(n)
        return rng.normal(math.hypot(1, spread) * norm.ppf(area), spread, m), rng.normal(0, 1, n)

    return draw


def exponential(area: float, m: int, n: int, rng: np.random.Generator) -> tuple[Scores, Scores]:
    """The scores that Hanley and McNeil's formula is made for."""
    if area == 1:
        return rng.random(m) + 2, rng.random(n)
    return rng.exponential(area / (1 - area), m), rng.exponential(1, n)


DRAWS: dict[str, Draw] = {"equal": normal(1), "wide": normal(2), "narrow": normal(0.5), "exp": exponential}


def ours(scores: Scores, labels: Labels, _: np.random.Generator) -> Ends | None:
    """What `zoomin` prints."""
    area, influence = auroc_influence(scores, labels == 1)
    return auroc_interval(area, influence, labels).ends


def percentile(scores: Scores, labels: Labels, rng: np.random.Generator) -> Ends | None:
    """The percentile bootstrap over images, which `zoomin` printed before."""
    n = len(labels)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
    areas = _areas(scores, labels, drawn[:, labels == 1], drawn[:, labels == 0])
    low, high = np.nanquantile(areas, (0.025, 0.975))
    return float(low), float(high)


def bca(scores: Scores, labels: Labels, rng: np.random.Generator) -> Ends | None:
    """The stratified bootstrap, bias-corrected and accelerated (Efron 1987)."""
    n, m = np.bincount(labels)
    up, down = (rng.multinomial(k, np.full(k, 1 / k), size=_RESAMPLES) for k in (m, n))
    areas = _areas(scores, labels, up, down)
    area, influence = auroc_influence(scores, labels == 1)
    below = (np.mean(areas < area) + np.mean(areas <= area)) / 2
    shift = norm.ppf(np.clip(below, 1 / _RESAMPLES, 1 - 1 / _RESAMPLES))
    total = (influence**2).sum() ** 1.5
    bent = (influence**3).sum() / (6 * total) if total else 0.0
    ends = norm.cdf([shift + (shift + q) / (1 - bent * (shift + q)) for q in (-_Z, _Z)])
    low, high = np.quantile(areas, ends)
    return float(low), float(high)


def _areas(scores: Scores, labels: Labels, up: Labels, down: Labels) -> Scores:
    """The AUROC of resamples that take each image so many times; not a number where a class is lost."""
    gap = scores[labels == 1][:, None] - scores[labels == 0]
    order = (gap > 0) + 0.5 * (gap == 0)
    with np.errstate(invalid="ignore"):
        found: Scores = ((up @ order) * down).sum(1) / (up.sum(1) * down.sum(1))
    return found


def delong(scores: Scores, labels: Labels, _: np.random.Generator) -> Ends | None:
    """DeLong's variance on the scale of the logit; the point alone where it has none."""
    area, influence = auroc_influence(scores, labels == 1)
    count = np.bincount(labels)[labels]
    error = math.sqrt((influence**2 * count / (count - 1)).sum())
    if not 0 < area < 1 or not error:
        return area, area
    middle, half = math.log(area / (1 - area)), _Z * error / (area * (1 - area))
    return tuple(1 / (1 + math.exp(-(middle + sign * half))) for sign in (-1, 1))  # type: ignore[return-value]


def newcombe(scores: Scores, labels: Labels, _: np.random.Generator) -> Ends | None:
    """Newcombe's method 5 (Statist. Med. 25:559, 2006)."""
    area = auroc_influence(scores, labels == 1)[0]
    n, m = np.bincount(labels)

    def away(true: float) -> float:
        shape = 1 + ((m + n) / 2 - 1) * ((1 - true) / (2 - true) + true / (1 + true))
        return abs(area - true) - _Z * math.sqrt(max(0.0, true * (1 - true) * shape / (m * n)))

    return _root(away, area, 0.0), _root(away, area, 1.0)


def _root(away: Callable[[float], float], area: float, end: float) -> float:
    """Where the area is as far away as the interval reaches; the end of the scale where it never is."""
    near = area + 1e-9 * (end - area)
    return float(brentq(away, near, end)) if end != area and away(near) < 0 < away(end) else end


METHODS = {
    "zoomin": ours,
    "percentile bootstrap": percentile,
    "stratified BCa": bca,
    "DeLong, logit": delong,
    "Newcombe 5": newcombe,
}


def coverage_of_areas(times: int) -> list[str]:
    """A table of the coverage for AUROC: per sizes and area, the worst of all score distributions."""
    lines = [
        f"| images | AUROC | {' | '.join(f'{name}' for name in METHODS)} | width of zoomin's |",
        "| --- " * (3 + len(METHODS)) + "|",
    ]
    for m, n in SIZES:
        for area in AREAS:
            worst, width = dict.fromkeys(METHODS, 1.0), 0.0
            for draw in list(DRAWS.values())[: 1 if area == 1 else None]:
                held, widths = _held(draw, area, m, n, times)
                worst = {name: min(worst[name], held[name]) for name in METHODS}
                width = max(width, widths)
            cells = [f"{100 * worst[name]:.1f}" for name in METHODS]
            lines.append(f"| {m} + {n} | {area:g} | {' | '.join(cells)} | {width:.2f} |")
            print(lines[-1], flush=True)
    return lines


def _held(draw: Draw, area: float, m: int, n: int, times: int) -> tuple[dict[str, float], float]:
    rng = np.random.default_rng([m, n, round(1000 * area)])
    labels = np.repeat([1, 0], [m, n])
    held, width, counted = dict.fromkeys(METHODS, 0), 0.0, dict.fromkeys(METHODS, 0)
    for time in range(times):
        scores = np.concatenate(draw(area, m, n, rng))
        for name, method in METHODS.items():
            if "boot" in name or "BCa" in name:
                if time >= times // 5:
                    continue
            ends = method(scores, labels, rng)
            assert ends is not None
            counted[name] += 1
            held[name] += ends[0] - 1e-9 <= area <= ends[1] + 1e-9
            width += (ends[1] - ends[0]) / times if name == "zoomin" else 0
    return {name: held[name] / counted[name] for name in METHODS}, width


def coverage_of_groups(times: int) -> list[str]:
    """Coverage where images come in groups, such as five slides of a patient that are much alike."""
    lines = [
        "| groups per class | images per group | AUROC | groups counted | images counted (wrong) "
        "| accuracy, groups counted | accuracy, images counted (wrong) |",
        "| --- " * 7 + "|",
    ]
    for groups in (5, 10, 20, 50):
        for area in (0.7, 0.9, 0.98):
            cells = [f"{100 * share:.1f}" for share in _held_groups(groups, 5, area, times)]
            lines.append(f"| {groups} | 5 | {area:g} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return lines


def _held_groups(groups: int, size: int, area: float, times: int) -> NDArray[np.float64]:
    """Half of the variance is the patient's."""
    rng = np.random.default_rng([groups, round(1000 * area)])
    shift = math.sqrt(2) * norm.ppf(area)
    labels = np.repeat([1, 0], groups * size)
    number = np.repeat(np.arange(2 * groups), size)
    right_at = norm.cdf(shift / 2)  # accuracy of the cut between the two means
    held = np.zeros(4)
    for _ in range(times):
        own = rng.normal(0, math.sqrt(0.5), 2 * groups)[number] + rng.normal(0, math.sqrt(0.5), len(labels))
        scores = own + shift * labels
        right = (scores > shift / 2) == (labels == 1)
        found, influence = auroc_influence(scores, labels == 1)
        for place, (interval, truth) in enumerate(
            (
                (auroc_interval(found, influence, labels, number), area),
                (auroc_interval(found, influence, labels), area),
                (share_interval(right, number), right_at),
                (share_interval(right), right_at),
            )
        ):
            held[place] += _holds(interval, truth)
    return held / times


def coverage_of_shares(times: int) -> list[str]:
    """Coverage for accuracy (Wilson) and balanced accuracy (Newcombe)."""
    lines = [
        "| images per class | true share | accuracy | balanced accuracy | accuracy, percentile bootstrap |",
        "| --- " * 5 + "|",
    ]
    for n in (4, 10, 20, 50, 200):
        for share in (0.7, 0.9, 0.98, 1.0):
            rng, labels, held = (
                np.random.default_rng([n, round(100 * share)]),
                np.repeat([0, 1], n),
                np.zeros(3),
            )
            for _ in range(times):
                right = rng.random(2 * n) < share
                counts = rng.binomial(2 * n, right.mean(), 400) / (2 * n)
                low, high = np.quantile(counts, (0.025, 0.975))
                held += (
                    _holds(share_interval(right), share),
                    _holds(balanced_interval(right, labels), share),
                    low - 1e-9 <= share <= high + 1e-9,
                )
            lines.append(f"| {n} | {share:g} | {' | '.join(f'{100 * c:.1f}' for c in held / times)} |")
            print(lines[-1], flush=True)
    return lines


def _holds(interval: Interval, truth: float) -> bool:
    assert interval.ends is not None
    return interval.ends[0] - 1e-9 <= truth <= interval.ends[1] + 1e-9


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/interval_coverage.md"))
    parser.add_argument(
        "--times", type=int, default=1000, help="simulated test sets per row and distribution"
    )
    options = parser.parse_args(arguments)
    text = [
        "# Coverage of the 95 % intervals",
        "",
        "How often the interval holds the truth, in %; the right answer is 95. Written by "
        f"`python benchmarks/interval_coverage.py` ({options.times} simulated test sets per row and score "
        f"distribution, a fifth of them for the bootstraps; one standard error of a coverage of 95 % is "
        f"{100 * math.sqrt(0.95 * 0.05 / options.times):.1f} %).",
        "",
        "## AUROC",
        "",
        "The lowest coverage over four distributions of the scores: normal of equal spread, of double and of "
        "half the spread in the class sought, and exponential.",
        "",
        *coverage_of_areas(options.times),
        "",
        "## Shares",
        "",
        *coverage_of_shares(options.times),
        "",
        "## Groups",
        "",
        "Five images per patient, half of the variance between patients.",
        "",
        *coverage_of_groups(options.times),
        "",
        f"For scale: all of 10 right has Wilson's interval {wilson(1.0, 10)[0]:.2f} to 1.",
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
