"""Images resident on the device: one gather reads the regions of a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Int, Int32, UInt8
from torch import Tensor

from ..errors import ConfigError, ImageError
from ..geometry import view_size
from .array import ArrayImage

__all__ = ["ResidentImages"]


class _Level(NamedTuple):
    """All images at one scale in one buffer, and after them one background pixel an image.

    A pixel is one 32-bit integer: red, green, blue, and a byte that is not used.
    """

    pixels: Int32[Tensor, " pixels"]
    first: Int[Tensor, " images"]
    height: Int[Tensor, " images"]
    width: Int[Tensor, " images"]
    background: Int[Tensor, " images"]


@dataclass
class _Store:
    """What all selections of the same images share. Levels are made on first use."""

    images: tuple[ArrayImage, ...]
    device: torch.device
    levels: dict[float, _Level] = field(default_factory=dict)

    def level(self, scale: float) -> _Level:
        if scale not in self.levels:
            self.levels[scale] = _pack(self.images, scale, self.device)
        return self.levels[scale]


class ResidentImages:
    """An `ImageBatch` over images that live on the device at full resolution and at every scale asked for.

    Four bytes a pixel and scale. Views come in channels-last memory.

    Args:
        images: images in memory.
        device: where pixels lie and views are delivered.
    """

    def __init__(self, images: Sequence[ArrayImage], device: torch.device | str = "cpu") -> None:
        """Keep the images; their pixels move to the device on the first read."""
        if not images:
            raise ConfigError("a batch without images", remedy="Give at least one image.")
        device = torch.device(device)
        self._store = _Store(tuple(images), device)
        self._index: Int[Tensor, " batch"] = torch.arange(len(images), device=device)
        sizes = [(image.height, image.width) for image in images]
        self._sizes: Int[Tensor, "images 2"] = torch.tensor(sizes, device=device)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._index)

    @property
    def device(self) -> torch.device:
        """Where views are delivered."""
        return self._store.device

    @property
    def sizes(self) -> Int[Tensor, "batch 2"]:
        """Height and width of each image, level-0 pixels."""
        return self._sizes[self._index]

    @property
    def names(self) -> list[str]:
        """Name of each image."""
        return [self._store.images[i].name for i in self._index.tolist()]

    def select(self, indices: Int[Tensor, " n"] | Sequence[int]) -> ResidentImages:
        """Some of the images, in the order given; pixels are shared."""
        chosen = object.__new__(ResidentImages)
        chosen._store, chosen._sizes = self._store, self._sizes
        chosen._index = self._index[torch.as_tensor(indices, device=self.device)]
        return chosen

    def to(self, device: torch.device | str) -> ResidentImages:
        """The same images on another device."""
        device = torch.device(device)
        if device == self.device:
            return self
        moved = object.__new__(ResidentImages)
        levels = {
            scale: _Level(*(t.to(device) for t in level)) for scale, level in self._store.levels.items()
        }
        moved._store = replace(self._store, device=device, levels=levels)
        moved._index, moved._sizes = self._index.to(device), self._sizes.to(device)
        return moved

    def read(
        self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float
    ) -> UInt8[Tensor, "n 3 h w"]:
        """Read one region of each indexed image (see `images.base.ImageBatch`).

        A view pixel is the level's pixel under its centre: `Image.read` to the bit where the edges of the
        regions fall on edges of the level's pixels, the nearest pixel elsewhere.

        Raises:
            ImageError: if the regions are not of one size.
        """
        if len(regions) == 0:
            return torch.empty(0, 3, 1, 1, dtype=torch.uint8, device=self.device)
        if not bool((regions[:, 2:] == regions[0, 2:]).all()):
            raise ImageError(
                "regions of several sizes in one read", remedy="Read regions of one size at a time."
            )
        level = self._store.level(scale)
        image = self._index[image_index]
        width, height = regions[0, 2:].tolist()
        y = _level_pixels(regions[:, 1], height, scale)
        x = _level_pixels(regions[:, 0], width, scale)
        in_y = (y >= 0) & (y < level.height[image, None])
        in_x = (x >= 0) & (x < level.width[image, None])
        place = (level.first[image, None] + y * level.width[image, None])[:, :, None] + x[:, None, :]
        place = torch.where(in_y[:, :, None] & in_x[:, None, :], place, level.background[image, None, None])
        pixels = level.pixels.index_select(0, place.flatten()).view(torch.uint8)
        return pixels.view(*place.shape, 4)[..., :3].permute(0, 3, 1, 2)


def _level_pixels(start: Int[Tensor, " n"], length: int, scale: float) -> Int[Tensor, "n size"]:
    """The level's pixel under the centre of every view pixel of regions that start at `start`."""
    size = view_size(length, scale)
    if scale == 1:
        return start[:, None] + torch.arange(size, device=start.device)
    centre = (2 * torch.arange(size, device=start.device) + 1) * length  # in units of 1 / (2 size) pixels
    return ((2 * size * start[:, None] + centre) * (scale / (2 * size))).floor().long()


def _pack(images: Sequence[ArrayImage], scale: float, device: torch.device) -> _Level:
    """One buffer of all images at one scale."""
    levels = [image.level(scale) for image in images]
    counts = torch.tensor([level[0].numel() for level in levels])
    total = int(counts.sum())
    packed = torch.empty(total + len(images), 4, dtype=torch.uint8)
    for level, part in zip(levels, packed[:total].split(counts.tolist()), strict=True):
        part[:, :3] = level.flatten(1).T
    packed[total:, :3] = torch.tensor([image.background for image in images], dtype=torch.uint8)
    return _Level(
        pixels=packed.view(torch.int32).squeeze(1).to(device),
        first=(counts.cumsum(0) - counts).to(device),
        height=torch.tensor([level.shape[1] for level in levels], device=device),
        width=torch.tensor([level.shape[2] for level in levels], device=device),
        background=total + torch.arange(len(images), device=device),
    )
