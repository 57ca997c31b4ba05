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

    With stages above the tiles, L_alpha is the sum of those of all stages down to the tiles.

    Args:
        reader: of the annotations of the manifest that the batch is from.
        batch: the images that the model saw.
        out: what it returned for them.
        config: strengths and target.

    Raises:
        DataError: if an annotation cannot be read.
    """
    tiles = out.tiles
    alpha = beta = tiles.log_beta.new_zeros(())
    for stage in out.stages if config.tile_roi_strength else ():
        row, cell, box = stage.boxes()
        share = reader.read(batch.images, batch.index, stage.image[row], stage.grid.regions[box])[:, 0, 0]
        roi = torch.zeros_like(stage.log_p).index_put((row, cell), share.to(stage.log_p.dtype))
        loss = roi_loss(stage.log_p, roi, stage.image, len(batch), config.roi_target)
        alpha = alpha + config.tile_roi_strength * loss
    if config.position_roi_strength:
        roi = reader.read(batch.images, batch.index, tiles.image, tiles.regions, tiles.map_size).flatten(1)
        beta = config.position_roi_strength * roi_loss(
            tiles.log_beta, roi.to(tiles.log_beta.dtype), tiles.image, len(batch), config.roi_target
        )
    return alpha, beta
