"""`zoomin recipes` and `zoomin init`: the configurations that come with the program."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from ...errors import ConfigError
from ...files import write_text
from ...training.recipe_files import explain_recipe, find_recipe, recipe_names
from .command import Command, option, say

__all__ = ["INIT", "RECIPES"]


def _build_recipes(parser: ArgumentParser) -> None:
    parser.add_argument(
        "recipe", nargs="?", type=str, help="name or file of a recipe to explain; by default all"
    )


def _recipes(parser: ArgumentParser, options: Namespace) -> int:
    if options.recipe is not None:
        say(f"{find_recipe(options.recipe)}\n\n{explain_recipe(options.recipe)}")
        return 0
    names = recipe_names()
    width = max(map(len, names), default=0)
    for name in names:
        text = takewhile(lambda line: line and line[0] != " ", explain_recipe(name).splitlines())
        sentence = re.split(r"(?<!al)\. ", " ".join(text))[0].rstrip(":.")
        say(f"{name:<{width}}  {sentence}".rstrip())
    say(
        "\n`zoomin recipes NAME` explains one, `--config NAME` uses it, `zoomin init NAME` writes it to edit."
    )
    return 0


def _build_init(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", type=str, help="name of a recipe (zoomin recipes lists them), or a file")
    option(parser, "--out", None, "the new file to write; by default NAME.yaml here")


def _init(parser: ArgumentParser, options: Namespace) -> int:
    source = find_recipe(options.recipe)
    out = Path(options.out or f"{source.stem}.yaml")
    if out.exists():
        raise ConfigError("the file exists already", where=out, remedy="Give another --out.")
    write_text(out, source.read_text(encoding="utf-8"))
    say(f"{out}: edit it, then: zoomin train --config {out} --data.root IMAGES --out runs/first")
    return 0


RECIPES = Command(
    "list the built-in recipes, or explain one",
    "[RECIPE]",
    "  zoomin recipes\n  zoomin recipes colon_cancer",
    _build_recipes,
    _recipes,
)

INIT = Command(
    "write a recipe to a file for you to edit",
    "RECIPE [--out FILE]",
    "  zoomin init needles --out mine.yaml\n"
    "  zoomin train --config mine.yaml --data.root my_images --out runs/first",
    _build_init,
    _init,
)
