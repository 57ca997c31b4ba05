"""Images that cannot be read during a run: left out of their batch, recorded, up to a limit."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import BatchReadError, DataError, ImageError, ZoomInError
from ..files import cell
from .batch import Batch

__all__ = ["Failures", "SkippedImage", "with_readable"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class SkippedImage(NamedTuple):
    """An image that could not be read at one moment.

    Attributes:
        epoch: of training.
        stage: "train", "val" or "test".
        image: its path.
        error: what went wrong.
    """

    epoch: int
    stage: str
    image: str
    error: str


class Failures:
    """The record of a run, in memory and in a CSV of its folder.

    Args:
        limit: most images that may fail before the run is given up.

    Attributes:
        path: of the CSV; it is created with the first failure, and appended to when a run is resumed. None:
            nothing is written.
    """

    def __init__(self, limit: int) -> None:
        """Nothing has failed."""
        self.limit = limit
        self.path: Path | None = None
        self.rows: list[SkippedImage] = []

    def note(self, epoch: int, stage: str, image: str, error: ZoomInError) -> None:
        """Record a failure, and warn of the image the first time.

        Raises:
            DataError: if more images than the limit have failed.
        """
        known = {row.image for row in self.rows}
        self.rows.append(SkippedImage(epoch, stage, image, str(error)))
        if self.path is not None:
            self._write(self.path, self.rows[-1])
        if image not in known:
            logger.warning("Skipped (%s, epoch %d): %s", stage, epoch + 1, error)
        if len(known | {image}) > self.limit:
            raise DataError(
                f"{len(known) + 1} images could not be read during the run, the last one: {error.what}",
                where=image,
                remedy="Fix them (skipped.csv lists them) and resume with --resume true, or allow more: "
                "data.max_failures.",
            )

    def write_to(self, path: Path) -> None:
        """Write what is known, and what follows, to a CSV."""
        self.path = path
        for row in self.rows:
            self._write(path, row)

    def take(self, rows: Sequence[SkippedImage]) -> None:
        """Record what other processes of the training could not read.

        Raises:
            DataError: if more images than the limit have failed.
        """
        for row in rows:
            self.note(row.epoch, row.stage, row.image, ImageError(row.error))

    def images(self, stage: str | None = None) -> dict[str, str]:
        """Images that failed, in a stage or at all, each with its last error."""
        return {row.image: row.error for row in self.rows if stage in (None, row.stage)}

    def _write(self, path: Path, row: SkippedImage) -> None:
        new = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(SkippedImage._fields)
            writer.writerow(map(cell, row))


def with_readable(
    batch: Batch,
    run: Callable[[Batch, Int[Tensor, " kept"]], T],
    note: Callable[[str, ImageError], None],
) -> T | None:
    """Run on a batch; where images cannot be read, note them and run again on the others.

    Args:
        batch: some images.
        run: takes a batch, and the places that its images had in the first one.
        note: takes the name of an image that cannot be read, and the error.

    Returns:
        What `run` gave; None where no image could be read.
    """
    kept = torch.arange(len(batch))
    while len(kept):
        part = batch if len(kept) == len(batch) else batch.select(kept)
        try:
            return run(part, kept)
        except BatchReadError as error:
            for place, failure in sorted(error.failures.items()):
                note(part.images.names[place], failure)
            kept = kept[[place for place in range(len(kept)) if place not in error.failures]]
    return None
