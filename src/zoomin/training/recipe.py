"""A run from a recipe and options after it: what `zoomin train` takes, and experiments too."""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from ..classifiers import config_class
from ..data.datamodule import DataConfig
from ..model.config import ZoomInConfig
from .config import TrainConfig
from .fit import RunConfig
from .frozen.config import FrozenConfig
from .plan import Plan, plan
from .pretrain import PretrainConfig
from .run_folder import plain

__all__ = [
    "add_model_arguments",
    "add_run_arguments",
    "leaves_all_to_plan",
    "plan_defaults",
    "plan_recipe",
    "read_recipe",
    "run_config",
]


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add the settings of a run, but for those of its model."""
    parser.add_argument("--config", action="config", help="a recipe (YAML); options given after it win")
    parser.add_class_arguments(DataConfig, "data")
    parser.add_class_arguments(TrainConfig, "train")
    parser.add_class_arguments(PretrainConfig, "pretrain")
    parser.add_class_arguments(FrozenConfig, "frozen")
    parser.add_argument("--out", type=str, default="runs/zoomin", help="folder of the run")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of all draws")
    parser.add_argument("--resume", type=bool, default=False, help="go on from the last checkpoint in --out")


def add_model_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Add the settings of the model that is meant: Zoom-In, or the competitor that `model.name` names.

    Raises:
        ConfigError: if there is no competitor of that name.
    """
    parser.add_class_arguments(config_class(_model_name(words)), "model")


def leaves_all_to_plan(words: Sequence[str]) -> bool:
    """Whether a command line names images but neither a recipe, a baseline, nor how to train."""
    told = (
        "--config",
        "--model.name",
        "--train",
        "--pretrain",
        "--frozen.enabled",
        "--print_config",
        "--help",
        "-h",
    )
    names = [word.partition("=")[0] for word in words if word.startswith("-")]
    return "--data.root" in names and not any(
        name == one or name.startswith(f"{one}.") for name in names for one in told
    )


def plan_defaults(parser: ArgumentParser, words: Sequence[str]) -> tuple[str, ...]:
    """Let what fits the images be a parser's defaults; what is given after them wins.

    Returns:
        The plan in words.

    Raises:
        DataError: if the images cannot be learnt from.
    """
    given = parser.instantiate(parser.parse_args(list(words)))
    found = plan(given.data)
    parser.set_defaults(_plain_values(found.changes()))
    return found.lines


def plan_recipe(found: Plan) -> str:
    """A plan as a recipe: every setting that matters, with what it does."""
    changes = _plain_values(found.changes())
    frozen = {f"frozen.{name}": value for name, value in plain(found.frozen).items()}
    lines = [f"# {line}" for line in ("Planned by `zoomin plan`.", *found.lines)]
    for section, settings in (("data", changes), ("model", changes), ("frozen", frozen)):
        told = _told(_CLASSES[section])
        lines += ["", f"{section}:"]
        for name, value in settings.items():
            if name.startswith(f"{section}."):
                own = name.partition(".")[2]
                lines += [f"  # {line}" for line in textwrap.wrap(told.get(own, ""), 100)]
                lines += textwrap.indent(yaml.safe_dump({own: value}), "  ").splitlines()
    return "\n".join(lines) + "\n"


def _plain_values(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in changes.items() if name != "model.n_classes"}


_CLASSES: dict[str, type] = {"data": DataConfig, "model": ZoomInConfig, "frozen": FrozenConfig}


def _told(kind: type) -> dict[str, str]:
    """What the docstring of a configuration says of each setting."""
    text = inspect.getdoc(kind) or ""
    _, _, listed = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in listed.partition("\n\n")[0].splitlines():
        start = re.match(r"    (\w+): (.*)", line)
        name, rest = (start[1], start[2]) if start else (name, line.strip())
        found[name] = f"{found.get(name, '')} {rest}".strip() if not start else rest
    return found


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
