"""Time and memory against accuracy: supplement H, table 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .colon_cancer import PROTOCOLS
from .columns import COLUMNS, COSTS
from .experiment import Experiment, Outcome, Setting
from .figures import COLOURS, PUBLISHED, new_figure, nothing, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TRADEOFF"]

_METHODS = {"zoom-in": ("Zoom-In", COLOURS[0]), "ats": ("ATS", COLOURS[1])}


def _setting(method: str, n: int, accuracy: float, memory: float, time: float) -> Setting:
    return Setting(
        f"{method}-n{n}",
        f"{_METHODS[method][0]}, N = {n}",
        "colon_cancer" if method == "zoom-in" else "colon_cancer_ats",
        {"model.n_samples": n},
        published={"best_accuracy": accuracy, "saved_mb": memory, "forward_ms": time},
    )


def _draw(outcomes: Sequence[Outcome]) -> Figure:
    figure = new_figure(10.0, 4.4)
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, outcomes, "saved_mb", "activations of a training step, MB per image")
    _panel(right, outcomes, "forward_ms", "answer, ms per image")
    left.set_ylabel("accuracy, best epoch (optimistic), %")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    return figure


def _panel(axes: Axes, outcomes: Sequence[Outcome], cost: str, label: str) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    for key, (method, colour) in _METHODS.items():
        rows = [o for o in outcomes if o.setting.name.startswith(key)]
        pairs = [(o, COLUMNS[cost].measure(o), COLUMNS["best_accuracy"].measure(o)) for o in rows]
        known = [(o, x.mean, y.mean) for o, x, y in pairs if x is not None and y is not None]
        axes.plot(
            [x for _, x, _ in known],
            [y for *_, y in known],
            "o-",
            color=colour,
            lw=1.2,
            label=f"{method}, measured",
        )
        for outcome, x, y in known:
            n = outcome.setting.changes["model.n_samples"]
            below = method != "Zoom-In"
            place: dict[str, Any] = {"xytext": (0, -7 if below else 7), "va": "top" if below else "bottom"}
            axes.annotate(
                f"N = {n}", (x, y), textcoords="offset points", ha="center", fontsize=8, color=colour, **place
            )
        published = [o.setting.published for o in rows if cost in o.setting.published]
        style: dict[str, Any] = {key: value for key, value in PUBLISHED.items() if key != "ecolor"}
        style |= {"mec": colour, "ls": ":", "lw": 1, "color": colour}
        axes.plot(
            [s[cost] for s in published],
            [s["best_accuracy"] for s in published],
            label=f"{method}, published",
            **style,
        )
    if not axes.get_lines():
        nothing(axes)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(0.12)
    axes.set_xlabel(label)
    tidy(axes, "both")


TRADEOFF = Experiment(
    name="tradeoff",
    title="Time and memory against accuracy",
    source="Kong & Henao, CVPR 2022, supplement H, table 3 (TITAN Xp)",
    data_set="colon-cancer",
    settings=(
        _setting("zoom-in", 5, 93.2, 2.43, 3.04),
        _setting("zoom-in", 10, 95.0, 2.55, 3.20),
        _setting("zoom-in", 50, 96.0, 5.03, 4.33),
        _setting("ats", 10, 90.7, 15.83, 2.81),
        _setting("ats", 50, 90.7, 25.77, 4.03),
    ),
    columns=("best_accuracy", "accuracy", *COSTS, "order", "tiles"),
    draw=_draw,
    notes=(
        PROTOCOLS,
        "Measured memory is what one image of a training batch keeps for the backward pass. The paper does "
        "not say what its megabytes count. By the formulas of its supplement A, one stage needs at most 1.4 "
        "times the entries of two stages on images of 500 pixels at N = 10, however few tiles are drawn; "
        "both methods are measured with the same feature network: the published factor of 6 cannot appear.",
    ),
)
