"""The files of the recipes that come with the program: found by name, from a checkout or an installation."""

from __future__ import annotations

import difflib
import sysconfig
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from ..errors import ConfigError

__all__ = ["check_recipe", "explain_recipe", "find_recipe", "instantiated", "load_recipe", "recipe_names"]

_SOURCE = Path(__file__).resolve().parents[3] / "recipes"  # of a checkout
_MOST_VALUES = 100_000
_INSTALLED = Path(sysconfig.get_path("data")) / "share" / "zoomin" / "recipes"


def recipe_names() -> list[str]:
    """The names of the recipes that come with the program, in alphabetical order."""
    return sorted({path.stem for folder in (_SOURCE, _INSTALLED) for path in folder.glob("*.yaml")})


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe.

    Args:
        name: a path, or the name of one of the recipes that come with the program, such as "colon_cancer"
            or, as documents name it, "recipes/colon_cancer.yaml".

    Raises:
        ConfigError: if there is none, or it is no recipe that anybody would write: see `check_recipe`.
    """
    stem = Path(name).stem if Path(name) == Path("recipes", f"{Path(name).stem}.yaml") else name
    places = [Path(name), _SOURCE / f"{stem}.yaml", _INSTALLED / f"{stem}.yaml"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        near = difflib.get_close_matches(Path(name).stem, recipe_names(), n=3)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(
            "no such recipe", where=name, remedy=f"{hint}Give a file, or a name that zoomin recipes lists."
        )
    check_recipe(found)
    return found


def check_recipe(path: Path) -> None:
    """Refuse what a parser would take hours or all memory for: aliases that multiply, depth without end.

    Other errors are reported by the code that reads it.

    Raises:
        ConfigError: if its aliases stand for more than `_MOST_VALUES` values, or it is nested too deeply.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        node = (
            yaml.compose(text, Loader=yaml.SafeLoader)
            if "*" in text or sum(map(text.count, "[{")) > 100
            else None
        )
        values = 0 if node is None else _values(node, {})
    except (OSError, yaml.YAMLError):
        return
    except RecursionError as error:
        raise _deep(path) from error
    if values > _MOST_VALUES:
        raise ConfigError(
            f"its aliases stand for more than {_MOST_VALUES} values", where=path, remedy="Write them out."
        )


def _deep(path: Path) -> ConfigError:
    return ConfigError("it is nested too deeply", where=path, remedy="Write a flat recipe.")


def load_recipe(path: Path) -> dict[str, Any]:
    """What a recipe says.

    Raises:
        ConfigError: if it cannot be read, is not YAML, or does not map names to settings.
    """
    check_recipe(path)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise _deep(path) from error
    except (
        OSError,
        ValueError,
        TypeError,
        yaml.YAMLError,
    ) as error:  # ValueError: not text, or an impossible date
        why = " ".join(str(error).split())
        raise ConfigError(
            f"not a readable YAML file ({why})", where=path, remedy="Fix the recipe."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ConfigError(
            "not a mapping from names to settings",
            where=path,
            remedy="Write sections such as data: and model:.",
        )
    return found


def instantiated(parser: ArgumentParser, values: Namespace) -> Namespace:
    """What a parser has read, as the classes of its settings.

    Raises:
        ConfigError: if a setting that needs a value is empty.
    """
    try:
        found: Namespace = parser.instantiate(values)
    except TypeError as error:  # the parser takes an empty value for one that is not given
        defaults = parser.get_defaults(skip_validation=True)
        empty = [name for name, value in values.items() if value is None and defaults.get(name) is not None]
        if not empty:
            raise
        raise ConfigError("no value", where=empty[0], remedy="Give one, or leave the setting out.") from error
    return found


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Values behind a node, aliases written out; more than the limit for one that holds itself."""
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES + 1
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = list(node.value)
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


def explain_recipe(name: str | Path) -> str:
    """What a recipe says of itself: the comment at its beginning.

    Raises:
        ConfigError: if there is no such recipe.
    """
    lines = []
    for line in find_recipe(name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)
