"""`zoomin share`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from .command import Command, option, say

__all__ = ["SHARE"]


def _build(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=str, help="folder of a finished run, or of a model")
    parser.add_argument("--to", type=str, required=True, help="a new folder, or hf://USER/NAME[@BRANCH]")
    option(parser, "--private", True, "whether a new repository on the hub is private")


def _share(parser: ArgumentParser, options: Namespace) -> int:
    from ...training.share import share

    done = share(options.model, options.to, private=options.private)
    say(f"{done}\nUse it with --run {done}")
    return 0


SHARE = Command(
    "write a model with its card into a folder, or to the Hugging Face hub",
    "MODEL --to FOLDER|hf://USER/NAME [options]",
    "  zoomin share runs/first --to needles\n"
    "  zoomin share runs/first --to hf://lab/needles\n"
    "  zoomin predict slides/ --run hf://lab/needles",
    _build,
    _share,
)
