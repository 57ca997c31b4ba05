"""What the small cells of a sub-tile show: the finer maps of a trunk, of the view enlarged by two.

The last features of a trunk say what a sub-tile shows; a break of a few pixels in a line is in its finer
maps alone, and the mean over a sub-tile hides it. Cells are seen beside the last features of their sub-tile:
the maps find small things, the last features name them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...errors import ConfigError
from .trunks import TIMM_PREFIX, timm_encoder, timm_maps

__all__ = ["CELLS_PREFIX", "CellMaps", "CellTrunk", "cells_of", "has_cells", "whole_of"]

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


class CellTrunk(nn.Module):
    """The maps of the cells of a view, and its last features.

    Input: views (n, 3, side, side), float. Output: (n, cells * channels + whole).

    Attributes:
        cells: of a view.
        channels: numbers for each.
        whole: numbers for the view, which stand last.
        dims: all of them.
    """

    def __init__(self, name: str, pretrained: bool, side: int) -> None:
        """Load the trunk twice: maps are of the enlarged view, the last features of the view itself."""
        super().__init__()
        self.maps = CellMaps(name, pretrained, side)
        self.encoder, self.whole = timm_encoder(name, pretrained)
        self.cells, self.channels = self.maps.cells, self.maps.dims // self.maps.cells
        self.dims = self.maps.dims + self.whole

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n dims"]:
        """What the cells of each view show, and the view."""
        return torch.cat([self.maps(views), self.encoder(views)], 1)


def cells_of(features: str) -> str:
    """The network of cells whose trunk is that of features `timm:MODEL`.

    Example:
        >>> cells_of("timm:tf_efficientnet_lite0")
        'cells:tf_efficientnet_lite0'
    """
    return CELLS_PREFIX + features.removeprefix(TIMM_PREFIX)


def whole_of(features: str) -> str:
    """The network of the last features that stand beside the cells of a network `cells:MODEL`.

    Example:
        >>> whole_of("cells:tf_efficientnet_lite0")
        'timm:tf_efficientnet_lite0'
    """
    return TIMM_PREFIX + features.removeprefix(CELLS_PREFIX)


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
