"""Images with boxes of objects: `boxes.json` beside a manifest, boxes as ROI, images copied as PNG."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image as PillowImage

from ..data.manifest import Manifest, Record, read_manifest
from ..errors import DataError
from ..files import whole_file
from .downloads import need_file
from .prepared import Box, boxes_file

__all__ = ["Marked", "as_png", "read_boxes", "read_marked_manifest", "with_boxes"]


class Marked(NamedTuple):
    """An object in an image.

    Attributes:
        box: x1, y1, x2, y2, level-0 pixels.
        kind: what it is, in the data set's own words.
    """

    box: Box
    kind: str


def read_marked_manifest(
    folder: Path, classes: Sequence[str], kind: Callable[[Any], object] = str
) -> tuple[Manifest, dict[str, list[Marked]]]:
    """`manifest.csv`, and the boxes of its images (`read_boxes`).

    Raises:
        DataError: if either file is missing or of another form.
    """
    table = need_file([folder / "manifest.csv"], "Give the manifest.csv that belongs to boxes.json.")
    found = read_boxes(folder / "boxes.json", kind)
    return read_manifest(table, classes=classes), found


def with_boxes(
    record: Record, label: str | None, boxes: Sequence[Box], names: Sequence[str], out: Path
) -> Record:
    """The image of a record with its label, and boxes as ROI where it has any."""
    name = record.image.stem.strip("()")
    annotation = boxes_file(out / "annotations", name, boxes, names) if boxes else None
    return Record(record.image, label, record.group, record.split, record.mpp, annotation=annotation)


def as_png(
    sources: Sequence[Path],
    folder: Path,
    remedy: str,
    change: Callable[[PillowImage.Image], PillowImage.Image] = lambda image: image,
    formats: tuple[str, ...] | None = None,
) -> list[Path]:
    """Write images as PNG, without loss, those that are there already excepted; their paths.

    Args:
        sources: the images.
        folder: for the PNG.
        remedy: for one that cannot be decoded.
        change: what is done with the pixels.
        formats: those to accept, by Pillow's names; by default any.

    Raises:
        DataError: naming the image that cannot be decoded.
    """

    def copy(source: Path) -> Path:
        path = folder / source.with_suffix(".png").name
        if path.is_file():
            return path
        try:
            with PillowImage.open(source, formats=formats) as image, whole_file(path, sync=False) as part:
                change(image).save(part, format="PNG", compress_level=3)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"cannot be decoded ({error})", where=source, remedy=remedy) from error
        return path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(copy, sources))


def read_boxes(path: Path, kind: Callable[[Any], object] = str) -> dict[str, list[Marked]]:
    """A JSON object from file to boxes [x1, y1, x2, y2, kind]; the keys are the names of the files.

    Args:
        path: of the file.
        kind: checks the fifth value of a box; raises ValueError if it is not a kind.

    Raises:
        DataError: if it is of another form.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            Path(name).name: [
                Marked((float(a), float(b), float(c), float(d)), str(kind(what)))
                for a, b, c, d, what in boxes
            ]
            for name, boxes in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"not an object of boxes [x1, y1, x2, y2, kind] by file ({error})",
            where=path,
            remedy="Download it again.",
        ) from error
