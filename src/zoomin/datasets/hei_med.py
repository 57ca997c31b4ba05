"""HEI-MED: 169 fundus photographs of 4.3 megapixels; is there an exudate?

Giancardo et al., Medical Image Analysis 16(1), 2012. Its terms: exclusively non-commercial research; cite the
paper. One image per patient. The exudates of an image cover 0.2 % of it (median).
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int
from scipy.ndimage import find_objects

from ..data.labels import natural_order
from ..data.manifest import Record
from ..errors import DataError
from .boxes import Marked, read_marked_manifest, with_boxes
from .downloads import check_parts, find_folder, need_file
from .prepared import NoSettings, Prepared, finish, new_out

__all__ = ["CLASSES", "prepare_hei_med"]

CLASSES = ("no_exudate", "exudate")
_IN_MANIFEST = ("none", "exudate")  # as others wrote it: without these classes "none" is no label
_IMAGES = 169
_DECIDES = "Exudate"
_GET = "Clone https://github.com/lgiancaUTH/HEI-MED (337 MB); its folder DMED holds the images."


def prepare_hei_med(
    source: Path | str, out: Path | str, config: NoSettings, *, partial: bool = False
) -> Prepared:
    """Prepare the native layout (`DMED/*.jpg`, `.map.gz`, `.GND`) or `manifest.csv` with `boxes.json`.

    Images in which an exudate is segmented are "exudate", all others, with other lesions or with none, are
    "no_exudate". The ROI are the boxes of the segmented exudates. The split of a manifest is kept; in the
    native layout, which has none, two in five images of each class test, in the order of their names.

    Args:
        source: the folder of either layout.
        out: folder of the manifest and annotations; images stay where they are.
        config: nothing to choose.
        partial: whether images may be missing.

    Raises:
        DataError: naming what is missing, misnamed or cannot be read.
    """
    folder = find_folder(source, ("DMED", "boxes.json"), what="HEI-MED", remedy=_GET)
    out = new_out(out)
    if (folder / "boxes.json").is_file():
        given, found = read_marked_manifest(folder, _IN_MANIFEST)
        records = [replace(one, label=CLASSES[one.label == "exudate"]) for one in given]
    else:
        images = _images(folder / "DMED", partial=partial)
        found = {image.name: _lesions(image) for image in images}
        labels = [any(map(_decides, found[image.name])) for image in images]
        records = [
            Record(image, CLASSES[label], split=_split(labels[:place].count(label)))
            for place, (image, label) in enumerate(zip(images, labels, strict=True))
        ]
    records = [_with_boxes(record, found.get(record.image.name, []), out) for record in records]
    return finish(out, "hei-med", records, CLASSES, config)


def _split(place: int) -> str:
    """Of an image by its place among those of its class."""
    return "test" if place % 5 in (1, 3) else "train"


def _decides(lesion: Marked) -> bool:
    return lesion.kind == _DECIDES


def _with_boxes(record: Record, lesions: list[Marked], out: Path) -> Record:
    """The record with the boxes of its exudates as ROI.

    Raises:
        DataError: if its label says otherwise.
    """
    boxes = [lesion.box for lesion in lesions if _decides(lesion)]
    if bool(boxes) != (record.label == CLASSES[1]):
        raise DataError(
            f"labelled {record.label}, with {len(boxes)} boxes of exudates",
            where=record.image,
            remedy="Fix boxes.json or manifest.csv.",
        )
    return with_boxes(record, record.label, boxes, [_DECIDES] * len(boxes), out)


def _images(folder: Path, *, partial: bool) -> list[Path]:
    """The photographs; their names follow no rule, so that they are counted."""
    names = natural_order([path.name for path in folder.glob("*.jpg")])
    absent = [f"number {place}" for place in range(len(names) + 1, _IMAGES + 1)]
    wanted = [*names, *absent]
    check_parts(folder, wanted, names, what="HEI-MED images", remedy=_GET, partial=partial)
    return [folder / name for name in names]


def _lesions(image: Path) -> list[Marked]:
    """What is segmented in an image; nothing where it has no map."""
    maps = [path for path in (image.with_suffix(".map.gz"), image.with_suffix(".map")) if path.is_file()]
    if not maps:
        return []
    kinds = _kinds(need_file([image.with_suffix(".GND")], _GET))
    found = []
    for number, place in enumerate(find_objects(_map(maps[0]), max_label=len(kinds))):
        if place is not None:
            (y1, y2), (x1, x2) = ((side.start, side.stop) for side in place)
            found.append(Marked((float(x1), float(y1), float(x2), float(y2)), kinds[number]))
    return found


def _kinds(path: Path) -> list[str]:
    """The kind of each segment: after their number comes one line per segment, its kind and a certainty."""
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
        start = 1 if lines[0].upper().startswith("GNDVERSION") else 0
        count = int(float(lines[start]))
        named = lines[start + 1 : start + 1 + count]
        if len(named) < count:
            raise ValueError(f"{len(named)} of {count} segments are named")
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"not a list of segments ({error})", where=path, remedy=_GET) from error
    return [line.rstrip(" 0123456789") for line in named]


def _map(path: Path) -> Int[np.ndarray, "h w"]:
    """The number of the segment that each pixel belongs to, 0 for none: integers after three of a head."""
    try:
        stored = path.read_bytes()
        values = np.frombuffer(gzip.decompress(stored) if path.suffix == ".gz" else stored, dtype="<i4")
        width, height = values[1:3].tolist()
        return values[3:].reshape(height, width)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"not a map of segments ({error})", where=path, remedy=_GET) from error
