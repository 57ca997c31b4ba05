"""The learning curve as a table and a figure: AUROC over the ROI's share, a line per number of slides.

    python -m zoomin.experiments.learning_curve_report results/learning_curve.json

writes `learning_curve.md`, `learning_curve.png` and `learning_curve.svg` beside the JSON file; of runs on
slides of one share the table alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure", "main", "table", "write_report"]

_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
)  # Okabe & Ito: distinguishable by all
_MARKERS = "osD^vP"


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown, one line per run: what was trained, on how much, AUROC with its interval, hits of the ROI.

    Args:
        rows: as `zoomin.experiments.learning_curve` writes them.
    """
    head = (
        "| recipe | ROI, % of the slide | training slides | epochs | seed | AUROC (95 % interval) | accuracy "
        "| top sub-tiles on the ROI | weight on the ROI | training, min | date |"
    )
    lines = [head, "| --- " * 11 + "|"]
    lines += [_line(row) for row in sorted(rows, key=_order)]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    ends = row["auroc_interval"]
    interval = f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else ""
    cells = (
        " ".join([row["recipe"], *row["options"]]),
        f"{100 * share(row):g}",
        row["n_train"],
        row["epochs"],
        row["seed"],
        f"{row['auroc']:.3f}{interval}",
        f"{row['accuracy']:.3f}",
        _percent(row["top_sub_tiles_on_roi"]),
        _percent(row["weight_on_roi"]),
        f"{row['train_seconds'] / 60:.0f}",
        row["date"],
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def share(row: Mapping[str, Any]) -> float:
    """The ROI's share of the positive slides that a run learned from."""
    return float(row["slides_config"]["roi_share"])


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["recipe"], row["options"], -share(row), row["n_train"], row["seed"]


def figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """AUROC over the share, and how many of the heaviest sub-tiles hit, one line per recipe and number."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 5.2), dpi=130, layout="constrained")
    left, right = drawn.subplots(1, 2)
    lines: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=_order):
        lines.setdefault((_name(row, rows), row["n_train"]), []).append(row)
    recipes = list(dict.fromkeys(recipe for recipe, _ in lines))
    counts = sorted({count for _, count in lines})
    for (recipe, count), runs in lines.items():
        style = {
            "color": _COLOURS[recipes.index(recipe) % len(_COLOURS)],
            "marker": _MARKERS[counts.index(count) % len(_MARKERS)],
            "linestyle": ("-", "--", ":", "-.")[counts.index(count) % 4],
            "label": f"{recipe}, {count} slides",
        }
        x = [100 * share(run) for run in runs]
        _errors(left, x, runs, style)
        hits = [(at, run) for at, run in zip(x, runs, strict=True) if run["top_sub_tiles_on_roi"] is not None]
        if hits:
            right.plot(
                [at for at, _ in hits], [100 * run["top_sub_tiles_on_roi"] for _, run in hits], **style
            )
    _finish(left, "test AUROC", (0.0, 1.02))
    left.axhline(0.5, color="0.6", linewidth=0.8, zorder=0)
    drawn.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7.5)
    _finish(right, "of the ten heaviest sub-tiles, % on the ROI", (-2.0, 102.0))
    return drawn


def _name(row: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> str:
    """The recipe, with its options where another row has the recipe with others."""
    alike = all(other["options"] == row["options"] for other in rows if other["recipe"] == row["recipe"])
    return str(row["recipe"]) if alike else " ".join([row["recipe"], *row["options"]])


def _errors(
    axes: Axes, x: Sequence[float], runs: Sequence[Mapping[str, Any]], style: Mapping[str, Any]
) -> None:
    y = [run["auroc"] for run in runs]
    ends = [run["auroc_interval"] or (run["auroc"], run["auroc"]) for run in runs]
    below = [value - low for value, (low, _) in zip(y, ends, strict=True)]
    above = [high - value for value, (_, high) in zip(y, ends, strict=True)]
    axes.errorbar(x, y, (below, above), capsize=2.5, elinewidth=0.8, **style)


def _finish(axes: Axes, name: str, limits: tuple[float, float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks([0.03, 0.1, 0.3, 1.0], ["0.03", "0.1", "0.3", "1"])
    axes.minorticks_off()
    axes.set_xlabel("ROI, % of a positive slide")
    axes.set_ylabel(name)
    axes.set_ylim(*limits)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def write_report(path: Path) -> None:
    """Write the table beside the JSON file of the rows, and the figure, if there is more than one share."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(_INTRODUCTION + table(rows), encoding="utf-8")
    if len({share(row) for row in rows}) < 2:
        return
    drawn = figure(rows)
    drawn.savefig(path.with_suffix(".png"))
    drawn.savefig(path.with_suffix(".svg"), metadata={"Date": None})


_INTRODUCTION = """# Learning needles from image labels

Generated slides of 20,000 x 20,000 pixels; test slides are made from other source images than training
slides. Intervals are 95 % intervals over the test slides of one training; nothing is selected on them.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="learning_curve_report", description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, help="JSON that zoomin.experiments.learning_curve wrote")
    write_report(parser.parse_args(arguments).rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
