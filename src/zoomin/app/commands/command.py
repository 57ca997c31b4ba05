"""What a subcommand is, and how subcommands print."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar

from jsonargparse import ArgumentParser, Namespace

from ...progress import QUIET

__all__ = [
    "Command",
    "Group",
    "messages",
    "of_options",
    "option",
    "print_metrics",
    "print_rich",
    "say",
    "voice",
    "warn_failed",
]

Settings = TypeVar("Settings")


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        summary: one line for `zoomin --help`.
        usage: what follows the name of the command.
        examples: for `zoomin COMMAND --help`.
        build: adds its options; imports what they are made of.
        run: does it, returns the exit code.
        resume: what to do after an interruption.
        build_late: adds the options that depend on the words given, such as which model is meant.
        first: the settings that `--help` shows of very many; `--help_all` shows all. Empty: always all.
    """

    summary: str
    usage: str
    examples: str
    build: Callable[[ArgumentParser], None]
    run: Callable[[ArgumentParser, Namespace], int]
    resume: str = "Nothing was lost: run the same command again."
    build_late: Callable[[ArgumentParser, Sequence[str]], None] | None = None
    first: frozenset[str] = frozenset()


class Group(NamedTuple):
    """A word after which another one follows, such as `zoomin data` and `zoomin data make`.

    Attributes:
        summary: one line for `zoomin --help`.
        commands: what may follow, by name.
    """

    summary: str
    commands: Mapping[str, Command | Group]


def option(parser: ArgumentParser, name: str, default: bool | int | str | None, text: str) -> None:
    """Add an option of the type of its default; a text where that is None."""
    kind = str | None if default is None else type(default)
    parser.add_argument(name, type=kind, default=default, help=text)


def of_options(config: type[Settings], options: Namespace) -> Settings:
    """The dataclass whose fields are among some options (`add_class_arguments`)."""
    return config(**{field.name: options[field.name] for field in fields(config)})  # type: ignore[arg-type]


def say(text: str) -> None:
    """Print a line on stdout."""
    print(text, flush=True)


@contextmanager
def messages() -> Iterator[None]:
    """Show what the library says meanwhile (its log) on stderr."""
    log, handler = logging.getLogger("zoomin"), logging.StreamHandler()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.WARNING if os.environ.get(QUIET) == "1" else logging.INFO)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)


@contextmanager
def voice(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """How much a command says beside its results, on stderr.

    Args:
        quiet: warnings and errors alone; no progress, in processes that it starts neither.
        verbose: what other libraries log, too.
    """
    before, root, handler = os.environ.get(QUIET), logging.getLogger(), logging.StreamHandler()
    level = root.level
    handler.addFilter(lambda record: not record.name.startswith("zoomin"))  # `messages` shows those
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    if quiet:
        os.environ[QUIET] = "1"
    if verbose:
        root.addHandler(handler)
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        if quiet and before is None:
            del os.environ[QUIET]


def print_rich(thing: object) -> None:
    """Print a table or another thing of rich."""
    from rich.console import Console

    Console().print(thing)


def warn_failed(failed: Iterable[tuple[str, str]], rest: str = "failed; see the status column") -> None:
    """Print the first failures or warnings (image, text) on stderr, and how many more there are.

    Args:
        failed: all of them.
        rest: what follows "and 3 more".
    """
    failures = list(failed)
    for _, error in failures[:5]:
        print(f"warning: {error}", file=sys.stderr)
    if len(failures) > 5:
        print(f"warning: and {len(failures) - 5} more {rest}", file=sys.stderr)


def print_metrics(title: str, metrics: Mapping[str, Any]) -> None:
    """Print the main numbers of a result."""
    from ..console_tables import metrics_table

    print_rich(metrics_table(title, metrics))
