"""The parts that pictures are made of: the image, the attention over it, the ROI, crops with their frames.

Axes count level-0 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..annotations.annotation import Annotation
from ..geometry import Region
from .palette import AGAINST, FOR, ROI, TILE
from .places import Places, speaks_for
from .scale_bar import draw_scale_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .evidence import Explanation

__all__ = [
    "OUTLINED",
    "draw_crop",
    "draw_heat",
    "draw_image",
    "draw_map",
    "draw_roi",
    "draw_sub_tiles",
    "draw_tiles",
    "evidence_of",
    "title",
    "without_ticks",
]

_MAP = "viridis"
OUTLINED = 300  # most places outlined in a picture, the heaviest


def title(explanation: Explanation) -> str:
    """The answer in one line: the image, the prediction and how sure it is, the truth where it is known."""
    best, error = float(explanation.probabilities.max()), explanation.standard_error
    within = f" ± {error:.2f}" if error == error and error >= 0.005 else ""
    truth = "" if explanation.truth is None else f"  (true: {explanation.truth})"
    name = explanation.image if len(explanation.image) <= 60 else "…" + explanation.image[-59:]
    return f"{name}:  {explanation.label}, probability {best:.2f}{within}{truth}"


def evidence_of(explanation: Explanation, places: Places) -> Float[Tensor, " places"]:
    """What each place says for the predicted class."""
    return speaks_for(places.contribution, explanation.classes, explanation.label)


def without_ticks(axes: Axes) -> None:
    """A picture needs none."""
    axes.set_xticks([])
    axes.set_yticks([])


def draw_image(axes: Axes, explanation: Explanation, *, grey: bool = False, bar: bool = True) -> None:
    """The overview."""
    height, width = explanation.size
    extent = (0, width, height, 0)
    if grey:
        tone = explanation.overview.float().mean(0).numpy()
        axes.imshow(tone, cmap="gray", vmin=0, vmax=400, extent=extent)
    else:
        axes.imshow(explanation.overview.permute(1, 2, 0).numpy(), extent=extent)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    without_ticks(axes)
    if bar:
        draw_scale_bar(axes, explanation.source.mpp)


def draw_heat(axes: Axes, explanation: Explanation, shown: Float[Tensor, "h w"], label: str) -> None:
    """Attention on a logarithmic scale over the image in grey, transparent where it is below its mean."""
    from matplotlib.colors import LogNorm

    height, width = explanation.size
    draw_image(axes, explanation, grey=True)
    most = max(float(shown.max()), 10.0)
    norm = LogNorm(1, most, clip=True)
    strength = torch.as_tensor(norm(shown.numpy()).filled(0)).sqrt()
    picture = axes.imshow(
        shown.numpy(), cmap=_MAP, norm=norm, alpha=strength.numpy(), extent=(0, width, height, 0)
    )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.045, pad=0.02)
    if bar.solids is not None:
        bar.solids.set_alpha(1)  # the scale itself is opaque
    bar.ax.tick_params(labelsize=7)
    bar.ax.minorticks_off()
    bar.set_ticks(_ticks(most))
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.set_label(label, fontsize=7)


def draw_map(axes: Axes, values: Float[Tensor, "u v"], box: Sequence[float], most: float) -> None:
    """A tile's own attention map over its pixels, transparent where it is below the mean of the tile."""
    from matplotlib.colors import LogNorm

    x, y, width, height = box
    relative = values * values.numel()
    norm = LogNorm(1, max(most, 10.0), clip=True)
    strength = torch.as_tensor(norm(relative.numpy()).filled(0)).sqrt() * 0.85
    axes.imshow(
        relative.numpy(),
        cmap=_MAP,
        norm=norm,
        alpha=strength.numpy(),
        extent=(x, x + width, y + height, y),
        interpolation="nearest",
    )


def draw_sub_tiles(axes: Axes, explanation: Explanation, width: float = 1.0, tile: int | None = None) -> None:
    """Outlines of the heaviest places: orange speaks for the predicted class, blue against it.

    Args:
        axes: where to draw.
        explanation: whose places.
        width: of the lines, relative.
        tile: draw the places of this tile alone, a row of `tiles`.
    """
    places = explanation.places()
    said = evidence_of(explanation, places)
    strongest = max(float(said.abs().max()), 1e-12) if len(said) else 1.0
    chosen = range(len(said)) if tile is None else (places.tile == tile).nonzero()[:, 0].tolist()
    for k in reversed(chosen[:OUTLINED]):
        strength = abs(float(said[k])) / strongest
        colour = FOR if said[k] >= 0 else AGAINST
        line = width * (0.8 + 1.2 * strength)
        _outline(axes, places.regions[k].tolist(), colour, line, 0.5 + 0.5 * strength)


def draw_tiles(axes: Axes, explanation: Explanation) -> None:
    """Outlines of the tiles drawn."""
    for box in explanation.tiles.tolist():
        _outline(axes, box, TILE, 0.9, 0.9)


def draw_roi(axes: Axes, explanation: Explanation, roi: Annotation) -> bool:
    """The outline of the ROI, dark with a white seam; whether there was any to draw."""
    from matplotlib.patheffects import withStroke

    height, width = explanation.size
    scale = explanation.overview.shape[1] / height
    share = roi.read([Region(0, 0, width, height)], min(1.0, scale))[0]
    if float(share.max()) <= 0:
        return False
    rows, columns = share.shape
    x = (torch.arange(columns) + 0.5) * (width / columns)
    y = (torch.arange(rows) + 0.5) * (height / rows)
    lines = axes.contour(
        x.numpy(), y.numpy(), share.numpy(), levels=[float(share.max()) / 2], colors=[ROI], linewidths=1.0
    )
    lines.set_path_effects([withStroke(linewidth=2.6, foreground="white")])
    return True


def draw_crop(
    axes: Axes, crop: Tensor, box: Sequence[float], mpp: float | None, colour: str, *, line: float = 2.0
) -> None:
    """The pixels of a box, framed, with a scale bar."""
    x, y, width, height = box
    axes.imshow(crop.permute(1, 2, 0).numpy(), interpolation="nearest", extent=(x, x + width, y + height, y))
    axes.set_xlim(x, x + width)
    axes.set_ylim(y + height, y)
    without_ticks(axes)
    for spine in axes.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(line)
    draw_scale_bar(axes, mpp, share=0.5, font_size=6.0)


def _outline(axes: Axes, box: Sequence[float], colour: str, width: float, alpha: float) -> None:
    """A box, with a light seam that keeps it visible on dark pixels."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    seam = [withStroke(linewidth=width + 0.8, foreground="white", alpha=0.7 * alpha)]
    (x, y, side_x, side_y) = box
    axes.add_patch(
        Rectangle(
            (x, y),
            side_x,
            side_y,
            fill=False,
            edgecolor=colour,
            linewidth=width,
            alpha=alpha,
            path_effects=seam,
        )
    )


def _ticks(most: float) -> list[float]:
    """1, 3, 10, 30 and so on; where that makes many, every power of ten."""
    powers = range(int(math.log10(most)) + 1)
    near = [k * 10.0**power for power in powers for k in ((1, 3) if len(powers) < 4 else (1,))]
    return [tick for tick in near if tick <= most * (1 + 1e-6)]
