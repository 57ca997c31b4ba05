"""Area averaging in exact integer arithmetic: the one way in which zoomin shrinks pixels.

An output pixel is the mean of the box of source pixels that it covers, fractional coverage included, rounded
half up. Sums are integers, so that the result is the same on every device, thread count and block size.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from ..errors import ConfigError, ImageError
from ..geometry import view_size

__all__ = ["average_boxes", "common_size", "exact_scale", "whole_view"]

_FINEST_SCALE = 1_000_000  # largest denominator of a scale; keeps index arithmetic inside 64 bits
_BLOCK = 1 << 24  # source pixels summed at a time


@lru_cache(maxsize=256)
def exact_scale(scale: float) -> Fraction:
    """The scale as the simple fraction that was meant: 0.1 is one tenth, not the nearest binary number.

    Example:
        >>> exact_scale(0.1), exact_scale(1 / 3)
        (Fraction(1, 10), Fraction(1, 3))

    Raises:
        ConfigError: if the scale is not in (0, 1], or is below one millionth.
    """
    if not 0 < scale <= 1:
        raise ConfigError(
            f"the scale {scale} is outside (0, 1]", remedy="Give 1 for full resolution, or less."
        )
    simple = Fraction(scale).limit_denominator(_FINEST_SCALE)
    if simple == 0:
        raise ConfigError(f"the scale {scale} is below one millionth", remedy="Give a larger scale.")
    return simple


def common_size(
    regions: Int[Tensor, "n 4"] | Sequence[Sequence[int]], scale: float
) -> tuple[int, int, int, int]:
    """Height and width that all the regions share, and those of their views at the scale.

    Returns:
        height and width in level-0 pixels, height and width in view pixels; all 1 where there is no region.

    Raises:
        ConfigError: if the scale is not in (0, 1].
        ImageError: if the regions differ in size, or are empty.
    """
    exact_scale(scale)
    if len(regions) == 0:
        return 1, 1, 1, 1
    if isinstance(regions, Tensor):
        low, high = torch.stack(torch.aminmax(regions[:, 2:], dim=0)).tolist()
    else:
        low = [min(region[2] for region in regions), min(region[3] for region in regions)]
        high = [max(region[2] for region in regions), max(region[3] for region in regions)]
    if low != high:
        raise ImageError(
            f"regions of different sizes in one read (width, height from {low} to {high})",
            remedy="Read regions of one size at a time.",
        )
    width, height = low
    if width < 1 or height < 1:
        raise ImageError(f"a region of {width} x {height} pixels", remedy="Read at least one pixel.")
    return height, width, view_size(height, scale), view_size(width, scale)


def average_boxes(
    pixels: UInt8[Tensor, "*shape"],
    size: tuple[int, int],
    box: tuple[Fraction, Fraction],
    dims: tuple[int, int] = (-2, -1),
) -> UInt8[Tensor, "*averaged"]:
    """Average boxes of pixels along two dimensions.

    Output (i, j) is the mean over rows [i b, (i+1) b) and columns [j c, (j+1) c), (b, c) = `box`.

    Args:
        pixels: any layout whose dimensions `dims` are rows and columns.
        size: rows and columns of the result.
        box: height and width of a box in source pixels, not necessarily whole.
        dims: the dimensions of the rows and of the columns.

    Returns:
        the same layout with `size` instead of the rows and columns.

    Example:
        >>> average_boxes(torch.tensor([[0, 4, 8, 9]], dtype=torch.uint8), (1, 2), (Fraction(1), Fraction(2)))
        tensor([[2, 9]], dtype=torch.uint8)
    """
    if box[0] == box[1] == 1:
        return pixels.narrow(dims[0], 0, size[0]).narrow(dims[1], 0, size[1])
    area: int = box[0].numerator * box[1].numerator
    dtype = torch.int32 if 512 * area < 1 << 31 else torch.int64
    total: Tensor = pixels
    for dim, count, side in zip(dims, size, box, strict=True):
        total = _sum_boxes(total, dim, count, side, dtype)
    return total.mul_(2).add_(area).div_(2 * area, rounding_mode="floor").to(torch.uint8)


def _sum_boxes(values: Tensor, dim: int, count: int, box: Fraction, dtype: torch.dtype) -> Tensor:
    """Sums over `count` consecutive boxes, each value weighted by its overlap in units of 1 / denominator."""
    length, unit = box.numerator, box.denominator
    if unit == 1:
        boxes = values.narrow(dim, 0, count * length).unflatten(dim, (count, length))
        step = dim + 1 if dim >= 0 else dim
        total: Tensor = boxes.select(step, 0).to(dtype, copy=True)
        for tap in range(1, length):
            total += boxes.select(step, tap)
        return total
    start = torch.arange(count, device=values.device) * length
    first = start // unit
    shape = [1] * values.dim()
    shape[dim] = count
    total = torch.zeros([], dtype=dtype, device=values.device)
    for tap in range((length + unit - 2) // unit + 1):
        pixel = first + tap
        overlap = torch.minimum(start + length, (pixel + 1) * unit) - torch.maximum(start, pixel * unit)
        weight = overlap.clamp_(min=0).to(dtype).reshape(shape)
        part = (
            values.index_select(dim, pixel.clamp_(max=values.shape[dim] - 1))
            .to(dtype, copy=True)
            .mul_(weight)
        )
        total = part if tap == 0 else total.add_(part)
    return total


def whole_view(
    pixels: UInt8[Tensor, "height width channels"],
    background: UInt8[Tensor, " channels"],
    scale: float | Fraction,
) -> UInt8[Tensor, "rows columns channels"]:
    """A whole image at a scale: view pixel i covers exactly the level-0 pixels [i / scale, (i+1) / scale).

    `ceil(height * scale) x ceil(width * scale)` pixels; those of the last row and column that reach beyond
    the border are blended with the background.

    Example:
        >>> image = torch.full((5, 4, 3), 100, dtype=torch.uint8)
        >>> whole_view(image, torch.full((3,), 200, dtype=torch.uint8), 0.5)[:, 0, 0].tolist()
        [100, 100, 150]
    """
    exact = exact_scale(scale) if isinstance(scale, float) else Fraction(scale)
    box = 1 / exact
    height, width, channels = pixels.shape
    rows, columns = -int(-height * exact // 1), -int(-width * exact // 1)
    needed_columns = -int(-columns * box // 1)
    block = exact.numerator * max(1, _BLOCK // max(1, int(exact.numerator * box) * needed_columns))
    out = pixels.new_empty(rows, columns, channels)
    for start in range(0, rows, block):
        stop = min(rows, start + block)
        top, bottom = int(start * box), -int(-stop * box // 1)
        source = pixels[top:bottom]
        if bottom > height or needed_columns > width:
            source = background.to(pixels.device).expand(bottom - top, needed_columns, channels).clone()
            source[: height - top, :width] = pixels[top:bottom]
        out[start:stop] = average_boxes(source, (stop - start, columns), (box, box), dims=(0, 1))
    return out
