"""The loss terms that pixel annotations add (supplement L, equation 13)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..annotations.reader import RoiReader
from ..data.batch import Batch
from ..model.losses import roi_loss
from ..model.output import ZoomInOutput
from .config import TrainConfig

__all__ = ["roi_terms"]


def roi_terms(
    reader: RoiReader, batch: Batch, out: ZoomInOutput, config: TrainConfig
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """L_alpha over all tiles and L_beta over the maps of the drawn tiles, each times its strength.

    Args:
        reader: of the annotations of the manifest that the batch is from.
        batch: the images that the model saw.
        out: what it returned for them.
        config: strengths and target.

    Raises:
        DataError: if an annotation cannot be read.
    """
    log_alpha, grid, tiles = out.attention.log_alpha, out.attention.grid, out.tiles
    alpha = beta = log_alpha.new_zeros(())
    if config.tile_roi_strength:
        share = reader.read(batch.images, batch.index, grid.image, grid.regions)[:, 0, 0]
        roi = torch.zeros_like(log_alpha).index_put((grid.image, grid.index), share.to(log_alpha.dtype))
        image = torch.arange(len(batch), device=log_alpha.device)
        alpha = config.tile_roi_strength * roi_loss(log_alpha, roi, image, len(batch), config.roi_target)
    if config.position_roi_strength:
        roi = reader.read(batch.images, batch.index, tiles.image, tiles.regions, tiles.map_size).flatten(1)
        beta = config.position_roi_strength * roi_loss(
            tiles.log_beta, roi.to(tiles.log_beta.dtype), tiles.image, len(batch), config.roi_target
        )
    return alpha, beta
