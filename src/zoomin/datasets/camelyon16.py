"""Camelyon16: 399 slides of lymph nodes, with and without metastases of breast cancer.

Ehteshami Bejnordi et al. 2017, CC0. Scanners differ in resolution: state scales in microns per pixel, never
by level.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..data.manifest import Record
from ..errors import DataError
from .downloads import check_parts, find_folder, need_file
from .prepared import Prepared, finish, new_out

__all__ = ["CLASSES", "PARTIALLY_ANNOTATED", "Camelyon16Config", "Slide", "find_slides", "prepare_camelyon16"]

CLASSES = ("normal", "tumor")
PARTIALLY_ANNOTATED = frozenset(  # the data set's README: tumour that is not outlined may be there too
    [
        f"tumor_{n:03d}"
        for n in (10, 15, 18, 20, 25, 29, 33, 34, 44, 46, 51, 54, 55, 56, 67, 79, 85, 92, 95, 110)
    ]
    + ["test_114"]
)
_NORMAL = [f"normal_{n:03d}" for n in range(1, 161) if n != 86]  # 86 was misclassified: it is tumor_111
_TUMOR = [f"tumor_{n:03d}" for n in range(1, 112)]
_TEST = [f"test_{n:03d}" for n in range(1, 131) if n != 49]  # 49 was a duplicate
_GET = "Download CAMELYON16 (GigaDB 100439, or s3://camelyon-dataset) with training, testing and annotations."


@dataclass(frozen=True)
class Camelyon16Config:
    """How to prepare Camelyon16."""

    partial_annotations: bool = False
    """Keep the annotations of slides that are only partially annotated; off, because a loss on pixels would
    take unmarked tumour for normal tissue."""


class Slide(NamedTuple):
    """A slide of the data set.

    Attributes:
        image: path of the .tif.
        label: "normal" or "tumor".
        split: "train" or "test".
        annotation: path of the XML, None for a normal slide.
    """

    image: Path
    label: str
    split: str
    annotation: Path | None

    @property
    def partially_annotated(self) -> bool:
        """Whether there may be tumour outside its outlines."""
        return self.image.stem.lower() in PARTIALLY_ANNOTATED


def prepare_camelyon16(
    source: Path | str, out: Path | str, config: Camelyon16Config, *, partial: bool = False
) -> Prepared:
    """List the slides, 270 for training and 129 for testing, with the XML of their lesions as ROI.

    Normal slides have no annotation; nor have the 21 that are only partially annotated (see `config`).

    Args:
        source: the folder that holds `training` and `testing`.
        out: folder of the manifest; slides and annotations stay where they are.
        config: what to do with partial annotations.
        partial: whether slides, or a whole part, may be missing.

    Raises:
        DataError: naming what is missing, misnamed or cannot be read.
    """
    slides = find_slides(source, partial=partial)
    out = new_out(out)
    left_out = [slide.image.stem for slide in slides if slide.partially_annotated]
    keep = config.partial_annotations
    records = [
        Record(
            slide.image,
            slide.label,
            split=slide.split,
            annotation=slide.annotation if keep or not slide.partially_annotated else None,
        )
        for slide in slides
    ]
    notes = [f"Partially annotated, {'kept' if keep else 'left without annotation'}: {', '.join(left_out)}."]
    return finish(out, "camelyon16", records, CLASSES, config, notes=notes if left_out else ())


def find_slides(source: Path | str, *, partial: bool = False) -> list[Slide]:
    """The slides in the native layout, training before testing.

    `training/normal/normal_*.tif`, `training/tumor/tumor_*.tif`, `testing/images/test_*.tif`,
    `testing/reference.csv` (lines such as test_001,Tumor,IDC,Macro), and XML in `lesion_annotations`, in
    `training` and `testing` or beside them.

    Args:
        source: the folder that holds `training` and `testing`, or the one above.
        partial: whether slides, or a whole part, may be missing.

    Raises:
        DataError: naming what is missing, misnamed or cannot be read.
    """
    root = find_folder(source, ("training", "testing"), what="Camelyon16", remedy=_GET)
    slides = []
    for label, wanted in (("normal", _NORMAL), ("tumor", _TUMOR)):
        images = _images(root / "training" / label, wanted, f"{label} training slides", partial)
        for name, image in images.items():
            slides.append(
                Slide(image, label, "train", _xml(root, "training", name) if label == "tumor" else None)
            )
    tests = _images(root / "testing" / "images", _TEST, "test slides", partial)
    if tests:
        truth = _read_reference(need_file([root / "testing" / "reference.csv", root / "reference.csv"], _GET))
        unknown = [name for name in tests if name not in truth]
        check_parts(
            root / "testing",
            list(tests),
            list(truth) if unknown else list(tests),
            what="rows of reference.csv",
            remedy=_GET,
        )
        for name, image in tests.items():
            label = truth[name]
            slides.append(
                Slide(image, label, "test", _xml(root, "testing", name) if label == "tumor" else None)
            )
    if not slides:
        raise DataError("no slide found", where=root, remedy=_GET)
    return slides


def _images(folder: Path, wanted: list[str], what: str, partial: bool) -> dict[str, Path]:
    found = {path.stem.lower(): path for path in sorted(folder.glob("*.tif"))} if folder.is_dir() else {}
    if partial and not found:
        return {}
    names = check_parts(folder, wanted, list(found), what=what, remedy=_GET, partial=partial)
    return {name: found[name] for name in names}


def _xml(root: Path, part: str, name: str) -> Path:
    """The annotation of a slide with tumour."""
    names = (f"{name}.xml", f"{name.capitalize()}.xml")
    folders = (root / part / "lesion_annotations", root / "lesion_annotations", root / "annotations")
    return need_file(
        [folder / file for folder in folders for file in names], f"Unpack lesion_annotations.zip. {_GET}"
    )


def _read_reference(path: Path) -> dict[str, str]:
    """Lines `test_001,Tumor,...`, with or without header: the label of each slide."""
    labels = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row or (number == 1 and not row[0].lower().startswith("test_")):
                continue
            label = row[1].strip().lower() if len(row) > 1 else ""
            if label not in CLASSES:
                raise DataError(
                    f"line {number} is not `test_001,Normal` or `test_001,Tumor`: {','.join(row)!r}",
                    where=path,
                    remedy=_GET,
                )
            labels[Path(row[0].strip().lower()).stem] = label
    return labels
