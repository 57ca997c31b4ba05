"""The interpretability panel of the paper's figure 6, for any image: from the overview to the sub-tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..annotations.annotation import Annotation
from .density import attention_density
from .draw import (
    draw_crop,
    draw_heat,
    draw_image,
    draw_map,
    draw_roi,
    draw_sub_tiles,
    draw_tiles,
    evidence_of,
    title,
)
from .palette import AGAINST, FOR, TILE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from .evidence import Explanation

__all__ = ["crops_figure", "panel_figure"]

_WIDTH = 13.0  # inches
_TILES = 6
_SUB_TILES = 12


def panel_figure(explanation: Explanation, roi: Annotation | None = None) -> Figure:
    """The whole way of an answer: overview, ROI, attention of both stages, top tiles, top sub-tiles.

    Args:
        explanation: what to show.
        roi: the annotated truth of this image; without it the panel has one picture less.

    Returns:
        A matplotlib figure that belongs to no window: save it with `figure.savefig(path)`.
    """
    from matplotlib.figure import Figure

    views = _views(explanation, roi)
    height, width = explanation.size
    tall = min(max(_WIDTH / len(views) * 0.8 * height / width, 1.4), 7.5)
    heights = [0.85 + tall, *_crop_heights(explanation)]
    figure = Figure(figsize=(_WIDTH, sum(heights)), dpi=120, layout="constrained")
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    parts[0].suptitle(f"{title(explanation)}\n{_how(explanation)}", fontsize=10, x=0.008, ha="left")
    for axes, (name, draw) in zip(parts[0].subplots(1, len(views), squeeze=False)[0], views, strict=True):
        draw(axes)
        axes.set_title(name, fontsize=9)
    _draw_tiles(parts[1], explanation)
    _draw_sub_tiles(parts[2], explanation)
    return figure


def crops_figure(explanation: Explanation) -> Figure:
    """The top tiles and sub-tiles alone, with scale bars."""
    from matplotlib.figure import Figure

    heights = _crop_heights(explanation)
    figure = Figure(figsize=(_WIDTH, sum(heights)), dpi=120, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    _draw_tiles(parts[0], explanation)
    _draw_sub_tiles(parts[1], explanation)
    return figure


def _crop_heights(explanation: Explanation) -> tuple[float, float]:
    """Inches of the row of tiles and of that of sub-tiles."""
    return _WIDTH / _tile_columns(explanation) + 0.55, _WIDTH / _SUB_TILES + 0.75


def _tile_columns(explanation: Explanation) -> int:
    return max(4, min(len(explanation.tile_crops), _TILES))


def _how(explanation: Explanation) -> str:
    how, tiles = explanation.provenance, explanation.attention.numel()
    drawn = f"{len(explanation.tiles)} of {tiles} tiles and {len(explanation.places().weight)} places read"
    times = f" x {how.replicates} replicates" if how.replicates > 1 else ""
    return f"{how.sampling} sampling, N = {how.n_samples}{times}: {drawn}" if how.sampling else drawn


def _views(explanation: Explanation, roi: Annotation | None) -> list[tuple[str, Callable[[Axes], object]]]:
    rows, columns = explanation.attention.shape
    height, width = explanation.overview.shape[1:]
    nothing = explanation.beta[:0], explanation.tiles[:0]

    def overview(axes: Axes) -> None:
        draw_image(axes, explanation)
        draw_tiles(axes, explanation)
        draw_sub_tiles(axes, explanation, width=0.8)

    def truth(axes: Axes) -> None:
        draw_image(axes, explanation)
        if roi is not None and not draw_roi(axes, explanation, roi):
            axes.text(0.5, 0.5, "no ROI", transform=axes.transAxes, ha="center", fontsize=9)

    def stage_1(axes: Axes) -> None:
        beta, tiles = nothing
        heat = attention_density(
            explanation.size, explanation.tile_size, explanation.attention, tiles, beta, (height, width)
        )
        draw_heat(axes, explanation, heat, "times its mean")

    def both(axes: Axes) -> None:
        draw_heat(axes, explanation, explanation.heat_map(height, width), "times its mean")

    views: list[tuple[str, Callable[[Axes], object]]] = [
        ("overview: tiles drawn, sub-tiles read", overview),
        (f"attention over {rows} x {columns} tiles", stage_1),
        ("attention over positions", both),
    ]
    if roi is not None:
        views.insert(1, ("annotated truth (ROI)", truth))
    return views


def _draw_tiles(part: SubFigure, explanation: Explanation) -> None:
    """The tiles of highest attention, their attention maps over them, and what was read in each."""
    part.suptitle(
        "Tiles of highest attention, the attention inside them, and what was read "
        "(orange: for the class predicted; blue: against it)",
        fontsize=9,
        x=0.008,
        ha="left",
    )
    rows = explanation.top_tiles()[: min(len(explanation.tile_crops), _TILES)].tolist()
    most = max((float(explanation.beta[row].max()) for row in rows), default=0.0)
    most *= explanation.beta.shape[1] * explanation.beta.shape[2]
    for rank, axes in enumerate(part.subplots(1, _tile_columns(explanation), squeeze=False)[0]):
        if rank >= len(rows):
            axes.set_axis_off()
            continue
        row = rows[rank]
        box = explanation.tiles[row].tolist()
        draw_crop(axes, explanation.tile_crops[rank], box, explanation.source.mpp, TILE)
        draw_map(axes, explanation.beta[row], box, most)
        draw_sub_tiles(axes, explanation, width=0.9, tile=row)
        axes.set_xlim(box[0], box[0] + box[2])
        axes.set_ylim(box[1] + box[3], box[1])
        axes.set_title(f"{float(explanation.alpha[row]):.1%} of the attention", fontsize=8, pad=3)


def _draw_sub_tiles(part: SubFigure, explanation: Explanation) -> None:
    places = explanation.places()
    said = evidence_of(explanation, places)
    part.suptitle(
        f"Heaviest sub-tiles: weight, and what each says for {explanation.label!r}",
        fontsize=9,
        x=0.008,
        ha="left",
    )
    for k, axes in enumerate(part.subplots(1, _SUB_TILES, squeeze=False)[0]):
        if k >= len(explanation.crops):
            axes.set_axis_off()
            continue
        colour = FOR if said[k] >= 0 else AGAINST
        draw_crop(
            axes, explanation.crops[k], places.regions[k].tolist(), explanation.source.mpp, colour, line=2.5
        )
        axes.set_title(f"{float(places.weight[k]):.1%}\n{float(said[k]):+.2f}", fontsize=7.5, pad=3)
