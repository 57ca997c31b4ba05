"""What preparing a data set leaves behind: manifest, annotations, and a note of what it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import shapely

from ..annotations.geojson import write_geojson
from ..annotations.polygons import Outline
from ..data.manifest import SPLITS, Manifest, Record, write_manifest
from ..errors import DataError
from ..files import write_json
from ..progress import track
from .journal import UNFINISHED

__all__ = ["DataSet", "Prepared", "boxes_file", "finish", "in_threads", "new_out"]

Item = TypeVar("Item")
Made = TypeVar("Made")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready for training.

    Attributes:
        manifest: its images.
        class_weights: weight of each class that its publication uses, or None.
        notes: what a user should know: parts that were left out, and why.
    """

    manifest: Manifest
    class_weights: tuple[float, ...] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of images by split ("-" where there is none) and class."""
        found: dict[str, dict[str, int]] = {}
        for split in (*SPLITS, None):
            part = [record for record in self.manifest if record.split == split]
            if part:
                found[split or "-"] = {
                    name: sum(record.label == name for record in part) for name in self.manifest.classes
                }
        return found


class _Prepare(Protocol):
    def __call__(self, source: str, out: str, config: Any, *, partial: bool) -> Prepared: ...  # noqa: ANN401


@dataclass(frozen=True)
class NoSettings:
    """A data set without settings: nothing to choose."""


def _as_downloaded(source: str, out: str, config: Any, *, partial: bool) -> Prepared:  # noqa: ANN401
    raise DataError(
        "this data set is read as it was downloaded",
        where=source,
        remedy=f"Train with: zoomin train --data.root {source}",
    )


class DataSet(NamedTuple):
    """A published data set. A package adds one by the entry point `zoomin.datasets` (docs/extend.md).

    Attributes:
        summary: one line for `zoomin data prepare --help`.
        config: dataclass of the settings of `prepare`.
        prepare: from the download to a manifest; by default there is nothing to prepare.
        miniature: writes made-up content in the layout of the download, from a random generator; the name of
            such a layout in `miniatures.MINIATURES`; or None.
        recognise: the manifest of a folder in the layout of the download, None for any other folder.
    """

    summary: str
    config: type = NoSettings
    prepare: _Prepare = _as_downloaded
    miniature: str | Callable[[Path, np.random.Generator], None] | None = None
    recognise: Callable[[Path], Manifest | None] | None = None

    @property
    def needs_preparing(self) -> bool:
        """Whether a download is prepared before it is read."""
        return self.prepare is not _as_downloaded


def new_out(out: Path | str) -> Path:
    """Make the folder that a data set is prepared into, and mark it as unfinished.

    Raises:
        DataError: if it is a file, or holds other things than a data set, prepared before or begun.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise DataError("a file, not a folder", where=out, remedy="Give another --out.")
    known = any((out / mark).is_file() for mark in ("data_set.json", UNFINISHED))
    if out.is_dir() and any(out.iterdir()) and not known:
        raise DataError(
            "the folder contains something other than a prepared data set",
            where=out,
            remedy="Give a new or an empty --out.",
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / UNFINISHED).touch()
    return out


def in_threads(
    make: Callable[[Item], Made], items: Sequence[Item], what: str, progress: bool | None = None
) -> list[Made]:
    """What each item gives, in order, made in as many threads as there are processors.

    Args:
        make: is called with an item.
        items: in order.
        what: is done, for the progress bar.
        progress: show it; by default where messages go to a terminal.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(track(pool.map(make, items), what, total=len(items), shown=progress))


def boxes_file(folder: Path, image: str, boxes: Sequence[Box], names: Sequence[str]) -> Path:
    """Write boxes x1, y1, x2, y2 of an image (level-0 pixels) as GeoJSON, in a file named after the image."""
    path = folder / f"{image}.geojson"
    outlines = [Outline(shapely.box(*box), name) for box, name in zip(boxes, names, strict=True)]
    write_geojson(path, outlines, sync=False)
    return path


def finish(
    out: Path,
    name: str,
    records: Sequence[Record],
    classes: Sequence[str],
    config: Any,  # noqa: ANN401 (a dataclass of the data set)
    *,
    class_weights: tuple[float, ...] | None = None,
    notes: Sequence[str] = (),
) -> Prepared:
    """Write `manifest.csv` and `data_set.json` (settings, counts, class weights, notes).

    Raises:
        DataError: if there is no image.
    """
    if not records:
        raise DataError("no image is left after the selection", where=out, remedy="Check the source.")
    prepared = Prepared(Manifest(tuple(records), tuple(classes), out), class_weights, tuple(notes))
    note = {
        "data_set": name,
        "classes": list(classes),
        "class_weights": class_weights,
        "images": prepared.counts,
        "settings": asdict(config),
        "notes": list(notes),
    }
    write_json(out / "data_set.json", note)
    write_manifest(prepared.manifest, out / "manifest.csv")
    (out / UNFINISHED).unlink(missing_ok=True)
    return prepared
