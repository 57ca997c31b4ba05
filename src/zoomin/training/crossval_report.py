"""What a cross-validation says: both protocols side by side as numbers, a table, a plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..files import markdown_table, whole_file, write_csv, write_text
from ..model.targets import Target
from ..model.targets.pooling import group_metrics

__all__ = ["PROTOCOLS", "summarise", "write_report"]

PROTOCOLS = {
    "last_epoch": "last epoch, one estimate per image as in training (honest)",
    "last_epoch_careful": "last epoch, many estimates averaged (honest)",
    "best_epoch": "best epoch of each fold on its held-out images (the paper's; optimistic)",
}
_HONEST = ("last_epoch", "last_epoch_careful")
_COLOURS = {"last_epoch": "#0072b2", "last_epoch_careful": "#56b4e9", "best_epoch": "#d55e00"}

_ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False, "fontsize": 9}
_FOLDS = "seed|fold|held out|last epoch|last epoch, many estimates|best epoch|which"

Results = Sequence[dict[str, Any]]


def summarise(results: Results, target: Target) -> dict[str, Any]:
    """The numbers of a cross-validation.

    Args:
        results: of `folds.run_fold`, of all seeds and folds.
        target: what was learned.

    Returns:
        `protocols`: for each protocol and score the `mean` over seeds of the mean over folds, its standard
        deviation `sd` over seeds (None for one seed) and the mean of each seed. A fold whose held-out images
        are all of one class has no AUROC and does not count there. `pooled`: for each honest protocol the
        metrics of all out-of-fold predictions of a seed together, averaged over repeats image by image, with
        95 % intervals (over groups where there are any); and their mean over seeds. `folds`: the scores of
        every fold.
    """
    seeds = list(dict.fromkeys(result["seed"] for result in results))
    by_seed = {seed: [result for result in results if result["seed"] == seed] for seed in seeds}
    return {
        "protocols": {
            protocol: {
                "what": what,
                **{score: _over_seeds(by_seed, protocol, score) for score in target.scores},
            }
            for protocol, what in PROTOCOLS.items()
        },
        "pooled": {protocol: _pooled(by_seed, protocol, target) for protocol in _HONEST},
        "folds": [{k: v for k, v in r.items() if k not in ("history", "images")} for r in results],
    }


def write_report(folder: Path, summary: dict[str, Any], results: Results, target: Target) -> None:
    """Write crossval.md, crossval.png and out_of_fold.csv."""
    write_text(folder / "crossval.md", _table(summary, results, target))
    _plot(folder / "crossval.png", summary, results, target)
    _write_predictions(folder / "out_of_fold.csv", results, target)


def _over_seeds(by_seed: dict[int, list[dict[str, Any]]], protocol: str, score: str) -> dict[str, Any]:
    means = []
    for results in by_seed.values():
        values = [r[protocol][score] for r in results if r[protocol][score] is not None]
        means.append(statistics.fmean(values) if values else None)
    known = [mean for mean in means if mean is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "seeds": means,
    }


def _pooled(by_seed: dict[int, list[dict[str, Any]]], protocol: str, target: Target) -> dict[str, Any]:
    each = []
    for seed, results in by_seed.items():
        labels: dict[int, str] = {}
        group_of: dict[int, str | None] = {}
        predicted: dict[int, list[list[float]]] = {}
        for image in (image for result in results for image in result["images"]):
            labels[image["row"]] = _word(image, target)
            group_of[image["row"]] = image.get("group")
            predicted.setdefault(image["row"], []).append(image[protocol])
        answers = torch.stack([torch.tensor(predicted[row]).mean(0) for row in labels])
        truth = target.truth(list(labels.values()))
        groups = [group_of.get(row) for row in labels]
        by_group = group_metrics(answers, truth, groups, target)
        more = {} if by_group is None else {"groups": by_group}
        each.append({"seed": seed, **target.metrics(answers, truth, groups), **more})
    known = {score: [one[score] for one in each if one[score] is not None] for score in target.scores}
    means = {score: statistics.fmean(values) if values else None for score, values in known.items()}
    return {**means, "seeds": each}


def _word(image: Mapping[str, Any], target: Target) -> str:
    """The truth of an image; of a class, its number was kept."""
    label = image["label"]
    return target.names[label] if isinstance(label, int) else str(label)


def _table(summary: dict[str, Any], results: Results, target: Target) -> str:
    first = target.scores[target.score]
    unit = ", in %" if target.in_percent else ""
    titles = list(target.scores.values())
    seeds = sorted({result["seed"] for result in results})

    def spreads(protocol: str) -> list[str]:
        scores = summary["protocols"][protocol]
        return [target.spread_text(scores[score]["mean"], scores[score]["sd"]) for score in target.scores]

    def intervals(own: Mapping[str, Any]) -> list[str]:
        return [target.interval_text(own[score], own[f"{score}_interval"]) for score in target.scores]

    pooled = (
        [PROTOCOLS[protocol], one["seed"], *intervals(one)]
        for protocol in _HONEST
        for one in summary["pooled"][protocol]["seeds"]
    )
    lines = [
        "# Cross-validation",
        "",
        f"{len(results)} trainings: {len(results) // len(seeds)} folds, seeds {', '.join(map(str, seeds))}. "
        f"Mean over seeds of the mean over folds, standard deviation over seeds{unit}.",
        "",
        *markdown_table(["protocol", *titles], ([what, *spreads(name)] for name, what in PROTOCOLS.items())),
        "",
        f"All out-of-fold predictions of a seed together (95 % interval over images, or groups){unit}:",
        "",
        *markdown_table(["protocol", "seed", *titles], pooled),
    ]
    by_group = [one for one in summary["pooled"]["last_epoch"]["seeds"] if "groups" in one]
    if by_group:
        grouped = ([one["seed"], one["groups"]["n_groups"], *intervals(one["groups"])] for one in by_group)
        lines += [
            "",
            f"The same of the last epoch by group, each answered by the mean of its images' answers{unit}:",
            "",
            *markdown_table(["seed", "groups", *titles], grouped),
        ]
    each = (
        [r["seed"], r["fold"], r["n_held"]]
        + [target.score_text(r[protocol][target.score]) for protocol in PROTOCOLS]
        + [r["best_epoch"]["epoch"] + 1]
        for r in results
    )
    lines += [
        "",
        f"{first[:1].upper()}{first[1:]} of every fold{unit}:",
        "",
        *markdown_table(_FOLDS.split("|"), each),
    ]
    return "\n".join(lines) + "\n"


def _plot(path: Path, summary: dict[str, Any], results: Results, target: Target) -> None:
    """Left: the score of every fold, mean over seeds and range. Right: that of held-out images by epoch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    factor, sign = (100, " %") if target.in_percent else (1, "")
    words = f"{target.scores[target.score]} on held-out images" + (" (%)" if target.in_percent else "")
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    folds = sorted({result["fold"] for result in results})
    drawn = ("last_epoch", "best_epoch")
    for protocol, offset in zip(drawn, (-0.12, 0.12), strict=True):
        for fold in folds:
            own = [r[protocol][target.score] for r in results if r["fold"] == fold]
            values = [factor * value for value in own if value is not None]
            if not values:
                continue
            left.plot([fold + offset] * 2, [min(values), max(values)], color=_COLOURS[protocol], lw=1.5)
            left.plot(fold + offset, statistics.fmean(values), "o", color=_COLOURS[protocol], ms=6)
        mean = summary["protocols"][protocol][target.score]
        if mean["mean"] is None:
            continue
        name = "last epoch (honest)" if protocol == "last_epoch" else "best epoch (paper's, optimistic)"
        left.axhline(
            factor * mean["mean"],
            color=_COLOURS[protocol],
            lw=1,
            ls="--",
            label=f"{name}: {target.spread_text(mean['mean'], mean['sd'])}{sign}",
        )
    left.set(
        xlabel="fold",
        ylabel=words,
        xticks=folds[:: math.ceil(len(folds) / 20)],
        ylim=(None, 1.015 * factor),
    )
    left.legend(**_ABOVE)
    rows = [result["history"][f"val_{target.score}"] for result in results]
    curves = torch.tensor([[math.nan if v is None else v for v in row] for row in rows]) * factor
    epochs = range(1, curves.shape[1] + 1)
    right.plot(
        epochs, curves.nanmean(0), color=_COLOURS["last_epoch"], lw=1.5, label="mean over folds and seeds"
    )
    best = summary["protocols"]["best_epoch"][target.score]["mean"]
    if best is not None:
        right.axhline(
            factor * best,
            color=_COLOURS["best_epoch"],
            lw=1,
            ls="--",
            label="each fold at its own best epoch",
        )
    right.set(xlabel="epoch", ylabel=words)
    right.legend(**_ABOVE)
    right.xaxis.get_major_locator().set_params(integer=True)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
    with whole_file(path) as part:
        figure.savefig(part, dpi=150, format="png")


def _write_predictions(path: Path, results: Results, target: Target) -> None:
    """One row per image, seed and fold that holds it out: its label, and answers of the last epoch."""
    columns = [f"{kind}{name}" for kind in ("", "careful_") for name in target.columns]
    rows = (
        [result["seed"], result["fold"], image["image"], _word(image, target)]
        + [f"{p:.6f}" for protocol in _HONEST for p in image[protocol]]
        for result in results
        for image in result["images"]
    )
    write_csv(path, ["seed", "fold", "image", "label", *columns], rows)
