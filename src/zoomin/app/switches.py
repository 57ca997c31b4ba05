"""Options that are true or false: alone, the option means true (`--resume`), with a value what that says."""

from __future__ import annotations

from argparse import Action
from collections.abc import Sequence
from itertools import pairwise

from jsonargparse import ArgumentParser

__all__ = ["accept_bare_switches"]

_KINDS = (bool, bool | None)
_VALUES = {"true", "false", "yes", "no", "on", "off", "null", "none", "1", "0"}


def accept_bare_switches(parser: ArgumentParser, words: Sequence[str]) -> list[str]:
    """Let every option of a parser that is true or false be given without its value.

    Args:
        parser: whose options are changed.
        words: of a command line.

    Returns:
        The words; where the parser takes others beside its options, such as images, these follow
        "--resume=true", so that "--resume a.png" names an image.
    """
    switches = [action for action in parser._actions if _is_switch(action)]
    for switch in switches:
        switch.nargs, switch.const = "?", True
    takes_words = any(not action.option_strings for action in parser._actions)
    names = {name for switch in switches for name in switch.option_strings} if takes_words else set()
    return [
        f"{word}=true" if word in names and after.lower() not in _VALUES else word
        for word, after in pairwise([*words, ""])
    ]


def _is_switch(action: Action) -> bool:
    return bool(action.option_strings) and getattr(action, "_typehint", None) in _KINDS
