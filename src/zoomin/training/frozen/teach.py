"""Teach the tile attention: out of fold, attention times evidence says which tile decided.

A copy of gated attention that has not learned from an image tells which of its tiles decided its class: the
one of the highest attention x evidence. These tiles against all tiles of images of the negative class, and
the lower half of the others, are a problem of labelled tiles, which a ridge on what the trunk sees of the
tile at `tile_scale` solves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..frozen_config import FrozenConfig
from .embeddings import Embedded
from .linear import Affine, balanced_ridge

__all__ = ["teach", "witness_scores"]


def witness_scores(
    evidence: Float[Tensor, "images tiles classes"],
    labels: Int[Tensor, " images"],
    count: Int[Tensor, " images"],
) -> list[Float[Tensor, " _"]]:
    """How much each tile said for the class of its image, its attention counted in.

    Args:
        evidence: attention times what each tile says for each class.
        labels: of the images.
        count: tiles of each image.
    """
    own = evidence[torch.arange(len(labels)), :, labels]
    return [row[:n] for row, n in zip(own, count.tolist(), strict=True)]


def teach(
    embedded: Sequence[Embedded],
    scores: Sequence[Float[Tensor, " _"]],
    labels: Int[Tensor, " images"],
    negative: int | None,
    config: FrozenConfig,
    witnesses: int,
    penalties: Sequence[float],
) -> list[Affine]:
    """Linear scores of tiles, high where the evidence lies; scaled to the configured sharpness.

    Args:
        embedded: of the images.
        scores: what `witness_scores` gave.
        labels: of the images.
        negative: the class whose images hold nothing to find; None where there is none.
        config: of the ridge.
        witnesses: tiles of an image that are taken for what decided, those of the highest score.
        penalties: of the ridge; a score for each.
    """
    found, empty, every = [], [], []
    for one, score, label in zip(embedded, scores, labels.tolist(), strict=True):
        assert one.tiles is not None
        every.append(one.tiles)
        if label == negative:
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
