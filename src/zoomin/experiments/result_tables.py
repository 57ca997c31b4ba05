"""Tables of an experiment: Markdown to read, CSV to compute with, JSON with everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import markdown_table, write_csv, write_json, write_text
from ..training.run_folder import versions
from .columns import COLUMNS
from .experiment import Experiment, Outcome, Scale, Spread

__all__ = ["columns_of", "write_tables"]

_MINI = (
    "**Miniature**: made-up images and a few epochs, to check that everything runs. These numbers say "
    "nothing about any method."
)


def columns_of(experiment: Experiment, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """The columns that have anything to show."""
    return tuple(
        name
        for name in experiment.columns
        if any(name in o.setting.published or COLUMNS[name].measure(o) is not None for o in outcomes)
    )


def write_tables(folder: Path, experiment: Experiment, outcomes: Sequence[Outcome], scale: Scale) -> None:
    """Write table.md, table.csv and table.json."""
    names = columns_of(experiment, outcomes)
    published = {name for name in names if any(name in o.setting.published for o in outcomes)}
    write_text(folder / "table.md", _markdown(experiment, outcomes, scale, names, published))
    write_csv(folder / "table.csv", *_csv(outcomes, names, published), exact=True)
    write_json(
        folder / "table.json",
        {
            "experiment": experiment.name,
            "title": experiment.title,
            "source": experiment.source,
            "scale": scale,
            "notes": list(experiment.notes),
            "rows": [_row(outcome, names) for outcome in outcomes],
            "versions": versions(),
        },
    )


def _markdown(
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    scale: Scale,
    names: Sequence[str],
    published: set[str],
) -> str:
    heads = ["setting"]
    for name in names:
        heads += [f"published: {COLUMNS[name].title}"] if name in published else []
        heads.append(COLUMNS[name].title)
    heads += ["epochs", "trainings"]
    lines = [f"# {experiment.title}", "", f"{experiment.source}. Mean ± standard deviation over seeds.", ""]
    lines += [_MINI, ""] if scale == "mini" else []
    rows = []
    for outcome in (o for o in outcomes if o.to_show):
        cells = [outcome.setting.what]
        for name in names:
            cells += [_published(outcome, name)] if name in published else []
            cells.append(_text(COLUMNS[name].measure(outcome)))
        rows.append([*cells, outcome.epochs, f"{len(outcome.results)} of {outcome.planned}"])
    lines += markdown_table(heads, rows)
    if absent := [outcome.setting.what for outcome in outcomes if not outcome.to_show]:
        lines += ["", f"Not run: {'; '.join(absent)}."]
    errors = [(name, error) for outcome in outcomes for name, error in outcome.failed.items()]
    lines += ["", "Failed:", "", *(f"- `{name}`: {error}" for name, error in errors)] if errors else []
    lines += ["", *(f"- {note}" for note in experiment.notes)] if experiment.notes else []
    return "\n".join(lines) + "\n"


def _csv(
    outcomes: Sequence[Outcome], names: Sequence[str], published: set[str]
) -> tuple[list[str], list[list[object]]]:
    heads, rows = ["setting"], []
    for name in names:
        heads += [f"{name}_published"] if name in published else []
        heads += [name, f"{name}_sd"]
    for outcome in outcomes:
        cells: list[object] = [outcome.setting.name]
        for name in names:
            measured = COLUMNS[name].measure(outcome)
            cells += [outcome.setting.published.get(name, "")] if name in published else []
            cells += ["", ""] if measured is None else [f"{measured.mean:.6g}", _number(measured.sd, "", 6)]
        rows.append([*cells, outcome.epochs, len(outcome.results), outcome.planned, len(outcome.failed)])
    return [*heads, "epochs", "trainings", "planned", "failed"], rows


def _row(outcome: Outcome, names: Sequence[str]) -> dict[str, Any]:
    measured = {name: COLUMNS[name].measure(outcome) for name in names}
    return {
        "setting": outcome.setting.name,
        "what": outcome.setting.what,
        "recipe": outcome.setting.recipe,
        "changes": dict(outcome.setting.changes),
        "published": dict(outcome.setting.published),
        "measured": {
            name: None if value is None else {"mean": value.mean, "sd": value.sd, "seeds": list(value.seeds)}
            for name, value in measured.items()
        },
        "epochs": outcome.epochs,
        "trainings": len(outcome.results),
        "planned": outcome.planned,
        "failed": dict(outcome.failed),
    }


def _text(value: Spread | None) -> str:
    return "-" if value is None else str(value)


def _published(outcome: Outcome, name: str) -> str:
    published = outcome.setting.published
    spread = f" ± {published[f'{name}_sd']:g}" if f"{name}_sd" in published else ""
    return _number(published.get(name)) + spread


def _number(value: float | None, absent: str = "-", digits: int = 4) -> str:
    return absent if value is None else f"{value:.{digits}g}"
