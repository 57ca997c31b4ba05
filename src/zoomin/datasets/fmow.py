"""The subset of the Functional Map of the World that the paper uses (supplement E).

Ten categories; 1,500 training images drawn at random; all validation images of the categories for testing.
Christie et al. 2018, Functional Map of the World Challenge Public License.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.labels import natural_order
from ..data.manifest import Record
from ..errors import DataError, require_all
from .downloads import check_parts, few, find_folder
from .prepared import Prepared, boxes_file, finish, new_out

__all__ = ["CATEGORIES", "FmowConfig", "prepare_fmow"]

CATEGORIES = (
    "airport",
    "amusement_park",
    "aquaculture",
    "archaeological_site",
    "barn",
    "border_checkpoint",
    "burial_site",
    "car_dealership",
    "construction_site",
    "crop_field",
)
_GET = "Download fMoW-rgb (s3://spacenet-dataset/Hosted-Datasets/fmow/fmow-rgb) with train and val."


@dataclass(frozen=True)
class FmowConfig:
    """How to prepare the fMoW subset."""

    n_train: int = 1500
    """Training images, drawn at random from those of the ten categories; 1500 is the paper's."""

    seed: int = 0
    """Seed of the draw."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        needs = {"n_train": (self.n_train >= 1, "at least 1"), "seed": (self.seed >= 0, "at least 0")}
        require_all(self, needs)


def prepare_fmow(
    source: Path | str, out: Path | str, config: FmowConfig, *, partial: bool = False
) -> Prepared:
    """Prepare `train/CATEGORY/CATEGORY_N/CATEGORY_N_K_rgb.jpg` and `val/...`, each with its .json.

    An image's group is its place on earth, `CATEGORY_N`. The ROI are the bounding boxes of its JSON, and its
    resolution the ground sample distance there.

    Args:
        source: the folder that holds `train` and `val`.
        out: folder of the manifest and annotations; images stay where they are.
        config: how many training images.
        partial: whether categories, JSON files or training images may be missing.

    Raises:
        DataError: naming what is missing, misnamed or cannot be read.
    """
    root = find_folder(source, ("train", "val"), what="fMoW", remedy=_GET)
    out = new_out(out)
    found = {split: _images(root / split, partial) for split in ("train", "val")}
    rng = np.random.default_rng([config.seed, 11])
    if len(found["train"]) < config.n_train and not partial:
        raise DataError(
            f"{len(found['train'])} training images of the ten categories, {config.n_train} are to be drawn",
            where=root / "train",
            remedy=f"{_GET} Or give a smaller --n_train, or --partial true.",
        )
    chosen = rng.permutation(len(found["train"]))[: config.n_train]
    found["train"] = [found["train"][place] for place in sorted(chosen.tolist())]
    records = []
    for split, images in (("train", found["train"]), ("test", found["val"])):
        for image in images:
            records.append(_record(image, split, out, partial))
    return finish(out, "fmow", records, CATEGORIES, config)


def _images(folder: Path, partial: bool) -> list[Path]:
    here = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    known = [name for name in here if name in CATEGORIES]  # the data set has 53 more
    found = known if len(known) == len(CATEGORIES) else here
    names = check_parts(folder, CATEGORIES, found, what="categories of fMoW", remedy=_GET, partial=partial)
    images = []
    for name in names:
        below = {path.name: path for path in (folder / name).glob("*/*_rgb.jpg")}
        if not below and not partial:
            raise DataError("no image *_rgb.jpg in this category", where=folder / name, remedy=_GET)
        images += [below[image] for image in natural_order(below)]
    return images


def _record(image: Path, split: str, out: Path, partial: bool) -> Record:
    label, group = image.parent.parent.name, image.parent.name
    notes = image.with_suffix(".json")
    if not notes.is_file():
        if partial:
            return Record(image, label, group=group, split=split)
        raise DataError(f"{notes.name} is missing beside its image", where=image, remedy=_GET)
    try:
        metadata = json.loads(notes.read_text(encoding="utf-8"))
        gsd = float(metadata["gsd"])
        boxes = [
            (box["category"], [float(side) for side in box["box"]]) for box in metadata["bounding_boxes"]
        ]
        corners = [(x, y, x + w, y + h) for category, (x, y, w, h) in boxes if category == label]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"gsd or bounding_boxes cannot be read ({error!r})", where=notes, remedy=_GET
        ) from error
    if not corners:
        other = few(sorted({category for category, _ in boxes}))
        raise DataError(f"no box of {label}, boxes of {other or 'nothing'}", where=notes, remedy=_GET)
    annotation = boxes_file(out / "annotations" / split, image.stem, corners, [label] * len(corners))
    return Record(image, label, group=group, split=split, mpp=gsd * 1e6, annotation=annotation)
