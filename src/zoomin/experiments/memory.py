"""Memory and the number of unique tiles by epoch: supplement A, figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .experiment import Experiment, Outcome, Setting
from .figures import COLOURS, legend, new_figure, nothing, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MEMORY"]

_NAMES = {"colon-cancer": "colon cancer", "needle-camelyon": "NeedleCamelyon", "camelyon16": "Camelyon16"}


def _pair(
    data_set: str, ats: dict[str, Any], mini: dict[str, Any], published: tuple[float, float] | None
) -> Any:  # noqa: ANN401
    recipe = data_set.replace("-", "_")
    two, one = ({"saved_mb": value} for value in published) if published else ({}, {})
    return (
        Setting(
            f"{data_set}-zoom-in", f"{_NAMES[data_set]}: Zoom-In", recipe, published=two, data_set=data_set
        ),
        Setting(
            f"{data_set}-ats",
            f"{_NAMES[data_set]}: ATS",
            recipe,
            {"model.name": "ats", **ats},
            mini,
            published=one,
            data_set=data_set,
        ),
    )


def _draw(outcomes: Sequence[Outcome]) -> Figure:
    data_sets = list(dict.fromkeys(o.setting.data_set for o in outcomes))
    figure = new_figure(1.5 + 3.4 * len(data_sets), 5.4)
    grid = figure.subplots(2, len(data_sets), squeeze=False, sharex="col")
    for column, data_set in enumerate(data_sets):
        for row, (curve, label) in enumerate(
            (("train_saved_mb", "activations, MB per image"), ("train_tiles", "N', distinct tiles per image"))
        ):
            axes = grid[row][column]
            for outcome in outcomes:
                values = outcome.curve(curve) if outcome.setting.data_set == data_set else []
                if values:
                    two = outcome.setting.name.endswith("zoom-in")
                    name, colour = ("Zoom-In", COLOURS[0]) if two else ("ATS", COLOURS[1])
                    axes.plot(range(1, len(values) + 1), values, color=colour, lw=1.6, label=name)
            if not axes.get_lines():
                nothing(axes)
            axes.set_ylim(bottom=0)
            axes.set_ylabel(label)
            tidy(axes)
            axes.xaxis.get_major_locator().set_params(integer=True)
        grid[0][column].set_title(_NAMES[data_set], fontsize=10, loc="right")
        legend(grid[0][column], 2)
        grid[1][column].set_xlabel("epoch")
    return figure


MEMORY = Experiment(
    name="memory",
    title="Activation memory and unique tiles by epoch",
    source="Kong & Henao, CVPR 2022, supplement A, figure 4",
    data_set="colon-cancer",
    settings=(
        *_pair(
            "colon-cancer",
            {
                "model.scale": 0.2,
                "model.sub_tile_size": 27,
                "model.n_samples": 10,
                "model.features": "lenet_released",
            },
            {},
            (2.55, 15.83),
        ),
        *_pair(
            "needle-camelyon",
            {"model.scale": 0.25, "model.sub_tile_size": 32, "model.n_samples": 30},
            {"model.n_samples": 10, "model.features": "lenet_released"},
            None,
        ),
        *_pair(
            "camelyon16",
            {
                "model.scale": 0.125,
                "model.sub_tile_size": 100,
                "model.n_samples": 100,
                "model.attention": "resnet16",
                "model.features": "resnet16",
            },
            {"model.sub_tile_size": 48, "model.n_samples": 12, "model.features": "lenet_released"},
            None,
        ),
    ),
    columns=("saved_mb", "peak_mb", "cuda_mb", "tiles", "views", "order", "pixels", "mflops", "step_ms"),
    draw=_draw,
    seeds=(0,),
    notes=(
        "The curves are measured in training, the contrastive pass included; the table's columns at the last "
        "epoch, without it. ATS sees the whole overview at the scale at which Zoom-In sees drawn tiles (s2).",
        "N' is at most the number of tiles: 4 in an image of 500 pixels with tiles of 250.",
        "NeedleCamelyon and Camelyon16 are expected in folders of those names inside --data.",
    ),
)
