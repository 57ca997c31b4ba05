"""Predict many images into a CSV that remembers what is done: a stopped job resumes where it was."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from ..classifiers import Classifier
from ..data.manifest import Record
from ..data.opening import record_key
from ..errors import DataError
from ..files import unquoted, write_csv
from ..model.targets import Target, target_named, target_of
from ..model.targets.pooling import check_pooling
from ..runtime.executor import Executor
from ..runtime.ledger import Ledger, Line, read_lines
from ..runtime.locks import lock_file
from ..runtime.parts import check_all_there, join_tables
from .abstain import check_abstaining
from .config import InferenceConfig
from .distributed import iter_numbered
from .groups import write_groups
from .pipeline import made_by
from .predictions import (
    ABSTAINED,
    Prediction,
    Summary,
    cells_of,
    columns_of,
    count_unlike,
    counts_of,
    target_in,
)
from .sources import name_of

__all__ = ["merge_predictions", "predict_into", "predictions_as_json"]

logger = logging.getLogger(__name__)


def predict_into(
    images: Sequence[str | Path | Record],
    model: Classifier,
    out: str | Path,
    config: InferenceConfig | None = None,
    *,
    resume: bool = False,
    retry_failed: bool = False,
    pool: str | None = None,
    executor: Executor | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Summary:
    """Classify images into a CSV: a row per image, in their order, whatever happens to the others.

    Every row is written to `out` + ".part" as soon as it is known (`runtime.ledger`).

    Args:
        images: paths, or records of a manifest, each once.
        model: what `load_model` gave.
        out: the CSV.
        config: how to sample and run.
        resume: keep rows of an interrupted or a finished job that were made by this model, with these
            settings, of files that have not changed since.
        retry_failed: of these, do not keep the rows of images that failed.
        pool: how the answers of a group's images are joined (`targets.pooling`), by default by their mean, in
            the table of groups beside `out`, where images have groups.
        executor: who computes; by default this process. Whoever does, this process alone writes.
        device: move the model there first.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: if the answers cannot be joined so, the model cannot tell what the settings abstain for,
            workers cannot start, or there is no such cluster.
        WriteError: if the CSV cannot be written, or another job writes it.
        Exception: an unexpected error that many images fail with, one after another: see `faults.Faults`.
    """
    config, target = config or InferenceConfig(), target_of(model.config)
    check_pooling(pool or "mean", target)
    check_abstaining(model, config)
    with lock_file(out):
        maker = made_by(model, config)
        keys = {name_of(image): f"{maker}-{record_key(image)}" for image in images}
        columns = columns_of(target)
        if resume:
            _warn_replaced(Path(out), maker)
        ledger = Ledger(out, columns, keys, resume=resume, retry_failed=retry_failed)
        for name in [n for n, line in ledger.lines.items() if not _is_whole(line, ledger.columns, target)]:
            del ledger.lines[name]
        left = [image for image in images if name_of(image) not in ledger.lines]
        with ledger.filling("Predicting", shown=progress) as add:
            for _, row in iter_numbered(left, model, config, executor, device=device):
                add(row.image, cells_of(row, target))
        ordered = ledger.finish()
        rows = [_row(line, ledger.columns, target) for line in ordered]
        write_groups(images, rows, target, out, pool, config.abstain_below)
    return _summary(ordered, ledger.columns, target, ledger.kept)


def _warn_replaced(out: Path, maker: str) -> None:
    """Say how many rows of a table cannot be resumed, before they are gone."""
    found = [line for line in read_lines(out)[1:] if line] if out.is_file() else []
    others = sum(line[-1].partition("-")[0] != maker for line in found)
    if others:
        logger.warning(
            "%s: %d of %d rows are of another model or other settings, and are replaced. To keep them, stop "
            "now and give another --out.",
            out,
            others,
            len(found),
        )


def merge_predictions(parts: Sequence[str | Path], out: str | Path) -> Summary:
    """Put the tables of the parts of a list together; in the order of the list, where all parts are there.

    Args:
        parts: CSVs that `predict_into` wrote for the shards of a list, the first one first.
        out: the CSV of the whole list.

    Raises:
        DataError: if a part is missing or incomplete, an image is in two, or they are of other models or
            settings.
        WriteError: if the CSV cannot be written.
    """
    paths = [Path(path) for path in parts]
    check_all_there(paths, "zoomin predict")
    header, *lines = join_tables(
        paths, "zoomin predict", columns_of(target_named("classes", [])), _check_rows
    )
    with lock_file(out):
        write_csv(out, header, lines, exact=True)
    return _summary(lines, header, _target_in(header, lines), 0)


def predictions_as_json(path: str | Path, target: Target) -> list[dict[str, object]]:
    """The rows of a table of predictions, by its columns: numbers as numbers, None where a cell is empty.

    Args:
        path: the CSV that `predict_into` wrote.
        target: of the model.
    """
    integers = ("n_samples", "replicates", "seed", "pixels_read", "decoded_pixels")
    kinds: dict[str, Callable[[str], object]] = dict.fromkeys(integers, int)
    kinds |= dict.fromkeys((*target.columns, "standard_error", "ood_p_value"), float)
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [
            {name: kinds.get(name, unquoted)(cell) if cell else None for name, cell in row.items()}
            for row in csv.DictReader(file)
        ]


def _check_rows(path: Path, table: Sequence[Line]) -> None:
    names = table[0]
    target = _target_in(names, table[1:])
    for number, line in enumerate(table[1:], 2):
        if not _is_whole(line, names, target):
            raise DataError(f"line {number} is damaged", where=path, remedy="Make this part again.")


def _row(line: Line, columns: Line, target: Target) -> Prediction:
    """What a row says of its image, as far as groups need it."""
    cells = dict(zip(columns, line, strict=True))
    failed = _failed(line, columns)
    answer = () if failed else tuple(float(cells[name]) for name in target.columns)
    label = None if failed else unquoted(cells["prediction"])
    return Prediction(unquoted(line[0]), label, answer, math.nan, cells["sampling"], 0, 0, 0, 0)


def _is_whole(line: Line, columns: Line, target: Target) -> bool:
    """Whether a row says something: a file may have been damaged since."""
    try:
        cells = dict(zip(columns, line, strict=True))
        if _failed(line, columns):
            return True
        for number in (*map(cells.__getitem__, target.columns), cells["ood_p_value"] or "1"):
            float(number)
    except ValueError:
        return False
    return _answers(target, unquoted(cells["prediction"]))


def _failed(line: Line, columns: Line) -> bool:
    return line[columns.index("status")] == "error"


def _target_in(columns: Line, lines: Sequence[Line]) -> Target:
    place = columns.index("prediction")
    return target_in(columns, {unquoted(line[place]) for line in lines if len(line) == len(columns)})


def _answers(target: Target, word: str) -> bool:
    """Whether a prediction is one of such a target."""
    try:
        return word == ABSTAINED or (bool(word) and len(target.truth([word])) == 1)
    except (KeyError, ValueError):
        return False


def _summary(lines: Iterable[Line], columns: Line, target: Target, kept: int) -> Summary:
    done: list[Line] = []
    failed = []
    label, error, like, why = (columns.index(n) for n in ("prediction", "error", "ood_p_value", "abstained"))
    for line in lines:
        if _failed(line, columns):
            failed.append((unquoted(line[0]), line[error]))
        else:
            done.append(line)
    counts = counts_of([unquoted(line[label]) for line in done], target)
    unlike = count_unlike(float(line[like]) if line[like] else None for line in done)
    return Summary(len(done), tuple(failed), counts, kept, unlike, sum(bool(line[why]) for line in done))
