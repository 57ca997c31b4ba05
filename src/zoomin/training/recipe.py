"""A run from a recipe and options after it: what `zoomin train` takes, and experiments too."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ..classifiers import config_class
from ..data.config import DataConfig
from ..errors import ConfigError
from .config import PretrainConfig, RunConfig, TrainConfig
from .frozen_config import FrozenConfig
from .recipe_files import find_recipe, instantiated, load_recipe

__all__ = [
    "add_model_arguments",
    "add_run_arguments",
    "leaves_all_to_plan",
    "plan_defaults",
    "planned_recipe",
    "read_recipe",
    "recipe_model",
    "run_config",
]


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add the settings of a run, but for those of its model."""
    parser.add_argument("--config", action="config", help="a recipe (YAML); later options take precedence")
    parser.add_class_arguments(DataConfig, "data")
    parser.add_class_arguments(TrainConfig, "train")
    parser.add_class_arguments(PretrainConfig, "pretrain")
    parser.add_class_arguments(FrozenConfig, "frozen")
    parser.add_argument("--out", type=str, default="runs/zoomin", help="folder of the run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and of all draws")
    parser.add_argument("--resume", type=bool, default=False, help="resume from the last checkpoint in --out")


def add_model_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Add the settings of the model that is meant: Zoom-In, or the baseline that `model.name` names.

    Raises:
        ConfigError: if there is no baseline of that name.
    """
    parser.add_class_arguments(config_class(_model_name(words)), "model")


def leaves_all_to_plan(words: Sequence[str]) -> bool:
    """Whether a command line names images but neither a recipe, a baseline, own networks, nor how to train.

    Example:
        >>> leaves_all_to_plan(["--data.root", "images", "--model.n_samples=8"])
        True
        >>> leaves_all_to_plan(["--data.root", "images", "--train.epochs", "5"])
        False
    """
    given = [word for word in " ".join(words).replace("=", " ").split() if word.startswith("-")]
    sections = {name.partition(".")[0] for name in given}
    explicit = {"--config", "--model.name", "--frozen.enabled", "--print_config", "--help", "-h"}
    if explicit & set(given) or {"--train", "--pretrain"} & sections:
        return False
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("features", "tile_attention", "position_attention"):
        early.add_argument(f"--model.{name}", nargs="?", default="uniform")
    networks = vars(early.parse_known_args(list(words))[0]).values()
    trunks = ("timm:", "pyramid:", "uniform")
    return "--data.root" in given and all(str(network).startswith(trunks) for network in networks)


def plan_defaults(parser: ArgumentParser, words: Sequence[str]) -> tuple[str, ...]:
    """Let what fits the images be a parser's defaults; what is given after them wins.

    Returns:
        The plan in words.

    Raises:
        DataError: if the images cannot be learned from.
    """
    from .plan import plan

    given = instantiated(parser, parser.parse_args(list(words)))
    names = {word.removeprefix("--model.").replace("=", ".").partition(".")[0] for word in words}
    model = {name: value for name, value in vars(given.model).items() if name in names}
    found = plan(given.data, given.frozen, model)
    parser.set_defaults({name: value for name, value in found.changes().items() if name != "data.root"})
    return found.lines


def run_config(values: Namespace) -> RunConfig:
    """The run of what a parser with these arguments has instantiated."""
    return RunConfig(**{field.name: values[field.name] for field in fields(RunConfig)})


def read_recipe(name: str | Path, options: Sequence[str] | Mapping[str, Any] = ()) -> RunConfig:
    """A recipe with options after it, as `zoomin train` takes them.

    Where the options name another model, none of the settings of the recipe's model are kept.

    Args:
        name: a path, or the name of one of the recipes that come with the program.
        options: words of a command line, or settings such as {"model.n_samples": 5}.

    Raises:
        ConfigError: if there is no such recipe, or it has a setting or a value that is not known.
    """
    path = find_recipe(name)
    words = _words(options) if isinstance(options, Mapping) else list(options)
    recipe = load_recipe(path)
    model = _model_name(["--config", str(path), *words])
    if model != _name_in(recipe):
        recipe["model"] = {}
    parser = ArgumentParser(exit_on_error=False)
    add_run_arguments(parser)
    parser.add_class_arguments(config_class(model), "model")
    try:
        return run_config(
            instantiated(parser, parser.parse_args(["--config", yaml.safe_dump(recipe), *words]))
        )
    except ArgumentError as error:
        raise ConfigError(
            str(error), where=path, remedy="Fix the recipe, or what is changed in it."
        ) from error


def planned_recipe(options: Mapping[str, Any]) -> RunConfig:
    """What `zoomin train` plans for some images, with settings that win.

    Args:
        options: settings such as {"data.root": "my_images"}.

    Raises:
        ConfigError: if a setting or a value is not known.
        DataError: if the images cannot be learned from.
    """
    parser, words = ArgumentParser(exit_on_error=False), _words(options)
    add_run_arguments(parser)
    parser.add_class_arguments(config_class(None), "model")
    try:
        plan_defaults(parser, words)
        return run_config(instantiated(parser, parser.parse_args(words)))
    except ArgumentError as error:
        raise ConfigError(str(error), remedy="Fix what is changed in the plan.") from error


def recipe_model(name: str | Path, changes: Mapping[str, Any]) -> str | None:
    """The baseline that a recipe with changes is of, None for Zoom-In; nothing else of it is read."""
    return _model_name(["--config", str(find_recipe(name)), *_words(changes)])


def _words(changes: Mapping[str, Any]) -> list[str]:
    """Settings as words of a command line."""
    return [f"--{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in changes.items()]


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
        return _name_in(load_recipe(Path(known["config"])))
    except ConfigError:  # the parser will report it
        return None


def _name_in(recipe: Mapping[str, Any]) -> str | None:
    """The baseline that a recipe is of."""
    model = recipe.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    return name if isinstance(name, str) else None
