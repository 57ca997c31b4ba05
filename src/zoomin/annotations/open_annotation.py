"""Open whatever annotation an image has."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from ..errors import DataError
from .base import Annotation
from .mask import MaskAnnotation
from .nuclei import NucleiAnnotation, read_centres

__all__ = ["Annotated", "open_annotation"]

_MASKS = {".png", ".tif", ".tiff", ".bmp", ".gif"}


@runtime_checkable
class Annotated(Protocol):
    """Something that may name annotation files, such as a record of a manifest.

    Attributes:
        annotation: path of nucleus centres or of a mask, or None.
        mask: path of a mask image, or None.
    """

    @property
    def annotation(self) -> Path | None: ...  # noqa: D102
    @property
    def mask(self) -> Path | None: ...  # noqa: D102


def open_annotation(record: Annotated, height: int, width: int) -> Annotation | None:
    """The ROI of an image: its mask, else its annotation, else None.

    Args:
        record: names the files.
        height: of the image, level-0 pixels.
        width: of the image, level-0 pixels.

    Returns:
        An annotation, empty where the file holds no ROI; None where no file is named.

    Raises:
        DataError: if the file is missing, of an unknown kind, or cannot be read.
    """
    if record.mask is not None:
        return MaskAnnotation(record.mask, height, width)
    path = record.annotation
    if path is None:
        return None
    if path.suffix.lower() == ".mat":
        return NucleiAnnotation(read_centres(path), height, width, name=str(path))
    if path.suffix.lower() in _MASKS:
        return MaskAnnotation(path, height, width)
    raise DataError(
        f"annotations of the kind {path.suffix!r} cannot be read",
        where=path,
        remedy="Give nucleus centres (.mat) or a mask image (.png, .tif).",
    )
