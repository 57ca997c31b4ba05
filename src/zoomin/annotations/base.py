"""What every annotation can do: tell which share of each view pixel is ROI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ..geometry import Region

__all__ = ["Annotation"]


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
