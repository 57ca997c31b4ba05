"""Answers for groups of images, such as patients: a table beside that of the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from ..data.manifest import Record
from ..files import cell, write_csv
from ..model.targets import Target
from ..model.targets.pooling import pool
from .abstain import why_abstained
from .config import InferenceConfig
from .predictions import ABSTAINED, Prediction

__all__ = ["groups_path", "has_groups", "write_groups"]


def groups_path(path: str | Path) -> Path:
    """The table of the groups beside a table of images.

    Example:
        >>> groups_path("predictions.csv").name
        'predictions.groups.csv'
    """
    path = Path(path)
    return path.with_name(f"{path.stem}.groups{path.suffix}")


def has_groups(images: Sequence[str | Path | Record]) -> bool:
    """Whether some group has several images."""
    groups = [group for group in _groups(images) if group is not None]
    return len(set(groups)) < len(groups)


def _groups(images: Sequence[str | Path | Record]) -> list[str | None]:
    return [image.group if isinstance(image, Record) else None for image in images]


def write_groups(
    images: Sequence[str | Path | Record],
    rows: Sequence[Prediction],
    target: Target,
    path: str | Path,
    how: str | None = None,
    abstain_below: float | None = None,
) -> int:
    """Write one row per group; nothing where no group has several images.

    Args:
        images: that were predicted; records may tell a group.
        rows: their predictions, in the same order.
        target: of the model.
        path: of the table of the images.
        how: the answers of a group's images are joined; None: by their mean.
        abstain_below: the probability below which a group gets no answer.

    Returns:
        How many groups there are.

    Raises:
        ConfigError: if that is not possible for this target.
        WriteError: if the file cannot be written.
    """
    if not has_groups(images):
        return 0
    groups = _groups(images)
    names = list(dict.fromkeys(group for group in groups if group is not None))
    read = [place for place, row in enumerate(rows) if row.label is not None]
    answers = torch.tensor([rows[place].probabilities for place in read]).reshape(len(read), -1)
    pooled = pool(answers, [groups[place] for place in read], target, how or "mean")
    found = dict(zip(pooled.groups, zip(pooled.answers.tolist(), pooled.images, strict=True), strict=True))
    digits = ".6f" if target.has_probabilities else ".8g"
    lines, own = [], InferenceConfig(abstain_below=abstain_below)
    sizes = Counter(groups)
    for name in names:
        answer, used = found.get(name, ([], ()))
        numbers = [f"{value:{digits}}" for value in answer] or [""] * len(target.columns)
        failed = sizes[name] - len(used)
        word = target.decide(answer) if answer else ""
        if answer and why_abstained(own, target, answer):
            word = ABSTAINED
        lines.append([cell(name), len(used), failed, cell(word), *numbers])
    write_csv(
        groups_path(path), ["group", "images", "failed", "prediction", *target.columns], lines, exact=True
    )
    return len(names)
