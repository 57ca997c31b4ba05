"""Images that stay on disk: every read decodes the regions asked for, on a pool of threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from ..errors import ConfigError
from ..geometry import Region
from .averaging import common_size
from .base import Image

__all__ = ["StreamedImages"]

_ROWS_A_TASK = 16


class StreamedImages:
    """An `ImageBatch` over any images, decoded region by region when they are read.

    Args:
        images: any images; their `read` must be callable from several threads.
        device: where views are delivered.
        threads: decoding threads; by default one a processor, at most 8.
    """

    def __init__(
        self, images: Sequence[Image], device: torch.device | str = "cpu", threads: int | None = None
    ) -> None:
        """Keep the images; the pool starts with the first read."""
        if not images:
            raise ConfigError("a batch without images", remedy="Give at least one image.")
        self._images = tuple(images)
        self._device = torch.device(device)
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    @property
    def device(self) -> torch.device:
        """Where views are delivered."""
        return self._device

    @property
    def sizes(self) -> Int[Tensor, "batch 2"]:
        """Height and width of each image, level-0 pixels."""
        return torch.tensor([(image.height, image.width) for image in self._images], device=self._device)

    @property
    def names(self) -> list[str]:
        """Name of each image."""
        return [image.name for image in self._images]

    def select(self, indices: Int[Tensor, " n"] | Sequence[int]) -> StreamedImages:
        """Some of the images, in the order given."""
        chosen = torch.as_tensor(indices).tolist()
        selected = StreamedImages([self._images[i] for i in chosen], self._device, self._threads)
        selected._pool, selected._process = self._executor(), self._process
        return selected

    def to(self, device: torch.device | str) -> StreamedImages:
        """The same images with views delivered on another device."""
        return StreamedImages(self._images, device, self._threads)

    def read(
        self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float
    ) -> UInt8[Tensor, "n 3 h w"]:
        """Read one region of each indexed image (see `images.base.ImageBatch`).

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the regions are not of one size, or an image cannot be decoded.
        """
        boxes = [Region(*row) for row in regions.tolist()]
        _, _, rows, columns = common_size(boxes, scale)
        pinned = self._device.type == "cuda" and bool(boxes)
        views = torch.empty(len(boxes), rows, columns, 3, dtype=torch.uint8, pin_memory=pinned)
        views = views.permute(0, 3, 1, 2)  # channels-last
        if not boxes:
            return views.to(self._device)
        order = image_index.cpu().argsort(stable=True)
        tasks = []
        for image, own in zip(*_by_image(image_index.cpu()[order], order), strict=True):
            tasks += [(image, part) for part in own.split(_ROWS_A_TASK)]

        def fetch(task: tuple[int, Tensor]) -> None:
            image, rows = task
            views[rows] = self._images[image].read([boxes[row] for row in rows.tolist()], scale)

        list(self._executor().map(fetch, tasks))
        return views.to(self._device, non_blocking=True)

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None or self._process != os.getpid():  # a forked process has no threads yet
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="zoomin-read")
            self._process = os.getpid()
        return self._pool

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the pool."""
        return {**self.__dict__, "_pool": None}


def _by_image(image: Tensor, order: Tensor) -> tuple[list[int], Sequence[Tensor]]:
    """The distinct images, and the rows that read each."""
    distinct, counts = image.unique_consecutive(return_counts=True)
    return distinct.tolist(), order.split(counts.tolist())
