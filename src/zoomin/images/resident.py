"""Images resident on the device: one gather reads the regions of a whole batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int, Int32, UInt8
from torch import Tensor

from ..errors import ConfigError
from ..geometry import Region, TileGrid
from .array import ArrayImage
from .averaging import average_boxes, common_size, whole_view
from .image import Image, Started
from .tissue import ForegroundMask, foreground_of

__all__ = ["ResidentImages"]

_LEVELS = 12  # kept at once: three sizes of view, each counted from every border
_CHUNK = 1 << 22  # pixels of regions gathered at a time


class _Level(NamedTuple):
    """All images at one scale in one buffer, and after them one background pixel per image.

    A pixel is one 32-bit integer: red, green, blue, and a byte that is not used.
    """

    pixels: Int32[Tensor, " pixels"]
    first: Int[Tensor, " images"]
    height: Int[Tensor, " images"]
    width: Int[Tensor, " images"]
    background: Int[Tensor, " images"]


@dataclass
class _Store:
    """What all selections of the same images share. Levels are averaged from the pixels on first use.

    The pixels of a level are boxes of level-0 pixels, counted from the upper or lower and from the left or
    right border of each image: tiles of an image lie on the first, tiles of a mirrored image on the others.
    """

    full: _Level
    names: tuple[str, ...]
    masks: tuple[ForegroundMask | None, ...]
    levels: dict[tuple[Fraction, int], _Level] = field(default_factory=dict)

    def level(self, box: Fraction, anchor: int) -> _Level:
        """All images in boxes of one side, from the lower border (anchor & 2), from the right one (& 1)."""
        key = box, anchor
        if key not in self.levels:
            mirrored = [dim for dim in (0, 1) if anchor & (2 >> dim)]
            views = [
                whole_view(pixels.flip(mirrored), colour, 1 / box).flip(mirrored)
                for pixels, colour in _unpack(self.full)
            ]
            if len(self.levels) == _LEVELS:
                del self.levels[next(iter(self.levels))]
            self.levels[key] = _pack(views, self.full.pixels[self.full.background].view(torch.uint8))
        return self.levels[key]


class ResidentImages:
    """An `ImageBatch` over images that live on the device, at full resolution and at those of their tiles.

    Memory: four bytes per pixel, and scale^2 of that for every scale at which tiles are read (up to four
    times that where images are mirrored). Views come in channels-last memory.

    Args:
        images: images in memory, or small enough to be; their pixels are copied.
        device: where pixels lie and views are delivered.
        masks: foreground of each image; by default none has any, and all of their tiles count.

    Raises:
        ConfigError: if there are no images.
    """

    def __init__(
        self,
        images: Sequence[Image],
        device: torch.device | str = "cpu",
        masks: Sequence[ForegroundMask | None] = (),
    ) -> None:
        """Copy all pixels to the device."""
        if not images:
            raise ConfigError("a batch without images", remedy="Give at least one image.")
        views = [_whole(image).permute(1, 2, 0) for image in images]
        colours = torch.tensor([(*image.background, 0) for image in images], dtype=torch.uint8)
        full = _Level(*(part.to(device) for part in _pack(views, colours.flatten())))
        known = tuple(masks) or (None,) * len(images)
        self._store = _Store(full, tuple(image.name for image in images), known)
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

    def foreground(self, grid: TileGrid) -> Bool[Tensor, " tiles"] | None:
        """Which tiles can hold anything (see `images.image.ImageBatch`)."""
        if not any(self._store.masks):
            return None
        return foreground_of([self._store.masks[i] for i in self._index.tolist()], grid)

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

    def start(self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float) -> Started:
        """A read that begins when its views are asked for: all pixels are in memory."""
        return Started(partial(self.read, image_index, regions, scale), lambda: None)

    def prefetch(self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float) -> None:
        """Nothing: all pixels are in memory."""

    def read(
        self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float
    ) -> UInt8[Tensor, "n 3 h w"]:
        """Read one region of each indexed image (see `images.image.ImageBatch`).

        Views are those of `Image.read` to the bit. Regions on a grid of their own size, from any corner of
        the image, are taken from an averaged level; others are averaged again.

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the regions are not of one size.
        """
        height, width, rows, columns = common_size(regions, scale)
        image, regions = self._index[image_index], regions.to(self.device)
        box = Fraction(height, rows), Fraction(width, columns)
        if box[0] == box[1] == 1:
            return _gather(self._store.full, image, regions[:, 1], regions[:, 0], (rows, columns))
        anchors = _anchors(regions, self._sizes[image], box)
        found = anchors.unique().tolist()
        if len(found) == 1:
            return self._averaged(image, regions, box, (rows, columns), found[0])
        views = torch.empty(len(regions), rows, columns, 3, dtype=torch.uint8, device=self.device)
        for anchor in found:
            own = (anchors == anchor).nonzero()[:, 0]
            averaged = self._averaged(image[own], regions[own], box, (rows, columns), anchor)
            views.index_copy_(0, own, averaged.permute(0, 2, 3, 1))
        return views.permute(0, 3, 1, 2)

    def _averaged(
        self,
        image: Int[Tensor, " n"],
        regions: Int[Tensor, "n 4"],
        box: tuple[Fraction, Fraction],
        size: tuple[int, int],
        anchor: int,
    ) -> UInt8[Tensor, "n 3 h w"]:
        """Views of regions that all lie on the grid of a level, or on none (-1)."""
        if anchor < 0:
            return self._averaged_anew(image, regions, box, size)
        level, side = self._store.level(box[0], anchor), box[0]
        start = regions[:, :2].flip(1)
        from_end = torch.tensor([anchor & 2 > 0, anchor & 1 > 0], device=self.device)
        start = start - self._sizes[image] * from_end  # level-0 pixels from the border that counts
        place = torch.div(start * side.denominator, side.numerator, rounding_mode="floor")
        place = place + torch.stack([level.height, level.width], 1)[image] * from_end
        return _gather(level, image, place[:, 0], place[:, 1], size)

    def _averaged_anew(
        self,
        image: Int[Tensor, " n"],
        regions: Int[Tensor, "n 4"],
        box: tuple[Fraction, Fraction],
        size: tuple[int, int],
    ) -> UInt8[Tensor, "n 3 h w"]:
        """Views of regions anywhere, from their pixels at full resolution."""
        height, width = int(box[0] * size[0]), int(box[1] * size[1])
        views = torch.empty(len(regions), *size, 3, dtype=torch.uint8, device=self.device)
        step = max(1, _CHUNK // (height * width))
        for view, i, r in zip(views.split(step), image.split(step), regions.split(step), strict=True):
            pixels = _gather(self._store.full, i, r[:, 1], r[:, 0], (height, width))
            view.copy_(average_boxes(pixels.permute(0, 2, 3, 1), size, box, dims=(1, 2)))
        return views.permute(0, 3, 1, 2)


def _gather(
    level: _Level, image: Int[Tensor, " n"], y: Int[Tensor, " n"], x: Int[Tensor, " n"], size: tuple[int, int]
) -> UInt8[Tensor, "n 3 h w"]:
    """Windows of one size of a level, from the rows y and columns x on; background beyond the images."""
    y = y[:, None] + torch.arange(size[0], device=y.device)
    x = x[:, None] + torch.arange(size[1], device=x.device)
    in_y = (y >= 0) & (y < level.height[image, None])
    in_x = (x >= 0) & (x < level.width[image, None])
    place = (level.first[image, None] + y * level.width[image, None])[:, :, None] + x[:, None, :]
    place = torch.where(in_y[:, :, None] & in_x[:, None, :], place, level.background[image, None, None])
    pixels = level.pixels.index_select(0, place.flatten()).view(torch.uint8)
    return pixels.view(*place.shape, 4)[..., :3].permute(0, 3, 1, 2)


def _anchors(
    regions: Int[Tensor, "n 4"], sizes: Int[Tensor, "n 2"], box: tuple[Fraction, Fraction]
) -> Int[Tensor, " n"]:
    """From which border whole boxes reach each region (see `_Store.level`); -1 where from none."""
    if box[0] != box[1]:
        return torch.full_like(regions[:, 0], -1)
    start = regions[:, :2].flip(1)  # y, x
    on_first = start * box[0].denominator % box[0].numerator == 0
    on_last = (start - sizes) * box[0].denominator % box[0].numerator == 0
    anchor = 2 * (~on_first[:, 0]).long() + (~on_first[:, 1]).long()
    return torch.where((on_first | on_last).all(1), anchor, -1)


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
    """Each image's pixels and background, four bytes per pixel; nothing is copied."""
    data = level.pixels.view(torch.uint8).view(-1, 4)
    places = (level.first, level.height, level.width, level.background)
    for first, height, width, background in zip(*(place.tolist() for place in places), strict=True):
        yield data[first : first + height * width].view(height, width, 4), data[background]
