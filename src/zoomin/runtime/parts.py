"""Parts of a list of images, made by several jobs, and how they become the whole again."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import DataError
from ..files import telling, unquoted, whole_file
from .ledger import KEY, Line, part_of, read_lines

__all__ = [
    "check_all_there",
    "check_own_part",
    "dealt_back",
    "join_tables",
    "link_file",
    "shard_name",
    "shard_of",
]

T = TypeVar("T")

_SAME = "Make all parts with the same settings."


def shard_of(images: Sequence[T], shard: str) -> list[T]:
    """A part of a list of images, dealt like cards so that all parts are alike.

    Args:
        images: the whole list.
        shard: "2/8" is the second of eight parts.

    Raises:
        DataError: if that is not a part.

    Example:
        >>> shard_of(["a", "b", "c", "d", "e"], "2/3")
        ['b', 'e']
    """
    number, count = _shard(shard)
    return list(images[number - 1 :: count])


def shard_name(name: str, shard: str) -> str:
    """The name of the table or the folder of a part; names sort as the parts do.

    Raises:
        DataError: if that is not a part.

    Example:
        >>> shard_name("predictions.csv", "2/16"), shard_name("features", "2/8")
        ('predictions.02-of-16.csv', 'features.2-of-8')
    """
    number, count = _shard(shard)
    path = Path(name)
    return str(path.with_name(f"{path.stem}.{number:0{len(str(count))}}-of-{count}{path.suffix}"))


def check_own_part(table: Path, whole: Iterable[str], own: Iterable[str]) -> None:
    """Refuse to write a part over the finished table of another one.

    Args:
        table: of `Ledger`, which need not exist yet.
        whole: names of the images of the whole list.
        own: of those, the ones of this part.

    Raises:
        DataError: if all images in the table are of other parts.
    """
    own = set(own)
    others = set(whole) - own
    for path in (table, part_of(table)):
        named = {unquoted(line[0]) for line in read_lines(path)[1:] if line} if path.is_file() else set()
        if named & others and not named & own:
            remedy = "Give each part an --out of its own, or no --out; or delete this table."
            raise DataError("it holds another part of the list", where=path, remedy=remedy)


def check_all_there(parts: Sequence[Path], command: str) -> None:
    """Refuse parts whose names, those of `shard_name`, say that others belong to them.

    Args:
        parts: that will be joined.
        command: what makes them.

    Raises:
        DataError: if one is missing.
    """
    found = [re.search(r"\.(\d+)-of-(\d+)(\.[^.]+)?$", path.name) for path in parts]
    named = [(int(match[1]), int(match[2])) for match in found if match is not None]
    for count in {count for _, count in named}:
        missing = sorted(set(range(1, count + 1)) - {number for number, of in named if of == count})
        if missing and len(named) == len(parts):
            raise DataError(
                f"part {missing[0]} of {count} is missing",
                where=parts[0],
                remedy=f"Name it too; {command} --shard {missing[0]}/{count} makes it.",
            )


def join_tables(
    parts: Sequence[Path],
    command: str,
    columns: Iterable[str],
    check: Callable[[Path, list[Line]], None] | None = None,
) -> list[Line]:
    """The rows of tables of `Ledger`, in the order of the list that was dealt; the header first.

    Args:
        parts: the tables, the first one first.
        command: what makes them.
        columns: that they must have.
        check: takes a table and its rows, the header first; raises an error where they are damaged.

    Raises:
        DataError: if a part is missing or incomplete, an image is in two, or they were made with other
            settings.
    """
    tables: list[list[Line]] = []
    for path in parts:
        table = _read_table(path, command, columns)
        if check is not None:
            check(path, table)
        if tables and table[0] != tables[0][0]:
            raise DataError("its columns are not those of the first part", where=path, remedy=_SAME)
        tables.append(table)
    if len({line[-1].split("-")[0] for table in tables for line in table[1:]}) > 1:
        where = ", ".join(path.name for path in parts)
        raise DataError("the parts were made by different models or settings", where=where, remedy=_SAME)
    return [tables[0][0], *dealt_back([table[1:] for table in tables], lambda line: line[0])]


def dealt_back(parts: Sequence[Sequence[T]], name: Callable[[T], str]) -> list[T]:
    """What `shard_of` dealt, in its order.

    Args:
        parts: the first one first.
        name: of an image.

    Raises:
        DataError: if an image is in two parts.

    Example:
        >>> dealt_back(["ad", "be", "c"], str)
        ['a', 'b', 'c', 'd', 'e']
    """
    longest = max(map(len, parts), default=0)
    found = [part[row] for row in range(longest) for part in parts if row < len(part)]
    seen: set[str] = set()
    for one in found:
        if name(one) in seen:
            raise DataError("the image is in two parts", where=name(one), remedy="Name each part once.")
        seen.add(name(one))
    return found


def _read_table(path: Path, command: str, columns: Iterable[str]) -> list[Line]:
    if part_of(path).is_file():
        remedy = "Let its job end, or resume it: the same command, with --resume true for zoomin predict."
        raise DataError("it is not complete", where=path, remedy=remedy)
    if not path.is_file():
        remedy = f"Check the name, or make it: {command} with --shard."
        raise DataError("there is no such file", where=path, remedy=remedy)
    lines = read_lines(path)
    names = lines[0] if lines else []
    if not {*columns, KEY} <= set(names) or names[-1] != KEY:
        raise DataError(f"no table of {command}", where=path, remedy="Name what --shard wrote.")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(names):
            raise DataError(f"line {number} is damaged", where=path, remedy="Make this part again.")
    return lines


def link_file(source: Path, target: Path) -> None:
    """Let a file appear under another name too: without a copy where the file system can.

    Raises:
        DataError: if it is not there.
        WriteError: if the disk is full or the folder cannot be written to.
    """
    if not source.is_file():
        raise DataError("this file of a part is missing", where=source, remedy="Make this part again.")
    if target.exists() and target.samefile(source):
        return
    with telling(target, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            with whole_file(target) as unfinished:
                shutil.copyfile(source, unfinished)


def _shard(shard: str) -> tuple[int, int]:
    number, _, count = shard.partition("/")
    parts = int(count) if number.isdecimal() and count.isdecimal() else 0
    if not (parts and 1 <= int(number) <= parts):
        remedy = "Give PART/PARTS, such as 1/8, 2/8 to 8/8."
        if parts:
            remedy = f"Of {parts} parts, give " + ("1/1." if parts == 1 else f"1/{parts} to {parts}/{parts}.")
        raise DataError(f"{shard!r} is not a part of a list", where="shard", remedy=remedy)
    return int(number), int(count)
