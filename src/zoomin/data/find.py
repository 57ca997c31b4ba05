"""Find out how a data set is laid out, and read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError, DataError
from ..images.foreign import zarr_folder
from ..images.urls import local_path
from ..runtime.plugins import PlugIn, plug_ins
from .config import ManifestColumns
from .folders import LAYOUTS, read_folders
from .manifest import Manifest, read_manifest

__all__ = ["TABLES", "WORKBOOKS", "open_dataset"]

# By name, as a plug-in: the data sets stand above this floor.
_COLON_CANCER = PlugIn("zoomin.datasets", "colon-cancer", "zoomin.datasets.colon_cancer:recognise", "zoomin")

TABLES = frozenset({".csv", ".tsv", ".txt"})  # others are refused by `open_dataset`, with a remedy
WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xls", ".ods", ".parquet"})


def open_dataset(
    root: Path | str,
    *,
    classes: Sequence[str] | None = None,
    columns: ManifestColumns | None = None,
    target: str = "auto",
    labels_required: bool = True,
) -> Manifest:
    """Read a data set in any accepted layout.

    In this order: a CSV file; a folder with a `manifest.csv`; a layout that an entry point `zoomin.datasets`
    recognises, such as the colon-cancer data as downloaded; a folder for each class.

    Args:
        root: the CSV file or the folder.
        classes: the classes in their order, the negative one first; by default those found, in natural order.
        columns: names of the columns of the CSV.
        target: what is to be learned; "auto": what the columns of the CSV say, else classes.
        labels_required: whether images without any label column or class folder are an error.

    Raises:
        ConfigError: if the columns leave open what is to be learned.
        DataError: if nothing of the kind is found, or what is found cannot be used.
    """
    root = local_path(root)
    if not root.exists():
        raise DataError("no such file or folder", where=root, remedy=f"Check the path. {LAYOUTS}")
    if root.is_file():
        if root.suffix.lower() not in TABLES:
            what = "a workbook, not a CSV" if root.suffix.lower() in WORKBOOKS else "a file that is not a CSV"
            raise DataError(what, where=root, remedy=f"Save it as CSV. {LAYOUTS}")
        return read_manifest(root, columns, classes, target=target, labels_required=labels_required)
    if zarr_folder(root):
        raise DataError(
            "an OME-Zarr, which is one image, not a data set",
            where=root,
            remedy=f"Give a CSV that lists it, or a folder with such images per class. {LAYOUTS}",
        )
    if (root / "manifest.csv").is_file():
        table = root / "manifest.csv"
        return read_manifest(table, columns, classes, target=target, labels_required=labels_required)
    if target not in ("auto", "classes", "grade"):
        raise DataError(
            f"no CSV, which the target {target} needs",
            where=root,
            remedy="Give a manifest CSV whose columns say what each image is.",
        )
    kind = "classes" if target == "auto" else target
    if (manifest := _recognised(root)) is not None:
        manifest = manifest if classes is None else manifest.with_classes(classes)
        return replace(manifest, target=kind)
    try:
        return replace(read_folders(root, classes=classes, labels_required=labels_required), target=kind)
    except DataError as error:
        if error.what != "no image found":
            raise
        inside = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
        shown = ", ".join(inside[:8]) + (f" and {len(inside) - 8} more" if len(inside) > 8 else "")
        raise DataError(
            f"no data set found; the folder holds {shown or 'nothing'}", where=root, remedy=LAYOUTS
        ) from error


def _recognised(root: Path) -> Manifest | None:
    """The data set that one of our own, or a plug-in, recognises: a function, or an object that has one."""
    for plug_in in (_COLON_CANCER, *plug_ins("zoomin.datasets")):
        try:
            found = plug_in.load()
        except ConfigError as error:
            plug_in.warn(error)
            continue
        recognise = getattr(found, "recognise", found)
        manifest: Manifest | None = None if recognise is None else recognise(root)
        if manifest is not None:
            return manifest
    return None
