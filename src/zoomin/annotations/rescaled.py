"""An annotation in the coordinates of an image that is read at another resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from ..geometry import Region
from .annotation import Annotation, views_of

__all__ = ["BoxAnnotation", "RescaledAnnotation"]


@runtime_checkable
class BoxAnnotation(Annotation, Protocol):
    """An annotation that can be read at fractional corners."""

    def read_boxes(
        self, boxes: Float64[np.ndarray, "n 4"], rows: int, columns: int
    ) -> Float[Tensor, "n rows columns"]:
        """The share of ROI in views of boxes x, y, width, height, level-0 pixels."""
        ...


class RescaledAnnotation:
    """An annotation of the stored image, for the same image brought to another resolution.

    Args:
        source: the annotation, in pixels of the stored image.
        height: of the image as it is read, in its own level-0 pixels.
        width: likewise.
        factor: stored pixels per pixel of the image as it is read; by default the ratio of the two sizes.

    Example:
        >>> from zoomin.annotations.mask import MaskAnnotation
        >>> stored = MaskAnnotation(np.array([[True, False]] * 2), height=2, width=2)
        >>> RescaledAnnotation(stored, height=1, width=1).read([Region(0, 0, 1, 1)], 1.0)
        tensor([[[0.5000]]])
    """

    def __init__(self, source: BoxAnnotation, height: int, width: int, factor: float | None = None) -> None:
        """Keep the source."""
        self.source = source
        self.height = height
        self.width = width
        self.factor = (source.width / width, source.height / height) if factor is None else (factor, factor)

    @property
    def empty(self) -> bool:
        """Whether there is no ROI at all."""
        return bool(getattr(self.source, "empty", False))

    def read(self, regions: Sequence[Region], scale: float) -> Float[Tensor, "n h w"]:
        """The share of ROI in each view pixel; see `Annotation.read`."""
        return self.read_boxes(*views_of(regions, scale))

    def read_boxes(
        self, boxes: Float64[np.ndarray, "n 4"], rows: int, columns: int
    ) -> Float[Tensor, "n rows columns"]:
        """The share of ROI in views of boxes, in pixels of the image as it is read."""
        return self.source.read_boxes(boxes * np.tile(self.factor, 2), rows, columns)
