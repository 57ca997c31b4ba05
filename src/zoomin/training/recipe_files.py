"""The files of the recipes that come with the program: found by name, from a checkout or an installation."""

from __future__ import annotations

import difflib
import sysconfig
from pathlib import Path

from ..errors import ConfigError

__all__ = ["explain_recipe", "find_recipe", "recipe_names"]

_SOURCE = Path(__file__).resolve().parents[3] / "recipes"  # of a checkout
_INSTALLED = Path(sysconfig.get_path("data")) / "share" / "zoomin" / "recipes"


def recipe_names() -> list[str]:
    """The names of the recipes that come with the program, in alphabetical order."""
    return sorted({path.stem for folder in (_SOURCE, _INSTALLED) for path in folder.glob("*.yaml")})


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
        near = difflib.get_close_matches(Path(name).stem, recipe_names(), n=3)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(
            "no such recipe", where=name, remedy=f"{hint}Give a file, or a name that zoomin recipes lists."
        )
    return found


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
