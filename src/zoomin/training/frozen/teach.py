"""Teach the tile attention: out of fold, attention times evidence says which tile decided.

A copy of gated attention that has not learned from an image tells which of its tiles decided its class: the
one of the highest attention x evidence. These tiles against all tiles of images of the negative class, and
the lower half of the others, are a problem of labelled tiles, which a ridge on what the trunk sees of the
tile at `tile_scale` solves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..frozen_config import FrozenConfig
from .embeddings import Embedded
from .linear import Affine, balanced_ridge

__all__ = ["teach"]


def teach(
    embedded: Sequence[Embedded],
    scores: Sequence[Float[Tensor, " _"]],
    is_empty: Bool[Tensor, " images"],
    config: FrozenConfig,
    witnesses: int,
    penalties: Sequence[float],
) -> list[Affine]:
    """Linear scores of tiles, high where the evidence lies; scaled to the configured sharpness.

    Args:
        embedded: of the images.
        scores: how much each tile contributed to its image's answer (`Target.witnesses`).
        is_empty: images that hold nothing to find.
        config: of the ridge.
        witnesses: tiles of an image that are taken for what decided, those of the highest score.
        penalties: of the ridge; a score for each.
    """
    found, empty, every = [], [], []
    for one, score, nothing in zip(embedded, scores, is_empty.tolist(), strict=True):
        assert one.tiles is not None
        every.append(one.tiles)
        if nothing:
            empty.append(one.tiles)
            continue
        order = score.argsort(descending=True)
        found.append(one.tiles[order[:witnesses]])
        empty.append(one.tiles[order[max(witnesses, len(order) // 2) :]])
    scaled = []
    for ridge in balanced_ridge(torch.cat(found), torch.cat(empty), config.map_components, penalties):
        factor = config.sharpness / ridge(torch.cat(every)).std().clamp(min=1e-6)
        scaled.append(Affine(ridge.weight * factor, ridge.bias * factor))
    return scaled
