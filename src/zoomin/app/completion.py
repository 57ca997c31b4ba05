"""A script with which a shell completes commands, options and recipes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from jsonargparse import ArgumentParser

from .commands.command import Command, Group

__all__ = ["SHELLS", "completion_script"]

SHELLS = ("bash", "zsh")

_SCRIPT = """\
# Commands, options and recipes of zoomin, written by: zoomin completion {shell}
{first}_zoomin_words() {{
  case "$1" in
{cases}
  esac
}}
_zoomin() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" name="" next i
  for ((i = 1; i < COMP_CWORD; i++)); do
    next="${{name:+$name }}${{COMP_WORDS[i]}}"
    if [ -n "$(_zoomin_words "$next")" ]; then name="$next"; fi
  done
  COMPREPLY=()
  if [ "$before" = --config ] || [ "$name" = recipes ] || [ "$name" = init ]; then
    COMPREPLY=($(compgen -W {recipes} -- "$word"))
  fi
  case "$name:$word" in
    {groups}:* | *:-*) COMPREPLY+=($(compgen -W "$(_zoomin_words "$name")" -- "$word")) ;;
  esac
}}
complete -o default -F _zoomin zoomin
"""


def completion_script(
    shell: str, commands: Group, parser_of: Callable[[str, Command], ArgumentParser], recipes: Sequence[str]
) -> str:
    """The script; file names are completed wherever it has nothing to offer.

    Args:
        shell: "bash" or "zsh".
        commands: all of them.
        parser_of: the parser of a command, by its whole name.
        recipes: names of recipes.
    """
    known = dict(_words("", commands, parser_of))
    groups = [name for name, _ in _groups("", commands)]
    return _SCRIPT.format(
        shell=shell,
        first="autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "",
        cases="\n".join(
            f'    "{name}") echo {shlex.quote(" ".join(words))} ;;' for name, words in known.items()
        ),
        recipes=shlex.quote(" ".join(recipes)),
        groups=":* | ".join(f'"{name}"' for name in groups),
    )


def _groups(name: str, group: Group) -> Iterator[tuple[str, Group]]:
    """A group and those inside it, by their whole names."""
    yield name, group
    for word, inner in group.commands.items():
        if isinstance(inner, Group):
            yield from _groups(f"{name} {word}".lstrip(), inner)


def _words(
    name: str, group: Group, parser_of: Callable[[str, Command], ArgumentParser]
) -> Iterator[tuple[str, list[str]]]:
    """What may follow each name: commands after a group, options after a command."""
    for whole, inner in _groups(name, group):
        more = ["--help", "--version", "--quiet", "--verbose", "--debug"] if not whole else []
        yield whole, [*inner.commands, *more]
        commands: Mapping[str, Command | Group] = inner.commands
        for word, command in commands.items():
            if isinstance(command, Command):
                own = f"{whole} {word}".lstrip()
                yield own, [name for name in _options(parser_of(own, command)) if name.startswith("--")]


def _options(parser: ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]
