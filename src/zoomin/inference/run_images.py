"""The labelled images of a run: those of a split, also where run and images have moved since."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..classifiers import ClassifierConfig
from ..data.config import ManifestColumns
from ..data.find import open_dataset
from ..data.manifest import SPLITS, Manifest, Record, read_manifest
from ..errors import DataError
from ..files import read_json
from ..model.targets import Target, target_of

__all__ = ["RunImages", "evaluation_manifest", "label_options", "run_images", "splits_of_run"]

logger = logging.getLogger(__name__)


class RunImages(NamedTuple):
    """Images of a run, or others to evaluate it on.

    Attributes:
        manifest: the images.
        split: whose they are; "all" for every one.
        trained_on: how many of them the model learned from.
    """

    manifest: Manifest
    split: str
    trained_on: int


def label_options(target: Target | None) -> dict[str, Any]:
    """How to read labels for a model: the arguments `target` and `classes` of `open_dataset`.

    Args:
        target: of the model; None: what the columns say.
    """
    if target is None or target.kind == "classes":
        return {"target": "auto" if target is None else "classes"}
    named = target.kind in ("value", "labels")  # which may be names of columns
    return {"target": target.kind, "classes": target.names if named else None}


def run_images(
    run: str | Path,
    root: str | Path | None = None,
    split: str | None = None,
    config: ClassifierConfig | None = None,
    *,
    group: str | None = None,
    preferred: Sequence[str] = ("test",),
    files_required: bool = True,
) -> RunImages:
    """The labelled images of a split.

    Args:
        run: folder of the run.
        root: images in any layout that training accepts; by default those that the run was trained with.
        split: "train", "val", "test" or "all"; by default the first of `preferred` that there is, else all.
        config: of the model, which says how labels are read; by default the columns do.
        group: the column of a CSV that holds the groups.
        preferred: splits, the best first.
        files_required: whether an image of the run that does not exist is an error.

    Raises:
        DataError: if there are no such images.
    """
    if split not in (None, "all", *SPLITS):
        raise DataError(f"unknown split {split!r}", where="split", remedy="Choose train, val, test or all.")
    folder = Path(run)
    table = folder / "manifest.csv"
    if root is None and not table.is_file():
        raise DataError("no manifest.csv in this run", where=run, remedy="Name the images with --data.root.")
    columns = None if group is None else ManifestColumns(group=group)
    options = label_options(None if config is None else target_of(config))
    if root is None:
        manifest = read_manifest(table, columns, files_required=files_required, **options)
        splits = splits_of_run(folder, manifest)
    else:
        manifest = open_dataset(root, columns=columns, **options)
        splits = [record.split for record in manifest]
    wanted = split or next((name for name in preferred if name in splits), "all")
    chosen = manifest if wanted == "all" else manifest.subset(i for i, s in enumerate(splits) if s == wanted)
    if not len(chosen):
        known = ", ".join(sorted({name for name in splits if name})) or "none"
        raise DataError(
            f"no image in the split {wanted!r}; there are: {known}",
            where=manifest.source,
            remedy="Choose another --split, or all.",
        )
    trained_on = splits.count("train") if root is None and wanted in ("all", "train") else 0
    return RunImages(chosen, wanted, trained_on)


def evaluation_manifest(
    run: str | Path,
    root: str | Path | None = None,
    split: str | None = None,
    config: ClassifierConfig | None = None,
    group: str | None = None,
) -> Manifest:
    """The labelled images to evaluate a run on; warns where the model was trained on some of them.

    Args:
        run: folder of the run.
        root: images in any layout that training accepts; by default those that the run was trained with.
        split: "train", "val", "test" or "all"; by default "test" where there is one, else all.
        config: of the model, which says how labels are read; by default the columns do.
        group: the column of a CSV that holds the groups.

    Raises:
        DataError: if there are no such images.
    """
    found = run_images(run, root, split, config, group=group)
    if found.trained_on:
        logger.warning(
            "%d of these %d images were trained on: the figures say nothing about new images. "
            "Name others with --data.root, or run zoomin crossval.",
            found.trained_on,
            len(found.manifest),
        )
    return found.manifest


def splits_of_run(run: Path, manifest: Manifest) -> list[str | None]:
    """The split of each image of a run, found by the ends of paths where run or images have moved since.

    Args:
        run: its folder.
        manifest: its images.
    """
    if not (run / "splits.json").is_file():
        return [record.split for record in manifest]
    names = read_json(run / "splits.json")
    place = {Path(os.path.normpath(name)).parts: part for part, listed in names.items() for name in listed}

    def find(record: Record) -> str | None:
        parts = Path(os.path.abspath(record.image)).parts  # noqa: PTH100 (resolve() would follow links)
        ends = (place.get(parts[start:]) for start in range(len(parts)))
        return next((part for part in ends if part), None)

    absolute = {Path(os.path.abspath(Path(*parts))).parts: part for parts, part in place.items()}  # noqa: PTH100
    place = {**place, **absolute}
    return [find(record) for record in manifest]
