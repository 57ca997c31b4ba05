"""Evaluate a model on labelled images, and find those that a run kept for it."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from ..classifiers import Classifier
from ..data.manifest import Manifest
from ..errors import DataError
from ..files import write_json
from ..model.targets import target_of
from ..model.targets.pooling import check_pooling, group_metrics
from ..runtime.executor import Executor
from ..runtime.locks import lock_folder
from .abstain import check_abstaining
from .config import InferenceConfig
from .distributed import iter_numbered
from .groups import write_groups
from .predictions import NO_FOREGROUND, write_predictions

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)


def evaluate(
    manifest: Manifest,
    model: Classifier,
    config: InferenceConfig | None = None,
    *,
    pool: str | None = None,
    out: str | Path | None = None,
    executor: Executor | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Evaluate a model on labelled images; classes are matched by name, in the model's order.

    Args:
        manifest: images and their labels.
        model: what `load_model` gave.
        config: how to sample and run.
        pool: how the answers of a group's images are joined (`targets.pooling`); by default by their mean,
            where images of a group do not differ.
        out: folder for `predictions.csv` and `metrics.json`; by default nothing is written.
        executor: who computes; by default this process.
        device: move the model there first.
        progress: show a progress bar on stderr.

    Returns:
        The metrics of the target (`Target.metrics`) over the images that could be read, with `classes`,
        `n_images`, `failed` (names and errors), `no_foreground` (names), `sampling` (images of each
        design), `seed`, and where images have groups `groups`: the metrics of `group_metrics`. All of these
        count every image. Where the settings abstain, `coverage`, the share of images answered, and
        `answered`, the metrics of these alone; where the model can tell, `unlike_training` (names).

    Raises:
        DataError: if a label is missing or unknown to the model, or no image could be read.
        WriteError: if the folder cannot be written to, or another job writes to it.
        ConfigError: if the model cannot tell what the settings abstain for, workers cannot start, or there is
            no such cluster.
    """
    with nullcontext() if out is None else lock_folder(out):
        return _evaluate(manifest, model, config or InferenceConfig(), pool, out, executor, device, progress)


def _evaluate(
    manifest: Manifest,
    model: Classifier,
    config: InferenceConfig,
    pool: str | None,
    out: str | Path | None,
    executor: Executor | None,
    device: str | torch.device | None,
    progress: bool,
) -> dict[str, Any]:
    target = target_of(model.config)
    check_abstaining(model, config)
    check_pooling(pool or "mean", target)
    targets = manifest.with_classes(model.config.classes).targets()
    found = dict(iter_numbered(manifest.records, model, config, executor, device=device, progress=progress))
    rows = [found[number] for number in range(len(manifest))]
    if out is not None:
        labels = [record.label or "" for record in manifest]
        path = Path(out) / "predictions.csv"
        write_predictions(rows, target, path, labels=labels)
        write_groups(manifest.records, rows, target, path, pool, config.abstain_below)
    read = [index for index, row in enumerate(rows) if row.label is not None]
    if not read:
        first = rows[0].error if rows else "the list is empty"
        raise DataError(
            f"none of the {len(rows)} images could be read; the first: {first}",
            where=manifest.source,
            remedy="Fix the images.",
        )
    groups = [manifest.records[index].group for index in read]
    answers = torch.tensor([rows[index].probabilities for index in read])
    result = {
        "classes": list(model.config.classes),
        **({} if target.kind == "classes" else {"target": target.kind}),
        "failed": {row.image: row.error for row in rows if row.label is None},
        "no_foreground": [row.image for row in rows if row.status == NO_FOREGROUND],
        "sampling": dict(Counter(rows[index].sampling for index in read)),
        "seed": config.seed,
        **target.metrics(answers, targets[read], groups),
    }
    if model.head.reference is not None:
        result["unlike_training"] = [rows[index].image for index in read if rows[index].unlike]
    if config.abstain_below is not None or config.abstain_unlike:
        kept = [place for place, index in enumerate(read) if not rows[index].abstained]
        result["coverage"] = len(kept) / len(read)
        if kept:
            own = [groups[place] for place in kept]
            result["answered"] = target.metrics(answers[kept], targets[read][kept], own)
    if (by_group := group_metrics(answers, targets[read], groups, target, pool)) is not None:
        result["groups"] = by_group
    if out is not None:
        write_json(Path(out) / "metrics.json", result)
    return result
