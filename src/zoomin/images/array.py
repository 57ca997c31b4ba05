"""Images held in memory, read by exact area averaging."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..errors import ImageError
from ..geometry import Region, regions_tensor, view_size

__all__ = ["ArrayImage", "box_filter", "check_one_size"]

WHITE = (255, 255, 255)


def box_filter(length: int, pitch: float, n: int) -> Float[Tensor, "n length"]:
    """The share of each of `length` pixels in each of `n` boxes, box i covering [i pitch, (i + 1) pitch).

    Divide the sums by `pitch` for averages; shares that are whole numbers keep those sums exact. A box that
    reaches beyond the last pixel has a row that sums to less than `pitch`.

    Example:
        >>> box_filter(4, pitch=1.5, n=2)
        tensor([[1.0000, 0.5000, 0.0000, 0.0000],
                [0.0000, 0.5000, 1.0000, 0.0000]])
    """
    low = pitch * torch.arange(n, dtype=torch.float64)[:, None]
    pixel = torch.arange(length, dtype=torch.float64)
    overlap = torch.minimum(low + pitch, pixel + 1) - torch.maximum(low, pixel)
    return overlap.clamp(min=0).float()


def check_one_size(regions: Sequence[Region], name: str) -> tuple[int, int]:
    """Height and width shared by all regions.

    Raises:
        ImageError: if they differ, or are not positive.
    """
    sizes = {(region.height, region.width) for region in regions}
    if len(sizes) > 1:
        raise ImageError(
            f"regions of {len(sizes)} sizes in one read",
            where=name,
            remedy="Read regions of one size at a time.",
        )
    height, width = sizes.pop() if sizes else (1, 1)
    if height < 1 or width < 1:
        raise ImageError(f"a region of {width} x {height} pixels", where=name, remedy="Give a positive size.")
    return height, width


class ArrayImage:
    """An image whose pixels are in memory.

    Args:
        pixels: uint8, a tensor (3, H, W), or an array (H, W), (H, W, 3) or (H, W, 4), whose alpha is laid on
            the background.
        mpp: microns per pixel, None where unknown.
        background: colour beyond the border.
        name: what to call it.

    Raises:
        ImageError: if the pixels have another shape or type, or there are none.

    Example:
        >>> image = ArrayImage(torch.zeros(3, 4, 6, dtype=torch.uint8))
        >>> image.read([Region(x=4, y=0, width=4, height=4)], scale=0.5)[0, 0]
        tensor([[  0, 255],
                [  0, 255]], dtype=torch.uint8)
    """

    def __init__(
        self,
        pixels: Tensor | npt.NDArray[Any],
        *,
        mpp: float | None = None,
        background: tuple[int, int, int] = WHITE,
        name: str = "array",
    ) -> None:
        """Hold the pixels; nothing is copied where they are a (3, H, W) tensor."""
        self.background = background
        self.name = name
        self.mpp = mpp
        self.pixels: UInt8[Tensor, "3 h w"] = _as_rgb(pixels, background, name)

    @property
    def height(self) -> int:
        """Level-0 pixels."""
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        """Level-0 pixels."""
        return int(self.pixels.shape[2])

    def read(self, regions: Sequence[Region], scale: float) -> UInt8[Tensor, "n 3 h w"]:
        """Read regions of one size at a scale (see `images.base.Image`)."""
        height, width = check_one_size(regions, self.name)
        corners = regions_tensor(list(regions))
        y = corners[:, 1:2] + torch.arange(height)
        x = corners[:, 0:1] + torch.arange(width)
        inside = ((y >= 0) & (y < self.height))[:, :, None] & ((x >= 0) & (x < self.width))[:, None, :]
        y, x = y.clamp(0, self.height - 1), x.clamp(0, self.width - 1)
        crops = self.pixels[:, y[:, :, None], x[:, None, :]].transpose(0, 1)
        colour = torch.tensor(self.background, dtype=torch.uint8).view(3, 1, 1)
        crops = torch.where(inside[:, None], crops, colour)
        rows, columns = view_size(height, scale), view_size(width, scale)
        if (rows, columns) == (height, width):
            return crops
        down = box_filter(height, height / rows, rows)
        across = box_filter(width, width / columns, columns)
        area = (height / rows) * (width / columns)
        return ((down @ crops.float() @ across.T) / area + 0.5).clamp(0, 255).to(torch.uint8)

    def level(self, scale: float) -> UInt8[Tensor, "3 rows columns"]:
        """The whole image at a scale: pixel i averages [i / scale, (i + 1) / scale), background beyond."""
        if scale == 1:
            return self.pixels
        down = box_filter(self.height, 1 / scale, math.ceil(self.height * scale - 1e-9))
        across = box_filter(self.width, 1 / scale, math.ceil(self.width * scale - 1e-9))
        missing = 1 / scale**2 - down.sum(1)[:, None] * across.sum(1)
        colour = torch.tensor(self.background, dtype=torch.float32).view(3, 1, 1)
        view = (down @ self.pixels.float() @ across.T + missing * colour) * scale**2
        return (view + 0.5).clamp(0, 255).to(torch.uint8)


def _as_rgb(
    pixels: Tensor | npt.NDArray[Any], background: tuple[int, int, int], name: str
) -> UInt8[Tensor, "3 h w"]:
    if isinstance(pixels, np.ndarray):
        pixels = torch.from_numpy(np.ascontiguousarray(pixels))
        if pixels.ndim == 2:
            pixels = pixels[..., None].expand(-1, -1, 3)
        pixels = pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] not in (3, 4):
        raise ImageError(
            f"pixels of type {pixels.dtype} and shape {tuple(pixels.shape)}",
            where=name,
            remedy="Give uint8 pixels: a tensor (3, H, W), or an array (H, W), (H, W, 3) or (H, W, 4).",
        )
    if 0 in pixels.shape:
        raise ImageError("the image has no pixels", where=name, remedy="Remove it, or export it again.")
    if pixels.shape[0] == 4:
        alpha = pixels[3:].float() / 255
        colour = torch.tensor(background, dtype=torch.float32).view(3, 1, 1)
        pixels = (pixels[:3] * alpha + colour * (1 - alpha) + 0.5).to(torch.uint8)
    return pixels.contiguous()
