"""The `zoomin` command: parses, calls one function of the library, prints. Nothing is decided here."""

from __future__ import annotations

import argparse
import os
import select
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from .._version import __version__
from ..errors import PeerError, WriteError, ZoomInError
from ..runtime.allocator import share_arenas
from ..runtime.extras import missing
from ..runtime.processes import stoppable
from ..runtime.ranks import PEER_LOST, launched, started_ranks
from ..training.recipe_files import find_recipe, load_recipe, recipe_names
from .commands.command import Command, Group, say, voice
from .commands.data import DATA
from .commands.demo import DEMO
from .commands.explain import EXPLAIN
from .commands.machine import BENCH, DOCTOR
from .commands.merge import MERGE
from .commands.plan import PLAN
from .commands.predict import EVALUATE, PREDICT
from .commands.recipes import INIT, RECIPES
from .commands.report import REPORT
from .commands.reproduce import REPRODUCE
from .commands.share import SHARE
from .commands.train import CROSSVAL, TRAIN
from .commands.view import VIEW
from .completion import SHELLS, completion_script
from .suggestions import did_you_mean, mistyped_settings
from .switches import accept_bare_switches

__all__ = ["main"]

WRONG_INPUT, BROKEN, NOT_WRITTEN = 2, 70, 74  # the last two as in sysexits.h
CLOSED_PIPE = 141  # 128 + SIGPIPE
_ALL = "--help_all"
EVERYWHERE = ("--debug", "--quiet", "--verbose")  # options of every command, in any place


def _build_completion(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="whose completion; zsh takes that of bash")


def _completion(parser: ArgumentParser, options: Namespace) -> int:
    say(completion_script(options.shell, Group("", COMMANDS), _parser, recipe_names()))
    return 0


COMPLETION = Command(
    "print a script with which the shell completes commands and options",
    "bash|zsh",
    "  zoomin completion bash > ~/.local/share/bash-completion/completions/zoomin\n"
    "  zoomin completion zsh > ~/.zoomin.zsh",
    _build_completion,
    _completion,
)

COMMANDS: dict[str, Command | Group] = {
    "demo": DEMO,
    "recipes": RECIPES,
    "init": INIT,
    "plan": PLAN,
    "train": TRAIN,
    "crossval": CROSSVAL,
    "evaluate": EVALUATE,
    "predict": PREDICT,
    "merge": MERGE,
    "explain": EXPLAIN,
    "share": SHARE,
    "report": REPORT,
    "view": VIEW,
    "data": DATA,
    "reproduce": REPRODUCE,
    "bench": BENCH,
    "doctor": DOCTOR,
    "completion": COMPLETION,
}


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the examples."""


class _Parser(ArgumentParser):
    """Names the settings that are near to a mistyped one; options that are true or false need no value."""

    def parse_args(self, args: Sequence[str], *more: Any, **also: Any) -> Any:  # type: ignore[override] # noqa: ANN401
        """As the base class, but for options that are true or false."""
        return super().parse_args(accept_bare_switches(self, args), *more, **also)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with 2, with the message and what may have been meant."""
        known = self.get_defaults(skip_validation=True).keys()
        dashes = "--" if message.startswith("unrecognized arguments:") else ""  # others are of a recipe
        hints = [did_you_mean(name, known, dashes) for name in mistyped_settings(message)]
        super().error(". ".join([message, *filter(None, hints)]), ex)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The exit code: 0 done; 1 done, with failures; 2 wrong input; 70 an error of the program; 74 files that
        cannot be read or written; 75 another process of a training has ended; 128 and the number of the
        signal that stopped it, 130 for Ctrl-C.
    """
    if argv is None:  # the process is ours
        share_arenas()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or os.environ.get("ZOOMIN_DEBUG") == "1"
    quiet, verbose = "--quiet" in words, "--verbose" in words
    words = [word for word in words if word not in EVERYWHERE]
    name, chosen, words = _choose(words)
    if isinstance(chosen, Group):
        _group_parser(name, chosen).print_help()
        return 0
    with voice(quiet=quiet, verbose=verbose), stoppable() as stop:
        try:
            return _run(name, chosen, words)
        except KeyboardInterrupt:
            if not (started_ranks().rank or launched()):
                print(f"\nzoomin {name}: {stop}. {chosen.resume}", file=sys.stderr)
            return stop.exit_code
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                return CLOSED_PIPE
            if debug:
                traceback.print_exc()
            code, line = _exit_of(error)
            rank = started_ranks().rank
            if not (rank and isinstance(error, PeerError)):
                who = f"zoomin {name} (process {rank})" if rank else f"zoomin {name}"
                print(f"{who}: {line}", file=sys.stderr)
            return code


def _run(name: str, chosen: Command, words: Sequence[str]) -> int:
    words = _with_recipes(words)
    parser = _parser(name, chosen, words)
    if _ALL in words:
        parser.print_help()
        return 0
    if {"--help", "-h"}.intersection(words):
        is_named = any(word.startswith("--model.name") for word in words)  # then what it has is asked for
        _shorten_help(parser, chosen.first, "model." if is_named else "config")
    return chosen.run(parser, parser.parse_args(words))


def _shorten_help(parser: ArgumentParser, first: frozenset[str], kept: str) -> None:
    """Leave only the first settings, and those that begin so, in the help of a command of very many."""
    listed = [each for each in parser._actions if each.help != argparse.SUPPRESS]
    others = [each for each in listed if each.dest not in first and not each.dest.startswith(kept)]
    if first:
        for each in others:
            each.help = argparse.SUPPRESS
        parser.epilog = f"`{parser.prog} {_ALL}` explains {len(others)} more settings.\n\n{parser.epilog}"


def _nobody_reads() -> bool:
    """Whether the reader of the output, such as `head`, has gone; what is left is then thrown away."""
    if not hasattr(select, "poll"):  # not on Windows
        return False
    state = select.poll()
    state.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in state.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _exit_of(error: Exception) -> tuple[int, str]:
    """The exit code and the line of an error."""
    if isinstance(error, PeerError):
        return PEER_LOST, str(error)
    if isinstance(error, ZoomInError):
        return NOT_WRITTEN if isinstance(error, WriteError) else WRONG_INPUT, str(error)
    if isinstance(error, OSError):
        return NOT_WRITTEN, f"{error}. Check the disk and the rights of its files."
    if isinstance(error, MemoryError):
        return NOT_WRITTEN, "there is not enough memory. Use fewer images at a time, or smaller ones."
    if (absent := missing(error)) is not None:
        return WRONG_INPUT, str(absent)
    text = "".join(traceback.format_exception(error))
    return BROKEN, f"an error of the program.\n{text}Please report it, with the lines above."


def _choose(words: Sequence[str]) -> tuple[str, Command | Group, list[str]]:
    """Follow the words to a command; its whole name, itself, and the words left. A wrong word exits."""
    chosen: Command | Group = Group("", COMMANDS)
    name, rest = "", list(words)
    while isinstance(chosen, Group):
        place = next((i for i, word in enumerate(rest) if not word.startswith("-")), len(rest))
        parser = _group_parser(name, chosen)
        word = parser.parse_args(rest[: place + 1]).command
        if word is None:
            break
        if word not in chosen.commands:
            known = list(chosen.commands)
            parser.error(
                f"no command {word!r}. {did_you_mean(word, known) or 'Known: ' + ', '.join(known) + '.'}"
            )
        name, chosen, rest = f"{name} {word}".lstrip(), chosen.commands[word], rest[place + 1 :]
    return name, chosen, rest


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"


def _group_parser(name: str, group: Group) -> argparse.ArgumentParser:
    width = max(map(len, group.commands), default=0)
    listed = "\n".join(f"  {word:<{width}}  {command.summary}" for word, command in group.commands.items())
    prog = f"zoomin {name}".rstrip()
    usage, description, debug = f"{prog} COMMAND ...", _sentence(group.summary), ""
    if not name:
        usage = "zoomin [--help] [--version] [--quiet] [--verbose] [--debug] COMMAND ..."
        description = "Classify very large images with tiny objects, and see where the model looked."
        debug = (
            "\n`--quiet`, or ZOOMIN_QUIET=1, shows no progress; `--verbose` also what other libraries log;"
            "\n`--debug`, or ZOOMIN_DEBUG=1, the traceback of an error."
        )
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=usage,
        description=description,
        epilog=f"commands:\n{listed}\n\n`{prog} COMMAND --help` explains more, with examples.{debug}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if not name:
        parser.add_argument("-V", "--version", action="version", version=f"zoomin {__version__}")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def _with_recipes(words: Sequence[str]) -> list[str]:
    """The words with the files of recipes instead of their names: `--config colon_cancer`."""
    found, after = [], False
    for word in words:
        option, given, value = word.partition("=")
        if after:
            word = _recipe_file(word)
        elif option == "--config" and given:
            word = f"{option}={_recipe_file(value)}"
        found.append(word)
        after = word == "--config"
    return found


def _recipe_file(given: str) -> str:
    """A path as it is; the file of a recipe that is given by name.

    Raises:
        ConfigError: if there is no such recipe, or it cannot be read.
    """
    path = Path(given)
    if path.is_file():
        load_recipe(path)  # whose errors name the file
        return given
    is_recipe = path.suffix in ("", ".yaml", ".yml") and not path.exists()
    return str(find_recipe(given)) if is_recipe else given


def _parser(name: str, command: Command, words: Sequence[str] = ()) -> ArgumentParser:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # help stands under the fields
    parser = _Parser(
        prog=f"zoomin {name}",
        usage=f"zoomin {name} {command.usage}",
        description=_sentence(command.summary),
        epilog=f"examples:\n{command.examples}",
        formatter_class=_HelpFormatter,
    )
    command.build(parser)
    if command.build_late is not None:
        command.build_late(parser, words)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
