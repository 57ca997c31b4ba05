"""Files that are written whole or not at all: a crash, a full disk or an interruption leaves the old one."""

from __future__ import annotations

import csv
import dataclasses
import errno
import hashlib
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from .errors import DataError, WriteError

__all__ = [
    "cell",
    "json_digest",
    "markdown_table",
    "parse_json",
    "plain",
    "read_json",
    "remove_leftovers",
    "short_names",
    "telling",
    "unquoted",
    "user_cache",
    "whole_file",
    "whole_text",
    "write_csv",
    "write_json",
    "write_rows",
    "write_text",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
_FULL_WORDS = (  # of libraries that give no number: safetensors, torch (twice)
    "No space left",
    "quota exceeded",
    "File too large",
    "file write failed",
    "unexpected pos",
)

_NAME = 40  # characters of the name of a file that its part has
_LEFTOVER = re.compile(r"\.[0-9a-f]{8}\.part$")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how cells begin that a spreadsheet runs


@contextmanager
def whole_file(path: str | Path, *, keep: bool = False, sync: bool = True) -> Iterator[Path]:
    """A file to write beside `path`, which takes its place when the block ends without an error.

    The folder is made where there is none. The file gets the mode of any new file, whoever writes it.

    Args:
        path: of the finished file; where it is a link, the file that it points to is replaced.
        keep: write to `path` + ".part" and leave that where the block fails, for what it holds already.
        sync: wait until the disk has it; not worth its time for thousands of files that can be made again.

    Yields:
        The file to write. Its name does not end like `path`: tell the format to whoever guesses it by suffix.

    Raises:
        WriteError: if the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():  # a device or a pipe
        yield path
        return
    path = path.resolve()
    part = path.with_name(path.name + ".part" if keep else f"{path.name[:_NAME]}.{secrets.token_hex(4)}.part")
    try:
        with telling(path, part):
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
            yield part
            part.chmod(mode)  # some libraries make files that only their owner can read
            if sync:
                _flush(part)
            part.replace(path)
            if sync:
                with suppress(OSError):  # not every system can
                    _flush(path.parent)
    finally:
        if not keep:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove what a job left that was killed while it wrote; kept parts stay.

    Args:
        folder: that nobody else writes to.
        name: of the file that alone was being written; "" for any.
    """
    with suppress(OSError):  # no folder, or not ours
        for path in folder.iterdir():
            if _LEFTOVER.search(path.name) and path.name.startswith(name[:_NAME]):
                path.unlink()


@contextmanager
def telling(path: Path, part: Path) -> Iterator[None]:
    """Say in one line what is wrong with a disk or a folder while a file is written.

    Args:
        path: what is written.
        part: the file that is written in its place.

    Raises:
        WriteError: if the disk is full or the folder cannot be written to.
    """
    try:
        yield
    except Exception as error:
        if explained := _explained(error, path, part):
            raise explained from error
        raise


@contextmanager
def whole_text(path: str | Path, *, keep: bool = False, sync: bool = True) -> Iterator[TextIO]:
    """`whole_file`, open for text in UTF-8, line ends as they are written.

    Raises:
        WriteError: if the disk is full or the folder cannot be written to.
    """
    with whole_file(path, keep=keep, sync=sync) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file


def parse_json(text: str) -> Any:  # noqa: ANN401 (JSON)
    """What a JSON text says.

    Raises:
        ValueError: if it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path, *, strict: bool = True) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is no such file, or it holds something else.

    Args:
        path: of the file.
        strict: whether a file that cannot be read is an error; it counts as missing otherwise.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if strict and path.is_file():
            raise DataError(
                f"damaged ({error})", where=path, remedy="Delete it, or repeat the run."
            ) from error
        return {}
    return found if isinstance(found, dict) else {}


def json_digest(value: object, digits: int = 12) -> str:
    """Digits that tell values apart, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:digits]


def markdown_table(
    head: Sequence[str], rows: Iterable[Iterable[object]], *, numbers: bool = False
) -> list[str]:
    """The lines of a table.

    Args:
        head: titles of the columns.
        rows: of cells.
        numbers: align all columns but the first to the right.

    Example:
        >>> markdown_table(["image", "accuracy"], [["test", 0.9]], numbers=True)
        ['| image | accuracy |', '| --- | ---: |', '| test | 0.9 |']
    """
    rule = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
    return [f"| {' | '.join(map(str, cells))} |" for cells in (head, rule, *rows)]


def write_text(path: str | Path, text: str, *, sync: bool = True) -> None:
    """Write a text, whole or not at all.

    Raises:
        WriteError: if the disk is full or the folder cannot be written to.
    """
    with whole_text(path, sync=sync) as file:
        file.write(text)


def write_json(path: str | Path, value: object, *, indent: int | None = 2, sync: bool = True) -> None:
    """Write JSON, whole or not at all; configurations, paths and tuples become `plain`.

    Raises:
        WriteError: if the disk is full or the folder cannot be written to.
    """
    write_text(path, json.dumps(plain(value), indent=indent, allow_nan=False) + "\n", sync=sync)


def user_cache(kind: str) -> Path:
    """The folder of a kind of files in the cache; it need not exist yet.

    The cache is $ZOOMIN_CACHE, else $XDG_CACHE_HOME/zoomin, else ~/.cache/zoomin.

    Args:
        kind: the name of the folder.
    """
    if given := os.environ.get("ZOOMIN_CACHE"):
        return Path(given) / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zoomin" / kind


def cell(value: object) -> object:
    """A value of a CSV; text that a spreadsheet would run as a formula is quoted.

    Example:
        >>> [cell(value) for value in ("=cmd()", "-0.5", "a.png", None)]
        ["'=cmd()", '-0.5', 'a.png', None]
    """
    if not isinstance(value, str) or not value.lstrip("'").startswith(_FORMULA):
        return value
    with suppress(ValueError):
        float(value)
        return value
    return f"'{value}"


def unquoted(text: str) -> str:
    """What `cell` was given.

    Example:
        >>> [unquoted(str(cell(text))) for text in ("=cmd()", "'=cmd()", "'a'", "-0.5")]
        ['=cmd()', "'=cmd()", "'a'", '-0.5']
    """
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def write_csv(
    path: str | Path, columns: Sequence[str], rows: Iterable[Iterable[object]], *, exact: bool = False
) -> None:
    """Write a CSV with a header, whole or not at all; None becomes an empty cell.

    Args:
        path: of the CSV.
        columns: the header.
        rows: below it.
        exact: write formulas as they are, for tables that are read back.

    Raises:
        WriteError: if the disk is full or the folder cannot be written to.
    """
    with whole_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows if exact else (map(cell, row) for row in rows))


def write_rows(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV with a column for every name that occurs in the rows.

    Raises:
        WriteError: if the disk is full or the folder cannot be written to.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(path, columns, ([row.get(name) for name in columns] for row in rows))


def short_names(paths: Sequence[str | Path]) -> list[str]:
    """The ends of paths, each as long as it must be to be like no other.

    Example:
        >>> short_names(["a/1/x.png", "a/2/x.png", "a/y.png"])
        ['1/x.png', '2/x.png', 'y.png']
    """
    parts = [Path(path).parts for path in paths]
    lengths = [1] * len(paths)
    while True:
        names = [str(Path(*own[-length:])) for own, length in zip(parts, lengths, strict=True)]
        seen = Counter(names)
        short = [k for k, name in enumerate(names) if seen[name] > 1 and lengths[k] < len(parts[k])]
        if not short:
            return names
        for k in short:
            lengths[k] += 1


def plain(value: object) -> Any:  # noqa: ANN401 (whatever JSON and YAML can hold)
    """Configurations as nested dictionaries, tuples as lists, paths as strings.

    Example:
        >>> plain((Path("a"), {"b": (1, 2.5)}))
        ['a', {'b': [1, 2.5]}]
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _flush(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _places(path: Path, part: Path) -> set[Path]:
    """A file, its part and all folders above, relative paths and links followed too."""
    given = (part.absolute(), path.absolute(), part.resolve(), path.resolve())
    return {*given, *(folder for place in given for folder in place.parents)}


def _explained(error: Exception, path: Path, part: Path) -> WriteError | None:
    """What is wrong with the disk or the folder; None where the error is about something else."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or any(words in str(error) for words in _FULL_WORDS):
        return WriteError(
            "cannot be written: the disk is full", where=path, remedy="Free some space, or write elsewhere."
        )
    if (
        isinstance(error, OSError)
        and error.errno in _CLOSED
        and error.filename
        and Path(os.fsdecode(error.filename)).absolute() in _places(path, part)
    ):
        remedy = "Write to another folder, or get write permission there."
        return WriteError(f"cannot be written ({os.strerror(error.errno)})", where=path, remedy=remedy)
    return None
