"""Attention against the share of ROI: the points of the supplement's figure 7, and rank correlations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from ..annotations.annotation import Annotation
from ..annotations.open_annotation import annotation_of
from ..data.manifest import Record
from ..geometry import Region, TileGrid, positions_inside
from ..images.batch import as_batch
from ..images.image import Image
from ..images.open_image import open_image
from ..images.resampled import at_mpp
from ..model.zoom_in import ZoomIn

__all__ = ["MOST", "Pairs", "all_pairs", "attention_against_roi", "attention_pairs", "spearman"]

MOST = 1024  # tiles of an image whose positions are looked at
_KEPT = 200  # positions of an image that are kept for a scatter plot

Pairs = Float[Tensor, "_ 2"]  # attention, share of ROI


@torch.no_grad()
def attention_pairs(model: ZoomIn, image: Image, roi: Annotation) -> tuple[Pairs, Pairs]:
    """Attention and share of ROI of every tile of an image, and of every position in every tile.

    Attention of a tile is alpha, of a position alpha x beta, each divided by its mean over the image: 1 is
    attention that knows nothing.

    Args:
        model: in evaluation mode.
        image: as the model reads it.
        roi: its annotation.

    Returns:
        Of the tiles; and of the positions, none where the image has more than `MOST` tiles.
    """
    batch = as_batch([image], model.device, model.config.resolution, model.config.foreground)
    grid = TileGrid.of(batch.sizes, model.config.tile_size)
    regions = grid.regions.cpu()
    alpha = model.tile_logits(batch, grid)[0].softmax(0).cpu()
    share = roi.read([Region(*tile) for tile in regions.tolist()], model.map_size[0] / model.config.tile_size)
    sizes = batch.sizes.cpu().expand(len(regions), 2)
    inside = positions_inside(regions, sizes, model.map_size)
    share = share.flatten(1) * inside
    of_tile = torch.stack([alpha * len(alpha), share.sum(1) / inside.sum(1).clamp(min=1)], 1)
    if len(regions) > MOST:
        return of_tile, torch.zeros(0, 2)
    beta = (
        model.position_logits(batch, grid, torch.arange(len(regions), device=batch.device)).softmax(1).cpu()
    )
    both = (alpha[:, None] * beta)[inside]
    return of_tile, torch.stack([both * len(both), share[inside]], 1)


def spearman(pairs: Pairs) -> float | None:
    """Spearman's rank correlation, None where one side is constant.

    Example:
        >>> spearman(torch.tensor([[1.0, 0.1], [2.0, 0.3], [3.0, 0.2]]))
        0.5
        >>> spearman(torch.tensor([[1.0, 0.0], [2.0, 0.0]])) is None
        True
    """
    if len(pairs) < 2 or bool((pairs == pairs[:1]).all(0).any()):
        return None
    return float(spearmanr(pairs[:, 0].numpy(), pairs[:, 1].numpy()).statistic)


def attention_against_roi(model: ZoomIn, records: Sequence[Record]) -> dict[str, Any]:
    """Attention against ROI in annotated images; those without ROI are left out.

    Args:
        model: in evaluation mode.
        records: of the images.

    Returns:
        n_images; tile_spearman and position_spearman (over all tiles, or positions, of all images together);
        roi_ratio (attention in the ROI over chance, mean over images); images: of each its name, both
        coefficients, its tiles and some of its positions as pairs (attention, share).
    """
    found = []
    every: tuple[list[Tensor], list[Tensor]] = ([], [])
    for record in records:
        stored = open_image(record.image, mpp=record.mpp)
        image = at_mpp(stored, model.config.resolution)
        roi = annotation_of(record, image)
        if roi is None:
            continue
        tiles, positions = attention_pairs(model, image, roi)
        if not float(tiles[:, 1].sum()):
            continue
        for pairs, part in zip(every, (tiles, positions), strict=True):
            pairs.append(part)
        found.append(_told(record, tiles, positions))
    joined = [torch.cat(pairs) if pairs else torch.zeros(0, 2) for pairs in every]
    ratios = [one["roi_ratio"] for one in found if one["roi_ratio"] is not None]
    return {
        "n_images": len(found),
        "tile_spearman": spearman(joined[0]),
        "position_spearman": spearman(joined[1]),
        "roi_ratio": float(np.mean(ratios)) if ratios else None,
        "images": found,
    }


def _told(record: Record, tiles: Pairs, positions: Pairs) -> dict[str, Any]:
    step = max(1, len(positions) // _KEPT)
    return {
        "image": record.image.name,
        "tile_spearman": spearman(tiles),
        "position_spearman": spearman(positions),
        "roi_ratio": _ratio(positions) if len(positions) else _ratio(tiles),
        "tiles": _rounded(tiles),
        "positions": _rounded(positions[step // 2 :: step]),
    }


def _ratio(pairs: Pairs) -> float | None:
    total = float(pairs[:, 1].sum())
    return float((pairs[:, 0] * pairs[:, 1]).sum()) / total if total else None


def _rounded(pairs: Pairs) -> list[list[float]]:
    return [[float(f"{value:.5g}") for value in row] for row in pairs.tolist()]


def all_pairs(measured: Sequence[dict[str, Any]], kind: str) -> Pairs:
    """The pairs of all images of several `attention_against_roi`; kind is "tiles" or "positions"."""
    images = chain.from_iterable(one.get("images", ()) for one in measured)
    rows = [row for image in images for row in image[kind]]
    return torch.tensor(rows).reshape(-1, 2)
