"""A bar of a round length in the corner of a picture: microns, millimetres, metres, or pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_scale_bar", "round_length"]

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
    """Draw a scale bar into the lower left corner of axes that count level-0 pixels.

    Args:
        axes: their limits are set already.
        mpp: microns per level-0 pixel; None to count pixels.
        share: most of the width that it may take.
        font_size: points.
    """
    from matplotlib.patheffects import withStroke

    left, right = sorted(axes.get_xlim())
    bottom, top = axes.get_ylim()
    length, text = round_length((right - left) * share, mpp)
    x, y = left + 0.04 * (right - left), bottom + 0.05 * (top - bottom)
    seam = [withStroke(linewidth=font_size / 2.2, foreground="black")]
    axes.plot(
        [x, x + length],
        [y, y],
        color="white",
        linewidth=font_size / 3,
        solid_capstyle="butt",
        path_effects=[withStroke(linewidth=font_size / 3 + 1.8, foreground="black")],
        zorder=10,
    )
    axes.annotate(
        text,
        (x, y),
        xytext=(0, font_size * 0.35),
        textcoords="offset points",
        color="white",
        fontsize=font_size,
        weight="bold",
        va="bottom",
        path_effects=seam,
        zorder=10,
    )
