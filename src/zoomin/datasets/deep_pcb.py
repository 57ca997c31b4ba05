"""DeepPCB: 3,000 crops of circuit boards, 640 x 640; is there a defect, or one of a kind?

Tang et al., On-line PCB Defect Detector On A New PCB Defect Dataset, 2019 (arXiv 1902.06197). MIT licence;
its README adds: for research only. 1,500 tested crops and the 1,500 clean templates aligned with them; most
defects were drawn by the authors. A defect's box covers 0.29 % of an image (median). The crops are of eleven
boards.

As downloaded, the file tells the label: templates were compressed less, and are the larger of 97 % of the
pairs. Black and white without what the compression added, they do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image as PillowImage

from ..data.labels import natural_order
from ..data.manifest import Record
from ..errors import DataError, require
from .boxes import Marked, as_png, read_marked_manifest, with_boxes
from .downloads import check_parts, find_folder
from .prepared import Prepared, finish, new_out

__all__ = ["CLASSES", "KINDS", "DeepPcbConfig", "prepare_deep_pcb"]

CLASSES = ("clean", "defect")
KINDS = ("open", "short", "mousebite", "spur", "copper", "pinhole")  # numbered from 1 in the download
_SPLITS = {
    "group20085": "test",
    "group50600": "test",
    "group90100": "test",
    "group12300": "val",
    "group77000": "val",
}
_PAIRS = 1500
_THRESHOLD = 128  # between black and white
_GET = "Clone https://github.com/tangsanli5201/DeepPCB; its folder PCBData holds the images."


@dataclass(frozen=True)
class DeepPcbConfig:
    """How to prepare DeepPCB."""

    kind: Literal["any", "open", "short", "mousebite", "spur", "copper", "pinhole"] = "any"
    """The defect that is asked for: "any"; or one kind, and images with others alone count as clean."""

    def __post_init__(self) -> None:
        """Check the kind."""
        known = ("any", *KINDS)
        require(self.kind in known, "kind", self.kind, f"Choose one of {', '.join(known)}.")


def prepare_deep_pcb(
    source: Path | str, out: Path | str, config: DeepPcbConfig, *, partial: bool = False
) -> Prepared:
    """Prepare the native layout (`PCBData`) or `manifest.csv` with `boxes.json`.

    An image is "defect" where a defect of the wanted kind is marked, and else "clean". A board is a group;
    three boards test, two validate, six train. The ROI are the boxes of the wanted defects.

    Args:
        source: the folder of either layout.
        out: folder of the manifest and annotations, and of the images of the native layout, thresholded, as
            PNG; those of `boxes.json` stay where they are.
        config: which defect is asked for.
        partial: whether images may be missing.

    Raises:
        DataError: naming what is missing, misnamed or cannot be read.
    """
    folder = find_folder(source, ("PCBData", "boxes.json"), what="DeepPCB", remedy=_GET)
    out = new_out(out)
    if (folder / "boxes.json").is_file():
        manifest, found = read_marked_manifest(folder, CLASSES)
        records = list(manifest)
    else:
        pairs = _pairs(folder / "PCBData", partial=partial)
        found = {f"{text.stem}_test.png": _read_text(text) for text in pairs}
        files = [image for text in pairs for image in _images(text)]
        images = as_png(files, out / "images", _GET, _black_and_white)
        groups = [image.parents[1].name for image in files]
        records = [
            Record(image, None, group, _SPLITS.get(group, "train"))
            for image, group in zip(images, groups, strict=True)
        ]
    records = [_labelled(record, found.get(record.image.name, []), config.kind, out) for record in records]
    return finish(out, "deep-pcb", records, CLASSES, config)


def _labelled(record: Record, defects: list[Marked], kind: str, out: Path) -> Record:
    """The record with its label, and the boxes of the wanted defects as ROI."""
    wanted = [defect for defect in defects if kind in ("any", defect.kind)]
    label = CLASSES[bool(wanted)]
    return with_boxes(
        record, label, [defect.box for defect in wanted], [defect.kind for defect in wanted], out
    )


def _pairs(folder: Path, *, partial: bool) -> list[Path]:
    """The lists of the defects of each pair of images whose images are there."""
    texts = {str(path.relative_to(folder)): path for path in folder.glob("group*/*_not/*.txt")}
    names = natural_order(texts)
    absent = [f"pair {place}" for place in range(len(names) + 1, _PAIRS + 1)]
    wanted = [*names, *absent]
    present = check_parts(folder, wanted, names, what="lists of defects", remedy=_GET, partial=partial)
    pairs = [texts[name] for name in present]
    files = [str(image.relative_to(folder)) for text in pairs for image in _images(text)]
    here = [name for name in files if (folder / name).is_file()]
    there = set(check_parts(folder, files, here, what="DeepPCB images", remedy=_GET, partial=partial))
    return [text for text in pairs if all(str(i.relative_to(folder)) in there for i in _images(text))]


def _images(text: Path) -> tuple[Path, Path]:
    """The tested image and the template that a list of defects belongs to."""
    folder = text.parents[1] / text.parent.name.removesuffix("_not")
    return folder / f"{text.stem}_test.jpg", folder / f"{text.stem}_temp.jpg"


def _read_text(path: Path) -> list[Marked]:
    """Lines `x1 y1 x2 y2 kind`, with the number of the kind."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            x1, y1, x2, y2, kind = re.split(r"[\s,]+", line.strip())
            box = (float(x1), float(y1), float(x2), float(y2))
            found.append(Marked(box, KINDS[range(1, 7).index(int(kind))]))
        except (ValueError, IndexError) as error:
            raise DataError(
                f"line {number} is not x1 y1 x2 y2 kind: {line!r}", where=path, remedy=_GET
            ) from error
    return found


def _black_and_white(image: PillowImage.Image) -> PillowImage.Image:
    """A bit per pixel."""
    return image.convert("L").point([255 * (value >= _THRESHOLD) for value in range(256)], mode="1")
