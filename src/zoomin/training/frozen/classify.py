"""Classify images from their embeddings: what the model answers from pixels, without reading them again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...model.networks import GatedFeatures, PyramidAttention, pool_overview
from ...model.sampling import design
from ...model.zoom_in import ZoomIn
from .embeddings import Embedded

__all__ = ["classify"]


@torch.no_grad()
def classify(
    net: ZoomIn, embedded: Sequence[Embedded], keys: Int[Tensor, " images"]
) -> tuple[Float[Tensor, "images classes"], Int[Tensor, " images"]]:
    """Logits of images, and the sub-tiles drawn of each, by the model's own sampling and N.

    Args:
        net: learned on frozen trunks.
        embedded: by the same trunks.
        keys: seeds of the draws.
    """
    law, rows, drawn = design(net.config.sampling), [], []
    for one, key in zip(embedded, keys, strict=True):
        scores = torch.zeros(len(one.sub_tiles))
        if isinstance(net.tile_attention, PyramidAttention):
            assert one.tiles is not None
            scores = net.tile_attention.mean_logits(one.tiles)
        log_alpha = scores.log_softmax(0)[None]
        room = torch.ones_like(log_alpha, dtype=torch.int64)
        draw = law.tiles(log_alpha, net.config.n_samples, room, key[None])
        read = draw.count[0] > 0
        features = one.sub_tiles[read]
        if isinstance(net.features, GatedFeatures):
            features = net.features.behind(features)
        feature = draw.kappa[0, read] @ features
        if net.config.context_side and one.context is not None:
            feature = torch.cat([feature, one.context])
        if net.config.gate_overview and one.tiles is not None:
            feature = torch.cat([feature, pool_overview(one.tiles)])
        rows.append(net.head(feature[None])[0])
        drawn.append(int(read.sum()))
    return torch.stack(rows), torch.tensor(drawn)
