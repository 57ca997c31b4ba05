"""What the columns of a manifest say of each image: which kind of target, and its words in one form.

The words are those that `model.targets` reads: a class or a grade, "open;short" for several labels, "12.5"
for a value, "12.5+" for a time until which nothing happened.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ..errors import ConfigError, DataError
from ..model.choices import TargetKind
from .config import ManifestColumns
from .csv_table import Row, Table, listed, name_the_column
from .labels import answers_of_one_case, class_words, known, plain_number

__all__ = ["ManifestTarget", "event_of", "manifest_target", "ordered_names", "truth_cells"]

NONE, _UNKNOWN, _CENSORED = "none", "?", "+"
_MANY = 12  # different numbers, above which they are hardly names of classes
_MANY_BROKEN = 5  # the same for numbers with decimals
_EACH = 5  # images per class, below which there are hardly so many
_YES, _NO = frozenset("1 1.0 true yes y t dead deceased event".split()), frozenset(
    "0 0.0 false no n f alive living censored".split()
)  # fmt: skip
_OWN = {"labels": ("labels",), "value": ("value",), "grade": ("grade",), "survival": ("time", "event")}


@dataclass(frozen=True)
class ManifestTarget:
    """The target that the columns of a manifest describe.

    Attributes:
        kind: of target.
        names: of its logits; empty: those found in the words.
        words: of a row; None where its truth is unknown.
    """

    kind: TargetKind
    names: tuple[str, ...]
    words: Callable[[Row], str | None]


def manifest_target(
    table: Table,
    columns: ManifestColumns,
    target: str,
    classes: Sequence[str],
    *,
    required: bool,
) -> ManifestTarget:
    """Find out what is to be learned.

    Args:
        table: the manifest.
        columns: names of its columns.
        target: the kind, or "auto" for what the columns say.
        classes: the names that were given, where they were.
        required: whether the truth must be there, and must not look like another kind.

    Raises:
        ConfigError: if the columns say several things, or what they say is doubtful.
        DataError: if a column is missing.
    """
    kind = _kind(table, columns, required=required) if target == "auto" else target
    if kind == "classes":
        if required and target == "auto" and not classes:
            _ask(table, columns)
        cells = [row.cells.get(columns.label) for row in table.rows]
        read = _class_words(columns.label, class_words(cells, classes), answers_of_one_case(cells))
        return ManifestTarget("classes", (), read)
    if kind == "labels":
        return _labels(table, columns, classes, required=required)
    if kind == "survival":
        return _survival(table, columns, required=required)
    own = str(getattr(columns, kind))
    named = classes[0] if kind == "value" and classes and classes[0] in table.header else own
    column = next((name for name in (own, named, columns.label) if name in table.header), own)
    _check(table, column, kind, required=required)
    if kind == "grade":
        return ManifestTarget("grade", (), _class_words(column, tuple(classes)))
    name = column if column != columns.label else "value"
    return ManifestTarget("value", tuple(classes) or (name,), _number(column, table))


def _kind(table: Table, columns: ManifestColumns, *, required: bool) -> str:
    if columns.label in table.header:
        return "classes"
    found = [
        kind for kind, own in _OWN.items() if all(getattr(columns, name) in table.header for name in own)
    ]
    if len(found) > 1 and required:
        raise ConfigError(
            f"the columns offer several targets: {', '.join(found)}",
            where=table.path,
            remedy=f"Choose one with --data.target, such as --data.target {found[0]}.",
        )
    return found[0] if found else "classes"


def _ask(table: Table, columns: ManifestColumns) -> None:
    """Refuse labels that are hardly classes."""
    cells = [cell for row in table.rows if (cell := known(row.cells.get(columns.label))) is not None]
    values = set(cells)
    if any(";" in cell for cell in values):
        first = next(cell for cell in cells if ";" in cell)
        raise ConfigError(
            f"the column {columns.label!r} holds labels such as {first!r}: several labels, or one class?",
            where=table.path,
            remedy="Several labels per image: --data.target labels. One class: --data.target classes.",
        )
    numbers = [number for cell in values if (number := _float(cell)) is not None]
    broken = any(number != round(number) for number in numbers)
    few_each = len(values) > _MANY and len(cells) < _EACH * len(values)
    many = few_each or (broken and len(values) > _MANY_BROKEN)
    if len(numbers) == len(values) and many:
        raise ConfigError(
            f"the column {columns.label!r} holds {len(values)} different numbers for {len(cells)} images, "
            f"from {min(numbers):g} to {max(numbers):g}: values, grades, or names of classes?",
            where=table.path,
            remedy="A value: --data.target value. Grades: --data.target grade. "
            f"{len(values)} classes: --data.target classes.",
        )


def _class_words(
    column: str, words: Sequence[str], answers: Collection[str] = ()
) -> Callable[[Row], str | None]:
    def read(row: Row) -> str | None:
        label = known(row.cells.get(column), words)
        if label is None or label in words:
            return label
        return label.capitalize() if label.casefold() in answers else plain_number(label)

    return read


def _check(table: Table, column: str, kind: str, *, required: bool) -> None:
    if column not in table.header and required:
        raise DataError(
            f"no column {column!r} for the target {kind}; the columns are {listed(table.header)}",
            where=table.path,
            remedy=name_the_column(kind),
        )


def _float(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _number(column: str, table: Table) -> Callable[[Row], str | None]:
    def read(row: Row) -> str | None:
        cell = known(row.cells.get(column))
        if cell is not None and _float(cell) is None:
            raise DataError(
                f"row {row.number} has {cell!r} in the column {column!r}, which is not a number",
                where=table.path,
                remedy="Give a number with a decimal point, or leave the cell empty where it is unknown.",
            )
        return cell

    return read


def _survival(table: Table, columns: ManifestColumns, *, required: bool) -> ManifestTarget:
    for name in ("time", "event"):
        column = getattr(columns, name)
        if column not in table.header and required:
            raise DataError(
                f"no column {column!r} for the target survival; the columns are {listed(table.header)}",
                where=table.path,
                remedy=name_the_column(name),
            )
    time = _number(columns.time, table)

    def read(row: Row) -> str | None:
        until, event = time(row), known(row.cells.get(columns.event))
        if until is None or event is None:
            return None
        if float(until) < 0:
            raise DataError(
                f"row {row.number} has the time {until}",
                where=table.path,
                remedy="Give times from 0, since the image was taken.",
            )
        happened = event_of(event)
        if happened is None:
            raise DataError(
                f"row {row.number} has {event!r} in the column {columns.event!r}",
                where=table.path,
                remedy="Give 1 where the event happened at that time, 0 where it had not happened yet.",
            )
        return until if happened else until + _CENSORED

    return ManifestTarget("survival", ("log_hazard",), read)


def event_of(cell: str) -> bool | None:
    """Whether a cell says yes, no, or neither.

    Example:
        >>> event_of("1:DECEASED"), event_of("False"), event_of("maybe")
        (True, False, None)
    """
    word = cell.strip().casefold()
    first = word.partition(":")[0]  # "1:DECEASED", of cBioPortal
    return True if {word, first} & _YES else False if {word, first} & _NO else None


def _labels(
    table: Table, columns: ManifestColumns, classes: Sequence[str], *, required: bool
) -> ManifestTarget:
    column = next((name for name in (columns.labels, columns.label) if name in table.header), None)
    if column is not None:
        return ManifestTarget("labels", tuple(classes), _list_words(column, tuple(classes)))
    names = tuple(classes) or _flags(table, columns)
    missing = [name for name in names if name not in table.header]
    if (missing or not names) and required:
        raise DataError(
            f"no column {columns.labels!r}, and no column of 0 and 1 for "
            f"{'the label ' + repr(missing[0]) if missing else 'any label'}; the columns are "
            f"{listed(table.header)}",
            where=table.path,
            remedy=f"Add a column {columns.labels} with names separated by semicolons, or a column of 0 and "
            "1 for each label.",
        )

    def read(row: Row) -> str | None:
        found = {name: known(row.cells.get(name)) for name in names}
        events = {name: None if cell is None else event_of(cell) for name, cell in found.items()}
        wrong = [name for name, cell in found.items() if cell is not None and events[name] is None]
        if wrong:
            raise DataError(
                f"row {row.number} has {found[wrong[0]]!r} in the column {wrong[0]!r}",
                where=table.path,
                remedy="Give 1 where the image has the label, 0 where not, nothing where that is unknown.",
            )
        if all(value is None for value in events.values()):
            return None
        has = [name if value else name + _UNKNOWN for name, value in events.items() if value is not False]
        return ";".join(has) or NONE

    return ManifestTarget("labels", names, read)


def _flags(table: Table, columns: ManifestColumns) -> tuple[str, ...]:
    """Columns of 0 and 1 that have no other meaning."""
    taken = set(vars(columns).values())
    rows = table.rows

    def is_flag(name: str) -> bool:
        cells = [cell for row in rows if (cell := known(row.cells.get(name))) is not None]
        return bool(cells) and all(event_of(cell) is not None for cell in cells)

    return tuple(name for name in table.header if name not in taken and is_flag(name))


def _list_words(column: str, names: tuple[str, ...]) -> Callable[[Row], str | None]:
    def read(row: Row) -> str | None:
        cell = row.cells.get(column)
        words = (NONE, *names)
        if cell is None or known(cell, words) is None:
            return None
        parts = dict.fromkeys(part for part in map(str.strip, cell.split(";")) if part)
        has = [part for part in parts if part != NONE or part in names]
        return ";".join(has) or NONE

    return read


def ordered_names(
    kind: str, words: Sequence[str | None], order: Callable[[set[str]], list[str]]
) -> list[str]:
    """The names found in the words of images, where these hold names."""
    given = [word for word in words if word is not None]
    if kind != "labels":
        return order(set(given))
    parts = Counter(part for word in given for part in word.split(";"))
    names = {part.removesuffix(_UNKNOWN) if part[:-1] in parts else part for part in parts}
    return order(names - {NONE})


def truth_cells(kind: str, label: str | None) -> dict[str, str | None]:
    """The columns that hold an image's truth in a manifest that is written, by the names of the defaults."""
    if kind == "survival":
        event = None if label is None else "0" if label.endswith(_CENSORED) else "1"
        return {"time": None if label is None else label.removesuffix(_CENSORED), "event": event}
    return {"label" if kind == "classes" else kind: label}
