"""What the small cells of a sub-tile show: the finer maps of a trunk, of the view enlarged by two.

The last features of a trunk tell what a sub-tile shows; a break of a few pixels in a line is in its finer
maps alone, and the mean over a sub-tile hides it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...errors import ConfigError
from .trunks import TIMM_PREFIX, timm_maps

__all__ = ["CELLS_PREFIX", "CellMaps", "cells_of", "has_cells"]

CELLS_PREFIX = "cells:"
_STRIDES = (8, 16)
_CELL = 80  # pixels, about, of a cell
_ENLARGED = 2  # a small thing leaves more in the maps of an enlarged view; this reads no additional pixels


class CellMaps(nn.Module):
    """Mean and maximum of the maps of strides 8 and 16 of a `timm` model, in each cell of a view.

    Input: views (n, 3, side, side), float. Output: (n, cells * channels), cell by cell.

    Attributes:
        cells: of a view.
        dims: numbers for a view.
    """

    def __init__(self, name: str, pretrained: bool, side: int) -> None:
        """Load the trunk."""
        super().__init__()
        self.trunk, channels = timm_maps(name, pretrained, _STRIDES)
        self._along = max(1, round(side / _CELL))
        self.cells = self._along**2
        self.dims = self.cells * 2 * sum(channels)

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n dims"]:
        """What the cells of each view show."""
        large = functional.interpolate(views, scale_factor=_ENLARGED, mode="bilinear")
        pooled = [
            pool(maps, self._along)
            for maps in self.trunk(large)
            for pool in (functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d)
        ]
        return torch.cat(pooled, 1).flatten(2).transpose(1, 2).flatten(1)


def cells_of(features: str) -> str:
    """The network of cells whose trunk is that of features `timm:MODEL`.

    Example:
        >>> cells_of("timm:tf_efficientnet_lite0")
        'cells:tf_efficientnet_lite0'
    """
    return CELLS_PREFIX + features.removeprefix(TIMM_PREFIX)


def has_cells(features: str) -> bool:
    """Whether the trunk of features `timm:MODEL` has the maps that cells see: no transformer has.

    Example:
        >>> has_cells("timm:tf_efficientnet_lite0"), has_cells("lenet")
        (True, False)
    """
    if not features.startswith(TIMM_PREFIX):
        return False
    try:
        timm_maps(features.removeprefix(TIMM_PREFIX), False, _STRIDES)
    except ConfigError:
        return False
    return True
