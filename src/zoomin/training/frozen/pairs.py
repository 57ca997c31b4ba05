"""Batches of pairs: an image, and of those of other classes the one most like it, changed alike.

What both have in common, such as the board or the slide that they are of, cancels out of a step; what decides
remains. Images are compared as thumbnails, in their group where it has another class.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from ...data.datamodule import BatchKey, TrainingOrder, ZoomInDataModule
from ...errors import ImageError
from ...images.augment import AugmentationDraw, AugmentedBatch
from ...images.image import ImageBatch

__all__ = ["PairOrder", "PairedData", "partners"]

_SIDE = 48  # pixels of a thumbnail
_FAR = 1e6  # from an image of another group, beyond all of its own
_ROWS = 512  # compared at once


class PairOrder(TrainingOrder):
    """The batches of one epoch: half of the images, drawn at random, each followed by its partner.

    Args:
        rows: of the manifest, the training images.
        partner: of each of them, a row too.
        batch_size: images per batch, an even number.
        seed: of the order.
    """

    def __init__(
        self, rows: Int[Tensor, " n"], partner: Int[Tensor, " n"], batch_size: int, seed: int
    ) -> None:
        """Start in epoch 0."""
        super().__init__(rows, batch_size, seed)
        self._partner = partner

    def arrange(self, generator: torch.Generator) -> Int[Tensor, " even"]:
        """The rows of an epoch, pair by pair; one more where their number is odd."""
        count = len(self._rows)
        first = torch.randperm(count, generator=generator)[: -(-count // 2)]
        paired = torch.stack([self._rows[first], self._partner[first]], 1).flatten()
        return paired[: 2 * (count // 2)]


class PairedData(ZoomInDataModule):
    """The same images and splits, trained on in pairs."""

    @classmethod
    def of(cls, data: ZoomInDataModule) -> PairedData:
        """Pair the training images of a data module; images already open are shared."""
        other = cls(data.config, data.manifest, data.splits, progress=data.progress, model=data.model)
        other.share(data)
        return other

    def train_dataloader(self) -> DataLoader[BatchKey]:
        """Shuffled pairs, both of a pair augmented alike."""
        rows, config = self.splits["train"], self.config
        records = [self.manifest.records[row] for row in rows.tolist()]
        groups = [record.group or "" for record in records]
        found = partners(_thumbnails(self.store.select(rows)), self.labels[rows], groups)
        return self._loader(PairOrder(rows, rows[found], config.batch_size, config.seed))

    def augment(self, images: ImageBatch, generator: torch.Generator) -> ImageBatch:
        """The images, changed at random, two by two alike."""
        half = -(-len(images) // 2)
        draw = AugmentationDraw.sample(self.config.augmentation, half, generator)
        return AugmentedBatch(images, draw.select(torch.arange(len(images)) // 2))


def partners(
    thumbnails: Float[Tensor, "n values"], labels: Int[Tensor, " n"], groups: Sequence[str]
) -> Int[Tensor, " n"]:
    """The place of the most similar image of another class, of the same group where there is one.

    Example:
        >>> values = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
        >>> partners(values, torch.tensor([0, 1, 0, 1]), ["a", "a", "a", "a"]).tolist()
        [1, 0, 3, 2]
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    group, found = torch.tensor([names[name] for name in groups]), []
    for some in torch.arange(len(labels)).split(_ROWS):
        distance = torch.cdist(thumbnails[some], thumbnails)
        distance += _FAR * (group[some, None] != group)
        found.append(distance.masked_fill(labels[some, None] == labels, torch.inf).argmin(1))
    return torch.cat(found)


def _thumbnails(images: ImageBatch) -> Float[Tensor, "n values"]:
    """Every image as one small square of grey."""
    rows = []
    for place, (height, width) in enumerate(images.sizes.tolist()):
        region = torch.tensor([[0, 0, width, height]], device=images.device)
        scale = min(1.0, _SIDE / max(height, width))
        try:
            view = images.read(torch.tensor([place], device=images.device), region, scale)
        except ImageError:  # which the training reports
            view = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
        grey = view.float().mean(1, True)
        rows.append(functional.interpolate(grey, (_SIDE, _SIDE), mode="bilinear").flatten(1).cpu() / 255)
    return torch.cat(rows)
