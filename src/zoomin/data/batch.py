"""Some images of a data set and their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from ..images.image import ImageBatch

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """Some images and their labels.

    Attributes:
        images: behind one batched read; augmented in training.
        labels: class index of each image, -1 where the manifest has no label; of another target its truth.
        index: row of the manifest of each image.
        place: of each image in the batch of all processes that train together; None for 0, 1, 2 ...
    """

    images: ImageBatch
    labels: Shaped[Tensor, "batch ..."]
    index: Int[Tensor, " batch"]
    place: Int[Tensor, " batch"] | None = None

    @property
    def places(self) -> Int[Tensor, " batch"]:
        """The place of each image in the batch of all processes."""
        return torch.arange(len(self), device=self.index.device) if self.place is None else self.place

    def __len__(self) -> int:
        """Number of images."""
        return self.index.numel()

    def select(self, places: Int[Tensor, " n"]) -> Batch:
        """Some of the images, in the order given."""
        there = places.to(self.index.device)
        place = None if self.place is None else self.place[there]
        return Batch(self.images.select(places), self.labels[there], self.index[there], place)

    def to(self, device: torch.device | str, **options: Any) -> Batch:  # noqa: ANN401 (torch's own options)
        """The same batch with views and labels on another device."""
        if self.images.device == torch.device(device) and self.labels.device == torch.device(device):
            return self
        return Batch(
            self.images.to(device),
            self.labels.to(device, **options),
            self.index.to(device, **options),
            None if self.place is None else self.place.to(device, **options),
        )
