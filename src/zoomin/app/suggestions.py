"""What somebody may have meant who mistyped a command or a setting."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["did_you_mean", "mistyped_settings"]


def did_you_mean(word: str, known: Iterable[str], before: str = "") -> str:
    """A question that names up to three known words near to a word; empty where none is near.

    Args:
        word: that was given.
        known: the words that there are.
        before: what they are written with, such as two dashes.

    Example:
        >>> did_you_mean("trian", ["train", "predict"])
        'Did you mean train?'
    """
    near = [f"{before}{one}" for one in difflib.get_close_matches(word, list(known), n=3)]
    return f"Did you mean {' or '.join(near)}?" if near else ""


def mistyped_settings(message: str) -> list[str]:
    """The settings that an error message of the parser does not know, as dotted names.

    Example:
        >>> mistyped_settings("unrecognized arguments: --data.rot x --rn=3")
        ['data.rot', 'rn']
        >>> mistyped_settings("Group 'model' does not accept option 'tile_sise'")
        ['model.tile_sise']
    """
    if message.startswith("unrecognized arguments:"):
        return re.findall(r"(?<!\S)--([\w.]+)", message)
    groups = re.findall(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
    return [f"{group}.{option}" for group, option in groups] + re.findall(
        r"Key '([\w.]+)' is not expected", message
    )
