"""`zoomin plan`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from ...files import write_text
from .command import Command, option, say

__all__ = ["PLAN"]


def _build(parser: ArgumentParser) -> None:
    parser.add_argument("images", type=str, help="a folder for each class, or a manifest CSV")
    option(parser, "--out", None, "recipe (YAML) to write")


def _plan(parser: ArgumentParser, options: Namespace) -> int:
    from ...data.config import DataConfig
    from ...runtime.locks import lock_file
    from ...training.plan import plan, plan_recipe

    path = None if options.out is None else Path(options.out)
    with nullcontext() if path is None else lock_file(path):
        found = plan(DataConfig(options.images))
        for line in found.lines:
            say(line)
        if path is not None:
            write_text(path, plan_recipe(found))
            say(f"recipe     {path}: edit it, then `zoomin train --config {path}`")
    return 0


PLAN = Command(
    "inspect images and print how `zoomin train` would learn from them",
    "IMAGES [--out RECIPE]",
    "  zoomin plan my_images\n  zoomin plan my_images --out my_recipe.yaml",
    _build,
    _plan,
)
