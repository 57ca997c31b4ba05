"""Predictions: one row per image, written to CSV as they come."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..files import cell, whole_text
from ..model.choices import is_unlike
from ..model.targets import NONE, Target, target_named
from ..runtime.locks import lock_file
from ..runtime.notebook import or_nothing, table

__all__ = [
    "ABSTAINED",
    "NO_FOREGROUND",
    "Prediction",
    "Predictions",
    "Summary",
    "cells_of",
    "columns_of",
    "count_unlike",
    "counts_of",
    "target_in",
    "write_predictions",
]

_SHOWN = 30  # rows of a notebook's table
ABSTAINED = "abstained"  # the word of an answer that is not given
NO_FOREGROUND = "no foreground"  # status of an image that was predicted from all of its tiles


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        image: its path, or name.
        label: the class of highest probability; of another target its answer in a word, such as "open;short"
            or "12.5"; "abstained" where the settings say so; None where the image failed.
        probabilities: of each class, in the order of the model's classes; of a value, or of survival, the one
            number; empty where the image failed.
        standard_error: of the predicted class's probability, of several labels the highest one, or of the
            number, owed to drawing sub-tiles; 0 for exact and top,
            NaN with a single replicate.
        sampling: the design that was used.
        n_samples: sub-tiles that one replicate was asked for; for exact, those that there are.
        replicates: estimates that were averaged.
        seed: of the draws.
        pixels_read: pixels of all views that the network read, at their scales.
        status: "ok"; "no foreground" where none was found in the image, so that all of its tiles were
            attended to; "error" where it could not be read.
        error: why the image failed.
        decoded_pixels: pixels of stored blocks that were decoded for it, or of the whole image where it was
            decoded whole.
        ood_p_value: how like the training images it is (`Reference`): the share of images like them that lie
            as far from them; None where the model does not know.
        abstained: why no answer is given, "" where one is.
        names: of what the probabilities are of, for notebooks.
    """

    image: str
    label: str | None
    probabilities: tuple[float, ...]
    standard_error: float
    sampling: str
    n_samples: int
    replicates: int
    seed: int
    pixels_read: int
    status: str = "ok"
    error: str = ""
    decoded_pixels: int = 0
    ood_p_value: float | None = None
    abstained: str = ""
    names: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def unlike(self) -> bool:
        """Whether the image is unlike the training images."""
        return is_unlike(self.ood_p_value)

    @or_nothing
    def _repr_html_(self) -> str | None:
        return table("1 image", [self._shown()])

    def _shown(self) -> dict[str, object]:
        """The row of a notebook's table."""
        known = not math.isnan(self.standard_error)
        names = self.names if len(self.names) == len(self.probabilities) else [""] * len(self.probabilities)
        each = zip(names, self.probabilities, strict=True)
        return {
            "image": Path(self.image).name,
            "answer": self.label,
            "probabilities": ", ".join(f"{name} {share:.3f}".lstrip() for name, share in each),
            "standard error": self.standard_error if known else None,
            "pixels read": self.pixels_read,
            "like the training images": None if self.ood_p_value is None else round(self.ood_p_value, 3),
            "status": self.error or self.abstained or self.status,
        }


class Predictions(list[Prediction]):
    """What `predict` gives: a list that a notebook shows as a table."""

    @or_nothing
    def _repr_html_(self) -> str | None:
        title = f"{len(self)} images" + (f", the first {_SHOWN}" if len(self) > _SHOWN else "")
        return table(title, [one._shown() for one in self[:_SHOWN]])


@dataclass(frozen=True)
class Summary:
    """What became of a list of images.

    Attributes:
        done: images predicted, now or before.
        failed: images that could not be read, each with its error.
        counts: images predicted as each class, or with each label; none of a number.
        kept: images whose rows were there already.
        unlike: images unlike the training images; None where the model does not know.
        abstained: images that got no answer.
    """

    done: int
    failed: tuple[tuple[str, str], ...]
    counts: Mapping[str, int]
    kept: int = 0
    unlike: int | None = None
    abstained: int = 0


def columns_of(target: Target) -> list[str]:
    """The header of a table of predictions."""
    drawn = "sampling n_samples replicates seed pixels_read decoded_pixels status error".split()
    return ["image", "prediction", *target.columns, "standard_error", "ood_p_value", "abstained", *drawn]


def cells_of(row: Prediction, target: Target) -> list[object]:
    """The row of a prediction in that table."""
    digits = ".6f" if target.has_probabilities else ".8g"
    values = [f"{p:{digits}}" for p in row.probabilities] or [""] * len(target.names)
    error = "" if math.isnan(row.standard_error) else f"{row.standard_error:.6f}"
    p = "" if row.ood_p_value is None else f"{row.ood_p_value:.4f}"
    trust = [error, p, row.abstained]
    how = [row.sampling, row.n_samples, row.replicates, row.seed, row.pixels_read, row.decoded_pixels]
    given = [row.image, row.label or "", *values, *trust, *how, row.status, row.error]
    return [cell(value) for value in given]


def counts_of(labels: Iterable[str], target: Target) -> dict[str, int]:
    """How many answers name each class or label; empty for a number.

    Example:
        >>> counts_of(["open;short", "open", "none"], target_named("labels", ["open", "short"]))
        {'open': 2, 'short': 1}
    """
    counts = dict.fromkeys(target.names if target.has_probabilities else (), 0)
    for label in labels if counts else ():
        for name in (label,) if target.picks_one else label.split(";"):
            if name in counts:
                counts[name] += 1
    return counts


def count_unlike(p_values: Iterable[float | None]) -> int | None:
    """How many images are unlike the training images; None where no image has a p-value.

    Example:
        >>> count_unlike([0.01, 0.4, None]), count_unlike([None])
        (1, None)
    """
    known = [p for p in p_values if p is not None]
    return sum(map(is_unlike, known)) if known else None


def target_in(columns: Sequence[str], words: Collection[str]) -> Target:
    """The target whose answers a table holds; grades look like classes.

    Args:
        columns: of the table.
        words: what stands in its column `prediction`, and perhaps `label`.

    Example:
        >>> target_in(["image", "prediction", "prob_open", "prob_short"], ["open;short", "open"]).kind
        'labels'
    """
    for kind in ("value", "survival"):
        target = target_named(kind, [kind])
        if set(target.columns) <= set(columns):
            return target
    names = [name.removeprefix("prob_") for name in columns if name.startswith("prob_")]
    other = set(words) - {*names, ""}
    several = len(names) == 1 or NONE in other
    several = several or any(part.rstrip("?") in names for word in other for part in word.split(";"))
    return target_named("labels" if several else "classes", names)


def write_predictions(
    predictions: Iterable[Prediction],
    target: Target,
    path: str | Path,
    *,
    labels: Sequence[str] | None = None,
) -> Summary:
    """Write predictions to a CSV as they come.

    Rows go to `path` + ".part", each flushed at once, so that an interrupted job keeps what it has; the
    complete file then replaces an older one in one step.

    Args:
        predictions: may be an iterator.
        target: of the model.
        path: the CSV.
        labels: the true label of each image, for a separate column.

    Raises:
        WriteError: if the file cannot be written, or another job writes it.
    """
    done: list[Prediction] = []
    failed = []
    image, *others = columns_of(target)
    truth = ["label"] if labels is not None else []
    with lock_file(path), whole_text(path, keep=True) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([image, *truth, *others])
        for index, row in enumerate(predictions):
            name, *cells = cells_of(row, target)
            known = [cell(labels[index])] if labels is not None else []
            writer.writerow([name, *known, *cells])
            file.flush()
            if row.label is None:
                failed.append((row.image, row.error))
            else:
                done.append(row)
    return Summary(
        len(done),
        tuple(failed),
        counts_of([row.label or "" for row in done], target),
        unlike=count_unlike(row.ood_p_value for row in done),
        abstained=sum(bool(row.abstained) for row in done),
    )
