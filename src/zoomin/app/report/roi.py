"""Attention against the annotated truth, from explanations alone: no network is run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...annotations.annotation import Annotation
from ...explanation import Explanation
from ...geometry import Region

__all__ = ["ImageRoi", "RoiFindings", "attention_on_roi", "gather", "tile_shares"]


@dataclass(frozen=True)
class ImageRoi:
    """How the attention of one image lies on its ROI.

    Attributes:
        image: name of the image.
        attention: share of the attention inside the ROI.
        area: share of the image that is ROI.
        tile_attention: attention of each tile, times the number of tiles: 1 is looking everywhere alike.
        tile_share: share of each tile that is ROI.
    """

    image: str
    attention: float
    area: float
    tile_attention: tuple[float, ...]
    tile_share: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Attention inside the ROI over what looking everywhere alike would put there."""
        return self.attention / self.area


@dataclass(frozen=True)
class RoiFindings:
    """Attention against ROI over several images.

    Attributes:
        images: those with a ROI.
        spearman: rank correlation over all tiles of them together; None for fewer than three tiles, or where
            all tiles are alike.
        median_ratio: median over the images of their ratio.
        above_chance: images whose ratio is above 1.
    """

    images: tuple[ImageRoi, ...]
    spearman: float | None
    median_ratio: float
    above_chance: int


def attention_on_roi(explanation: Explanation, roi: Annotation) -> ImageRoi | None:
    """How the attention of one image lies on its ROI, at the resolution of its overview.

    Inside a tile that was not drawn, attention counts as spread evenly.

    Returns:
        None where the image has no ROI.
    """
    rows, columns = explanation.overview.shape[1:]
    height, width = explanation.size
    scale = min(1.0, rows / height)
    share = roi.read([Region(0, 0, width, height)], scale)[0]
    heat = explanation.heat_map(*share.shape)
    if (rows, columns) != tuple(share.shape) and not share.numel():
        return None
    area = float(share.mean())
    if area <= 0:
        return None
    alpha = explanation.attention.flatten()
    return ImageRoi(
        image=explanation.image,
        attention=float((heat * share).sum() / heat.sum()),
        area=area,
        tile_attention=tuple((alpha * len(alpha)).tolist()),
        tile_share=tuple(tile_shares(explanation, share).flatten().tolist()),
    )


def tile_shares(explanation: Explanation, share: Float[Tensor, "h w"]) -> Float[Tensor, "rows columns"]:
    """The mean of a picture of the whole image in each tile, over the part of the tile that is image."""
    (rows, columns), (h, w) = explanation.attention.shape, share.shape
    height, width = explanation.size
    row = ((torch.arange(h) + 0.5) * (height / h) // explanation.tile_size).long().clamp(max=rows - 1)
    column = ((torch.arange(w) + 0.5) * (width / w) // explanation.tile_size).long().clamp(max=columns - 1)
    place = (row[:, None] * columns + column[None, :]).flatten()
    total = torch.zeros(rows * columns).index_add(0, place, share.flatten().float())
    count = torch.bincount(place, minlength=rows * columns)
    return (total / count.clamp(min=1)).reshape(rows, columns)


def gather(images: Iterable[ImageRoi]) -> RoiFindings | None:
    """The findings over all images; None where there is none."""
    found = tuple(images)
    if not found:
        return None
    ratios = torch.tensor([image.ratio for image in found])
    return RoiFindings(
        images=found,
        spearman=_spearman(found),
        median_ratio=float(ratios.quantile(0.5)),
        above_chance=int((ratios > 1).sum()),
    )


def _spearman(images: tuple[ImageRoi, ...]) -> float | None:
    from scipy.stats import spearmanr

    x = [share for image in images for share in image.tile_share]
    y = [attention for image in images for attention in image.tile_attention]
    if len(x) < 3 or min(x) == max(x) or min(y) == max(y):
        return None
    value = float(spearmanr(x, y).statistic)
    return None if math.isnan(value) else value
