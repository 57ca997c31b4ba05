"""The colon-cancer images of Sirinukunwattana et al. (2016), as downloaded, and the authors' folds."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from ..annotations.nuclei import read_centres
from ..data.labels import natural_order
from ..data.manifest import Manifest, Record
from ..errors import DataError
from .prepared import NoSettings, Prepared, finish, new_out

__all__ = [
    "CLASSES",
    "NamedFold",
    "colon_cancer_folds",
    "find_colon_cancer",
    "fold_indices",
    "prepare_colon_cancer",
    "read_colon_cancer",
    "recognise",
]

CLASSES = ("negative", "positive")
_MPP = 0.55  # the data set's publication: 20x, 0.55 microns per pixel
_N_IMAGES = 100
_NUCLEI = ("epithelial", "fibroblast", "inflammatory", "others")
_DOWNLOAD = "Download CRCHistoPhenotypes_2016_04_28 again and give its folder, or the one above it."


@dataclass(frozen=True)
class NamedFold:
    """One fold of a cross-validation, by file names.

    Attributes:
        train: file names of the training images.
        valid: file names of the images held out.
        labels: 0 or 1 of every file name in the fold.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...]
    labels: dict[str, int]


def find_colon_cancer(root: Path | str) -> Path | None:
    """The folder `Classification` in the folder given, in the one below it, or that folder itself."""
    root = Path(root)
    for folder in (root, root / "Classification", root / "CRCHistoPhenotypes_2016_04_28" / "Classification"):
        if folder.is_dir() and any(folder.glob("img*/img*_epithelial.mat")):
            return folder
    return None


def read_colon_cancer(root: Path | str, *, allow_partial: bool = False) -> Manifest:
    """The 100 images, positive if and only if at least one epithelial nucleus is marked (51 of them).

    Annotations are the centres of epithelial nuclei; the images come in the order of their numbers.

    Args:
        root: `CRCHistoPhenotypes_2016_04_28`, its `Classification`, or the folder above.
        allow_partial: whether fewer than 100 images are accepted.

    Raises:
        DataError: naming what is missing.
    """
    folder = find_colon_cancer(root)
    if folder is None:
        raise DataError("no Classification/imgK/imgK_epithelial.mat found", where=root, remedy=_DOWNLOAD)
    names = natural_order(
        path.name for path in folder.iterdir() if path.is_dir() and re.fullmatch(r"img[0-9]+", path.name)
    )
    missing = [
        f"{name}/{file}"
        for name in names
        for file in (f"{name}.bmp", *(f"{name}_{kind}.mat" for kind in _NUCLEI))
        if not (folder / name / file).is_file()
    ]
    if not allow_partial:
        absent = [f"img{k}" for k in range(1, _N_IMAGES + 1) if f"img{k}" not in set(names)]
        missing = absent + missing
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"missing of the {_N_IMAGES} colon-cancer images: {', '.join(missing[:5])}{more}",
            where=folder,
            remedy=_DOWNLOAD,
        )
    records = [_record(folder / name, name) for name in names]
    return Manifest(tuple(records), CLASSES, folder)


def recognise(root: Path) -> Manifest | None:
    """The data set in a folder as downloaded, None if the folder holds something else.

    Raises:
        DataError: if files are missing.
    """
    return None if find_colon_cancer(root) is None else read_colon_cancer(root)


def prepare_colon_cancer(
    source: Path | str, out: Path | str, config: NoSettings, *, partial: bool = False
) -> Prepared:
    """List the images with the centres of their epithelial nuclei as ROI; see `read_colon_cancer`.

    Args:
        source: `CRCHistoPhenotypes_2016_04_28`, its `Classification`, or the folder above.
        out: folder of the manifest; images and annotations stay where they are.
        config: nothing to choose.
        partial: whether fewer than 100 images are accepted.

    Raises:
        DataError: naming what is missing.
    """
    manifest = read_colon_cancer(source, allow_partial=partial)
    return finish(new_out(out), "colon-cancer", manifest.records, CLASSES, config)


def _record(folder: Path, name: str) -> Record:
    epithelial = folder / f"{name}_epithelial.mat"
    label = CLASSES[int(len(read_centres(epithelial)) > 0)]
    return Record(folder / f"{name}.bmp", label, mpp=_MPP, annotation=epithelial)


def colon_cancer_folds(folder: Path | str, manifest: Manifest | None = None) -> list[NamedFold]:
    """The authors' folds: `labels_histo_{train,valid}_fold_K.csv`, lines such as `img1.bmp,0`.

    Args:
        folder: where the files are.
        manifest: the images; where given, the labels in the folds must agree with theirs.

    Raises:
        DataError: if there are no folds, one half is missing, a line cannot be read, an image is both trained
            on and held out, or labels disagree.
    """
    folder = Path(folder)
    found = {name: folder / name for name in (p.name for p in folder.glob("labels_histo_*_fold_*.csv"))}
    numbers = natural_order({re.sub(r".*_fold_(.*)\.csv", r"\1", name) for name in found})
    if not numbers:
        raise DataError(
            "no labels_histo_train_fold_1.csv found", where=folder, remedy="Give the folder of the folds."
        )
    folds = []
    for number in numbers:
        train, valid = (
            _read_fold(folder / f"labels_histo_{part}_fold_{number}.csv") for part in ("train", "valid")
        )
        both = natural_order(train.keys() & valid.keys())
        if both:
            raise DataError(
                f"{both[0]} is both trained on and held out in fold {number}",
                where=folder,
                remedy="Fix the fold.",
            )
        folds.append(NamedFold(tuple(train), tuple(valid), {**train, **valid}))
    if manifest is not None:
        fold_indices(manifest, folds)
    return folds


def fold_indices(
    manifest: Manifest, folds: Sequence[NamedFold]
) -> list[tuple[Int[Tensor, " train"], Int[Tensor, " held"]]]:
    """The folds as places in the manifest, (train, held out) each, as `splits.kfold` gives them.

    Raises:
        DataError: if a fold names an image that the manifest lacks, or its label disagrees.
    """
    place = {record.image.name: index for index, record in enumerate(manifest)}
    targets = manifest.targets().tolist()
    for number, fold in enumerate(folds, start=1):
        for name, label in fold.labels.items():
            if name not in place:
                raise DataError(
                    f"fold {number} names {name}, which is not there", where=manifest.source, remedy=_DOWNLOAD
                )
            if targets[place[name]] != label:
                raise DataError(
                    f"fold {number} labels {name} {label}, its nuclei say {targets[place[name]]}",
                    where=manifest.source,
                    remedy="Use the folds and the annotations of one release.",
                )
    return [
        (
            torch.tensor([place[name] for name in fold.train], dtype=torch.int64),
            torch.tensor([place[name] for name in fold.valid], dtype=torch.int64),
        )
        for fold in folds
    ]


def _read_fold(path: Path) -> dict[str, int]:
    """The label, 0 or 1, of each file name."""
    if not path.is_file():
        raise DataError(
            "one half of a fold is missing", where=path, remedy="Give both its train and valid files."
        )
    labels: dict[str, int] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row:
                continue
            if len(row) != 2 or row[1].strip() not in ("0", "1"):
                raise DataError(
                    f"line {number} is not `name,0` or `name,1`: {','.join(row)!r}",
                    where=path,
                    remedy="Fix it.",
                )
            labels[row[0].strip()] = int(row[1])
    return labels
