"""Foreground that the user drew: a mask image or polygons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import DataError, ImageError
from ..images.foreground import Foreground
from ..images.image import Image
from .frames import Frame

if TYPE_CHECKING:
    from .rescaled import BoxAnnotation

__all__ = ["FileMask"]


class _Named(NamedTuple):
    annotation: Path
    mask: None = None


class FileMask:
    """The foreground of one image, read from a file when it is first asked for.

    Args:
        path: a mask image, or polygons in level-0 pixels of the image's file, in any format of
            `annotations.open_annotation`.
        image: whose foreground it is.
        config: the least share of a tile.
        file: the frame that its file speaks in; by default that of the image's own file.
    """

    def __init__(self, path: Path, image: Image, config: Foreground, file: Frame | None = None) -> None:
        """Nothing is read yet."""
        self.path = path
        self.config = config
        self._size = image.height, image.width
        self._file = Frame.of(image) if file is None else file
        self._annotation: BoxAnnotation | None = None
        self._last: tuple[bytes, Bool[Tensor, " n"]] | None = None  # what was asked last, and the answer

    def shares(self, regions: Int[Tensor, "n 4"]) -> Float[Tensor, " n"]:
        """The share of foreground in the part of each region that lies inside the image; 0 outside it.

        Args:
            regions: level-0 pixels of the image as it is read.

        Raises:
            ImageError: if the file cannot be used.
        """
        from .open_annotation import open_annotation  # its libraries are heavy, and few need it

        if not len(regions):
            return torch.zeros(0)
        try:
            if self._annotation is None:
                self._annotation = open_annotation(
                    _Named(self.path),
                    self._file.height,
                    self._file.width,
                    frame=self._size,
                    place=self._file.georeference,
                )
            assert self._annotation is not None
            share = self._annotation.read_boxes(regions.numpy().astype(np.float64), 1, 1)
        except DataError as error:
            raise ImageError(error.what, where=error.where or self.path, remedy=error.remedy) from error
        x, y, width, height = regions.unbind(1)
        down = (y + height).clamp(max=self._size[0]) - y.clamp(min=0)
        across = (x + width).clamp(max=self._size[1]) - x.clamp(min=0)
        inside = down.clamp(min=0) * across.clamp(min=0) / (width * height)
        return (share.flatten(1).mean(1) / inside.clamp(min=1e-12)).clamp(0, 1)

    def tiles(self, regions: Int[Tensor, "n 4"]) -> Bool[Tensor, " n"]:
        """Whether each region holds enough foreground: a share of `min_share`, and more than nothing."""
        key = regions.cpu().numpy().tobytes()
        if self._last is None or self._last[0] != key:
            shares = self.shares(regions.cpu())
            self._last = key, (shares > 0) & (shares >= self.config.min_share)
        return self._last[1]
