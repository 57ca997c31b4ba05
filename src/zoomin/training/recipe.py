"""A run from a recipe and options after it: what `zoomin train` takes, and experiments too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import yaml
from jsonargparse import ArgumentParser, Namespace

from ..classifiers import config_class
from ..data.config import DataConfig
from .config import PretrainConfig, RunConfig, TrainConfig

__all__ = ["add_model_arguments", "add_run_arguments", "read_recipe", "run_config"]


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add the settings of a run, but for those of its model."""
    parser.add_argument("--config", action="config", help="a recipe (YAML); options given after it win")
    parser.add_class_arguments(DataConfig, "data")
    parser.add_class_arguments(TrainConfig, "train")
    parser.add_class_arguments(PretrainConfig, "pretrain")
    parser.add_argument("--out", type=str, default="runs/zoomin", help="folder of the run")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of all draws")
    parser.add_argument("--resume", type=bool, default=False, help="go on from the last checkpoint in --out")


def add_model_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Add the settings of the model that is meant: Zoom-In, or the baseline that `model.name` names.

    Raises:
        ConfigError: if there is no baseline of that name.
    """
    parser.add_class_arguments(config_class(_model_name(words)), "model")


def run_config(values: Namespace) -> RunConfig:
    """The run of what a parser with these arguments has instantiated."""
    return RunConfig(**{field.name: values[field.name] for field in fields(RunConfig)})


def read_recipe(path: str | Path, options: Sequence[str] = ()) -> RunConfig:
    """A recipe with options after it, as `zoomin train` takes them.

    Raises:
        ConfigError: if a setting cannot work.
    """
    words = ["--config", str(path), *options]
    parser = ArgumentParser()
    add_run_arguments(parser)
    add_model_arguments(parser, words)
    return run_config(parser.instantiate(parser.parse_args(words)))


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
