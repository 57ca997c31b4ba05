"""The picture of explanations: attention over the image, the heaviest sub-tiles, the account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..annotations.annotation import Annotation
from .draw import (
    NUMBERED,
    counts,
    draw_account,
    draw_heat,
    draw_legend,
    draw_roi,
    draw_sub_tile,
    draw_sub_tiles,
    start,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from .evidence import Evidence

__all__ = ["overlay_figure", "overlay_figures"]

_WIDTH = 5.8  # inches: legible where a page shows it 580 pixels wide
_DPI = 200
_IMAGE = 3.45  # inches, width of the image
_ACCOUNT = 1.25  # inches, height of the account
_HEADS = 0.95  # inches, of the title, the legend and the scale bar


def overlay_figure(
    explanation: Evidence, roi: Annotation | None = None, *, outlined: int = NUMBERED
) -> Figure:
    """A picture of where the model looked and what it found there.

    Left, the attention over the image with the ten heaviest sub-tiles (orange speaks for the predicted
    class, blue against it) and the outline of the ROI; right, these sub-tiles with what surrounds them and
    what each adds; below, how that adds up to the answer.

    Args:
        explanation: what to show.
        roi: the annotated truth of this image, outlined where given.
        outlined: sub-tiles outlined, the heaviest.

    Returns:
        A matplotlib figure that belongs to no window: save it with `figure.savefig(path)`.
    """
    return overlay_figures([explanation], [roi], outlined=outlined)


def overlay_figures(
    explanations: Sequence[Evidence],
    rois: Sequence[Annotation | None],
    *,
    outlined: int = NUMBERED,
    columns: int = 1,
) -> Figure:
    """`overlay_figure` of several images, side by side and one above the other.

    Args:
        explanations: what to show, at least one.
        rois: the annotated truth of each image, or None.
        outlined: sub-tiles outlined in each image, the heaviest.
        columns: images side by side.
    """
    from matplotlib.figure import Figure

    rows = [explanations[k : k + columns] for k in range(0, len(explanations), columns)]
    heights = [max(map(_image_height, row)) + _HEADS + _ACCOUNT for row in rows]
    figure = Figure(figsize=(_WIDTH * columns, sum(heights)), dpi=_DPI, layout="constrained")
    parts = figure.subfigures(len(rows), columns, height_ratios=heights, squeeze=False).flat
    for part, explanation, roi in zip(parts, explanations, rois, strict=False):
        _draw_one(part, explanation, roi, outlined)
    return figure


def _image_height(explanation: Evidence) -> float:
    """Inches."""
    height, width = explanation.size
    return min(max(_IMAGE * height / width, 2.9), 5.5)


def _draw_one(part: SubFigure, explanation: Evidence, roi: Annotation | None, outlined: int) -> None:
    heights = [0.28, _image_height(explanation) + _HEADS - 0.28, _ACCOUNT]
    parts: Any = part.subfigures(3, 1, height_ratios=heights)
    head, above, below = parts
    head.text(0.01, 0.4, title(explanation), fontsize=10, va="center", weight="bold")
    left, right = above.subfigures(1, 2, width_ratios=[_IMAGE, _WIDTH - _IMAGE])
    axes = left.subplots()
    draw_heat(axes, explanation, explanation.heat_map(*explanation.overview.shape[1:]), grey=0.7)
    found = roi is not None and draw_roi(axes, explanation, roi)
    draw_sub_tiles(axes, explanation, outlined)
    draw_legend(left, [axes], below=True)
    note = "; ROI outlined" if found else "; no ROI" if roi is not None else ""
    axes.set_title(counts(explanation) + note, fontsize=8)
    _draw_crops(right, explanation)
    below.suptitle(f"{start(explanation)}. What each sub-tile adds:", fontsize=8, x=0.01, ha="left")
    draw_account(below.subplots(), explanation)


def _draw_crops(part: SubFigure, explanation: Evidence) -> None:
    """The numbered sub-tiles in two columns, each with what it adds and its weight beside it."""
    places, rows = explanation.places(), NUMBERED // 2
    grid = part.subplots(rows, 4, squeeze=False, width_ratios=[1.5, 1, 1.5, 1])
    for k, (axes, beside) in enumerate(zip(grid[:, ::2].T.flat, grid[:, 1::2].T.flat, strict=True)):
        beside.set_axis_off()
        if k >= len(explanation.crops):
            axes.set_axis_off()
            continue
        colour = draw_sub_tile(axes, explanation, k)
        text = {"transform": beside.transAxes, "va": "top"}
        beside.text(0, 1.0, str(k + 1), fontsize=9, weight="bold", color=colour, **text)
        beside.text(0, 0.66, f"{float(places.evidence[k]):+.2f}", fontsize=8, color=colour, **text)
        beside.text(0, 0.34, f"{float(places.weight[k]):.1%}", fontsize=7.5, color="#4b5563", **text)
