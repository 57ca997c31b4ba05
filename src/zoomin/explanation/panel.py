"""The interpretability panel of the paper's figure 6, for any image: from the overview to the sub-tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from ..annotations.annotation import Annotation
from ..runtime.extras import extra_named
from .blocks import BlockEvidence, block_attention
from .density import attention_density
from .draw import (
    NUMBERED,
    colour_words,
    counts,
    doubt,
    draw_account,
    draw_box,
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
    start_note,
    title,
)
from .palette import BLOCK, TILE
from .places import is_even

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from .evidence import Evidence

__all__ = ["crops_figure", "panel_figure"]

_WIDTH = 13.0  # inches
_CHARACTER = 6.0  # points of a character of a view's heading, with its share of the margins
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
    figure, (first, *parts) = _rows([1.0 + tall, *_crop_heights(explanation)])
    own = doubt(explanation)
    head = title(explanation) + (f"\n{own}" if own else "")
    note = start_note(explanation)
    head = f"{head}\n{start(explanation)}. {_how(explanation)}" + (f"\n{note}." if note else "")
    first.suptitle(head, fontsize=10, x=0.008, ha="left")
    whole = first.subplots(1, len(views), squeeze=False)[0]
    for axes, (name, draw) in zip(whole, views, strict=True):
        draw(axes)
        axes.set_title(fill(name, max(12, int(72 * _WIDTH / len(views) / _CHARACTER))), fontsize=9)
    draw_legend(first, whole[-1:] if explanation.one_stage else whole[-2:])
    _draw_crops(parts, explanation)
    return figure


def crops_figure(explanation: Evidence) -> Figure:
    """The top tiles and sub-tiles alone, with the account."""
    figure, parts = _rows(_crop_heights(explanation))
    _draw_crops(parts, explanation)
    return figure


def _draw_crops(parts: Sequence[SubFigure], explanation: Evidence) -> None:
    """The rows below the overview: blocks and tiles, where there are such, sub-tiles."""
    *above, sub_tiles = parts
    for stage, part in enumerate(above[: len(explanation.blocks)]):
        _draw_blocks(part, explanation, stage)
    for part in above[len(explanation.blocks) :]:
        _draw_tiles(part, explanation)
    _draw_sub_tiles(sub_tiles, explanation)


def _rows(heights: list[float]) -> tuple[Figure, Any]:
    with extra_named():
        from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, sum(heights)), dpi=120, layout="constrained")
    return figure, figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]


def _crop_heights(explanation: Evidence) -> list[float]:
    """Inches of the rows of blocks, of tiles and of sub-tiles."""
    blocks = [_WIDTH / _columns(len(stage.crops)) + 0.7 for stage in explanation.blocks]
    tiles = [] if explanation.one_stage else [_WIDTH / _columns(len(explanation.tile_crops)) + 0.7]
    return [
        *blocks,
        *tiles,
        _WIDTH / (NUMBERED + 3) + 0.8 + _ACCOUNT,
    ]


def _columns(crops: int) -> int:
    return max(4, min(crops, _TILES))


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
    if explanation.one_stage:
        rows, columns = explanation.beta.shape[1:]
        views = [
            ("overview: heaviest sub-tiles", overview),
            (f"attention over {rows} x {columns} positions", both),
        ]
    for stage in reversed(explanation.blocks):
        views.insert(1, _view_of_blocks(explanation, stage))
    if roi is not None:
        views.insert(1, ("annotated truth (ROI)", truth))
    return views


def _view_of_blocks(explanation: Evidence, stage: BlockEvidence) -> tuple[str, Callable[[Axes], object]]:
    """The attention over the blocks of a stage, as a picture of the whole image."""
    found = block_attention(explanation.attention, round(stage.size / explanation.tile_size))
    (rows, columns), (height, width) = found.shape, explanation.overview.shape[1:]
    step = explanation.size[0] / height, explanation.size[1] / width
    nothing = explanation.tiles[:0], explanation.beta[:0]

    def attention(axes: Axes) -> None:
        relative = found * found.numel()
        draw_heat(axes, explanation, attention_density(stage.size, relative, *nothing, (height, width), step))

    return f"attention over {rows} x {columns} blocks", attention


def _draw_blocks(part: SubFigure, explanation: Evidence, stage: int) -> None:
    """The blocks of highest attention, the next stage's attention over them, and what that drew."""
    own, inner = explanation.blocks[stage], explanation.blocks[stage + 1 :]
    what, drawn, colour = ("blocks", inner[0].regions, BLOCK) if inner else ("tiles", explanation.tiles, TILE)
    part.suptitle(
        f"Blocks of highest attention, the attention over the {what} inside them, and the {what} drawn",
        fontsize=9,
        x=0.008,
        ha="left",
    )
    holder = own.holding(drawn)
    for rank, axes in enumerate(part.subplots(1, _columns(len(own.crops)), squeeze=False)[0]):
        if rank >= len(own.crops):
            axes.set_axis_off()
            continue
        box = own.regions[rank].tolist()
        draw_crop(axes, own.crops[rank], box, explanation.source.mpp, BLOCK)
        draw_map(axes, own.inside[rank], box)
        for inside in drawn[holder == rank].tolist():
            draw_box(axes, inside, colour, 1.1)
        axes.set_xlim(box[0], box[0] + box[2])
        axes.set_ylim(box[1] + box[3], box[1])
        axes.set_title(f"{float(own.alpha[rank]):.1%} of the attention", fontsize=8, pad=3)


def _draw_tiles(part: SubFigure, explanation: Evidence) -> None:
    """The tiles of highest attention, their attention maps over them, and what was read in each."""
    even = explanation.tile_order is not None and is_even(explanation.alpha)
    which = "Tiles of strongest evidence (attention is even)" if even else "Tiles of highest attention"
    part.suptitle(
        f"{which}, the attention inside them, and their numbered sub-tiles ({colour_words(explanation)})",
        fontsize=9,
        x=0.008,
        ha="left",
    )
    rows = explanation.top_tiles()[: min(len(explanation.tile_crops), _TILES)].tolist()
    for rank, axes in enumerate(part.subplots(1, _columns(len(explanation.tile_crops)), squeeze=False)[0]):
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
        f"from {'nothing seen' if explanation.mean_logits is not None else 'the start'} to the answer",
        fontsize=9,
        x=0.008,
        ha="left",
    )
    shown = min(NUMBERED, len(places.weight))
    before = 1 if explanation.overview_added is None else 2  # columns of the account
    columns = before + shown + (len(places.weight) > NUMBERED) + 1
    grid = part.add_gridspec(2, columns, height_ratios=[_WIDTH / (NUMBERED + 3) + 0.3, _ACCOUNT])
    for k in range(min(shown, len(explanation.crops))):
        axes = part.add_subplot(grid[0, k + before])
        colour = draw_sub_tile(axes, explanation, k)
        axes.set_title(f"{k + 1}: {float(places.weight[k]):.1%}", fontsize=8, pad=3, color=colour)
    draw_account(part.add_subplot(grid[1, :]), explanation, size=8.5)
