"""The list of images to learn from or to evaluate: one record per image, read from and written to CSV."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from jaxtyping import Int, Shaped
from torch import Tensor

from ..errors import ConfigError, DataError
from ..files import write_csv
from ..images.physical import microns
from ..images.urls import SCHEMES_REMEDY, exists, local_path, path_text, unread_scheme, url_of
from ..model.targets import Target, target_named
from .config import ManifestColumns
from .csv_table import Row, Table, listed, name_the_column, read_table
from .labels import class_order, known, plain_number, same_name
from .slide_files import check_slides
from .truth import ManifestTarget, manifest_target, ordered_names, truth_cells

__all__ = [
    "SPLITS",
    "Manifest",
    "ManifestColumns",
    "Record",
    "check_groups",
    "read_manifest",
    "split_name",
    "write_manifest",
]

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
_SPLIT_ALIASES = {"valid": "val", "validation": "val", **{name: name for name in SPLITS}}
_WHAT = {"labels": "label among", "grade": "grade"}  # a name is called, in messages
_MISSING = {"value": "value", "grade": "grade", "survival": "time or event"}  # what an empty cell lacks
_SHOWN = 5  # examples given in a message about many rows
_LONGEST_NAME = 255  # bytes


@dataclass(frozen=True)
class Record:
    """One image and what is known about it.

    Attributes:
        image: path of the image.
        label: name of its class, or None where unknown; for another kind of target its words (`truth`).
        group: what must stay on one side of every split, usually the patient.
        split: "train", "val", "test", or None where the manifest leaves it open.
        mpp: microns per level-0 pixel, overriding the file's own; None to trust the file.
        annotation: path of the ROI: polygons (GeoJSON, ASAP XML), nucleus centres, or a mask image.
        mask: path of a mask image, nonzero inside the ROI.
        foreground: path of what holds the image's foreground, such as its tissue: a mask image or polygons.
        series: which image of a TIFF that holds several, by number or name; None for the main one.
        row: line of the manifest file, for messages; None for records that come from elsewhere.
    """

    image: Path
    label: str | None
    group: str | None = None
    split: str | None = None
    mpp: float | None = None
    annotation: Path | None = None
    mask: Path | None = None
    foreground: Path | None = None
    series: str | None = None
    row: int | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> str:
        """The image and its row, for messages."""
        shown = path_text(self.image)
        return shown if self.row is None else f"{shown} (row {self.row})"


@dataclass(frozen=True)
class Manifest:
    """Records and the order of their classes.

    The place of a class in `classes` is its index in logits and targets. Index 0 is the class that the
    contrastive loss takes for "negative: no object in the image". The order is that of `labels.class_order`
    ("-1" before "1", "2" before "10"); no name is guessed to be the negative one: where the first of them is
    not, give the order with `classes`.

    Attributes:
        records: one per image.
        classes: names of the classes, the negative one first.
        source: the file or folder that the records come from.
        target: what the labels are: classes, labels, value, grade or survival.

    Example:
        >>> records = (Record(Path("a.png"), "tumour"), Record(Path("b.png"), "healthy"))
        >>> manifest = Manifest(records, classes=("healthy", "tumour"), source=Path("demo.csv"))
        >>> manifest.targets().tolist(), len(manifest.subset([1]))
        ([1, 0], 1)
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    source: Path
    target: str = "classes"

    @classmethod
    def of(
        cls,
        records: Iterable[Record],
        source: Path,
        classes: Sequence[str] | None = None,
        target: str = "classes",
    ) -> Manifest:
        """A manifest whose classes are those found, in natural order, or the ones given.

        Raises:
            DataError: if a record's label is not among the classes given.
        """
        records = tuple(records)
        found = ordered_names(target, [record.label for record in records], class_order)
        manifest = cls(records, tuple(found), source, target)
        return manifest if classes is None else manifest.with_classes(classes)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        """The records, in order."""
        return iter(self.records)

    def kind(self) -> Target:
        """The kind of target, with the names of this manifest."""
        return target_named(self.target, self.classes)

    def targets(self) -> Shaped[Tensor, "images ..."]:
        """What each image is, as numbers: the index of its class, or what `model.targets` says.

        Raises:
            DataError: at the first image whose label is missing or unknown.
        """
        kind = self.kind()
        for record in self.records:
            if record.label is None or not kind.fits(record.label):
                raise self._label_error(record)
        return kind.truth([record.label for record in self.records])

    def counts(self) -> dict[str, int]:
        """Number of images of each class, in the order of `classes`; of a number, of all that have it."""
        kind = self.kind()
        if not kind.has_probabilities:
            return {self.classes[0]: sum(record.label is not None for record in self.records)}
        if not kind.picks_one:
            has = kind.truth([record.label for record in self.records]) > 0
            return dict(zip(self.classes, has.sum(0).tolist(), strict=True))
        count = Counter(record.label for record in self.records)
        return {name: count[name] for name in self.classes}

    def subset(self, indices: Iterable[int] | Int[Tensor, " n"]) -> Manifest:
        """The records at these places, with the same classes."""
        chosen = indices.tolist() if isinstance(indices, Tensor) else indices
        return replace(self, records=tuple(self.records[index] for index in chosen))

    def with_classes(self, classes: Sequence[str]) -> Manifest:
        """The same records with the classes, and their order, of a trained model or of the user's choice.

        Raises:
            DataError: if a class is named twice, or a record's label is not among them.
        """
        twice = [name for name, count in Counter(classes).items() if count > 1]
        if twice:
            raise DataError(
                f"class {twice[0]!r} is named twice", where="classes", remedy="Name each class once."
            )
        kind = target_named(self.target, classes)
        same = {same_name(name): name for name in classes} if kind.picks_one else {}
        records = tuple(
            record
            if record.label is None or record.label in classes
            else replace(record, label=same.get(same_name(record.label), record.label))
            for record in self.records
        )
        manifest = replace(self, records=records, classes=tuple(classes))
        for record in manifest.records:
            if record.label is not None and not kind.fits(record.label):
                raise manifest._label_error(record)
        return manifest

    def _label_error(self, record: Record) -> DataError:
        what = _MISSING.get(self.target, "label")
        if record.label is None:
            return DataError(
                f"the image {record.place} has no {what}",
                where=self.source,
                remedy=f"Fill in its {what} or drop it.",
            )
        return DataError(
            f"the image {record.place} has the unknown {_WHAT.get(self.target, 'class')} {record.label!r}; "
            f"known: {listed(self.classes)}",
            where=self.source,
            remedy="Fix the label, or drop the images of classes that the model does not know.",
        )


def split_name(name: str) -> str | None:
    """The split that a column entry or a folder names: "train", "val" or "test"; None for any other name.

    Example:
        >>> split_name("Validation"), split_name("tumour")
        ('val', None)
    """
    return _SPLIT_ALIASES.get(name.strip().casefold())


def read_manifest(
    path: Path | str,
    columns: ManifestColumns | None = None,
    classes: Sequence[str] | None = None,
    *,
    target: str = "auto",
    labels_required: bool = True,
    files_required: bool = True,
    groups_checked: bool = True,
) -> Manifest:
    """Read a CSV of images.

    UTF-8 with or without byte order mark, separated by comma, semicolon or tab (the one under which the image
    column is found in the header). Paths are relative to the folder of the CSV. Cells that are empty, blank
    or say NA, NaN, none or null mean "unknown"; whole numbers are one class however written (1, 1.0).

    Args:
        path: the CSV file.
        columns: names of the columns; only the image column is always needed.
        classes: the classes in their order, the negative one first; by default those found, in natural order.
        target: what is to be learned; "auto": what the columns say (`truth.manifest_target`).
        labels_required: whether a missing label column is an error.
        files_required: whether a file that does not exist is an error.
        groups_checked: whether a group in two splits is an error.

    Raises:
        ConfigError: if the columns leave open what is to be learned.
        DataError: naming file, row and remedy, whenever the file cannot be trusted: missing or empty file, no
            image or label column, a row of another length, an image twice, a group in two splits, an
            unknown split, an `mpp` that is not a positive number, files that do not exist.
    """
    path = Path(path)
    columns = columns or ManifestColumns()
    table = read_table(path, columns.image, "image")
    truth = manifest_target(table, columns, target, classes or (), required=labels_required)
    _check_header(table, columns, labels_required and truth.kind == "classes")
    records = tuple(_record(row, columns, path, truth) for row in table.rows)
    if not records:
        raise DataError("no image is listed", where=path, remedy="Add one row per image below the header.")
    _check_duplicates(records, path)
    if groups_checked:
        check_groups(records, path)
        check_slides(records, path)
        _warn_of_alike_groups(records, path)
    if files_required:
        _check_files(records, path)
    return Manifest.of(records, path, classes or truth.names or None, truth.kind)


def write_manifest(manifest: Manifest, path: Path | str) -> None:
    """Write a CSV that `read_manifest` reads back to the same records.

    Paths below the folder of the CSV are written relative to it, so that the two can move together, others in
    full. Optional columns are written where a record fills them. The order of classes is not part of a CSV.
    """
    path = Path(path)
    folder = path.parent.resolve()
    names = [f.name for f in fields(Record) if f.name not in ("image", "label", "row")]
    used = [n for n in names if any(getattr(r, n) is not None for r in manifest)]
    header = ["image", *truth_cells(manifest.target, None), *used]
    rows = (
        [
            _cell(record.image, folder),
            *(cell or "" for cell in truth_cells(manifest.target, record.label).values()),
            *(_cell(getattr(record, name), folder) for name in used),
        ]
        for record in manifest
    )
    write_csv(path, header, rows)


def check_groups(records: Sequence[Record], source: Path) -> None:
    """Check that no group stands in two splits.

    Raises:
        DataError: naming the group and the rows.
    """
    seen: dict[str, Record] = {}
    for record in records:
        if record.group is None or record.split is None:
            continue
        first = seen.setdefault(record.group, record)
        if first.split != record.split:
            raise DataError(
                f"the group {record.group!r} is in two splits: {first.place} in {first.split}, "
                f"{record.place} in {record.split}",
                where=source,
                remedy="Put all images of a group into one split.",
            )


def _warn_of_alike_groups(records: Sequence[Record], source: Path) -> None:
    """Warn of two groups that may be one: Excel drops leading zeros, people write P1 and p1."""
    seen: dict[str, str] = {}
    for group in dict.fromkeys(record.group for record in records if record.group is not None):
        plain = group.casefold().lstrip("0") or "0"
        if (other := seen.setdefault(plain, group)) != group:
            logger.warning(
                "%s: the groups %r and %r differ in nothing but their case or leading zeros: if they are "
                "one, write them alike, or a split may separate their images",
                path_text(source),
                other,
                group,
            )
            return


def _check_header(table: Table, columns: ManifestColumns, is_needed: bool) -> None:
    """Labels are needed where asked for, and every column that the user has named."""
    for f in fields(ManifestColumns):
        name = getattr(columns, f.name)
        needed = f.name == "label" and is_needed
        if name not in table.header and (needed or name != f.default):
            raise DataError(
                f"no column {name!r}; the columns are {listed(table.header)}",
                where=table.path,
                remedy=name_the_column(f.name),
            )


def _record(row: Row, columns: ManifestColumns, path: Path, truth: ManifestTarget) -> Record:
    def cell(name: str) -> str | None:
        found = row.cells.get(getattr(columns, name))
        return found if name == "image" else known(found)

    def file(name: str) -> Path | None:
        found = cell(name)
        if found is None:
            return None
        if url_of(found) is not None:
            return Path(found)
        if "://" in found and (scheme := unread_scheme(found)) is not None:
            what = f"row {row.number} names {found}, whose scheme {scheme} is not read"
            raise DataError(what, where=path, remedy=SCHEMES_REMEDY)
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in Path(found).parts):
            raise DataError(
                f"row {row.number} names a file in more than {_LONGEST_NAME} characters ({found[:40]}...)",
                where=path,
                remedy="Check the column: no file system has such names.",
            )
        return path.parent / local_path(found)

    image, split, mpp = file("image"), cell("split"), cell("mpp")
    if image is None:
        raise DataError(
            f"row {row.number} names no image", where=path, remedy="Fill in the path or drop the row."
        )
    if split is not None and split_name(split) is None:
        raise DataError(
            f"row {row.number} has the unknown split {split!r}", where=path, remedy="Use train, val or test."
        )
    return Record(
        image=image,
        label=truth.words(row),
        group=None if (group := cell("group")) is None else plain_number(group),
        split=None if split is None else split_name(split),
        mpp=None if mpp is None else _positive(mpp, row.number, path),
        annotation=file("annotation"),
        mask=file("mask"),
        foreground=file("foreground"),
        series=cell("series"),
        row=row.number,
    )


def _positive(text: str, row: int, path: Path) -> float:
    try:
        return microns(text)
    except ConfigError as error:
        raise DataError(
            f"row {row} has the mpp {text!r}, which is not a positive number",
            where=path,
            remedy='Give microns per pixel with a decimal point, metres as "0.6m", or leave the cell empty.',
        ) from error


def _check_duplicates(records: Sequence[Record], path: Path) -> None:
    seen: dict[str, Record] = {}
    for record in records:
        first = seen.setdefault(os.path.normcase(os.path.normpath(record.image)), record)
        if first is not record:
            raise DataError(
                f"the image {path_text(record.image)} is listed twice, in rows {first.row} and {record.row}",
                where=path,
                remedy="Keep one of the two rows.",
            )


def _check_files(records: Sequence[Record], path: Path) -> None:
    for name in ("image", "annotation", "mask", "foreground"):
        paths = [(getattr(record, name), record.row) for record in records]
        missing = [f"{file} (row {row})" for file, row in paths if file is not None and not exists(file)]
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise DataError(
                f"{len(missing)} of {len(records)} {name} files do not exist: "
                f"{', '.join(missing[:_SHOWN])}{more}",
                where=path,
                remedy="Paths are relative to the folder of the CSV: fix them, or drop these rows.",
            )


def _cell(value: object, folder: Path) -> str:
    if isinstance(value, Path):
        if (url := url_of(value)) is not None:
            return url
        absolute = Path(os.path.abspath(value))  # noqa: PTH100 (names, not what links lead to)
        for base in (folder, Path(os.path.abspath(folder))):  # noqa: PTH100
            if absolute.is_relative_to(base):
                return absolute.relative_to(base).as_posix()
        return absolute.as_posix()
    return "" if value is None else str(value)
