"""The picture of one or several explanations: what was read, the attention, the heaviest sub-tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..annotations.base import Annotation
from ..geometry import Region
from .evidence import Explanation, Places, speaks_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.gridspec import SubplotSpec

__all__ = ["overlay_figure", "overlay_figures"]

_CROPS = 8  # sub-tiles shown
_PANEL = 4.2  # inches, width of the image and of the attention
_FOR, _AGAINST, _ROI = "#d7301f", "#2b6cb0", "#00e676"


def overlay_figure(explanation: Explanation, roi: Annotation | None = None) -> Figure:
    """A picture of where the model looked and what it found there.

    Left, the image with the sub-tiles that were read (red speaks for the predicted class, blue against it,
    the stronger the more) and the outline of the ROI; middle, the attention; right, the heaviest sub-tiles.

    Args:
        explanation: what to show.
        roi: the annotated truth of this image, outlined where given.

    Returns:
        A matplotlib figure that belongs to no window: save it with `figure.savefig(path)`.
    """
    return overlay_figures([explanation], [roi])


def overlay_figures(explanations: Sequence[Explanation], rois: Sequence[Annotation | None]) -> Figure:
    """`overlay_figure` of several images, one above the other.

    Args:
        explanations: what to show, at least one.
        rois: the annotated truth of each image, or None.
    """
    from matplotlib.figure import Figure

    heights = [_row_height(explanation) for explanation in explanations]
    figure = Figure(figsize=(2 * _PANEL + 2.6, sum(heights)), dpi=110, layout="constrained")
    rows = figure.subfigures(len(explanations), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, explanation, roi in zip(rows, explanations, rois, strict=True):
        _draw_row(part, explanation, roi)
    return figure


def _row_height(explanation: Explanation) -> float:
    """Inches."""
    height, width = explanation.size
    return min(max(_PANEL * height / width, 2.6), 7.0) + 0.55


def _draw_row(part: SubFigure, explanation: Explanation, roi: Annotation | None) -> None:
    grid = part.add_gridspec(1, 3, width_ratios=[_PANEL, _PANEL, 2.4])
    best = float(explanation.probabilities.max())
    title = f"{_short(explanation.image)}:  {explanation.label}, probability {best:.2f}"
    part.suptitle(title, fontsize=10, x=0.01, ha="left", weight="bold")
    truth = None if roi is None else _roi_share(roi, explanation)
    left, middle = part.add_subplot(grid[0]), part.add_subplot(grid[1])
    _draw_sub_tiles(left, explanation)
    _draw_heat(middle, explanation)
    for axes in (left, middle):
        _finish(axes, explanation, truth)
    roi_note = "" if truth is None else "; ROI outlined in green"
    left.set_title(f"{len(explanation.sub_tiles)} sub-tiles read{roi_note}", fontsize=9)
    middle.set_title("attention, times its mean", fontsize=9)
    _draw_crops(part, grid[2], explanation)


def _draw_sub_tiles(axes: Axes, explanation: Explanation) -> None:
    from matplotlib.patches import Rectangle

    height, width = explanation.size
    axes.imshow(explanation.overview.permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
    places = explanation.places()
    said = _for_label(explanation, places)
    strongest = max(float(said.abs().max()), 1e-12) if len(said) else 1.0
    for region, value in reversed(list(zip(places.regions.tolist(), said.tolist(), strict=True))):
        strength = abs(value) / strongest
        axes.add_patch(
            Rectangle(
                (region[0], region[1]),
                region[2],
                region[3],
                fill=False,
                edgecolor=_FOR if value >= 0 else _AGAINST,
                linewidth=0.6 + 1.4 * strength,
                alpha=0.3 + 0.7 * strength,
            )
        )


def _draw_heat(axes: Axes, explanation: Explanation) -> None:
    """Attention on a logarithmic scale over the image in grey, transparent where it is below its mean."""
    from matplotlib.colors import LogNorm

    height, width = explanation.size
    extent = (0, width, height, 0)
    grey = explanation.overview.float().mean(0)
    axes.imshow(grey.numpy(), cmap="gray", vmin=0, vmax=400, extent=extent)
    heat = explanation.heat_map(*explanation.overview.shape[1:])
    norm = LogNorm(1, max(float(heat.max()), 10.0), clip=True)
    strength = torch.as_tensor(norm(heat.numpy()).filled(0)).sqrt()
    shown = axes.imshow(heat.numpy(), cmap="inferno", norm=norm, alpha=strength.numpy(), extent=extent)
    bar = axes.figure.colorbar(shown, ax=axes, fraction=0.045, pad=0.02)
    if bar.solids is not None:
        bar.solids.set_alpha(1)  # the scale itself is opaque
    bar.ax.tick_params(labelsize=7)


def _draw_crops(part: SubFigure, place: SubplotSpec, explanation: Explanation) -> None:
    """The heaviest sub-tiles in two columns, framed by what they say."""
    places = explanation.places()
    said = _for_label(explanation, places)
    grid = place.subgridspec((_CROPS + 1) // 2, 2)
    for k, crop in enumerate(explanation.crops[:_CROPS]):
        axes = part.add_subplot(grid[k // 2, k % 2])
        axes.imshow(crop.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"{float(places.weight[k]):.1%} ({float(said[k]):+.2f})", fontsize=7, pad=2)
        for spine in axes.spines.values():
            spine.set_color(_FOR if said[k] >= 0 else _AGAINST)
            spine.set_linewidth(2)


def _finish(axes: Axes, explanation: Explanation, truth: Float[Tensor, "h w"] | None) -> None:
    height, width = explanation.size
    if truth is not None and float(truth.max()) > 0:
        rows, columns = truth.shape
        x = (torch.arange(columns) + 0.5) * (width / columns)
        y = (torch.arange(rows) + 0.5) * (height / rows)
        level = float(truth.max()) / 2
        axes.contour(x.numpy(), y.numpy(), truth.numpy(), levels=[level], colors=[_ROI], linewidths=0.9)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def _for_label(explanation: Explanation, places: Places) -> Float[Tensor, " places"]:
    return speaks_for(places.contribution, explanation.classes, explanation.label)


def _roi_share(roi: Annotation, explanation: Explanation) -> Float[Tensor, "h w"]:
    height, width = explanation.size
    scale = explanation.overview.shape[1] / height
    return roi.read([Region(0, 0, width, height)], min(1.0, scale))[0]


def _short(name: str) -> str:
    return name if len(name) <= 60 else "…" + name[-59:]
