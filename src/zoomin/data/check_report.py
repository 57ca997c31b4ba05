"""All that `zoomin data check` found, as plain values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .check import Checked, label_counts, manifest_problems
from .leaks import Leak
from .manifest import Record

__all__ = ["checks_as_json"]


def checks_as_json(
    records: Sequence[Record], rows: Sequence[Checked], leaks: Sequence[Leak], classes: Sequence[str]
) -> dict[str, Any]:
    """Everything that was found, as plain values: per image and of the data set.

    Args:
        records: the images.
        rows: what was found of them.
        leaks: properties of the files that tell the classes apart.
        classes: in their order, the negative one first.
    """
    images = []
    for row in rows:
        values = {name: value for name, value in asdict(row).items() if name != "level_sizes"}
        values["levels"] = [{"width": width, "height": height} for width, height in row.level_sizes]
        images.append(values)
    return {
        "images": images,
        "classes": list(classes),
        "counts": label_counts(records),
        "problems": manifest_problems(records),
        "leaks": [{**leak._asdict(), "text": str(leak)} for leak in leaks],
    }
