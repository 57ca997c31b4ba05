"""The table of epochs of a run, metrics.csv, read without Lightning."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["Row", "read_rows"]

Row = dict[str, int | float]  # one epoch: its number, and what was measured


def read_rows(path: Path) -> list[Row]:
    """The rows of a table of epochs, in order; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        read = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [{**row, "epoch": int(row["epoch"])} for row in read]
