"""German (GTSDB) and Swedish traffic signs: images without sign, or with a speed limit of 50, 70 or 80.

GTSDB: Houben et al. 2013, free for any purpose. Swedish: Larsson and Felsberg 2011, research use.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from ..data.labels import natural_order
from ..data.manifest import Record
from ..errors import DataError, require
from .boxes import Marked, as_png, read_marked_manifest, with_boxes
from .downloads import check_parts, few, find_folder, need_file
from .prepared import Box, NoSettings, Prepared, boxes_file, finish, new_out

__all__ = [
    "ANY_SIGN",
    "CLASSES",
    "SIGN_WEIGHTS",
    "GtsdbConfig",
    "prepare_gtsdb",
    "prepare_swedish",
]

CLASSES = ("empty", "50", "70", "80")
ANY_SIGN = ("empty", "sign")
SIGN_WEIGHTS = (0.1843, 2.3639, 1.5183, 3.1653)  # published for the Swedish signs
_GTSDB_SPEEDS = {2: "50", 4: "70", 5: "80"}
_GTSDB_IMAGES, _GTSDB_TRAIN = 900, 600
_GTSDB_GET = "Download FullIJCNN2013.zip of the German Traffic Sign Detection Benchmark and unpack it."
_SWEDISH_GET = (
    "Download Set1Part0.zip, Set2Part0.zip and both annotations.txt, and unpack them as Set1 and Set2."
)
_SWEDISH_SPEEDS = {"50_SIGN": "50", "70_SIGN": "70", "80_SIGN": "80"}
_VISIBILITIES = ("VISIBLE", "BLURRED", "SIDE_ROAD", "OCCLUDED")  # the most visible first


class _Sign(NamedTuple):
    """A Swedish sign."""

    box: Box
    kind: str
    visibility: str = ""

    @property
    def area(self) -> float:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True)
class GtsdbConfig:
    """How to prepare GTSDB."""

    task: Literal["speed", "any"] = "speed"
    """What is asked: "speed", no sign or which speed limit, the four classes of the Swedish signs; "any", no
    sign or any sign."""

    def __post_init__(self) -> None:
        """Check the task."""
        require(self.task in ("speed", "any"), "task", self.task, "Choose speed or any.")


def prepare_gtsdb(
    source: Path | str, out: Path | str, config: GtsdbConfig, *, partial: bool = False
) -> Prepared:
    """Prepare the native layout (`gt.txt`, 00000.ppm to 00899.ppm) or `manifest.csv` with `boxes.json`.

    Images without any sign are "empty"; those whose speed limits of 50, 70 and 80 are all of one kind have it
    for a label; the others are left out. Where any sign is asked for, all others are "sign"; a manifest has
    those images alone that it lists. Images 0 to 599 are for training, 600 to 899 for testing. The ROI are
    the boxes of the signs that decide the label.

    Args:
        source: the folder of either layout.
        out: folder of the manifest and annotations, and of the images as PNG; those of `boxes.json` stay
            where they are.
        config: which question the labels answer.
        partial: whether images may be missing.

    Raises:
        DataError: naming what is missing, misnamed or cannot be read.
    """
    classes = CLASSES if config.task == "speed" else ANY_SIGN
    folder = find_folder(source, ("gt.txt", "boxes.json"), what="GTSDB", remedy=_GTSDB_GET)
    out = new_out(out)
    notes: list[str] = []
    if (folder / "gt.txt").is_file():
        signs = _read_gt(folder / "gt.txt")
        wanted = [f"{number:05d}.ppm" for number in range(_GTSDB_IMAGES)]
        found = [path.name for path in folder.glob("*.ppm")]
        names = check_parts(folder, wanted, found, what="GTSDB images", remedy=_GTSDB_GET, partial=partial)
        labels = {name: _gtsdb_label(signs.get(name, []), config.task) for name in names}
        mixed = [name for name, label in labels.items() if label is None]
        if config.task == "speed":
            notes.append(f"{len(mixed)} images have other signs alone, or several speed limits: left out.")
        kept = [name for name, label in labels.items() if label is not None]
        images = as_png([folder / name for name in kept], out / "images", _GTSDB_GET, formats=("PPM",))
        records = [
            Record(image, labels[name], split="train" if int(name[:5]) < _GTSDB_TRAIN else "test")
            for name, image in zip(kept, images, strict=True)
        ]
        signs = {Path(name).with_suffix(".png").name: found for name, found in signs.items()}
    else:
        manifest, signs = read_marked_manifest(folder, CLASSES, kind=int)
        records = list(manifest)
        if config.task == "any":
            records = [replace(r, label=ANY_SIGN[r.label != "empty"]) for r in records]
    records = [_with_boxes(record, signs.get(record.image.name, []), out) for record in records]
    weights = SIGN_WEIGHTS if config.task == "speed" else None
    return finish(out, "gtsdb", records, classes, config, class_weights=weights, notes=notes)


def _with_boxes(record: Record, signs: list[Marked], out: Path) -> Record:
    """The record with the boxes of the signs of its label as ROI.

    Raises:
        DataError: if there is none.
    """
    label, anything = str(record.label), record.label == ANY_SIGN[1]
    deciding = [s.box for s in signs if anything or _GTSDB_SPEEDS.get(int(s.kind)) == label]
    if not deciding and label != "empty":
        raise DataError(
            f"labelled {record.label}, and no box of that sign", where=record.image, remedy="Fix boxes.json."
        )
    return with_boxes(record, label, deciding, [label] * len(deciding), out)


def _gtsdb_label(signs: list[Marked], task: str) -> str | None:
    if task == "any":
        return ANY_SIGN[bool(signs)]
    kinds = {_GTSDB_SPEEDS[int(sign.kind)] for sign in signs if int(sign.kind) in _GTSDB_SPEEDS}
    if not signs:
        return "empty"
    return kinds.pop() if len(kinds) == 1 else None


def _read_gt(path: Path) -> dict[str, list[Marked]]:
    """Lines `00000.ppm;x1;y1;x2;y2;class`."""
    signs: dict[str, list[Marked]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter=";"), start=1):
            if not row:
                continue
            try:
                name, (x1, y1, x2, y2), kind = row[0], map(float, row[1:5]), int(row[5])
            except (ValueError, IndexError) as error:
                raise DataError(
                    f"line {number} is not name;x1;y1;x2;y2;class: {';'.join(row)!r}",
                    where=path,
                    remedy=_GTSDB_GET,
                ) from error
            signs.setdefault(name, []).append(Marked((x1, y1, x2, y2), str(kind)))
    return signs


def prepare_swedish(
    source: Path | str, out: Path | str, config: NoSettings, *, partial: bool = False
) -> Prepared:
    """Prepare Set1 (training) and Set2 (test) with their `annotations.txt`.

    Images with MISC_SIGNS are left out; those without a sign are "empty". Of the speed limits of 50, 70 and
    80 in an image the most visible, then the largest, gives the label if it is VISIBLE; an image with none,
    or none that is visible, is left out. The ROI is the box of that sign.

    Args:
        source: the folder that holds `Set1` and `Set2`, or `Set1Part0` and `Set2Part0`.
        out: folder of the manifest and annotations; images stay where they are.
        config: nothing to choose.
        partial: whether images, or a whole set, may be missing.

    Raises:
        DataError: naming what is missing, misnamed or cannot be read.
    """
    root = find_folder(
        source, ("Set1", "Set1Part0", "Set2", "Set2Part0"), what="Swedish traffic signs", remedy=_SWEDISH_GET
    )
    out = new_out(out)
    records: list[Record] = []
    notes = []
    for number, split in ((1, "train"), (2, "test")):
        folders = [
            root / f"Set{number}",
            root / f"Set{number}Part0",
            root / f"Set{number}" / f"Set{number}Part0",
        ]
        here = [folder for folder in folders if folder.is_dir()]
        if not here:
            if partial:
                notes.append(f"Set{number} is missing: there are no {split} images.")
                continue
            raise DataError(f"Set{number} is missing", where=root, remedy=_SWEDISH_GET)
        table = need_file([folder / "annotations.txt" for folder in here], _SWEDISH_GET)
        signs = _read_swedish(table)
        images = {path.name: path for folder in here for path in folder.glob("*.jpg")}
        names = check_parts(
            here[0],
            list(signs),
            list(images),
            what=f"images of Set{number}",
            remedy=_SWEDISH_GET,
            partial=partial,
        )
        chosen = {name: _swedish_label(signs[name]) for name in natural_order(names)}
        kept = {name: found for name, found in chosen.items() if found is not None}
        notes.append(f"Set{number}: {len(kept)} of {len(names)} images are kept.")
        for name, (label, sign) in kept.items():
            boxes = sign and boxes_file(out / "annotations", Path(name).stem, [sign.box], [label])
            records.append(Record(images[name], label, split=split, annotation=boxes))
    return finish(out, "swedish-signs", records, CLASSES, config, class_weights=SIGN_WEIGHTS, notes=notes)


def _swedish_label(signs: list[_Sign]) -> tuple[str, _Sign | None] | None:
    """The label and the sign that decides it; None where the image is left out."""
    if any(sign.kind == "MISC_SIGNS" for sign in signs):
        return None
    if not signs:
        return "empty", None
    speeds = [sign for sign in signs if sign.kind in _SWEDISH_SPEEDS]
    if not speeds:
        return None
    best = min(speeds, key=lambda sign: (_VISIBILITIES.index(sign.visibility), -sign.area))
    return (_SWEDISH_SPEEDS[best.kind], best) if best.visibility == "VISIBLE" else None


def _read_swedish(path: Path) -> dict[str, list[_Sign]]:
    """Lines `file: VISIBILITY, x1, y1, x2, y2, TYPE, NAME;...`; MISC_SIGNS stands alone."""
    found: dict[str, list[_Sign]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        name, colon, rest = line.partition(":")
        if not colon or not name.strip():
            raise _bad_line(path, number, line)
        found[name.strip()] = list(_swedish_signs(rest, path, number, line))
    if not found:
        raise DataError("no image is listed", where=path, remedy=_SWEDISH_GET)
    return found


def _swedish_signs(text: str, path: Path, number: int, line: str) -> Iterator[_Sign]:
    for entry in filter(None, map(str.strip, text.split(";"))):
        cells = re.split(r"\s*,\s*", entry)
        if cells[0] == "MISC_SIGNS":
            yield _Sign((0, 0, 0, 0), "MISC_SIGNS")
            continue
        try:
            visibility, (xa, ya, xb, yb), kind = cells[0], map(float, cells[1:5]), cells[6]
        except (ValueError, IndexError) as error:
            raise _bad_line(path, number, line) from error
        if visibility not in _VISIBILITIES:
            raise _bad_line(path, number, line)
        yield _Sign((min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)), kind, visibility)


def _bad_line(path: Path, number: int, line: str) -> DataError:
    return DataError(
        f"line {number} is not `file: VISIBILITY, x1, y1, x2, y2, TYPE, NAME;`: {few([line[:80]])!r}",
        where=path,
        remedy="Download annotations.txt again.",
    )
