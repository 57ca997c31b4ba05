"""Figures that several experiments share: bars with the published numbers, curves by epoch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .columns import COLUMNS
from .experiment import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "PUBLISHED", "dots", "legend", "new_figure", "nothing", "scores_figure", "tidy"]

_LABEL = 34  # characters in a line of a setting's name
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
    "#999999",
)  # Okabe & Ito
PUBLISHED: dict[str, Any] = {
    "marker": "D",
    "ms": 7,
    "mfc": "none",
    "mec": "#111111",
    "ls": "none",
    "zorder": 4,
}

_BAR: dict[str, Any] = {"capsize": 3, "ecolor": "#111111", "elinewidth": 1}


def new_figure(width: float = 8.0, height: float = 4.5) -> Figure:
    """A figure that belongs to no window, sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, grid: str = "y") -> None:
    """Two spines, a light grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.9")  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def legend(axes: Axes, columns: int = 3) -> None:
    """A legend above the axes, where nothing is drawn."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles, labels, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8, ncols=columns
        )


def nothing(axes: Axes) -> None:
    """Say so."""
    text = "nothing measured yet"
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4")


def dots(
    axes: Axes, outcomes: Sequence[Outcome], column: str, colour: str, label: str, offset: float
) -> None:
    """A column by setting, one row per setting: mean, standard deviation over seeds, and the seeds."""
    shown = False
    for place, outcome in enumerate(outcomes):
        value = COLUMNS[column].measure(outcome)
        if value is None:
            continue
        y = place + offset
        axes.errorbar(
            value.mean,
            y,
            xerr=value.sd,
            fmt="o",
            ms=6,
            capsize=3,
            lw=1.4,
            color=colour,
            label=None if shown else label,
        )
        if len(value.seeds) > 1:
            axes.plot(value.seeds, [y] * len(value.seeds), "|", ms=8, color=colour, alpha=0.6)
        shown = True


def scores_figure(
    outcomes: Sequence[Outcome], columns: Sequence[tuple[str, str]], published: str, axis: str = "%"
) -> Figure:
    """Scores of every setting, with the published number of each.

    Args:
        outcomes: the rows.
        columns: keys of `COLUMNS` with what the legend says.
        published: the column whose published numbers are drawn, of a setting without any those of accuracy.
        axis: label of the axis.
    """
    figure = new_figure(8.5, 1.4 + 0.5 * len(outcomes))
    axes = figure.subplots()
    step = 0.22
    for number, (column, label) in enumerate(columns):
        offset = (number - (len(columns) - 1) / 2) * step
        dots(axes, outcomes, column, COLOURS[number], label, offset)
    first = True
    for place, outcome in enumerate(outcomes):
        published_scores = outcome.setting.published
        column = published if published in published_scores else "accuracy"
        if (value := published_scores.get(column)) is not None:
            name = "published" if first else None
            axes.errorbar(
                value, place, xerr=published_scores.get(f"{column}_sd"), label=name, **_BAR, **PUBLISHED
            )
            first = False
    if not axes.get_legend_handles_labels()[0]:
        nothing(axes)
    names = [textwrap.fill(outcome.setting.what, _LABEL) for outcome in outcomes]
    axes.set_yticks(range(len(outcomes)), names, fontsize=9)
    axes.set_ylim(len(outcomes) - 0.4, -0.6)
    axes.set_xlabel(axis)
    tidy(axes, "x")
    handles, labels = axes.get_legend_handles_labels()
    if handles:  # above everything: beside long names of settings the axes are narrow
        figure.legend(handles, labels, loc="outside upper right", frameon=False, fontsize=8, ncols=4)
    return figure
