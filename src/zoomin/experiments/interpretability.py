"""What attention picks out, from the overview to the sub-tiles, on every data set: supplement C, figure 6."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..annotations.open_annotation import open_annotation
from ..data.manifest import Record
from ..explanation import Explanation
from ..explanation.draw import (
    draw_crop,
    draw_heat,
    draw_image,
    draw_legend,
    draw_map,
    draw_roi,
    without_ticks,
)
from ..explanation.palette import FOR, TILE
from .experiment import Experiment, Outcome, Setting
from .figures import new_figure, nothing

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["INTERPRETABILITY"]

_TILES, _SUB_TILES = 2, 4
_HEADS = ("image", "ROI", "attention over tiles", "attention over positions", "top tiles", "top sub-tiles")
_NAMES = {
    "colon-cancer": "colon cancer",
    "needle-camelyon": "NeedleCamelyon",
    "traffic-signs": "traffic signs",
    "fmow": "fMoW",
    "camelyon16": "Camelyon16",
}


def _draw(outcomes: Sequence[Outcome]) -> Figure:
    """A row a data set."""
    rows = [(o, found) for o in outcomes if (found := _explained(o)) is not None]
    figure = new_figure(15.0, 0.5 + 2.3 * max(1, len(rows)))
    if not rows:
        nothing(figure.subplots())
        return figure
    parts: Any = figure.subfigures(len(rows), 1, squeeze=False)
    for number, (part, (outcome, (explanation, record))) in enumerate(zip(parts[:, 0], rows, strict=True)):
        _draw_row(part, outcome, explanation, record, heads=number == 0)
    return figure


def _explained(outcome: Outcome) -> tuple[Explanation, Record] | None:
    """The explanation of the first training that has one, and the image's record."""
    for result in outcome.results:
        saved = result["measured"].get("explanation") or {}
        folder = outcome.folder / saved["folder"] / "explanation" if saved else None
        if folder is not None and folder.is_dir():
            annotation, mask = (Path(saved[key]) if saved[key] else None for key in ("annotation", "mask"))
            record = Record(Path(saved["image"]), None, annotation=annotation, mask=mask)
            return Explanation.load(folder), record
    return None


def _draw_row(part: SubFigure, outcome: Outcome, one: Explanation, record: Record, heads: bool) -> None:
    columns = 4 + _TILES + _SUB_TILES // 2
    grid = part.add_gridspec(2, columns, width_ratios=[1.25] * 4 + [1] * _TILES + [0.55] * (_SUB_TILES // 2))
    whole = [part.add_subplot(grid[:, k]) for k in range(4)]
    draw_image(whole[0], one)
    draw_image(whole[1], one)
    roi = open_annotation(record, *one.size, place=one.source.georeference)
    if roi is not None:
        draw_roi(whole[1], one, roi)
    height, width = one.overview.shape[1:]
    draw_heat(whole[2], one, one.heat_map(height, width, stage="tiles"))
    draw_heat(whole[3], one, one.heat_map(height, width))
    draw_legend(part, whole[2:4])
    top = one.top_tiles()[: min(_TILES, len(one.tile_crops))].tolist()
    tiles = [part.add_subplot(grid[:, 4 + k]) for k in range(_TILES)]
    for rank, axes in enumerate(tiles):
        without_ticks(axes)
        if rank >= len(top):
            axes.set_axis_off()
            continue
        box = one.tiles[top[rank]].tolist()
        draw_crop(axes, one.tile_crops[rank], box, one.source.mpp, TILE)
        draw_map(axes, one.beta[top[rank]], box)
        axes.set_xlim(box[0], box[0] + box[2])
        axes.set_ylim(box[1] + box[3], box[1])
    places = one.places()
    crops = [part.add_subplot(grid[k % 2, 4 + _TILES + k // 2]) for k in range(_SUB_TILES)]
    for k, axes in enumerate(crops):
        if k >= len(one.crops):
            axes.set_axis_off()
            continue
        draw_crop(axes, one.crops[k], places.regions[k].tolist(), one.source.mpp, FOR)
    whole[0].set_ylabel(
        f"{outcome.setting.what}\n{one.label} ({float(one.probabilities.max()):.2f})", fontsize=9
    )
    if heads:
        for axes, head in zip((*whole, tiles[0], crops[0]), _HEADS, strict=True):
            axes.set_title(head, fontsize=9, loc="left")


INTERPRETABILITY = Experiment(
    name="interpretability",
    title="What attention picks out",
    source="Kong & Henao, CVPR 2022, supplement C, figure 6",
    data_set="colon-cancer",
    settings=tuple(Setting(key, name, key.replace("-", "_"), data_set=key) for key, name in _NAMES.items()),
    columns=("accuracy", "auroc", "tile_spearman", "position_spearman", "roi_ratio"),
    draw=_draw,
    measures=("attention", "explanation"),
    seeds=(0,),
    notes=(
        "An image that the network was not trained on: the first annotated one that is held out.",
        "All but colon cancer are expected in folders named after their data sets inside --data.",
    ),
)
