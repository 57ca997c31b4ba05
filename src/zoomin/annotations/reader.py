"""The ROI of the images of a batch, read where the model looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..images.augment import AugmentedBatch, turn
from ..images.cache import Cache
from ..images.image import ImageBatch
from .frames import Frame
from .open_annotation import Annotated, open_annotation
from .polygons import PolygonAnnotation
from .rescaled import BoxAnnotation

__all__ = ["RoiReader"]

_PIXELS = 1 << 27  # of masks that stay open: half a gigabyte of their summed areas


class RoiReader:
    """Opens the annotations of a manifest's images when they are needed, and keeps those used last.

    Args:
        records: of the whole manifest.
        file_frame: of the stored image in a row of the manifest: what annotations speak of. By default images
            are read as they are stored, and lie on no map.
    """

    def __init__(
        self, records: Sequence[Annotated], file_frame: Callable[[int], Frame] | None = None
    ) -> None:
        """Open nothing yet."""
        self._records = records
        self._file_frame = file_frame
        self._opened: Cache[BoxAnnotation | None] = Cache(_PIXELS)

    def has(self, row: int) -> bool:
        """Whether the image in this row of the manifest has an annotation."""
        return self._records[row].annotation is not None or self._records[row].mask is not None

    def open(self, row: int, height: int, width: int) -> BoxAnnotation | None:
        """The annotation of the image in a row of the manifest, None where it has none.

        Args:
            row: of the manifest.
            height: of the image as it is read, level-0 pixels.
            width: likewise.

        Raises:
            DataError: if it cannot be read or does not fit the image.
        """

        def opened() -> BoxAnnotation | None:
            file = self._file_frame(row) if self._file_frame else Frame(height, width)
            return open_annotation(
                self._records[row], file.height, file.width, frame=(height, width), place=file.georeference
            )

        return self._opened.get_or_make(row, opened, _table)

    def read(
        self,
        images: ImageBatch,
        rows: Int[Tensor, " batch"],
        image_index: Int[Tensor, " n"],
        regions: Int[Tensor, "n 4"],
        shape: tuple[int, int] = (1, 1),
    ) -> Float[Tensor, "n h w"]:
        """The share of ROI in each pixel of views of a batch, on its device; NaN without annotation.

        Args:
            images: the batch; of images that are flipped and turned, the ROI is flipped and turned with them.
            rows: of the manifest, one per image of the batch.
            image_index: which image of the batch each view is of.
            regions: x, y, width, height of each view in level-0 pixels of the batch's images.
            shape: height and width of a view, pixels.

        Raises:
            DataError: if an annotation cannot be read or does not fit its image.
        """
        sizes, orientation = images.sizes, None
        if isinstance(images, AugmentedBatch):
            orientation = images.draw.orientation
            sizes = torch.where((orientation >= 4)[:, None], sizes.flip(1), sizes)
            regions = images.source_regions(image_index, regions)
            if bool((orientation >= 4).any()) and shape[0] != shape[1]:
                raise ValueError("views of images rotated by a quarter turn must be square")
        found = torch.full((len(image_index), *shape), torch.nan)
        owner, boxes = image_index.cpu().numpy(), regions.cpu().numpy().astype(np.float64)
        for place, (row, (height, width)) in enumerate(zip(rows.tolist(), sizes.tolist(), strict=True)):
            annotation = self.open(row, height, width)
            rows_of = np.flatnonzero(owner == place)
            if annotation is not None and len(rows_of):
                found[torch.from_numpy(rows_of)] = annotation.read_boxes(boxes[rows_of], *shape)
        found = found.to(images.device)
        if orientation is None or shape == (1, 1):
            return found
        return turn(found[:, None], orientation[image_index])[:, 0]


def _table(annotation: BoxAnnotation | None) -> int:
    """Pixels whose summed areas an annotation keeps, at most the capacity; polygons keep none."""
    if annotation is None or isinstance(annotation, PolygonAnnotation):
        return 0
    return min(_PIXELS, annotation.height * annotation.width)
