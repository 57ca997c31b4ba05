"""A bar of a round length in the corner of a picture: microns, millimetres, metres, or pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BAR", "draw_scale_bar", "round_length"]

BAR = "#333333"
_UNITS = (("km", 1e9), ("m", 1e6), ("mm", 1e3), ("µm", 1.0), ("nm", 1e-3))


def round_length(most: float, mpp: float | None) -> tuple[float, str]:
    """The largest length of 1, 2 or 5 times a power of ten that is not above `most` level-0 pixels.

    Args:
        most: level-0 pixels.
        mpp: microns per level-0 pixel; None to count pixels.

    Returns:
        The length in level-0 pixels, and what to write beside it.

    Example:
        >>> round_length(100.0, mpp=0.25), round_length(130.0, mpp=None), round_length(50.0, mpp=5e5)
        ((80.0, '20 µm'), (100.0, '100 px'), (40.0, '20 m'))
    """
    most = most * (1 if mpp is None else mpp)
    power = 10.0 ** math.floor(math.log10(most))
    length = next(k * power for k in (5, 2, 1) if k * power <= most * (1 + 1e-9))
    if mpp is None:
        return max(length, 1.0), f"{max(length, 1.0):.0f} px"
    unit, microns = next(((u, m) for u, m in _UNITS if length >= m * (1 - 1e-9)), _UNITS[-1])
    return length / mpp, f"{length / microns:.3g} {unit}"


def draw_scale_bar(axes: Axes, mpp: float | None, share: float = 0.3, font_size: float = 7.0) -> None:
    """Draw a scale bar below axes that count level-0 pixels, at their left, where it covers nothing.

    Args:
        axes: their limits are set already.
        mpp: microns per level-0 pixel; None to count pixels.
        share: most of the width that it may take.
        font_size: points.
    """
    from matplotlib.transforms import blended_transform_factory, offset_copy

    left, right = sorted(axes.get_xlim())
    length, text = round_length((right - left) * share, mpp)
    along = blended_transform_factory(axes.transData, axes.transAxes)
    figure: Any = axes.figure  # or a part of one
    below = offset_copy(along, figure, y=-0.8 * font_size, units="points")
    beside = offset_copy(along, figure, x=0.4 * font_size, y=-0.8 * font_size, units="points")
    ends = [left, left + length]
    axes.plot(ends, [0, 0], color=BAR, lw=1.6, solid_capstyle="butt", transform=below, clip_on=False)
    axes.text(ends[1], 0, text, color=BAR, fontsize=font_size, va="center", transform=beside)
