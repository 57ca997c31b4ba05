"""`zoomin train` and `zoomin crossval`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from jsonargparse import ArgumentParser, Namespace

from .base import Command, is_shown, print_metrics, print_rich, say

if TYPE_CHECKING:
    from ...training.fit import RunConfig

__all__ = ["CROSSVAL", "TRAIN"]


def _build_run(parser: ArgumentParser) -> None:
    from ...data.datamodule import DataConfig
    from ...training.config import TrainConfig
    from ...training.pretrain import PretrainConfig

    parser.add_argument("--config", action="config", help="a recipe (YAML); options given after it win")
    parser.add_class_arguments(DataConfig, "data")
    parser.add_class_arguments(TrainConfig, "train")
    parser.add_class_arguments(PretrainConfig, "pretrain")
    parser.add_argument("--out", type=str, default="runs/zoomin", help="folder of the run")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of all draws")
    parser.add_argument("--resume", type=bool, default=False, help="go on from the last checkpoint in --out")


def _build_model(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Add the settings of the model that is meant: Zoom-In, or the competitor named by `model.name`."""
    from ...classifiers import config_class

    parser.add_class_arguments(config_class(_model_name(words)), "model")


def _model_name(words: Sequence[str]) -> str | None:
    """What the command line says of `model.name`, else what its recipe says."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config")
    early.add_argument("--model.name")
    known = vars(early.parse_known_args(words)[0])
    named: str | None = known["model.name"]
    if named is not None or known["config"] is None:
        return named
    try:
        recipe = yaml.safe_load(Path(known["config"]).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):  # the parser will tell of it
        return None
    model = recipe.get("model") if isinstance(recipe, dict) else None
    return model.get("name") if isinstance(model, dict) else None


def _run_config(values: Namespace) -> RunConfig:
    from ...training.fit import RunConfig

    return RunConfig(**{f.name: values[f.name] for f in fields(RunConfig)})


def _train(parser: ArgumentParser, options: Namespace) -> int:
    from ...training.fit import fit

    result = fit(_run_config(parser.instantiate(options)), progress=is_shown())
    print_metrics("Trained", result.metrics)
    say(f"The run is in {result.folder}.")
    return 0


def _build_crossval(parser: ArgumentParser) -> None:
    from ...training.crossval import CrossvalConfig

    _build_run(parser)
    parser.add_class_arguments(CrossvalConfig, "cv")


def _crossval(parser: ArgumentParser, options: Namespace) -> int:
    from ...training.crossval import crossval
    from ..tables import protocols_table

    values = parser.instantiate(options)
    run = _run_config(values)
    print_rich(protocols_table(crossval(run, values.cv, progress=is_shown())))
    say(f"Everything is in {run.out}.")
    return 0


TRAIN = Command(
    "train a model on a folder for each class, a manifest CSV, or the colon-cancer data",
    "[--config RECIPE] --data.root IMAGES [--out FOLDER] [--SECTION.SETTING VALUE ...]",
    "  zoomin train --config recipes/colon_cancer.yaml --data.root DIR --out runs/first\n"
    "  zoomin train --data.root my_images --model.n_samples 20 --train.epochs 50\n"
    "  zoomin train --config runs/first/config.yaml --out runs/first --resume true\n"
    "  zoomin train --config recipes/colon_cancer.yaml --print_config\n"
    "  zoomin train --model.name cnn --model.side 512 --data.root my_images --out runs/cnn",
    _build_run,
    _train,
    "Give the same command with --resume true to go on from the last epoch.",
    _build_model,
)

CROSSVAL = Command(
    "train and judge on every fold: honest (last epoch) and best-epoch figures side by side",
    "[--config RECIPE] --data.root IMAGES [--out FOLDER] [--SECTION.SETTING VALUE ...]",
    "  zoomin crossval --config recipes/colon_cancer.yaml --data.root DIR --out runs/cv\n"
    "  zoomin crossval --config recipes/colon_cancer.yaml --data.root DIR --cv.folds 5",
    _build_crossval,
    _crossval,
    "Give the same command with --resume true to go on with the folds that are left.",
    _build_model,
)
