"""The picture of one or several explanations: what was read, the attention, the heaviest sub-tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..annotations.annotation import Annotation
from .draw import OUTLINED, draw_crop, draw_heat, draw_image, draw_roi, draw_sub_tiles, evidence_of, title
from .palette import AGAINST, FOR

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.gridspec import SubplotSpec

    from .evidence import Explanation

__all__ = ["overlay_figure", "overlay_figures"]

_PANEL = 4.2  # inches, width of the image and of the attention
_CROPS = 8  # sub-tiles shown


def overlay_figure(explanation: Explanation, roi: Annotation | None = None) -> Figure:
    """A picture of where the model looked and what it found there.

    Left, the image with the sub-tiles that were read (orange speaks for the predicted class, blue against
    it, the stronger the more) and the outline of the ROI; middle, the attention; right, the heaviest
    sub-tiles.

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
    part.suptitle(title(explanation), fontsize=10, x=0.01, ha="left", weight="bold")
    left, middle = part.add_subplot(grid[0]), part.add_subplot(grid[1])
    draw_image(left, explanation)
    draw_sub_tiles(left, explanation)
    heat = explanation.heat_map(*explanation.overview.shape[1:])
    draw_heat(middle, explanation, heat, "times its mean")
    outlined = roi is not None and draw_roi(left, explanation, roi)
    if roi is not None:
        draw_roi(middle, explanation, roi)
    note = "; ROI outlined in black" if outlined else "; no ROI" if roi is not None else ""
    many = f", the {OUTLINED} heaviest outlined" if len(explanation.places().weight) > OUTLINED else ""
    left.set_title(f"{len(explanation.sub_tiles)} sub-tiles read{many}{note}", fontsize=9)
    middle.set_title("attention", fontsize=9)
    _draw_crops(part, grid[2], explanation)


def _draw_crops(part: SubFigure, place: SubplotSpec, explanation: Explanation) -> None:
    """The heaviest sub-tiles in two columns, framed by what they say."""
    places = explanation.places()
    said = evidence_of(explanation, places)
    grid = place.subgridspec((_CROPS + 1) // 2, 2)
    for k, crop in enumerate(explanation.crops[:_CROPS]):
        axes = part.add_subplot(grid[k // 2, k % 2])
        colour = FOR if said[k] >= 0 else AGAINST
        draw_crop(axes, crop, places.regions[k].tolist(), explanation.source.mpp, colour)
        axes.set_title(f"{float(places.weight[k]):.1%} ({float(said[k]):+.2f})", fontsize=7, pad=2)
