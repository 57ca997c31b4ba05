"""The picture of explanations: attention over the image, the heaviest sub-tiles, the account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..annotations.annotation import Annotation
from ..runtime.extras import extra_named
from .draw import (
    NUMBERED,
    counts,
    doubt,
    draw_account,
    draw_box,
    draw_heat,
    draw_legend,
    draw_roi,
    draw_sub_tiles,
    signed,
    start,
    surroundings,
    title,
)
from .palette import AGAINST, FOR
from .scale_bar import BAR, round_length

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from .evidence import Evidence

__all__ = ["overlay_figure", "overlay_figures"]

_WIDTH = 5.8  # inches: legible where a page shows it 580 pixels wide
_DPI = 200
_BOLD = 0.68  # width of a character of the heading, on average at most, in font sizes
_IMAGE = 3.4  # inches, width of the image
_HEAD, _FOOT = 0.52, 0.62  # inches, of the titles above it; of the scale bar and the legend below
_ACCOUNT = 1.3  # inches, height of the account


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
    with extra_named():
        from matplotlib.figure import Figure

    rows = [explanations[k : k + columns] for k in range(0, len(explanations), columns)]
    heights = [max(map(_height, row)) for row in rows]
    figure = Figure(figsize=(_WIDTH * columns, sum(heights)), dpi=_DPI)
    parts = figure.subfigures(len(rows), columns, height_ratios=heights, squeeze=False, hspace=0, wspace=0)
    for k, (explanation, roi) in enumerate(zip(explanations, rois, strict=True)):
        part = _Part(parts[k // columns, k % columns], heights[k // columns])
        _draw_one(part, explanation, roi, outlined)
    return figure


class _Part(NamedTuple):
    """A part of the figure, laid out in inches from its upper left corner: solvers of layouts are slow."""

    part: SubFigure
    height: float

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        return self.part.add_axes(
            (x / _WIDTH, 1 - (y + height) / self.height, width / _WIDTH, height / self.height)
        )

    def text(self, x: float, y: float, text: str, **how: Any) -> None:  # noqa: ANN401 (matplotlib's own)
        self.part.text(x / _WIDTH, 1 - y / self.height, text, va="center", **how)


def _image_height(explanation: Evidence) -> float:
    """Inches."""
    height, width = explanation.size
    return min(max(_IMAGE * height / width, 2.9), 5.5)


def _height(explanation: Evidence) -> float:
    """Inches."""
    return _HEAD + _image_height(explanation) + _FOOT + _ACCOUNT


def _draw_one(part: _Part, explanation: Evidence, roi: Annotation | None, outlined: int) -> None:
    below = part.height - _ACCOUNT
    heading = title(explanation)
    size = min(10.0, 72 * (_WIDTH - 0.12) / (_BOLD * len(heading)))
    part.text(0.06, 0.16, heading, fontsize=size, weight="bold")
    axes = part.axes(0.08, _HEAD, _IMAGE, below - _FOOT - _HEAD)
    axes.set_anchor("N")
    draw_heat(axes, explanation, explanation.heat_map(*_shown_size(explanation)), grey=0.7)
    found = roi is not None and draw_roi(axes, explanation, roi)
    draw_sub_tiles(axes, explanation, outlined)
    draw_legend(part.part, [axes], part.axes(0.3, below - 0.5, _IMAGE - 0.5, 0.09))
    note = "; ROI outlined" if found else "; no ROI" if roi is not None else ""
    axes.set_title(counts(explanation) + note, fontsize=8)
    _draw_crops(part.axes(_IMAGE + 0.2, 0.32, _WIDTH - _IMAGE - 0.25, below - 0.36), explanation)
    own = doubt(explanation)
    words = f"{own}. {start(explanation)}." if own else f"{start(explanation)}. What each sub-tile adds:"
    part.text(0.06, below + 0.09, words, fontsize=8)
    draw_account(part.axes(0.05, below + 0.22, _WIDTH - 0.1, _ACCOUNT - 0.55), explanation)


def _shown_size(explanation: Evidence) -> tuple[int, int]:
    """Rows and columns of the heat map: as many as are shown."""
    height, width = explanation.overview.shape[1:]
    scale = min(1.0, _IMAGE * _DPI / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _draw_crops(axes: Axes, explanation: Evidence) -> None:
    """The numbered sub-tiles in two columns, each with what it adds and its weight beside it; inches."""
    width, height = axes.bbox.width / _DPI, axes.bbox.height / _DPI
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    places, rows = explanation.places(), NUMBERED // 2
    side = min(height / rows - 0.17, 0.55 * width / 2)
    shown = min(NUMBERED, len(explanation.crops))
    adds = signed(places.evidence[:shown].tolist())
    for k in range(shown):
        x, y = (k // rows) * width / 2, (k % rows) * height / rows
        colour = _draw_crop(axes, explanation, k, (x, y, side))
        x += side + 0.06
        axes.text(x, y, str(k + 1), fontsize=9, weight="bold", color=colour, va="top")
        axes.text(x, y + 0.19, adds[k], fontsize=8, color=colour, va="top")
        axes.text(x, y + 0.36, f"{float(places.weight[k]):.1%}", fontsize=7.5, color="#4b5563", va="top")


def _draw_crop(axes: Axes, explanation: Evidence, k: int, place: tuple[float, float, float]) -> str:
    """The place of rank k as `draw_sub_tile` shows it, within axes that hold several; its colour."""
    places, around = explanation.places(), surroundings(explanation, k)
    colour = FOR if places.evidence[k] >= 0 else AGAINST
    x, y, side = place
    shown = explanation.crops[k] if around is None else around
    axes.imshow(shown.permute(1, 2, 0).numpy(), interpolation="nearest", extent=(x, x + side, y + side, y))
    draw_box(axes, (x, y, side, side), *((colour, 2.0) if around is None else ("#9ca3af", 0.6)))
    if around is not None:
        draw_box(axes, (x + side / 3, y + side / 3, side / 3, side / 3), colour, 1.3)
    stands_for = float(places.regions[k, 2]) * (1 if around is None else 3)
    length, text = round_length(stands_for / 2, explanation.source.mpp)
    ends = [x, x + length / stands_for * side]
    axes.plot(ends, [y + side + 0.07] * 2, color=BAR, lw=1.6, solid_capstyle="butt")
    axes.text(ends[1] + 0.04, y + side + 0.07, text, color=BAR, fontsize=6.5, va="center")
    return colour
