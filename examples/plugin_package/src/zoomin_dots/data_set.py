"""A data set: a folder with `dots.txt`, one "FILE LABEL" per line. `zoomin train --data.root FOLDER`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoomin.data.manifest import Manifest, Record
from zoomin.datasets.prepared import DataSet

from .reader import write_dots

__all__ = ["DATA_SET"]


def recognise(folder: Path) -> Manifest | None:
    """The images of a folder with `dots.txt`, None for any other folder."""
    listed = folder / "dots.txt"
    if not listed.is_file():
        return None
    rows = [line.split() for line in listed.read_text(encoding="utf-8").splitlines()]
    records = tuple(Record(folder / file, label) for file, label in rows)
    return Manifest(records, ("dark", "bright"), folder)


def write_miniature(folder: Path, rng: np.random.Generator) -> None:
    """Write twelve images: every second one has a bright dot."""
    lines = []
    for number in range(12):
        pixels = rng.integers(0, 60, (96, 128, 3), dtype=np.uint8)
        if number % 2:
            y, x = rng.integers(0, 80, 2)
            pixels[y : y + 12, x : x + 12] = 250
        write_dots(folder / f"{number}.dots", pixels)
        lines.append(f"{number}.dots {('dark', 'bright')[number % 2]}\n")
    (folder / "dots.txt").write_text("".join(lines), encoding="utf-8")


DATA_SET = DataSet(
    "made-up images with a bright dot, or none", miniature=write_miniature, recognise=recognise
)
