"""Results as tables for a terminal; all their numbers are in files as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..data.check import Checked
from ..files import short_names
from ..model.targets import score_names
from .doctor import Check

__all__ = ["checked_table", "checks_table", "metrics_table", "protocols_table"]

_ROWS = 60  # images shown in a terminal
_PARTS = {"val": "validation images: ", "test": "test images: ", "answered": "answered images: "}
_WORDS = {
    "n_images": "number",
    "n_groups": "groups",
    "coverage": "share answered",
    "constant_mae": "MAE of one constant answer",
    "events": "events",
    "epochs": "epochs trained",
    "epoch": "epoch kept",
    "seconds": "seconds",
}
_MARKS = {"ok": "[green]ok[/]", "absent": "[yellow]absent[/]", "broken": "[red]broken[/]"}


def metrics_table(title: str, metrics: Mapping[str, Any]) -> Table:
    """The main numbers of a result, with their intervals.

    Args:
        title: of the table.
        metrics: of `evaluate` or `fit`; those of several splits may be nested.
    """
    rows = _numbers(metrics, "")
    has_intervals = any(interval for _, _, interval in rows)
    heads = ("", "value", "95 % interval") if has_intervals else ("", "value")
    table = Table(*heads, title=title, title_justify="left")
    for name, value, interval in rows:
        table.add_row(name, value, *([interval] if has_intervals else []))
    return table


def protocols_table(result: Mapping[str, Any]) -> Table:
    """Both protocols of a cross-validation, side by side.

    Args:
        result: of `crossval`.
    """
    protocols = result["protocols"].values()
    scores = score_names(set.intersection(*map(set, protocols)))
    table = Table("protocol", *scores.values(), title="Mean over folds (and standard deviation over seeds)")
    for protocol in protocols:
        cells = []
        for name in scores:
            mean, sd = protocol[name]["mean"], protocol[name]["sd"]
            spread = "" if sd is None else f" ({sd:.3f})"
            cells.append("" if mean is None else f"{mean:.3f}{spread}")
        table.add_row(protocol["what"], *cells)
    return table


def checks_table(checks: Sequence[Check]) -> Table:
    """What the doctor found."""
    table = Table(title="zoomin doctor")
    for name in ("", "check", "found", "remedy"):
        table.add_column(name, overflow="fold")  # a command that is cut short cannot be copied
    for check in checks:
        table.add_row(_MARKS[check.status], *map(escape, (check.name, check.detail, check.remedy)))
    return table


def checked_table(rows: Sequence[Checked]) -> Table:
    """Checked images: those with a problem first, at most `_ROWS` in all."""
    table = Table(title="zoomin data check", expand=False)
    costs = any(row.tiles is not None for row in rows)
    labels = any(row.label for row in rows)
    cost_names = ("tiles", "views", "MB") if costs else ()
    for name in ("image", *(("label",) if labels else ()), "stored", "size", "mpp", "tissue", *cost_names):
        numbers = name in ("tissue", *cost_names)
        table.add_column(name, no_wrap=True, overflow="ellipsis", justify="right" if numbers else "left")
    table.add_column("problem", min_width=12)
    listed = sorted(rows, key=lambda row: not row.problem)[:_ROWS]
    for row, short in zip(listed, short_names([row.image for row in listed]), strict=True):
        size = "" if row.width is None else f"{row.width} x {row.height}"
        kind = " ".join(f"{row.format} {row.compression}".split())
        facts = [kind, size, _text(row.mpp), "" if row.tissue is None else f"{row.tissue:.0%}"]
        cost = [_text(row.tiles), _text(row.views), _text(row.megabytes)] if costs else []
        name = [escape(short), *([escape(row.label)] if labels else [])]
        table.add_row(*name, *facts, *cost, f"[red]{escape(row.problem)}[/]" if row.problem else "")
    if len(rows) > _ROWS:
        table.caption = f"{len(rows) - _ROWS} more in check.csv"
    return table


def _text(value: float | int | None) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _numbers(metrics: Mapping[str, Any], part: str) -> list[tuple[str, str, str]]:
    """What was measured, in words; its value; its interval, or why there is none."""
    rows: list[tuple[str, str, str]] = []
    words = {**score_names(metrics), **_WORDS}
    for name, value in metrics.items():
        if name == "learned":  # how the head was chosen is in metrics.json
            rows += _numbers(value["held_out"][value["head"]], "held out in inner folds: ")
        elif name == "unlike_training" and isinstance(value, list):
            rows.append((f"{part}unlike the training images", str(len(value)), ""))
        elif name in _PARTS:
            rows += _numbers(value, _PARTS[name])
        elif name in words and value is not None:
            value += name == "epoch"  # counted from 0 in files, from 1 on the screen
            ends = metrics.get(f"{name}_interval")
            reason = metrics.get("interval_reasons", {}).get(name, "")
            shown = f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else reason
            rows.append((f"{part}{words[name]}", f"{value:.4g}", shown))
    return rows
