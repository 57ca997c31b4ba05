"""Recipes as configurations: by name, with changes, as the command line reads them."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from ..classifiers import config_class
from ..errors import ConfigError
from ..training.config import RunConfig
from ..training.recipe import add_run_arguments, run_config

__all__ = ["find_recipe", "model_name", "read_recipe"]

_SOURCE = Path(__file__).resolve().parents[3] / "recipes"  # of a checkout
_INSTALLED = Path(sysconfig.get_path("data")) / "share" / "zoomin" / "recipes"


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe.

    Args:
        name: a path, or the name of one of the recipes that come with the program, such as "colon_cancer".

    Raises:
        ConfigError: if there is none.
    """
    places = [Path(name), _SOURCE / f"{name}.yaml", _INSTALLED / f"{name}.yaml"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        known = sorted({path.stem for folder in (_SOURCE, _INSTALLED) for path in folder.glob("*.yaml")})
        raise ConfigError("no such recipe", where=name, remedy=f"Give a file, or one of {', '.join(known)}.")
    return found


def read_recipe(name: str | Path, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """A recipe as a configuration, with changes such as {"model.n_samples": 5}.

    With another "model.name" among the changes, the recipe's data and training are those of that competitor,
    and none of its model's settings are taken over.

    Raises:
        ConfigError: if there is no such recipe, or it has a setting or a value that is not known.
    """
    path, changes = find_recipe(name), dict(changes or {})
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    kind = changes.get("model.name", recipe["model"].get("name"))
    if kind != recipe["model"].get("name"):
        recipe["model"] = {}
    parser = ArgumentParser(exit_on_error=False)
    add_run_arguments(parser)
    parser.add_class_arguments(config_class(kind), "model")
    words = [f"--{setting}={_word(value)}" for setting, value in changes.items()]
    try:
        values = parser.instantiate(parser.parse_args(["--config", yaml.safe_dump(recipe), *words]))
    except ArgumentError as error:
        raise ConfigError(
            str(error), where=path, remedy="Mend the recipe, or what is changed in it."
        ) from error
    return run_config(values)


def model_name(name: str | Path, changes: Mapping[str, Any]) -> str | None:
    """The competitor that a recipe with changes is of, None for Zoom-In; nothing else of it is read."""
    recipe = yaml.safe_load(find_recipe(name).read_text(encoding="utf-8"))
    found: str | None = changes.get("model.name", recipe["model"].get("name"))
    return found


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
