"""Images held in memory, read by exact area averaging."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from ..errors import ConfigError, ImageError
from ..geometry import Region
from .averaging import average_boxes, common_size, exact_scale, whole_view
from .fractional import average_windows, checked_boxes
from .georeference import Georeference
from .pictured import image_png

__all__ = ["ArrayImage", "images_of"]

WHITE = (255, 255, 255)
_CHUNK = 1 << 24  # bytes of regions gathered at a time


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

    reader = "whole"
    georeference: Georeference | None = None
    mpp_source = ""  # where a map tells it

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
        self.identity = object()  # of these pixels in this process, for caches
        self.pixels: UInt8[Tensor, "3 h w"] = _as_rgb(pixels, background, name)

    @property
    def height(self) -> int:
        """Level-0 pixels."""
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        """Level-0 pixels."""
        return int(self.pixels.shape[2])

    def _repr_png_(self) -> bytes | None:
        return image_png(self, self.height * self.width)

    def read(self, regions: Sequence[Region], scale: float) -> UInt8[Tensor, "n 3 h w"]:
        """Read regions of one size at a scale, exactly area-averaged (see `images.image.Image`).

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the regions are not of one size.
        """
        height, width, rows, columns = common_size(regions, scale)
        views = torch.empty(len(regions), 3, rows, columns, dtype=torch.uint8)
        box = Fraction(height, rows), Fraction(width, columns)
        chunk = max(1, _CHUNK // (3 * height * width))
        for start in range(0, len(regions), chunk):
            crops = self._crop(regions[start : start + chunk])
            views[start : start + chunk] = average_boxes(crops, (rows, columns), box)
        return views

    def read_boxes(
        self, boxes: Float64[Tensor, "n 4"], rows: int, columns: int
    ) -> UInt8[Tensor, "n 3 rows columns"]:
        """Read boxes with fractional edges, each averaged to `rows` x `columns` view pixels.

        Args:
            boxes: x, y, width, height in level-0 pixels; they may reach beyond the border.
            rows: view pixels.
            columns: view pixels.

        Raises:
            ImageError: if a box or the view is empty, or a number is not finite.
        """
        array = checked_boxes(boxes, rows, columns, self.name)
        source = self.pixels.permute(1, 2, 0).numpy()
        views = average_windows(source, array, (rows, columns), self.background)
        return torch.from_numpy(views).permute(0, 3, 1, 2)

    def level(self, scale: float) -> UInt8[Tensor, "3 rows columns"]:
        """The whole image at a scale: pixel i averages [i / scale, (i + 1) / scale), background beyond."""
        colour = torch.tensor(self.background, dtype=torch.uint8)
        return whole_view(self.pixels.permute(1, 2, 0), colour, exact_scale(scale)).permute(2, 0, 1)

    def _crop(self, regions: Sequence[Region]) -> UInt8[Tensor, "n 3 height width"]:
        """Regions at full resolution; a single one inside the image is not copied."""
        x, y, width, height = regions[0]
        inside = x >= 0 and y >= 0 and x + width <= self.width and y + height <= self.height
        if len(regions) == 1 and inside:
            return self.pixels[None, :, y : y + height, x : x + width]
        colour = torch.tensor(self.background, dtype=torch.uint8)
        crops = colour[:, None, None].expand(len(regions), 3, height, width).clone()
        for crop, (x, y, _, _) in zip(crops, regions, strict=True):
            top, bottom = max(y, 0), min(y + height, self.height)
            left, right = max(x, 0), min(x + width, self.width)
            if top < bottom and left < right:
                crop[:, top - y : bottom - y, left - x : right - x] = self.pixels[:, top:bottom, left:right]
        return crops


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
        alpha = pixels[3:].int()
        colour = torch.tensor(background, dtype=torch.int32).view(3, 1, 1)
        over = pixels[:3] * alpha + colour * (255 - alpha)
        pixels = (2 * over + 255).div(510, rounding_mode="floor").to(torch.uint8)
    return pixels.contiguous()


def images_of(pixels: Tensor) -> list[ArrayImage]:
    """The images in a (B, 3, height, width) tensor of uint8, or of floating point in [0, 1].

    Raises:
        ConfigError: if it has another shape, type or range, or requires a gradient.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ConfigError(
            f"a tensor of shape {tuple(pixels.shape)}", remedy="Give images as (B, 3, height, width)."
        )
    if pixels.requires_grad:
        raise ConfigError(
            "a tensor that requires a gradient; pixels are read as bytes",
            remedy="Give images.detach(): gradients reach the networks, not the pixels.",
        )
    if pixels.dtype != torch.uint8:
        inside = not pixels.numel() or bool((pixels.amin() >= 0) & (pixels.amax() <= 1))
        if not (pixels.is_floating_point() and inside):
            raise ConfigError(
                f"a tensor of type {pixels.dtype} outside [0, 1]",
                remedy="Give uint8 pixels, or floating-point ones scaled to [0, 1].",
            )
        pixels = (pixels * 255 + 0.5).to(torch.uint8)
    return [ArrayImage(one, name=f"image {index}") for index, one in enumerate(pixels.cpu())]
