"""The data sets of the experiments: where to get them, and how they are made ready at each scale."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..datasets import downloads
from ..datasets.miniatures import make_miniature
from ..datasets.registry import PUBLISHED
from ..errors import ConfigError, DataError
from .experiment import Changes, Scale

__all__ = ["SOURCES", "DataSource", "make_ready"]


@dataclass(frozen=True)
class DataSource:
    """A data set of the paper.

    Attributes:
        prepare: key of `PUBLISHED`.
        get: where it comes from.
        folds: whether it is cross-validated, having no test split.
        miniature: settings of the preparation in a miniature.
        mini: of every recipe on the miniature.
        options: settings of the preparation at every scale.
    """

    prepare: str
    get: str
    folds: bool = False
    miniature: Changes = field(default_factory=dict)
    mini: Changes = field(default_factory=dict)
    options: Changes = field(default_factory=dict)

    def folders(self, name: str) -> tuple[str, ...]:
        """What its folder may be called among several downloads: its name, or that of the archive."""
        names = (name, self.prepare, name.replace("-", "_"), self.prepare.replace("-", "_"))
        return *dict.fromkeys(names), self.get.split()[0]


_CAMELYON = "CAMELYON16 (https://camelyon16.grand-challenge.org, GigaDB 100439, s3://camelyon-dataset)"
_SMALL = {"train.contrastive_from_epoch": 2, "train.learning_rate": 1e-3, "train.evaluation_replicates": 2}

SOURCES: dict[str, DataSource] = {
    "colon-cancer": DataSource(
        "colon-cancer",
        "CRCHistoPhenotypes_2016_04_28 (University of Warwick, TIA centre), with the authors' ten folds in "
        "colon_cancer_folds beside it where there are any",
        folds=True,
        mini={**_SMALL, "train.epochs": 12},
    ),
    "needle-mnist": DataSource(
        "needle-mnist",
        "the four idx files of MNIST, such as train-images-idx3-ubyte.gz",
        miniature={"n_train": 16, "n_val": 8, "n_test": 8, "canvas": 256},
        mini={**_SMALL, "train.epochs": 6, "model.tile_size": 64, "model.n_samples": 8},
    ),
    "needle-camelyon": DataSource(
        "needle-camelyon",
        _CAMELYON,
        miniature={
            "train_metastases": 3,
            "val_metastases": 2,
            "test_metastases": 2,
            "n_train": 12,
            "n_val": 6,
            "n_test": 6,
            "crop": 512,
        },
        mini={**_SMALL, "train.epochs": 6, "model.n_samples": 10, "model.features": "lenet_released"},
    ),
    "traffic-signs": DataSource(
        "swedish-signs",
        "the Swedish traffic signs, Set1 and Set2 (https://www.cvl.isy.liu.se/research/trafficSigns), or the "
        "German Traffic Sign Detection Benchmark, FullIJCNN2013",
        mini={
            **_SMALL,
            "train.epochs": 6,
            "train.class_weights": "balanced",
            "data.batch_size": 4,
            "data.val_fraction": 0.0,  # two images of each class
            "model.sub_tile_size": 32,
            "model.features": "lenet_released",
        },
    ),
    "gtsdb-any": DataSource(
        "gtsdb",
        "the German Traffic Sign Detection Benchmark, FullIJCNN2013",
        mini={"data.batch_size": 4},
        options={"task": "any"},
    ),
    "gtsdb": DataSource(
        "gtsdb", "the German Traffic Sign Detection Benchmark, FullIJCNN2013", mini={"data.batch_size": 4}
    ),
    "hei-med": DataSource("hei-med", "HEI-MED (https://github.com/lgiancaUTH/HEI-MED)"),
    "deep-pcb": DataSource("deep-pcb", "DeepPCB (https://github.com/tangsanli5201/DeepPCB)"),
    "fmow": DataSource(
        "fmow",
        "fMoW-rgb with train and val (https://github.com/fMoW/dataset)",
        mini={
            **_SMALL,
            "train.epochs": 6,
            "data.batch_size": 8,
            "model.tile_size": 100,
            "model.features": "lenet_released",
        },
    ),
    "camelyon16": DataSource(
        "camelyon16",
        _CAMELYON,
        mini={
            **_SMALL,
            "train.epochs": 4,
            "data.val_fraction": 0.3,
            "model.tile_size": 400,
            "model.sub_tile_size": 48,
            "model.n_samples": 12,
            "model.features": "lenet_released",
        },
    ),
}


def make_ready(
    name: str, scale: Scale, out: Path, data: Path | None, options: Mapping[str, Any], partial: bool
) -> Path:
    """Prepare a data set, unless it is.

    Args:
        name: key of `SOURCES`.
        scale: "mini" makes the miniature of the download first; "paper" takes the download.
        out: folder to prepare into.
        data: the download, or a folder prepared before.
        options: settings of the preparation that are not the default.
        partial: continue if parts of the download are missing.

    Returns:
        What `data.root` shall be.

    Raises:
        ConfigError: if an option is not known.
        DataError: naming what is missing, and where to get it.
    """
    source = SOURCES[name]
    options = {**source.options, **options}
    if (out / "manifest.csv").is_file():
        return out
    if scale == "mini":
        download = out.parent / f"{name}-miniature"
        if not download.is_dir():
            make_miniature(PUBLISHED[source.prepare].miniature, download)
        with _silent_downloads():  # of a miniature all but a few are missing
            return _prepare(source.prepare, download, out, {**source.miniature, **options}, partial=True)
    if data is None:
        raise DataError(
            f"{name} at the scale of the paper needs the data set",
            where="--data",
            remedy=f"Get {source.get}; give its folder by --data, or one in which it is called {name}. "
            "Or try --scale mini.",
        )
    if not data.is_dir():
        raise DataError(
            "no such folder", where=data, remedy=f"Give the folder of the download by --data: {source.get}."
        )
    if (data / "data_set.json").is_file():
        return data
    kind = "gtsdb" if name == "traffic-signs" and _is_german(data) else source.prepare
    return _prepare(kind, data, out, options, partial=partial)


@contextmanager
def _silent_downloads() -> Iterator[None]:
    """No warnings about missing parts of a download."""
    level = downloads.logger.level
    downloads.logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        downloads.logger.setLevel(level)


def _is_german(data: Path) -> bool:
    names = ("gt.txt", "FullIJCNN2013", "boxes.json")
    return any((data / name).exists() for name in names)


def _prepare(kind: str, download: Path, out: Path, options: Mapping[str, Any], *, partial: bool) -> Path:
    data_set = PUBLISHED[kind]
    if unknown := sorted(set(options) - {f.name for f in fields(data_set.config)}):
        known = ", ".join(f.name for f in fields(data_set.config)) or "nothing"
        raise ConfigError(
            f"unknown settings {', '.join(unknown)}", where=f"--prepare of {kind}", remedy=f"Known: {known}."
        )
    data_set.prepare(str(download), str(out), data_set.config(**options), partial=partial)
    return out
