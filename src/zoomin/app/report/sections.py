"""What each section of the page shows: numbers as text, charts with captions and words for who cannot see."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...errors import DataError
from ...inference.attention_on_roi import RoiFindings
from ...model.targets import Target
from .charts import (
    curve_chart,
    folds_chart,
    held_out_chart,
    history_chart,
    reliability_chart,
    scatter_chart,
    survival_chart,
    values_chart,
)
from .findings import Answer, Findings, Origin
from .numbers import calibration, class_scores, curves
from .trust import risk, trust_facts

__all__ = [
    "counts_section",
    "curves_section",
    "folds_section",
    "metrics_section",
    "roi_section",
    "software_section",
    "training_section",
]

_UNDEFINED = "not defined"
_NONE = "\N{EN DASH}"
_PROTOCOLS = {
    "last_epoch": "last epoch",
    "last_epoch_careful": "last epoch, many estimates",
    "best_epoch": "best epoch (optimistic)",
}
_Rows = list[dict[str, str]]
_TILES = 4000  # most points of a scatter chart


def number(value: float | None, digits: int = 3) -> str:
    """A score as text."""
    return _UNDEFINED if value is None else f"{value:.{digits}f}"


def metrics_section(findings: Findings) -> dict[str, Any]:
    """Scores with intervals, confusion matrix, scores of each class; or why there are none."""
    if not findings.answered:
        return {"metrics": [], "figures": [], "no_metrics": _no_metrics(findings), "lead": _count(findings)}
    target, found = findings.target, _scores(findings)
    rows = [_score_row(name, target, found) for name in target.scores]
    figures = [_figure(row) for row in rows[:3]]
    beside, more = _beside(findings, found)
    first, value, span = rows[0]["name"], rows[0]["value"], rows[0]["interval"]
    first = first[:1].upper() + first[1:]
    return {
        "metrics": rows + beside,
        "figures": figures + more,
        "lead": f"{first} {value} (95 % interval {span}) on {findings.evaluated}{_left_out(findings)}.",
        "intervals": _interval_words(found, target),
        "confusion": _confusion(findings.classes, found["confusion_matrix"]) if target.picks_one else [],
        "per_class": _per_class(findings),
    }


def _beside(
    findings: Findings, found: Mapping[str, Any]
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows and figures beside the scores: calibration, and what a constant answer would give."""
    answers, truth = findings.tensors()
    if "constant_mae" in found:
        constant = number(found["constant_mae"])
        return [_row("mean absolute error of the median", constant, note="a constant answer")], []
    if "events" in found:
        return [_row("events", str(found["events"]), note=f"of {found['n_images']} images")], []
    if not findings.target.picks_one:
        return [], []
    calibrated, common = calibration(answers, truth), float(truth.bincount().max()) / len(truth)
    rows = [
        _row("expected calibration error", number(calibrated.error), note="0 is best; ten bins"),
        _row("Brier score", number(calibrated.brier), note="0 is best"),
        _row("accuracy of the most common class", number(common), note="a constant answer"),
        *(_row(f.name, f.value, f.interval or _NONE, f.note) for f in trust_facts(findings)),
    ]
    name, below = "calibration error", "expected, 0 is best"
    return rows, [{"name": name, "value": rows[0]["value"], "below": below}]


def _members(findings: Findings) -> tuple[Tensor, Tensor]:
    """Of every class or label, whether images have it and whether it was predicted."""
    answers, truth = findings.tensors()
    if not findings.target.picks_one:
        return truth, answers >= 0.5
    decided = findings.target.truth([findings.target.decide(row) for row in answers.tolist()])
    members, predicted = (one_hot(each, len(findings.classes)) for each in (truth, decided))
    return members.double(), predicted > 0


def _per_class(findings: Findings) -> list[dict[str, Any]]:
    if not findings.target.has_probabilities:
        return []
    found = class_scores(findings.tensors()[0], *_members(findings), findings.classes)
    return [{"name": s.name, "cells": [str(s.images), *(number(value) for value in s[2:])]} for s in found]


def _scores(findings: Findings) -> dict[str, Any]:
    """Metrics of all answers; of several seeds the mean, with the mean ends of the interval of each.

    The answers of several seeds for one image are not independent: an interval over all of them together
    would be too narrow. The confusion matrix is summed.
    """
    by_seed: dict[int | None, dict[str, list[Answer]]] = {}
    for answer in findings.answered:
        by_seed.setdefault(answer.seed, {}).setdefault(answer.image, []).append(answer)
    each = []
    for images in by_seed.values():
        first = [answers[0] for answers in images.values()]
        means = torch.stack([findings.tensors(answers)[0].mean(0) for answers in images.values()])
        groups = [None if answer.record is None else answer.record.group for answer in first]
        each.append(findings.target.metrics(means, findings.tensors(first)[1], groups))
    result = dict(each[0])
    for name in findings.target.scores:
        if all(one[name] is not None for one in each):
            result[name] = statistics.fmean(one[name] for one in each)
            spans = [one[f"{name}_interval"] for one in each]
            ends = None if None in spans else [statistics.fmean(end) for end in zip(*spans, strict=True)]
            result[f"{name}_interval"] = ends
    if findings.target.picks_one:
        matrices = torch.tensor([one["confusion_matrix"] for one in each])
        result["confusion_matrix"] = matrices.sum(0).tolist()
    result["seeds"] = len(each)
    return result


def _no_metrics(findings: Findings) -> str:
    if not any(answer.probabilities for answer in findings.answers):
        return "No image could be read, so there is nothing to evaluate. The table of every image says why."
    return (
        "The labels of these images are unknown, so there is nothing to evaluate the predictions against. "
        "Give labels (zoomin report --predictions FILE --labels MANIFEST) to see scores."
    )


def _count(findings: Findings) -> str:
    answered = sum(bool(answer.probabilities) for answer in findings.answers)
    return f"{answered} of {len(findings.answers)} images answered; no scores."


def _left_out(findings: Findings) -> str:
    n, total = len(findings.answered), len(findings.answers)
    return "" if n == total else f", of which {n} have both a label and an answer"


def _score_row(name: str, target: Target, found: Mapping[str, Any]) -> dict[str, str]:
    value, interval = found[name], found[f"{name}_interval"]
    if value is None:
        why = "all images are of one class" if target.picks_one else "the images do not differ"
        return _row(target.scores[name], _UNDEFINED, note=why)
    note = found["interval_reasons"].get(name, "")
    span = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
    return _row(target.scores[name], number(value), span or _NONE, note)


def _row(name: str, value: str, interval: str = _NONE, note: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "interval": interval, "note": note}


def _figure(row: Mapping[str, str]) -> dict[str, str]:
    spread = row["interval"]
    defined = row["value"] != _UNDEFINED
    below = f"95 %: {spread}" if spread != _NONE else ("" if defined else row["note"])
    return {"name": row["name"], "value": row["value"] if defined else _NONE, "below": below}


def _interval_words(found: Mapping[str, Any], target: Target) -> str:
    groups = found["n_groups"]
    wilson = "Intervals: Wilson's, for an AUROC with the variance of DeLong"
    drawn = f"Intervals: bootstrap over {'groups' if groups else 'images'}"
    words = (
        (wilson if target.kind == "classes" else drawn)
        + (f"; the {groups} groups count, not their images" if groups else "")
        + ". They tell what other images like these would give, not what another training would."
    )
    if found["seeds"] > 1:
        words += (
            f" Values and ends of intervals are means over {found['seeds']} seeds, each evaluated separately."
        )
    return words


def _confusion(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    rows = []
    for index, (name, counts) in enumerate(zip(classes, matrix, strict=True)):
        total = sum(counts)
        cells = [
            {
                "count": count,
                "right": column == index,
                "share": f"{count / total if total else 0:.3f}",
                "percent": f"{100 * count / total:.0f} %" if total else _NONE,
            }
            for column, count in enumerate(counts)
        ]
        rows.append({"name": name, "cells": cells})
    return rows


def _chart(svg: str, caption: str, alt: str, *, wide: bool = False) -> dict[str, Any]:
    from markupsafe import Markup

    return {"svg": Markup(svg), "caption": caption, "alt": alt, "wide": wide}  # matplotlib escapes names


def curves_section(findings: Findings) -> list[dict[str, Any]]:
    """ROC, precision-recall and reliability, as far as they are defined."""
    if not findings.answered:
        return []
    probabilities, labels = findings.tensors()
    if not findings.target.has_probabilities:
        return _number_charts(findings)
    roc, precision = curves(probabilities, _members(findings)[0], findings.classes)
    charts = []
    if roc:
        others = len(findings.classes) > 2 or not findings.target.picks_one
        rest = "the rest" if others else repr(findings.classes[0])
        areas = ", ".join(f"{c.name} {c.area:.3f}" for c in roc)
        drawn = curve_chart(
            roc,
            "false positive rate",
            "true positive rate",
            "AUROC",
            chance=None,
            identity=True,
            name="roc",
        )
        whose = "Each class" if len(roc) > 1 else repr(roc[0].name)
        charts.append(_chart(drawn, f"ROC. {whose} against {rest}.", f"ROC curves; AUROC: {areas}"))
        areas = ", ".join(f"{c.name} {c.area:.3f}" for c in precision)
        share = None if others else float((labels == 1).double().mean())
        drawn = curve_chart(
            precision, "recall", "precision", "AP", chance=share, identity=False, name="precision"
        )
        words = f"Precision-recall curves; average precision: {areas}"
        charts.append(_chart(drawn, "Precision and recall; AP is the average precision.", words))
    if not findings.target.picks_one:
        return charts
    found = calibration(probabilities, labels)
    drawn = reliability_chart(found, len(findings.classes), name="reliability")
    bins = "; ".join(f"{b.images} images at {b.confidence:.2f}: {b.accuracy:.2f} right" for b in found.bins)
    caption = (
        f"Calibration: the share of correct predictions at each predicted probability. Below the dashed line "
        f"the model is overconfident. Expected calibration error {found.error:.3f}."
    )
    charts.append(_chart(drawn, caption, f"Reliability diagram. {bins}"))
    drawn, words = risk(findings, probabilities, labels)
    return [*charts, _chart(drawn, words, words)]


def _number_charts(findings: Findings) -> list[dict[str, Any]]:
    """What a number is worth: values against the truth, or survival in thirds by predicted hazard."""
    answers, truth = findings.tensors()
    numbers, (name,) = answers[:, 0].tolist(), findings.classes
    if findings.target.kind == "value":
        drawn = values_chart(truth.tolist(), numbers, name, id_="values")
        words = f"{name}: predicted against true, one dot per image; on the dashed line both are equal."
        return [_chart(drawn, words, words)]
    drawn = survival_chart(numbers, truth[:, 0].tolist(), (truth[:, 1] > 0).tolist(), id_="survival")
    words = (
        "Kaplan-Meier estimates of the share still without the event, of the images in thirds by predicted "
        "hazard. The further apart, the more the hazard says."
    )
    return [_chart(drawn, words, words)]


def folds_section(findings: Findings) -> dict[str, Any] | None:
    """Both protocols of a cross-validation side by side, and every fold."""
    if findings.folds is None:
        return None
    protocols, folds = findings.folds["protocols"], findings.folds["folds"]
    target = findings.target
    what = target.scores[target.score]
    what = what[:1].upper() + what[1:]
    drawn = folds_chart(folds, _PROTOCOLS, target, name="folds")
    charts = [
        _chart(
            drawn,
            f"{what} of every fold: the mean over seeds, and the range.",
            f"{what} of every fold under three protocols; the numbers are in crossval.md",
            wide=True,
        )
    ]
    histories = [history for history in findings.folds.get("histories", []) if history]
    if histories and len({len(history) for history in histories}) == 1:
        words = f"{what} on held-out images by epoch: every training (thin), and their mean."
        charts.append(_chart(held_out_chart(histories, target, name="held"), words, words, wide=True))
    return {
        "caption": "Mean over seeds of the mean over folds, ± standard deviation over seeds"
        + (", in %" if target.in_percent else ""),
        "scores": list(target.scores.values()),
        "protocols": [
            {
                "name": protocol["what"],
                "cells": [
                    target.spread_text(protocol[score]["mean"], protocol[score]["sd"])
                    for score in target.scores
                ],
            }
            for protocol in protocols.values()
        ],
        "pooled": [
            {
                "name": _PROTOCOLS[name],
                "seed": one["seed"],
                "cells": [
                    target.interval_text(one[score], one[f"{score}_interval"]) for score in target.scores
                ],
            }
            for name, pooled in findings.folds["pooled"].items()
            for one in pooled["seeds"]
        ],
        "charts": charts,
    }


def roi_section(found: RoiFindings) -> dict[str, Any] | None:
    """Attention against the annotated truth, over images and over tiles."""
    n = len(found.images)
    if not n:
        return None
    text = (
        f"{n} annotated image{'s' if n > 1 else ''}: the attention inside the ROI is "
        f"{found.median_ratio:.1f} times what uniform attention would put there (median), and above "
        f"it in {found.above_chance} of {n}."
    )
    if found.tile_spearman is not None:
        text += (
            " Over all of their tiles, attention and share of ROI have a rank correlation of "
            f"{found.tile_spearman:.2f}."
        )
    areas, shares = [i.area for i in found.images], [i.attention for i in found.images]
    whole = scatter_chart(
        areas,
        shares,
        ("share of the image that is ROI", "share of the attention inside the ROI"),
        log=True,
        chance="looking everywhere alike",
        name="roi",
    )
    y, x = torch.cat([image.tiles for image in found.images]).T.tolist()
    step = -(-len(x) // _TILES)
    tiles = scatter_chart(
        x[::step],
        y[::step],
        ("share of the tile that is ROI", "attention of the tile, times its mean"),
        log=False,
        chance="looking everywhere alike",
        name="roi-tiles",
    )
    rank = _UNDEFINED if found.tile_spearman is None else f"{found.tile_spearman:.3f}"
    thinned = f", every {step}th drawn" if step > 1 else ""
    return {
        "text": text,
        "charts": [
            _chart(whole, "Images: above the dashed line attention prefers the ROI.", text),
            _chart(
                tiles,
                f"Tiles of these images ({len(x)}{thinned}). Spearman's rank correlation {rank}.",
                f"Attention of tiles against their share of ROI; Spearman's rank correlation {rank}",
            ),
        ],
    }


def training_section(origin: Origin) -> list[dict[str, Any]]:
    """Losses and scores by epoch."""
    if not origin.history:
        return []
    there = {name.split("_", 1)[1] for row in origin.history for name in row if "_" in name}
    known = ("loss", "accuracy", "kappa", "auroc", "average_precision", "r2", "spearman", "concordance")
    measures = [name for name in known if name in there]
    chosen = origin.chosen_epoch if origin.chosen_by else None
    drawn = history_chart(origin.history, measures, chosen, name="history")
    last = {k: v for k, v in origin.history[-1].items() if k != "epoch"}
    words = "; ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in last.items())
    how = (
        f"The network of epoch {chosen + 1} was kept, by the {origin.chosen_by}."
        if chosen is not None
        else "The network of the last epoch was kept."
    )
    caption = f"{len(origin.history)} epochs. {how}"
    return [_chart(drawn, caption, f"Training curves. Last epoch: {words}", wide=True)]


def counts_section(findings: Findings) -> list[dict[str, Any]]:
    """Images by split and class."""
    rows = []
    for split, counts in findings.origin.counts.items():
        each = [counts.get(name, 0) for name in findings.classes]
        rows.append({"name": split, "cells": [*each, sum(each) if findings.target.picks_one else _NONE]})
    return rows


def software_section(origin: Origin) -> dict[str, Any]:
    """Configuration, versions, and the commands that make the run again."""
    import yaml

    versions = origin.versions
    shown = {
        "zoomin": versions.get("zoomin"),
        "commit": versions.get("git_commit"),
        "Python": versions.get("python"),
        **versions.get("packages", {}),
        "system": versions.get("system"),
        "GPU": versions.get("gpu") or ("none" if versions else None),
        "threads": versions.get("threads"),
        "started": versions.get("started"),
    }
    try:
        config = yaml.safe_load(origin.config) if origin.config else {}
    except yaml.YAMLError as error:
        raise DataError("config.yaml is damaged", where="config.yaml", remedy="Restore it.") from error
    seeds = (config.get("cv") or {}).get("seeds", config.get("seed", "unknown"))
    return {
        "config": origin.config,
        "commands": origin.commands,
        "zoomin_version": versions.get("zoomin", "of an unknown version"),
        "commit": versions.get("git_commit"),
        "seed": ", ".join(map(str, seeds)) if isinstance(seeds, list) else seeds,
        "software": [(name, value) for name, value in shown.items() if value is not None] if versions else [],
    }
