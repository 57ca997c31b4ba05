"""`boxes.json`: the boxes of objects, by image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from .prepared import Box

__all__ = ["Marked", "read_boxes"]


class Marked(NamedTuple):
    """An object in an image.

    Attributes:
        box: x1, y1, x2, y2, level-0 pixels.
        kind: what it is, in the data set's own words.
    """

    box: Box
    kind: str


def read_boxes(path: Path, kind: Callable[[Any], object] = str) -> dict[str, list[Marked]]:
    """A JSON object from file to boxes [x1, y1, x2, y2, kind]; the keys are the names of the files.

    Args:
        path: of the file.
        kind: checks what stands fifth in a box: raises ValueError on what is none.

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
