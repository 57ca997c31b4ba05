"""CSV files as people write them: any common separator, stated or not, with or without byte order mark."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..files import unquoted

__all__ = ["Row", "Table", "listed", "name_the_column", "read_table"]


_STATED = re.compile(r"""("?)sep=([^"\r\n\w])\1[,;\t|]*[\r\n]*""", re.IGNORECASE)  # Excel's first line
_MARKS = (  # spreadsheet programs write "Unicode text" as UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = {
    b"PK\x03\x04": "an Excel or OpenDocument workbook (XLSX, ODS) or another ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (XLS)",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "a Parquet table",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
}


@dataclass(frozen=True)
class Row:
    """A row of a table that is not blank.

    Attributes:
        number: its line in the file, from 1.
        cells: its filled cells by column, without the spaces around them.
    """

    number: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """The header and the rows of a CSV file.

    Attributes:
        path: the file.
        header: names of the columns.
        rows: the rows below the header.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[Row, ...]


def read_table(path: Path, column: str, role: str) -> Table:
    """Read a CSV: UTF-8, separated by comma, semicolon, tab or bar, whichever yields `column` in the header.

    Args:
        path: the file.
        column: the column that must be there.
        role: what it holds, as `ManifestColumns` calls it, for the message.

    Raises:
        DataError: if the file is missing, empty, no UTF-8 text, lacks the column, or a row is too long.
    """
    lines = _read_lines(path)
    delimiter, header = _read_header(lines, column, role, path)
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise DataError(f"the column {twice[0]!r} appears twice", where=path, remedy="Drop one of the two.")
    parsed = _parse(lines, delimiter, path)
    next(parsed)
    rows = []
    for number, cells in parsed:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise DataError(
                f"row {number} has {len(cells)} cells for {len(header)} columns",
                where=path,
                remedy="Quote the cell that holds the separator, or drop what follows the last column.",
            )
        filled = {
            name: unquoted(cell.strip()) for name, cell in zip(header, cells, strict=False) if cell.strip()
        }
        rows.append(Row(number, filled))
    return Table(path, tuple(header), tuple(rows))


def listed(names: Iterable[str]) -> str:
    """Names in quotes, for messages."""
    return ", ".join(repr(name) for name in names) or "none"


def name_the_column(role: str) -> str:
    """The remedy where a column is missing; not every command takes another name for it.

    Args:
        role: what it holds, as `ManifestColumns` calls it.
    """
    option = f"--data.columns.{role}"
    if role == "group":
        return f"Name one of these: --group_by for predict and evaluate, {option} for training."
    return f"Add the column, or rename yours; where a command has {option}, give its name with that."


def _read_lines(path: Path) -> list[str]:
    if path.is_dir():
        raise DataError("a folder, not a CSV file", where=path, remedy="Give the CSV file inside it.")
    if not path.exists():
        raise DataError("no such manifest", where=path, remedy="Check the path.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", where=path, remedy="Check its permissions."
        ) from error
    for start, kind in _NO_TEXT.items():
        if content.startswith(start):
            raise DataError(
                f"{kind}, not a CSV text, whatever its name",
                where=path,
                remedy="Save the table as CSV (in a spreadsheet program: Save as, CSV UTF-8), and give that.",
            )
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding).removeprefix("\ufeff")  # two marks, where two programs added one
    except UnicodeDecodeError as error:
        raise DataError("not a UTF-8 text", where=path, remedy="Save the CSV as UTF-8.") from error
    if "\0" in text:
        raise DataError(
            "a text with zero bytes, such as UTF-16 without byte order mark",
            where=path,
            remedy="Save the CSV as UTF-8.",
        )
    if not text.strip():
        raise DataError(
            "the file is empty", where=path, remedy="Write a header such as image,label and rows below."
        )
    return list(io.StringIO(text, newline=""))  # not splitlines, which knows line ends that CSV does not


def _read_header(lines: list[str], column: str, role: str, path: Path) -> tuple[str, list[str]]:
    """The delimiter under which the column is found, and the header; a line that states one becomes blank."""
    headers, delimiters = [], [",", ";", "\t", "|"]
    if stated := _STATED.fullmatch(lines[0]):
        delimiters.insert(0, stated[2])
        lines[0] = "\n"
    for delimiter in dict.fromkeys(delimiters):
        header = next(_parse(lines, delimiter, path), (0, []))[1]
        headers.append((delimiter, [name.strip() for name in header]))
    for delimiter, header in headers:
        if column in header:
            return delimiter, header
    found = max((header for _, header in headers), key=len)
    raise DataError(
        f"no column {column!r}; the columns are {listed(found)}",
        where=path,
        remedy=name_the_column(role),
    )


def _parse(lines: list[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"row {reader.line_num} cannot be read ({error})", where=path, remedy="Fix or quote the row."
        ) from error
