"""The `zoomin` command: parses, calls one function of the library, prints. Nothing is decided here."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from .. import __version__
from ..errors import ZoomInError
from .commands.base import Command
from .commands.data import DATA
from .commands.demo import DEMO
from .commands.machine import BENCH, DOCTOR
from .commands.predict import EVALUATE, PREDICT
from .commands.train import CROSSVAL, TRAIN

__all__ = ["main"]

INTERRUPTED = 130

COMMANDS: dict[str, Command] = {
    "demo": DEMO,
    "train": TRAIN,
    "crossval": CROSSVAL,
    "evaluate": EVALUATE,
    "predict": PREDICT,
    "data": DATA,
    "bench": BENCH,
    "doctor": DOCTOR,
}


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the examples."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The exit code: 0 done; 1 done, with failures; 2 wrong input, told on stderr; 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or os.environ.get("ZOOMIN_DEBUG") == "1"
    words = [word for word in words if word != "--debug"]
    place = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    chosen = _top_parser().parse_args(words[: place + 1]).command
    if chosen is None:
        _top_parser().print_help()
        return 0
    command = COMMANDS[chosen]
    try:
        if chosen == "bench":
            return int(importlib.import_module("zoomin.experiments.bench").main(words[place + 1 :]))
        parser = _parser(chosen, command)
        return command.run(parser, parser.parse_args(words[place + 1 :]))
    except ZoomInError as error:
        if debug:
            raise
        print(f"zoomin {chosen}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nzoomin {chosen}: interrupted. {command.resume}", file=sys.stderr)
        return INTERRUPTED


def _top_parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="zoomin",
        usage="zoomin [--help] [--version] [--debug] COMMAND ...",
        description="Classify very large images with tiny objects, and see where the model looked.",
        epilog=f"commands:\n{listed}\n\n`zoomin COMMAND --help` tells the options of each, with examples.\n"
        "`--debug`, or ZOOMIN_DEBUG=1, shows the traceback of an error.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"zoomin {__version__}")
    parser.add_argument(
        "command", nargs="?", choices=list(COMMANDS), metavar="COMMAND", help=argparse.SUPPRESS
    )
    return parser


def _parser(name: str, command: Command) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"zoomin {name}",
        usage=f"zoomin {name} {command.usage}",
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog=f"examples:\n{command.examples}",
        formatter_class=_HelpFormatter,
    )
    command.build(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
