"""What every annotation can do: tell which share of each view pixel is ROI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from ..errors import DataError
from ..geometry import Region, view_size

__all__ = ["Annotation", "Views", "views_of"]


@runtime_checkable
class Annotation(Protocol):
    """The ROI of one image, readable at any region and scale.

    Attributes:
        height: of the image, level-0 pixels.
        width: of the image, level-0 pixels.
    """

    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102

    def read(self, regions: Sequence[Region], scale: float) -> Float[Tensor, "n h w"]:
        """The share of ROI, 0 to 1, in each view pixel of regions of one size.

        The geometry is that of `Image.read`: pixel (i, j) of a view of h by w pixels covers the box
        [i H/h, (i+1) H/h) x [j W/w, (j+1) W/w) of its region of H by W level-0 pixels. Beyond the border
        there is no ROI.

        Raises:
            DataError: if the regions are not of one size, or the annotation cannot be read.
        """
        ...


class Views(NamedTuple):
    """What regions of one size are at a scale.

    Attributes:
        boxes: x, y, width, height of each, level-0 pixels.
        rows: of a view.
        columns: of a view.
    """

    boxes: Float64[np.ndarray, "n 4"]
    rows: int
    columns: int


def views_of(regions: Sequence[Region], scale: float, where: str | None = None) -> Views:
    """The views of regions of one size.

    Raises:
        DataError: if they are of several sizes, or there is none.
    """
    sizes = {(region.height, region.width) for region in regions}
    if len(sizes) != 1:
        what, remedy = f"{len(sizes)} sizes of region in one read", "Read regions of one size."
        raise DataError(what, where=where, remedy=remedy)
    height, width = sizes.pop()
    boxes = np.array([[r.x, r.y, r.width, r.height] for r in regions], dtype=np.float64)
    return Views(boxes, view_size(height, scale), view_size(width, scale))
