"""The parts of a download: what is missing, misnamed or unknown, in one message."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from ..errors import DataError

__all__ = ["check_parts", "few", "find_folder", "need_file"]

logger = logging.getLogger(__name__)

_SHOWN = 5


def check_parts(
    folder: Path,
    wanted: Collection[str],
    found: Collection[str],
    *,
    what: str,
    remedy: str,
    partial: bool = False,
) -> list[str]:
    """Compare the files that a data set has with those that are there.

    Unknown files are not used, with a warning.

    Args:
        folder: where they are looked for.
        wanted: the names that the data set has.
        found: the names that are there.
        what: what they are, for the messages.
        remedy: how to get the missing ones.
        partial: whether some may be missing; at least one must be there.

    Returns:
        The wanted names that are there, in the order of `wanted`.

    Raises:
        DataError: if some are missing; the message counts and names them, with what may be theirs misnamed.
    """
    here = set(found)
    present = [name for name in wanted if name in here]
    missing = [name for name in wanted if name not in here]
    extra = sorted(here - set(wanted))
    if missing and not (partial and present):
        lookalikes = [
            f"{close[0]} may be {name}"
            for name in missing[:200]
            if (close := difflib.get_close_matches(name, extra, 1, cutoff=0.8))
        ]
        hint = f"; misnamed? {few(lookalikes)}" if lookalikes else ""
        raise DataError(
            f"{len(missing)} of {len(wanted)} {what} are missing: {few(missing)}{hint}",
            where=folder,
            remedy=f"{remedy} To continue with what is there, give --partial true.",
        )
    if missing:
        logger.warning(
            "%s: %d of %d %s are missing: %s", folder, len(missing), len(wanted), what, few(missing)
        )
    if extra:
        logger.warning("%s: %d unknown %s are not used: %s", folder, len(extra), what, few(extra))
    return present


def few(names: Iterable[str]) -> str:
    """The first names, and how many more.

    Example:
        >>> few("abcdefg")
        'a, b, c, d, e and 2 more'
    """
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def find_folder(root: Path | str, marks: Iterable[str], *, what: str, remedy: str) -> Path:
    """The folder given, or one directly below it, in which any of some paths exists.

    Args:
        root: where to look.
        marks: paths inside the folder to look for.
        what: the data set, for the message.
        remedy: how to get it.

    Raises:
        DataError: if there is none; the message tells what the folder holds instead.
    """
    root, marks = Path(root), list(marks)
    if not root.is_dir():
        raise DataError("no such folder", where=root, remedy="Check --source.")
    below = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in (root, *below):
        if any((folder / mark).exists() for mark in marks):
            return folder
    inside = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    raise DataError(
        f"{what} not found: none of {', '.join(marks)}; the folder holds {few(inside) or 'nothing'}",
        where=root,
        remedy=remedy,
    )


def need_file(paths: Iterable[Path], remedy: str) -> Path:
    """The first of some files that exists.

    Raises:
        DataError: if none does.
    """
    tried = list(paths)
    for path in tried:
        if path.is_file():
            return path
    others = f" (nor {', '.join(str(path) for path in tried[1:])})" if len(tried) > 1 else ""
    raise DataError(f"the file is missing{others}", where=tried[0], remedy=remedy)
