"""Images resident on the device: one gather reads the regions of a whole batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

import torch
from jaxtyping import Int, Int32, UInt8
from torch import Tensor

from ..errors import ConfigError
from ..geometry import Region
from .array import ArrayImage
from .averaging import common_size, exact_scale, whole_view
from .base import Image

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
    """What all selections of the same images share. Levels are averaged from the pixels on first use."""

    full: _Level
    names: tuple[str, ...]
    levels: dict[Fraction, _Level] = field(default_factory=dict)

    def level(self, scale: float) -> _Level:
        exact = exact_scale(scale)
        if exact == 1:
            return self.full
        if exact not in self.levels:
            views = [whole_view(pixels, colour, exact) for pixels, colour in _unpack(self.full)]
            self.levels[exact] = _pack(views, self.full.pixels[self.full.background].view(torch.uint8))
        return self.levels[exact]


class ResidentImages:
    """An `ImageBatch` over images that live on the device at full resolution and at every scale asked for.

    Memory: four bytes a pixel, and scale^2 of that for every scale that is read. Views come in channels-last
    memory.

    Args:
        images: images in memory, or small enough to be; their pixels are copied.
        device: where pixels lie and views are delivered.

    Raises:
        ConfigError: if there are no images.
    """

    def __init__(self, images: Sequence[Image], device: torch.device | str = "cpu") -> None:
        """Copy all pixels to the device."""
        if not images:
            raise ConfigError("a batch without images", remedy="Give at least one image.")
        views = [_whole(image).permute(1, 2, 0) for image in images]
        colours = torch.tensor([(*image.background, 0) for image in images], dtype=torch.uint8)
        full = _Level(*(part.to(device) for part in _pack(views, colours.flatten())))
        self._store = _Store(full, tuple(image.name for image in images))
        self._index: Int[Tensor, " batch"] = torch.arange(len(images), device=full.pixels.device)
        self._sizes: Int[Tensor, "images 2"] = torch.stack([full.height, full.width], 1)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._index)

    @property
    def device(self) -> torch.device:
        """Where views are delivered."""
        return self._store.full.pixels.device

    @property
    def sizes(self) -> Int[Tensor, "batch 2"]:
        """Height and width of each image, level-0 pixels."""
        return self._sizes[self._index]

    @property
    def names(self) -> list[str]:
        """Name of each image."""
        return [self._store.names[i] for i in self._index.tolist()]

    def select(self, indices: Int[Tensor, " n"] | Sequence[int]) -> ResidentImages:
        """Some of the images, in the order given; pixels are shared."""
        chosen = object.__new__(ResidentImages)
        chosen._store, chosen._sizes = self._store, self._sizes
        chosen._index = self._index[torch.as_tensor(indices, device=self.device)]
        return chosen

    def to(self, device: torch.device | str) -> ResidentImages:
        """The same images on another device."""
        if torch.empty(0, device=device).device == self.device:
            return self
        moved = object.__new__(ResidentImages)
        levels = {
            scale: _Level(*(t.to(device) for t in level)) for scale, level in self._store.levels.items()
        }
        full = _Level(*(part.to(device) for part in self._store.full))
        moved._store = replace(self._store, full=full, levels=levels)
        moved._index, moved._sizes = self._index.to(device), self._sizes.to(device)
        return moved

    def prefetch(self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float) -> None:
        """Nothing: all pixels are at hand."""

    def read(
        self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float
    ) -> UInt8[Tensor, "n 3 h w"]:
        """Read one region of each indexed image (see `images.base.ImageBatch`).

        A view pixel is the level's pixel under its centre: `Image.read` to the bit where the edges of the
        regions fall on edges of the level's pixels, the nearest pixel elsewhere.

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the regions are not of one size.
        """
        height, width, rows, columns = common_size(regions, scale)
        level = self._store.level(scale)
        image = self._index[image_index]
        regions = regions.to(self.device)
        y = _level_pixels(regions[:, 1], height, rows, scale)
        x = _level_pixels(regions[:, 0], width, columns, scale)
        in_y = (y >= 0) & (y < level.height[image, None])
        in_x = (x >= 0) & (x < level.width[image, None])
        place = (level.first[image, None] + y * level.width[image, None])[:, :, None] + x[:, None, :]
        place = torch.where(in_y[:, :, None] & in_x[:, None, :], place, level.background[image, None, None])
        pixels = level.pixels.index_select(0, place.flatten()).view(torch.uint8)
        return pixels.view(*place.shape, 4)[..., :3].permute(0, 3, 1, 2)


def _level_pixels(start: Int[Tensor, " n"], length: int, size: int, scale: float) -> Int[Tensor, "n size"]:
    """The level's pixel under the centre of every view pixel of regions that start at `start`: exact."""
    exact = exact_scale(scale)
    centre = (2 * torch.arange(size, device=start.device) + 1) * length  # in units of 1 / (2 size) pixels
    place = (2 * size * start.long()[:, None] + centre) * exact.numerator
    return torch.div(place, 2 * size * exact.denominator, rounding_mode="floor")


def _whole(image: Image) -> UInt8[Tensor, "3 height width"]:
    if isinstance(image, ArrayImage):
        return image.pixels
    return image.read([Region(0, 0, image.width, image.height)], 1.0)[0]


def _pack(views: Sequence[UInt8[Tensor, "_ _ _"]], backgrounds: UInt8[Tensor, " bytes"]) -> _Level:
    """One buffer of views (height, width, 3 or 4 bytes), and after them the background pixels."""
    device = backgrounds.device
    heights, widths = ([view.shape[side] for view in views] for side in (0, 1))
    count = torch.tensor(heights) * torch.tensor(widths)
    total = int(count.sum())
    packed = torch.zeros(total + len(views), 4, dtype=torch.uint8, device=device)
    for view, part in zip(views, packed[:total].split(count.tolist()), strict=True):
        part.view(*view.shape[:2], 4)[..., :3] = view[..., :3]
    packed[total:] = backgrounds.view(-1, 4)
    return _Level(
        pixels=packed.view(torch.int32).squeeze(1),
        first=(count.cumsum(0) - count).to(device),
        height=torch.tensor(heights, device=device),
        width=torch.tensor(widths, device=device),
        background=total + torch.arange(len(views), device=device),
    )


def _unpack(level: _Level) -> Iterator[tuple[UInt8[Tensor, "height width 4"], UInt8[Tensor, "4"]]]:
    """Each image's pixels and background, four bytes a pixel; nothing is copied."""
    data = level.pixels.view(torch.uint8).view(-1, 4)
    places = (level.first, level.height, level.width, level.background)
    for first, height, width, background in zip(*(place.tolist() for place in places), strict=True):
        yield data[first : first + height * width].view(height, width, 4), data[background]
