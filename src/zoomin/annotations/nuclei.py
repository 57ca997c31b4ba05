"""An ROI given by the centres of nuclei, each standing for a disc."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..geometry import Region
from .mask import MaskAnnotation
from .matlab import read_arrays

__all__ = ["NucleiAnnotation", "read_centres"]


class NucleiAnnotation:
    """The discs around nucleus centres, drawn at level 0 when first read.

    A pixel is ROI if its centre, at (x + 0.5, y + 0.5), lies within the radius of a nucleus centre.

    Args:
        centres: (n, 2) array with the columns x, y, level-0 pixels.
        height: of the image, level-0 pixels.
        width: of the image, level-0 pixels.
        radius: of a disc, level-0 pixels; 12 pixels are a whole nucleus at 0.5 microns per pixel.
        name: what to call the annotation in messages.

    Raises:
        DataError: if the centres are not (n, 2), or the radius is not positive.

    Example:
        >>> annotation = NucleiAnnotation(np.array([[10.0, 20.0]]), height=40, width=40, radius=5.0)
        >>> round(float(annotation.read([Region(0, 0, 40, 40)], scale=1.0).sum()))
        80
    """

    def __init__(
        self,
        centres: NDArray[np.generic],
        height: int,
        width: int,
        *,
        radius: float = 12.0,
        name: str = "nuclei",
    ) -> None:
        """Keep the centres."""
        if centres.ndim != 2 or centres.shape[1] != 2:
            raise DataError(
                f"nucleus centres of the shape {centres.shape}",
                where=name,
                remedy="Give one row x, y per nucleus.",
            )
        if not radius > 0:
            raise DataError(f"a radius of {radius} pixels", where=name, remedy="Give a positive radius.")
        self.centres = centres.astype(np.float64)
        self.height = height
        self.width = width
        self.radius = radius
        self.name = name

    @property
    def empty(self) -> bool:
        """Whether there is no ROI at all."""
        return self._mask.empty

    def read(self, regions: Sequence[Region], scale: float) -> Float[Tensor, "n h w"]:
        """The share of each view pixel that lies in a disc; see `Annotation.read`."""
        return self._mask.read(regions, scale)

    def read_boxes(
        self, boxes: Float64[np.ndarray, "n 4"], rows: int, columns: int
    ) -> Float[Tensor, "n rows columns"]:
        """The share of discs in views of boxes x, y, width, height, level-0 pixels."""
        return self._mask.read_boxes(boxes, rows, columns)

    @cached_property
    def _mask(self) -> MaskAnnotation:
        reach = math.ceil(self.radius) + 1
        offset = np.arange(-reach, reach + 1)
        corner = np.floor(self.centres).astype(np.int64)
        y = (corner[:, 1, None] + offset)[:, :, None]
        x = (corner[:, 0, None] + offset)[:, None, :]
        away = np.hypot(y + 0.5 - self.centres[:, 1, None, None], x + 0.5 - self.centres[:, 0, None, None])
        inside = (away <= self.radius) & (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        y, x = np.broadcast_arrays(y, x)
        mask = np.zeros((self.height, self.width), dtype=bool)
        mask[y[inside], x[inside]] = True
        return MaskAnnotation(mask, self.height, self.width, name=self.name)


def read_centres(path: Path | str) -> NDArray[np.float64]:
    """The nucleus centres in a MATLAB file with the variable `detection`: (n, 2), columns x, y.

    Raises:
        DataError: if the file is missing, is not a MATLAB file, or holds no such variable.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("no such annotation", where=path, remedy="Check the path.")
    try:
        found = read_arrays(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"not a readable MATLAB file ({error})", where=path, remedy="Download or export the file again."
        ) from error
    if "detection" not in found:
        names = ", ".join(found) or "none"
        raise DataError(
            f"no variable 'detection'; the variables are: {names}",
            where=path,
            remedy="Give the detection file.",
        )
    centres = found["detection"]
    if centres is None:
        raise DataError("'detection' holds no numbers", where=path, remedy="Give one row x, y per nucleus.")
    if centres.size == 0:
        return np.zeros((0, 2))
    if centres.ndim != 2 or centres.shape[1] != 2:
        raise DataError(
            f"'detection' has the shape {centres.shape}", where=path, remedy="Give one row x, y per nucleus."
        )
    places = centres.astype(np.float64)
    if not np.isfinite(places).all():
        raise DataError("a nucleus centre is not a number", where=path, remedy="Remove its row.")
    return places
