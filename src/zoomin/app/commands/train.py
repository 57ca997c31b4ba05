"""`zoomin train` and `zoomin crossval`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ...files import plain, write_text
from ...progress import QUIET
from ...runtime.extras import TRAINING, need
from ...runtime.ranks import launch
from ...training.recipe_files import instantiated
from .command import Command, messages, print_metrics, print_rich, say

__all__ = ["CROSSVAL", "TRAIN", "advice"]


def _build_run(parser: ArgumentParser) -> None:
    from ...training.recipe import add_run_arguments

    add_run_arguments(parser)


def _build_model(parser: ArgumentParser, words: Sequence[str]) -> None:
    from ...training.recipe import add_model_arguments

    add_model_arguments(parser, words)


def _build_planned(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The settings of the model; where the words leave them to zoomin, such as fit the images."""
    from ...training.recipe import leaves_all_to_plan, plan_defaults

    _build_model(parser, words)
    if leaves_all_to_plan(words):
        need("train", *TRAINING)
        warns = False
        for line in plan_defaults(parser, words):  # on stderr: results stand alone on stdout
            warns = line.startswith("warning") or (warns and line.startswith(" "))  # or its second line
            if warns or os.environ.get(QUIET) != "1":
                print(line, file=sys.stderr, flush=True)


def _train(parser: ArgumentParser, options: Namespace) -> int:
    import yaml

    need("train", *TRAINING)
    from ...training.fit import fit
    from ...training.parallel import ranks_to_launch
    from ...training.recipe import run_config

    run = run_config(instantiated(parser, options))
    if (count := ranks_to_launch(run)) > 1:
        with TemporaryDirectory() as folder:
            recipe = Path(folder) / "run.yaml"
            write_text(recipe, yaml.safe_dump(plain(run), sort_keys=False))
            return launch(["train", "--config", str(recipe)], count)
    with messages():
        result = fit(run, progress=True)
    if not result.metrics:  # another process prints them
        return 0
    print_metrics("Trained", result.metrics)
    for line in advice(result.metrics):
        say(line)
    say(f"The run is in {result.folder}.")
    return 0


def _calibration(found: Mapping[str, Any]) -> str:
    """What became of the temperature."""
    if found["why_not"]:
        return f"Probabilities are not calibrated: {found['why_not']}."
    return (
        f"Probabilities are calibrated on {found['images']} validation images: temperature "
        f"{found['value']:.2f}, log loss {found['loss']:.3f} before and {found['loss_after']:.3f} after."
    )


def advice(metrics: Mapping[str, Any]) -> list[str]:
    """How images held out in the inner folds were classified, and what to try where that is chance."""
    learned = metrics.get("learned")
    if learned is None:
        return [_calibration(metrics["calibration"])] if "calibration" in metrics else []
    from ...model.targets import score_names

    scores = learned["held_out"][learned["head"]]
    if "balanced_accuracy" not in scores:  # not of classes
        named = score_names(scores)
        known = {words: scores[name] for name, words in named.items() if scores[name] is not None}
        shown = ", ".join(f"{words} {value:.3g}" for words, value in known.items())
        return [f"Held out in inner folds: {shown} ({learned['head']} head)."]
    score = scores["auroc"]
    shown = "" if score is None else f", AUROC {score:.2f}"
    line = f"Held out in inner folds: accuracy {scores['accuracy']:.3f}{shown} ({learned['head']} head)."
    if score is None or score >= 0.65:
        return [line]
    if learned["head"] == "pixels":
        return [line, "That is little better than chance. Try more images, or more --frozen.trunk_epochs."]
    return [
        line,
        "That is little better than chance: a frozen trunk does not see what decides. Try smaller sub-tiles",
        "(--model.tile_size 112 --model.sub_tile_size 112), another trunk (--model.features timm:MODEL),",
        "more images, or a trunk learned from pixels (--frozen.trunk learned; docs/learning.md).",
    ]


def _build_crossval(parser: ArgumentParser) -> None:
    from ...training.config import CrossvalConfig

    _build_run(parser)
    parser.add_class_arguments(CrossvalConfig, "cv")


def _crossval(parser: ArgumentParser, options: Namespace) -> int:
    need("train", *TRAINING)
    from ...training.crossval import crossval
    from ...training.recipe import run_config
    from ..console_tables import protocols_table

    values = instantiated(parser, options)
    run = run_config(values)
    with messages():
        result = crossval(run, values.cv, progress=True)
    print_rich(protocols_table(result))
    say(f"Everything is in {run.out}.")
    return 0


_FIRST = frozenset(
    "help config print_config out seed resume data.root data.target data.classes data.channels "
    "data.val_fraction data.test_fraction model.name model.tile_size model.sub_tile_size model.tile_scale "
    "model.sub_tile_scale model.n_samples model.mpp model.features train.epochs train.learning_rate "
    "train.device train.logger frozen.enabled frozen.cache frozen.head frozen.trunk "
    "cv.folds cv.repeats cv.seeds cv.jobs".split()
)  # what most people set

TRAIN = Command(
    "train a model on one folder per class, a manifest CSV, or the colon-cancer data",
    "[--config RECIPE] --data.root IMAGES [--out FOLDER] [--SECTION.SETTING VALUE ...]",
    "  zoomin train --config colon_cancer --data.root DIR --out runs/first\n"
    "  zoomin train --data.root my_images\n"
    "  zoomin train --config runs/first/config.yaml --out runs/first --resume true\n"
    "  zoomin train --config recipes/colon_cancer.yaml --print_config\n"
    "  zoomin train --model.name cnn --model.side 512 --data.root my_images --out runs/cnn",
    _build_run,
    _train,
    "Run the same command with --resume true to resume from the last epoch.",
    _build_planned,
    _FIRST,
)

CROSSVAL = Command(
    "train and evaluate on every fold: honest (last epoch) and best-epoch figures side by side",
    "[--config RECIPE] --data.root IMAGES [--out FOLDER] [--SECTION.SETTING VALUE ...]",
    "  zoomin crossval --config colon_cancer --data.root DIR --out runs/cv\n"
    "  zoomin crossval --config recipes/colon_cancer.yaml --data.root DIR --cv.folds 5",
    _build_crossval,
    _crossval,
    "Run the same command with --resume true to continue with the remaining folds.",
    _build_planned,
    _FIRST,
)
