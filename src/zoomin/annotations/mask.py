"""An ROI drawn as a mask image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ChannelsError, DataError, ImageError, PlanesError
from ..geometry import Region
from ..images.foreign import zarr_folder
from ..images.formats.decode import decode_values, image_head
from ..images.formats.gdal import driver_of, has_world_file, opened
from ..images.formats.map_place import georeference_of
from ..images.georeference import Georeference
from ..images.summed_area import SummedArea
from .annotation import views_of
from .frames import Frame, apart, place_in

__all__ = ["MaskAnnotation"]

_NUMPY = b"\x93NUMPY"
_ONE_PLANE = (
    "A mask is one plane. Save what any of them marks as ROI: tifffile.imwrite(OUT, (tifffile.imread(IN) "
    "!= 0).any(axis=0).astype('uint8')); or one alone: tifffile.imwrite(OUT, tifffile.imread(IN, key=0))."
)
_NOISE = 1e-6  # what is left of sums that cancel, in mask pixels


class MaskAnnotation:
    """A mask of the image's size, or smaller by one factor along both sides; nonzero is ROI.

    What is stored counts, not what is seen: palette images by their index, "white is zero" like "black is
    zero", colour images by any nonzero channel (transparency aside, unless nothing else was drawn). What a
    GeoTIFF declares as missing is not ROI. A mask on a map has to cover its image.

    Args:
        mask: (h, w) array of bool or integers, or the path of a mask image, read when first needed.
        height: of the image, level-0 pixels.
        width: of the image, level-0 pixels.
        name: what to call the mask in messages, by default its path.
        place: where the image lies on a map.

    Raises:
        DataError: if the mask does not fit the image, or lies elsewhere (for a path: when first read).

    Example:
        >>> mask = np.zeros((4, 8), dtype=bool)
        >>> mask[:, :4] = True
        >>> annotation = MaskAnnotation(mask, height=4, width=8)
        >>> annotation.read([Region(2, 0, 4, 4)], scale=0.25)
        tensor([[[0.5000]]])
    """

    def __init__(
        self,
        mask: NDArray[np.generic] | Path | str,
        height: int,
        width: int,
        *,
        name: str | None = None,
        place: Georeference | None = None,
    ) -> None:
        """Keep the mask or its path; an array is checked at once."""
        self._place = place
        self.height = height
        self.width = width
        self._mask = mask if isinstance(mask, np.ndarray) else Path(mask)
        self.name = name or (str(mask) if isinstance(self._mask, Path) else "mask")
        if isinstance(self._mask, np.ndarray):
            self._steps(self._mask)

    @cached_property
    def empty(self) -> bool:
        """Whether there is no ROI at all."""
        return self._table.total == 0

    def read(self, regions: Sequence[Region], scale: float) -> Float[Tensor, "n h w"]:
        """The share of ROI in each view pixel: exact, by the summed-area table; see `Annotation.read`."""
        return self.read_boxes(*views_of(regions, scale, self.name))

    def read_boxes(
        self, boxes: Float64[np.ndarray, "n 4"], rows: int, columns: int
    ) -> Float[Tensor, "n rows columns"]:
        """The share of ROI in views of boxes x, y, width, height, level-0 pixels."""
        x0, y0, width, height = torch.from_numpy(boxes)[:, :, None].unbind(1)
        y = y0 + torch.arange(rows + 1, dtype=torch.float64) * (height / rows)
        x = x0 + torch.arange(columns + 1, dtype=torch.float64) * (width / columns)
        step_y, step_x = self._step
        inside = self._table.between(y.clamp(0, self.height) / step_y, x.clamp(0, self.width) / step_x)
        inside[inside < _NOISE] = 0
        share = inside * (step_y * step_x * rows * columns / (height * width))[:, :, None]
        return share.clamp(0, 1).float()

    @cached_property
    def _pixels(self) -> NDArray[np.bool_]:
        if not isinstance(self._mask, Path):
            return np.asarray(self._mask != 0)
        mask = _decode(self._mask)
        if self._place is not None:
            mask = _placed(mask, self._mask, Frame(self.height, self.width, self._place))
        return np.asarray(mask != 0)

    @cached_property
    def _step(self) -> tuple[float, float]:
        """Level-0 pixels per mask pixel, down and across."""
        return self._steps(self._pixels)

    @cached_property
    def _table(self) -> SummedArea:
        self._steps(self._pixels)
        return SummedArea(torch.from_numpy(self._pixels))

    def _steps(self, mask: NDArray[np.generic]) -> tuple[float, float]:
        """The common factor, whole where a whole one fits both sides (the last mask pixel may overhang)."""
        if (
            mask.ndim == 2
            and 0 not in mask.shape
            and mask.shape[0] <= self.height
            and mask.shape[1] <= self.width
        ):
            ranges = [
                (side / (pixels + 1), side / (pixels - 1) if pixels > 1 else math.inf)
                for side, pixels in zip((self.height, self.width), mask.shape, strict=True)
            ]
            low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
            if low < high:
                exact = max(self.height, self.width) / max(mask.shape)
                whole = round(exact)
                if low < whole < high:
                    return float(whole), float(whole)
                return self.height / mask.shape[0], self.width / mask.shape[1]
        raise DataError(
            f"the mask is {_size(mask.shape)} pixels high and wide, the image {self.height} x {self.width}",
            where=self.name,
            remedy="Give a mask of the image's size, or one smaller by the same factor along both sides.",
        )


def _placed(mask: NDArray[np.generic], path: Path, frame: Frame) -> NDArray[np.generic]:
    """A mask with its rows and columns in the order of the image's: one may be stored from south to north.

    Raises:
        DataError: if its own place on the map is not that of the image, by more than one of its pixels.
    """
    driver = driver_of(image_head(path))
    if driver is None or (driver != "GTiff" and not has_world_file(path)):
        return mask
    try:
        with opened(path, driver) as dataset:
            own = georeference_of(dataset, path)
    except ImageError:
        return mask  # a TIFF that tifffile reads and GDAL does not is not a map
    if own is None or frame.georeference is None:
        return mask
    if (own.crs is None) != (frame.georeference.crs is None):  # one says where it is on some map
        unnamed = own if own.crs is None else frame.georeference
        if unnamed.to_map(0.0, 0.0) == (0, 0):
            return mask  # and only how large its pixels are
    ends = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float64)
    corners = np.array([own.to_map(*end) for end in ends * (mask.shape[1], mask.shape[0])])
    found = place_in(frame, corners, own.crs, path)
    slack = 1.01 * max(frame.height / mask.shape[0], frame.width / mask.shape[1])
    for down, right in ((0, 0), (1, 0), (0, 1), (1, 1)):  # mirrored by its map
        places = np.abs(ends - (right, down)) * (frame.width, frame.height)
        if np.abs(found - places).max() <= slack:
            return mask[:: 1 - 2 * down, :: 1 - 2 * right]
    hint = "Bring it onto the image's pixels: gdalwarp -r near -t_srs CRS -te X0 Y0 X1 Y1 -ts W H IN OUT."
    raise apart(path, frame, {"what its map says, in level-0 pixels,": found}, hint, what="mask")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _decode(path: Path) -> NDArray[np.generic]:
    """The mask as it is stored: (h, w), colours any of whose channels is not zero as true."""
    if not path.exists():
        raise DataError("no such mask", where=path, remedy="Check the path.")
    try:
        head = image_head(path)
        if head.startswith(_NUMPY):
            return _of_numpy(path)
        if driver_of(head) == "JP2OpenJPEG" or zarr_folder(path):
            kind = "a Zarr" if zarr_folder(path) else "JPEG 2000"
            raise ImageError(
                f"{kind}, of which only images are read", where=path, remedy="Save it as a TIFF."
            )
        mask = decode_values(path)
    except (PlanesError, ChannelsError) as error:
        raise DataError(f"the mask is a stack ({error.what})", where=path, remedy=_ONE_PLANE) from error
    except ImageError as error:
        raise DataError(
            f"the mask cannot be decoded ({error.what})", where=path, remedy=error.remedy
        ) from error
    return mask if mask.ndim == 2 else np.asarray((mask != 0).any(axis=2))


def _of_numpy(path: Path) -> NDArray[np.generic]:
    """A mask that numpy.save wrote: numbers or booleans, one plane.

    Raises:
        DataError: if it is anything else.
    """
    try:
        mask = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"the mask cannot be read as a NumPy array ({error})",
            where=path,
            remedy="Save it again: numpy.save(OUT, mask.astype(bool)).",
        ) from error
    mask = mask[:, :, 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
    mask = mask[0] if mask.ndim == 3 and len(mask) == 1 else mask
    if mask.ndim != 2 or mask.dtype.kind not in "biuf":
        raise DataError(
            f"the mask is a NumPy array of {mask.dtype} and shape {mask.shape}",
            where=path,
            remedy="Save one plane, true inside the ROI: numpy.save(OUT, mask.astype(bool)).",
        )
    values = np.nan_to_num(mask, nan=0) if mask.dtype.kind == "f" else mask
    return np.asarray(values != 0)
