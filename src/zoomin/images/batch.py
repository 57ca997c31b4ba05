"""Whatever a caller has for images, as one batch that the model can read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..geometry import TileGrid
from .array import ArrayImage, images_of
from .foreground import Foreground
from .image import Image, ImageBatch
from .pool import Reading, Task
from .resampled import at_mpp
from .resident import ResidentImages
from .streamed import StreamedImages
from .tissue import ForegroundMask, attended_tiles, overview_mask

__all__ = ["ResidentImages", "StreamedImages", "as_batch", "batch_of", "read_ahead"]


def read_ahead(images: ImageBatch, tile_size: int, scale: float, block_size: int | None = None) -> None:
    """Start to read the tiles of images that are on disk at a scale, background left out. Returns at once.

    Errors are raised when the tiles are read.

    Args:
        images: on disk or not.
        tile_size: side of the tiles, level-0 pixels.
        scale: to read them at.
        block_size: side of blocks of tiles to read instead, those with any that is not background.
    """

    def read() -> None:
        grid = TileGrid.of(images.sizes, tile_size)
        kept = attended_tiles(images, grid).tiles
        if block_size not in (None, tile_size):
            blocks = TileGrid.of(images.sizes, block_size)
            grid, kept = blocks, grid.any_inside(blocks, kept)
        images.prefetch(grid.image[kept], grid.regions[kept], scale)

    Reading([Task(0, read)], 1).start()


def as_batch(
    images: Sequence[Image] | Tensor | ImageBatch,
    device: torch.device | str = "cpu",
    mpp: float | None = None,
    foreground: Foreground | None = None,
) -> ImageBatch:
    """A batch that reads on `device`.

    Args:
        images: a batch already; images, kept on the device if all are in memory and streamed otherwise; or a
            (B, 3, H, W) tensor, uint8 or floating point in [0, 1].
        device: where views are delivered.
        mpp: microns per pixel that images are brought to; None: their own pixels. A tensor, whose pixels have
            no size, is taken to have it, and a batch to be what its maker wanted.
        foreground: which tiles can hold anything; None: all of them.

    Raises:
        ConfigError: if a tensor has another shape, type or range, or requires a gradient, or there are no
            images.
    """
    if isinstance(images, Tensor):
        images = images_of(images)
    elif isinstance(images, ImageBatch):
        return images.to(device)
    elif mpp is not None:
        images = [at_mpp(image, mpp) for image in images]
    return batch_of(images, [overview_mask(image, foreground) for image in images], device)


def batch_of(
    images: Sequence[Image],
    masks: Sequence[ForegroundMask | None],
    device: torch.device | str = "cpu",
    timeout: float | None = None,
) -> ResidentImages | StreamedImages:
    """A batch of images: kept on the device if all are in memory, streamed otherwise.

    Args:
        images: as the model reads them.
        masks: foreground of each, None where every tile counts.
        device: where views are delivered.
        timeout: seconds after which a single read is given up; by default never.
    """
    if all(isinstance(image, ArrayImage) for image in images):
        return ResidentImages(images, device, masks)
    return StreamedImages(images, device, timeout=timeout, masks=masks)
