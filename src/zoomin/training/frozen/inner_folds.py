"""The folds inside the images to learn from, by which everything is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from ...data.datamodule import ZoomInDataModule
from ...data.splits import kfold
from ...errors import DataError

__all__ = ["Folds", "inner_folds"]


@dataclass(frozen=True)
class Folds:
    """The inner cross-validation.

    Attributes:
        train: places among the images, a tensor a fold.
        held: likewise.
    """

    train: list[Int[Tensor, " _"]]
    held: list[Int[Tensor, " _"]]


def inner_folds(data: ZoomInDataModule, rows: Tensor, folds: int, seed: int) -> Folds:
    """Folds of the images to learn from, groups kept whole; fewer where a class has few images or groups."""
    part = data.manifest.subset(rows)
    most = max(2, min(folds, len(rows)))
    if data.target.kind == "classes":
        counts = torch.bincount(data.labels[rows])
        most = max(2, min(folds, int(counts[counts > 0].min())))
    for n in range(most, 1, -1):
        try:
            dealt = kfold(part, n, seed)
        except DataError:
            if n == 2:
                raise
        else:
            return Folds([train for train, _ in dealt], [held for _, held in dealt])
    raise AssertionError  # the loop returns, or raises
