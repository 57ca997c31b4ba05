"""Charts as SVG to stand inside a page: drawn by matplotlib, coloured by the page's CSS, light or dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...model.targets import Target
from .numbers import CalibrationCurve, Curve, RiskCoverage, kaplan_meier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "curve_chart",
    "folds_chart",
    "held_out_chart",
    "history_chart",
    "reliability_chart",
    "risk_chart",
    "scatter_chart",
    "survival_chart",
    "values_chart",
]

# Stand-ins that become variables of the page's CSS, so that one drawing serves light and dark.
_INK, _MUTED, _GRID = "#010101", "#010102", "#010103"
_SERIES = tuple(f"#0102{index:02x}" for index in range(8))
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)},
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "zoomin",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def curve_chart(
    curves: Sequence[Curve], x: str, y: str, area: str, *, chance: float | None, identity: bool, name: str
) -> str:
    """ROC or precision-recall curves.

    Args:
        curves: at least one.
        x: name of the axis along.
        y: name of the axis up.
        area: what their areas are called.
        chance: height of the line of a random classifier, or None.
        identity: draw the diagonal as that line instead.
        name: of this drawing among those of the page.
    """
    with _axes(4.6, 4.1) as (figure, axes):
        if identity:
            axes.plot([0, 1], [0, 1], color=_MUTED, ls="--", lw=1, label="chance")
        elif chance is not None:
            axes.axhline(chance, color=_MUTED, ls="--", lw=1, label="chance")
        for index, curve in enumerate(curves):
            label = f"{_short(curve.name)}: {area} {curve.area:.3f}"
            style = "steps-post" if identity else "steps-pre"
            axes.plot(curve.x, curve.y, color=_colour(index), lw=2, label=label, drawstyle=style)
        axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        _legend(axes, len(curves) + 1)
        return _svg(figure, name)


def reliability_chart(found: CalibrationCurve, n_classes: int, *, name: str) -> str:
    """Accuracy against confidence, with intervals, above the number of predictions in each bin."""
    with _axes(4.6, 4.1, rows=2, heights=(3.0, 1.0)) as (figure, (above, below)):
        low = 1 / n_classes
        above.plot([low, 1], [low, 1], color=_MUTED, ls="--", lw=1, label="perfectly calibrated")
        x, y = [b.confidence for b in found.bins], [b.accuracy for b in found.bins]
        for b in found.bins:
            above.plot([b.confidence] * 2, [b.low, b.high], color=_colour(0), lw=1.4)
        label = "share correct, 95 % interval"
        above.plot(x, y, "o-", color=_colour(0), lw=1.2, ms=5, label=label)
        above.set(ylabel="share right", ylim=(-0.03, 1.03), xlim=(max(0.0, low - 0.05), 1.02))
        above.tick_params(labelbottom=False)
        above.legend(loc="best")
        edges = [math.ceil(b.confidence * 10 - 1e-12) / 10 - 0.05 for b in found.bins]
        below.bar(edges, [b.images for b in found.bins], width=0.09, color=_colour(0), alpha=0.55)
        below.set(xlabel="probability of the predicted class", ylabel="images", xlim=above.get_xlim())
        _whole(below.yaxis, 3)
        return _svg(figure, name)


def risk_chart(found: RiskCoverage, *, name: str) -> str:
    """The share of errors among the surest answers, for every share of images that is answered."""
    with _axes(4.6, 4.1) as (figure, axes):
        marks = "-" if len(found.coverage) > 1 else "o"
        axes.plot(found.coverage, found.risk, marks, color=_colour(0), lw=2, label="share of errors")
        axes.axhline(found.risk[-1], color=_MUTED, ls="--", lw=1, label="all answered")
        axes.set(xlabel="share of images answered, the surest first", ylabel="share of errors")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, max(0.1, 1.15 * max(found.risk))))
        axes.legend(loc="best")
        return _svg(figure, name)


def history_chart(
    history: Sequence[Mapping[str, float]], measures: Sequence[str], chosen: int | None, *, name: str
) -> str:
    """Training and validation side by side, epoch by epoch, a panel a measure."""
    with _axes(4.1 * len(measures), 3.1, columns=len(measures)) as (figure, panels):
        for axes, measure in zip(_listed(panels), measures, strict=True):
            for index, (part, label) in enumerate((("train", "training"), ("val", "validation"))):
                rows = [row for row in history if f"{part}_{measure}" in row]
                if rows:
                    x = [int(row["epoch"]) + 1 for row in rows]
                    y = [row[f"{part}_{measure}"] for row in rows]
                    axes.plot(x, y, "-" if len(x) > 1 else "o", color=_colour(index), lw=1.8, label=label)
            if chosen is not None:
                axes.axvline(chosen + 1, color=_MUTED, lw=1, ls=":", label=f"epoch {chosen + 1}, kept")
            axes.set(xlabel="epoch", ylabel=_words(measure))
            _whole(axes.xaxis)
            axes.legend(loc="best")
        return _svg(figure, name)


def scatter_chart(
    x: Sequence[float], y: Sequence[float], labels: tuple[str, str], *, log: bool, chance: str, name: str
) -> str:
    """Attention against ROI.

    Args:
        x: share of ROI.
        y: attention.
        labels: of the axes.
        log: both axes logarithmic, chance the diagonal; else y alone, chance at 1.
        chance: name of the line of uniform attention.
        name: of this drawing among those of the page.
    """
    with _axes(4.6, 4.1) as (figure, axes):
        axes.scatter(x, y, s=18, color=_colour(0), alpha=0.55, linewidths=0)
        positive = [value for value in ([*x, *y] if log else y) if value > 0] or [1.0]
        axes.set_yscale("log")
        if log:
            ends = [min(positive) / 1.6, 1.25]
            axes.set_xscale("log")
            axes.plot(ends, ends, color=_MUTED, ls="--", lw=1, label=chance)
            axes.set(xlim=ends, ylim=ends)
        else:
            top = max(*positive, 1.0)
            axes.axhline(1, color=_MUTED, ls="--", lw=1, label=chance)
            bottom = max(min(*positive, 1.0), top * 1e-6)
            margin = 1.2 if top / bottom < 3 else 1.6
            axes.set_ylim(bottom / margin, top * margin)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.legend(loc="best")
        return _svg(figure, name)


def values_chart(truth: Sequence[float], values: Sequence[float], name: str, *, id_: str) -> str:
    """Predicted values against true ones, and where both are equal."""
    with _axes(4.6, 4.1) as (figure, axes):
        axes.scatter(truth, values, s=18, color=_colour(0), alpha=0.55, linewidths=0)
        ends = [min(*truth, *values), max(*truth, *values)]
        axes.plot(ends, ends, color=_MUTED, ls="--", lw=1, label="equal")
        axes.set(xlabel=f"{_short(name)}, true", ylabel=f"{_short(name)}, predicted")
        axes.legend(loc="best")
        return _svg(figure, id_)


def survival_chart(risk: Sequence[float], time: Sequence[float], event: Sequence[bool], *, id_: str) -> str:
    """Kaplan-Meier curves of the images in thirds by predicted hazard."""
    order = sorted(range(len(risk)), key=risk.__getitem__)
    thirds = ("lowest third", "middle third", "highest third")
    with _axes(4.6, 4.1) as (figure, axes):
        for index, name in enumerate(thirds):
            rows = order[index * len(order) // 3 : (index + 1) * len(order) // 3]
            x, y = kaplan_meier([time[row] for row in rows], [event[row] for row in rows])
            axes.step(x, y, where="post", color=_colour(index), lw=1.8, label=name)
        axes.set(xlabel="time", ylabel="share without the event", ylim=(-0.02, 1.02))
        axes.legend(loc="best")
        return _svg(figure, id_)


def folds_chart(
    folds: Sequence[Mapping[str, Any]], protocols: Mapping[str, str], target: Target, *, name: str
) -> str:
    """The score of every fold under each protocol: the mean over seeds, and the range."""
    factor, unit = _unit(target)
    with _axes(9.0, 3.2) as (figure, axes):
        numbers = sorted({fold["fold"] for fold in folds})
        for index, (key, label) in enumerate(protocols.items()):
            offset = 0.18 * (index - (len(protocols) - 1) / 2)
            for number in numbers:
                own = [fold[key][target.score] for fold in folds if fold["fold"] == number]
                values = [factor * value for value in own if value is not None]
                if not values:
                    continue
                axes.plot([number + offset] * 2, [min(values), max(values)], color=_colour(index), lw=1.5)
                shown = label if number == numbers[0] else None
                mean = sum(values) / len(values)
                axes.plot(number + offset, mean, "o", ms=5, color=_colour(index), label=shown)
        axes.set(xlabel="fold", ylabel=f"{target.scores[target.score]}{unit}", ylim=_ends(target))
        axes.set_xticks(numbers[:: math.ceil(len(numbers) / 20)])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
        return _svg(figure, name)


def _unit(target: Target) -> tuple[float, str]:
    return (100.0, ", %") if target.in_percent else (1.0, "")


def _ends(target: Target) -> tuple[float | None, float]:
    return (-2.0, 103.0) if target.in_percent else (None, 1.03)


def held_out_chart(curves: Sequence[Sequence[float | None]], target: Target, *, name: str) -> str:
    """The score of held-out images by epoch: every training, and their mean."""
    factor, unit = _unit(target)
    with _axes(9.0, 3.0) as (figure, axes):
        epochs = range(1, len(curves[0]) + 1)
        for curve in curves:
            y = [math.nan if value is None else factor * value for value in curve]
            axes.plot(epochs, y, color=_colour(0), lw=0.7, alpha=0.25)
        columns = [[v for v in column if v is not None] for column in zip(*curves, strict=True)]
        mean = [factor * sum(column) / len(column) if column else math.nan for column in columns]
        axes.plot(epochs, mean, color=_colour(1), lw=2.2, label="mean over folds and seeds")
        axes.set(xlabel="epoch", ylabel=f"{target.scores[target.score]} held out{unit}", ylim=_ends(target))
        _whole(axes.xaxis)
        axes.legend(loc="lower right")
        return _svg(figure, name)


# --------------------------------------------------------------------------- figures and their SVG


@contextmanager
def _axes(
    width: float, height: float, *, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes under the style of the page."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, height_ratios=heights)


def _svg(figure: Figure, name: str) -> str:
    """The drawing without prolog and metadata, its identifiers made unique, its colours the page's."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text.strip()


def _listed(panels: Any) -> list[Axes]:  # noqa: ANN401 (one axes or an array of them)
    return list(panels.flat) if hasattr(panels, "flat") else [panels]


def _whole(axis: Any, nbins: int = 8) -> None:  # noqa: ANN401 (an axis of matplotlib)
    """Ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins, integer=True))


def _legend(axes: Axes, entries: int) -> None:
    if entries <= 6:
        axes.legend(loc="best")
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)


def _colour(index: int) -> str:
    return _SERIES[index % len(_SERIES)]


def _words(name: str) -> str:
    return {"auroc": "AUROC"}.get(name, name.replace("_", " "))


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
