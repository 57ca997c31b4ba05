"""Does attention fall on the annotated objects? Attention inside the ROI against chance.

The attention of a position is alpha x beta: that of its tile times its own inside the tile. The share of it
inside the ROI of an image, over the share of the image that is ROI, is 1 for uniform attention. `zoomin
evaluate --attention_on_roi true` measures it, `zoomin report` shows it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from ..annotations.open_annotation import annotation_of
from ..annotations.rescaled import BoxAnnotation, RescaledAnnotation
from ..data.manifest import Record
from ..data.opening import open_record
from ..explanation import Explanation
from ..geometry import count_positions_inside, positions_inside
from ..images.batch import as_batch
from ..images.image import Image
from ..images.resampled import at_mpp
from ..model.config import ZoomInConfig
from ..model.zoom_in import ZoomIn
from ..progress import track

__all__ = [
    "MOST",
    "AttentionOnRoi",
    "Pairs",
    "RoiFindings",
    "attention_on_roi",
    "explanation_on_roi",
    "gather",
    "image_and_roi",
    "measure_records",
    "spearman",
    "touches",
]

MOST = 1024  # tiles of an image whose positions are measured; of more, attention counts as even inside a tile
_KEPT = 200  # positions of an image that are kept for a scatter plot

Pairs = Float[Tensor, "_ 2"]


@dataclass(frozen=True, eq=False)
class AttentionOnRoi:
    """How the attention of one image lies on its ROI.

    Attributes:
        image: name of the image.
        attention: share of the attention inside the ROI; even inside tiles whose positions are not known.
        area: share of the image that is ROI.
        tiles: of every tile its attention, times their number (uniform attention is 1), and its share of ROI.
        positions: the same of the positions in the tiles whose inside is known.
    """

    image: str
    attention: float
    area: float
    tiles: Pairs
    positions: Pairs

    @property
    def ratio(self) -> float:
        """Attention inside the ROI over that of uniform attention."""
        return self.attention / self.area

    def to_dict(self, *, points: bool) -> dict[str, Any]:
        """As plain numbers; with points, the tiles and some of the positions for a plot."""
        step = max(1, len(self.positions) // _KEPT)
        found = {
            "image": self.image,
            "attention_in_roi": self.attention,
            "roi_share": self.area,
            "ratio": self.ratio,
            "tile_spearman": spearman(self.tiles),
            "position_spearman": spearman(self.positions),
        }
        kept = {"tiles": self.tiles, "positions": self.positions[step // 2 :: step]} if points else {}
        return found | {name: _rounded(pairs) for name, pairs in kept.items()}


@dataclass(frozen=True)
class RoiFindings:
    """Attention against ROI over several images.

    Attributes:
        images: those with a ROI.
    """

    images: tuple[AttentionOnRoi, ...]

    @cached_property
    def tile_spearman(self) -> float | None:
        """Rank correlation over all tiles together; None where either side is constant."""
        return spearman(torch.cat([torch.zeros(0, 2), *(image.tiles for image in self.images)]))

    @cached_property
    def position_spearman(self) -> float | None:
        """Rank correlation over all positions together; None where either side is constant."""
        return spearman(torch.cat([torch.zeros(0, 2), *(image.positions for image in self.images)]))

    @property
    def median_ratio(self) -> float:
        """Median over the images of their ratio."""
        return statistics.median(image.ratio for image in self.images)

    @property
    def above_chance(self) -> int:
        """Images whose ratio is above 1."""
        return sum(image.ratio > 1 for image in self.images)

    def to_dict(self, *, points: bool = False) -> dict[str, Any]:
        """As plain numbers, which are None where there is no image.

        Returns:
            n_images, mean_ratio, median_ratio, pooled_ratio (mean share of the attention over mean share of
            the area), above_chance (share of the images), both rank correlations, and each of the images.
        """
        n = len(self.images)
        attention, area = (sum(getattr(i, name) for i in self.images) for name in ("attention", "area"))
        return {
            "n_images": n,
            "mean_ratio": statistics.fmean(image.ratio for image in self.images) if n else None,
            "median_ratio": self.median_ratio if n else None,
            "pooled_ratio": attention / area if n else None,
            "above_chance": self.above_chance / n if n else None,
            "tile_spearman": self.tile_spearman,
            "position_spearman": self.position_spearman,
            "images": [image.to_dict(points=points) for image in self.images],
        }


class _Attended(NamedTuple):
    """Attention over the tiles of an image, and inside some of them; boxes x, y, width, height."""

    size: tuple[int, int]
    grid: Float64[Tensor, "tiles 4"]
    alpha: Float[Tensor, " tiles"]
    inside: Int[Tensor, " known"]  # tiles whose inside is known
    boxes: Float64[Tensor, "known 4"]
    beta: Float[Tensor, "known u v"]


@torch.no_grad()
def attention_on_roi(model: ZoomIn, image: Image, roi: BoxAnnotation) -> AttentionOnRoi | None:
    """How the attention of one image lies on its ROI, both stages over every tile.

    Args:
        model: in evaluation mode.
        image: as stored, or at the resolution of the model.
        roi: its annotation, in the pixels of either.

    Returns:
        None where the image has no ROI.

    Raises:
        DataError: if the annotation cannot be read.
        ImageError: if pixels cannot be read.
    """
    batch = as_batch([image], model.device, model.config.resolution, model.config.foreground)
    attention = model.attend_tiles(batch)
    grid, alpha = attention.grid, attention.alpha[0].cpu()
    inside = torch.arange(len(alpha) if len(alpha) <= MOST else 0)
    beta = torch.zeros(0, *model.map_size)
    if len(inside):
        beta = model.position_logits(batch, grid, inside.to(batch.device)).softmax(1).cpu()
        beta = beta.unflatten(1, model.map_size)
    height, width = batch.sizes[0].tolist()
    regions = grid.regions.cpu().double()
    attended = _Attended((height, width), regions, alpha, inside, regions[inside], beta)
    return _measure(image.name, attended, roi)


def explanation_on_roi(explanation: Explanation, roi: BoxAnnotation) -> AttentionOnRoi | None:
    """The same from an explanation alone, without a network: positions are known in the drawn tiles.

    Args:
        explanation: of an image.
        roi: its annotation, in level-0 pixels of the image's file.

    Returns:
        None where the image has no ROI.

    Raises:
        DataError: if the annotation cannot be read.
    """
    (rows, columns), side = explanation.attention.shape, explanation.tile_size
    y, x = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    corner = torch.stack([x, y], 2).reshape(-1, 2) * side
    grid = torch.cat([corner, torch.full_like(corner, side)], 1)
    place = (explanation.tiles[:, :2] / side).round().long()
    inside = place[:, 1] * columns + place[:, 0]
    alpha = explanation.attention.flatten()
    attended = _Attended(explanation.size, grid, alpha, inside, explanation.tiles, explanation.beta)
    return _measure(explanation.image, attended, roi)


def _measure(name: str, attended: _Attended, roi: BoxAnnotation) -> AttentionOnRoi | None:
    height, width = attended.size
    if (roi.height, roi.width) != attended.size:  # an annotation of the file, an image at the model's mpp
        roi = RescaledAnnotation(roi, height, width)
    limit = torch.tensor([width, height])
    visible = attended.grid.clone()
    visible[:, 2:] = torch.minimum(visible[:, 2:], limit - visible[:, :2])
    pixels = visible[:, 2] * visible[:, 3]
    share = roi.read_boxes(visible.numpy(), 1, 1).flatten()
    area = float((share * pixels).sum() / pixels.sum())
    if area <= 0:
        return None
    n, (u, v) = len(attended.alpha), attended.beta.shape[1:]
    in_roi = attended.alpha * share  # as if even inside each tile
    positions = torch.zeros(0, 2)
    if len(attended.inside):
        shares = roi.read_boxes(attended.boxes.numpy(), u, v)
        attention = attended.alpha[attended.inside][:, None, None] * attended.beta
        in_roi[attended.inside] = (attention * shares).sum((1, 2))
        sizes = torch.tensor([attended.size])
        count = count_positions_inside(attended.grid, sizes.expand(n, 2), (u, v)).sum()
        there = positions_inside(attended.boxes, sizes.expand(len(attended.inside), 2), (u, v))
        there = there.unflatten(1, (u, v))
        positions = torch.stack([attention[there] * count, shares[there]], 1).float()
    tiles = torch.stack([attended.alpha * n, share], 1).float()
    return AttentionOnRoi(name, float(in_roi.sum()), area, tiles, positions)


def image_and_roi(record: Record, model: ZoomInConfig | None) -> tuple[Image, BoxAnnotation | None]:
    """An image at the resolution of a model, if one is given, and its ROI, if it has one, in the same pixels.

    Raises:
        DataError: if the annotation cannot be read.
        ImageError: if the image cannot be opened.
    """
    stored = open_record(record, channels=() if model is None else model.channels)
    image = stored if model is None else at_mpp(stored, model.resolution)
    return image, annotation_of(record, image)


def measure_records(model: ZoomIn, records: Sequence[Record], *, progress: bool = False) -> RoiFindings:
    """Attention against ROI in annotated images; those without ROI are left out.

    Args:
        model: in evaluation mode.
        records: of the images.
        progress: show a progress bar on stderr.

    Raises:
        DataError: if an annotation cannot be read.
        ImageError: if an image cannot be read.
    """
    found: list[AttentionOnRoi | None] = []
    for record in track(records, "Attention on ROI", shown=progress):
        image, roi = image_and_roi(record, model.config)
        if roi is not None:
            found.append(attention_on_roi(model, image, roi))
    return gather(found)


def touches(roi: BoxAnnotation, regions: Float64[Tensor, "n 4"]) -> Bool[Tensor, " n"]:
    """Which boxes (x, y, width, height) touch the ROI, in the pixels of its annotation."""
    return roi.read_boxes(regions.numpy(), 1, 1).flatten() > 0


def gather(images: Iterable[AttentionOnRoi | None]) -> RoiFindings:
    """The findings over the images that have a ROI."""
    return RoiFindings(tuple(image for image in images if image is not None))


def spearman(pairs: Pairs) -> float | None:
    """Spearman's rank correlation, None for fewer than three pairs, or where one side is constant.

    Example:
        >>> spearman(torch.tensor([[1.0, 0.1], [2.0, 0.3], [3.0, 0.2]]))
        0.5
        >>> spearman(torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])) is None
        True
    """
    if len(pairs) < 3 or bool((pairs == pairs[:1]).all(0).any()):
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(pairs[:, 0].numpy(), pairs[:, 1].numpy()).statistic)


def _rounded(pairs: Pairs) -> list[list[float]]:
    return [[float(f"{value:.5g}") for value in row] for row in pairs.tolist()]
