"""Does anything but the picture tell the classes apart: size, format, encoder, quality of the files?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..metrics.intervals import auroc_influence, auroc_interval, group_numbers
from .check import Checked

__all__ = ["FEWEST", "Leak", "file_facts", "leaks"]

FEWEST = 10  # images, or groups, of a class: with fewer, chance alone tells classes apart
_CLEAR = 0.6  # AUROC that the lower end of an interval must exceed
_SOFTWARE = 305  # tag of TIFF and EXIF
_MEANING = {
    "file size": "how large the files are",
    "bytes per pixel": "how strongly the files are compressed",
    "width": "how wide the images are",
    "height": "how high the images are",
    "pixels": "how large the images are",
    "mpp": "at which resolution the images were scanned",
    "JPEG quality": "with which JPEG quality the files were written",
    "format": "in which format the files were written",
    "compression": "how the files were compressed",
    "colour mode": "in which colour mode the files were written",
    "program": "which program wrote the files",
}

Value = float | str | None


class Leak(NamedTuple):
    """A property of the files that tells a class from the others.

    Attributes:
        name: of the property.
        value: for names such as a format, the one that tells; "" for numbers.
        label: the class.
        area: AUROC of the property for the class, 0.5 or more.
        low: lower end of its 95 % interval.
        higher: whether the class has the higher numbers, or more of the value.
    """

    name: str
    value: str
    label: str
    area: float
    low: float
    higher: bool

    def __str__(self) -> str:
        """The property, how well it tells the classes apart, and what that means."""
        if self.value:
            how = "more frequent" if self.higher else "less frequent"
            what = f"{self.name} {self.value!r} is {how} in {self.label!r}"
        else:
            what = f"{self.name} is {'higher' if self.higher else 'lower'} in {self.label!r}"
        return (
            f"{what}: it alone tells the class with an AUROC of {self.area:.2f} (at least {self.low:.2f}). "
            f"A model can learn {_MEANING[self.name]} instead of what they show: "
            "make the images of all classes alike."
        )


def leaks(rows: Sequence[Checked]) -> list[Leak]:
    """The properties of files that tell classes apart beyond doubt, the clearest first, each once.

    Args:
        rows: of the checked images; those without label or size do not count.
    """
    rows = [row for row in rows if row.label and row.width is not None]
    facts = [_facts(row) for row in rows]
    labels = np.array([row.label for row in rows])
    groups = group_numbers([row.group or None for row in rows])
    found: dict[str, Leak] = {}
    classes = sorted(set(labels.tolist()))
    for label in classes[-1:] if len(classes) == 2 else classes:
        for name in _MEANING:
            for value, scores, known in _scores([one.get(name) for one in facts]):
                own = None if groups is None else groups[known]
                leak = _leak(name, value, label, scores, labels[known] == label, own)
                if leak is not None and (name not in found or leak.low > found[name].low):
                    found[name] = leak
    return sorted(found.values(), key=lambda leak: -leak.low)


def _scores(values: Sequence[Value]) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.bool_]]]:
    """The numbers of a property and where they are known; of names, whether each is there."""
    known = np.array([value is not None for value in values], dtype=bool)
    texts = sorted({value for value in values if isinstance(value, str)})
    if not texts:
        yield "", np.array([float(value) for value in values if value is not None]), known
    elif len(texts) <= 20:
        for text in texts:
            yield text, np.array([float(value == text) for value in values if value is not None]), known


def _leak(
    name: str,
    value: str,
    label: str,
    scores: NDArray[np.float64],
    positive: NDArray[np.bool_],
    groups: NDArray[np.int64] | None,
) -> Leak | None:
    for side in (positive, ~positive):
        if (int(side.sum()) if groups is None else len(np.unique(groups[side]))) < FEWEST:
            return None
    area, influence = auroc_influence(scores, positive)
    ends = auroc_interval(area, influence, positive.astype(np.int64), groups).ends
    if ends is None or not (ends[0] > _CLEAR or ends[1] < 1 - _CLEAR):
        return None
    higher = area > 0.5
    return Leak(name, value, label, area if higher else 1 - area, ends[0] if higher else 1 - ends[1], higher)


def _facts(row: Checked) -> dict[str, Value]:
    assert row.width is not None and row.height is not None
    pixels = row.width * row.height
    try:
        size: float | None = float(Path(row.image).stat().st_size)
    except OSError:
        size = None
    return {
        "file size": size,
        "bytes per pixel": None if size is None else size / pixels,
        "width": float(row.width),
        "height": float(row.height),
        "pixels": float(pixels),
        "mpp": row.mpp,
        "format": row.format or None,
        "compression": row.compression or None,
        **file_facts(Path(row.image)),
    }


def file_facts(path: Path) -> dict[str, Value]:
    """What the head of a picture tells: JPEG quality, colour mode, program; nothing of slides."""
    try:
        with PillowImage.open(path) as image:
            tables = getattr(image, "quantization", None)
            software = image.getexif().get(_SOFTWARE) or image.info.get("Software")
            return {
                "JPEG quality": _quality(tables[0]) if tables and 0 in tables else None,
                "colour mode": image.mode,
                "program": str(software).strip() if software else "(not told)",
            }
    except (OSError, ValueError, SyntaxError, TypeError, PillowImage.DecompressionBombError):
        return {}


_LUMINANCE = np.array(  # of quality 50 (JPEG, annex K), in the order of rows; only its sum counts
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 "
    "103 99".split(),
    dtype=np.float64,
)


def _quality(table: Sequence[int]) -> float:
    """The quality from 1 to 100 that libjpeg makes such a table of."""
    scale = 100 * float(np.sum(table)) / float(_LUMINANCE.sum())
    return round((200 - scale) / 2 if scale <= 100 else 5000 / scale, 1)
