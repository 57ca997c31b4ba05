"""The interpretability panel of the paper's figure 6, for any image: from the overview to the sub-tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..annotations.annotation import Annotation
from .draw import (
    NUMBERED,
    counts,
    draw_account,
    draw_crop,
    draw_heat,
    draw_image,
    draw_legend,
    draw_map,
    draw_roi,
    draw_sub_tile,
    draw_sub_tiles,
    draw_tiles,
    start,
    title,
)
from .palette import TILE
from .places import is_even

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from .evidence import Evidence

__all__ = ["crops_figure", "panel_figure"]

_WIDTH = 13.0  # inches
_TILES = 6
_ACCOUNT = 1.5  # inches, height of the account


def panel_figure(explanation: Evidence, roi: Annotation | None = None, *, outlined: int = NUMBERED) -> Figure:
    """The whole way of an answer: overview, ROI, attention of both stages, top tiles, top sub-tiles, account.

    Args:
        explanation: what to show.
        roi: the annotated truth of this image; without it the panel has one picture less.
        outlined: sub-tiles outlined in the overview, the heaviest; the first ten carry a number.

    Returns:
        A matplotlib figure that belongs to no window: save it with `figure.savefig(path)`.
    """
    views = _views(explanation, roi, outlined)
    height, width = explanation.size
    tall = min(max(_WIDTH / len(views) * 0.8 * height / width, 1.4), 7.5)
    figure, parts = _rows([1.0 + tall, *_crop_heights(explanation)])
    head = f"{title(explanation)}\n{start(explanation)}. {_how(explanation)}"
    parts[0].suptitle(head, fontsize=10, x=0.008, ha="left")
    whole = parts[0].subplots(1, len(views), squeeze=False)[0]
    for axes, (name, draw) in zip(whole, views, strict=True):
        draw(axes)
        axes.set_title(name, fontsize=9)
    draw_legend(parts[0], whole[-2:])
    _draw_tiles(parts[1], explanation)
    _draw_sub_tiles(parts[2], explanation)
    return figure


def crops_figure(explanation: Evidence) -> Figure:
    """The top tiles and sub-tiles alone, with the account."""
    figure, parts = _rows(_crop_heights(explanation))
    _draw_tiles(parts[0], explanation)
    _draw_sub_tiles(parts[1], explanation)
    return figure


def _rows(heights: list[float]) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, sum(heights)), dpi=120, layout="constrained")
    return figure, figure.subfigures(len(heights), 1, height_ratios=heights)


def _crop_heights(explanation: Evidence) -> list[float]:
    """Inches of the row of tiles and of that of sub-tiles."""
    return [_WIDTH / _tile_columns(explanation) + 0.7, _WIDTH / (NUMBERED + 3) + 0.8 + _ACCOUNT]


def _tile_columns(explanation: Evidence) -> int:
    return max(4, min(len(explanation.tile_crops), _TILES))


def _how(explanation: Evidence) -> str:
    how = explanation.provenance
    times = f" x {how.replicates} replicates" if how.replicates > 1 else ""
    drawn = f"{how.sampling.capitalize()} sampling, N = {how.n_samples}{times}: " if how.sampling else ""
    return f"{drawn}{counts(explanation)}"


def _views(
    explanation: Evidence, roi: Annotation | None, outlined: int
) -> list[tuple[str, Callable[[Axes], object]]]:
    rows, columns = explanation.attention.shape
    height, width = explanation.overview.shape[1:]

    def overview(axes: Axes) -> None:
        draw_image(axes, explanation)
        draw_tiles(axes, explanation)
        draw_sub_tiles(axes, explanation, outlined)

    def truth(axes: Axes) -> None:
        draw_image(axes, explanation)
        if roi is not None and not draw_roi(axes, explanation, roi):
            axes.text(0.5, 0.5, "no ROI", transform=axes.transAxes, ha="center", fontsize=9)

    def stage_1(axes: Axes) -> None:
        draw_heat(axes, explanation, explanation.heat_map(height, width, stage="tiles"))

    def both(axes: Axes) -> None:
        draw_heat(axes, explanation, explanation.heat_map(height, width))
        if roi is not None:
            draw_roi(axes, explanation, roi)

    views: list[tuple[str, Callable[[Axes], object]]] = [
        ("overview: tiles drawn, heaviest sub-tiles", overview),
        (f"attention over {rows} x {columns} tiles", stage_1),
        ("attention over positions", both),
    ]
    if roi is not None:
        views.insert(1, ("annotated truth (ROI)", truth))
    return views


def _draw_tiles(part: SubFigure, explanation: Evidence) -> None:
    """The tiles of highest attention, their attention maps over them, and what was read in each."""
    even = explanation.tile_order is not None and is_even(explanation.alpha)
    which = "Tiles of strongest evidence (attention is even)" if even else "Tiles of highest attention"
    part.suptitle(
        f"{which}, the attention inside them, and their numbered sub-tiles "
        "(orange: for the class predicted; blue: against it)",
        fontsize=9,
        x=0.008,
        ha="left",
    )
    rows = explanation.top_tiles()[: min(len(explanation.tile_crops), _TILES)].tolist()
    for rank, axes in enumerate(part.subplots(1, _tile_columns(explanation), squeeze=False)[0]):
        if rank >= len(rows):
            axes.set_axis_off()
            continue
        row = rows[rank]
        box = explanation.tiles[row].tolist()
        draw_crop(axes, explanation.tile_crops[rank], box, explanation.source.mpp, TILE)
        draw_map(axes, explanation.beta[row], box)
        draw_sub_tiles(axes, explanation, tile=row)
        axes.set_xlim(box[0], box[0] + box[2])
        axes.set_ylim(box[1] + box[3], box[1])
        axes.set_title(f"{float(explanation.alpha[row]):.1%} of the attention", fontsize=8, pad=3)


def _draw_sub_tiles(part: SubFigure, explanation: Evidence) -> None:
    """The numbered sub-tiles in what surrounds them, each above what it adds to the answer."""
    places = explanation.places()
    even = explanation.order is not None and is_even(places.weight)
    which = "Sub-tiles of strongest evidence (all weigh alike)" if even else "Heaviest sub-tiles"
    part.suptitle(
        f"{which} and their weight; below, what each adds for {explanation.label!r}, "
        "from nothing seen to the answer",
        fontsize=9,
        x=0.008,
        ha="left",
    )
    shown = min(NUMBERED, len(places.weight))
    columns = 2 + shown + (len(places.weight) > NUMBERED)
    grid = part.add_gridspec(2, columns, height_ratios=[_WIDTH / (NUMBERED + 3) + 0.3, _ACCOUNT])
    for k in range(min(shown, len(explanation.crops))):
        axes = part.add_subplot(grid[0, k + 1])
        colour = draw_sub_tile(axes, explanation, k)
        axes.set_title(f"{k + 1}: {float(places.weight[k]):.1%}", fontsize=8, pad=3, color=colour)
    draw_account(part.add_subplot(grid[1, :]), explanation, size=8.5)
