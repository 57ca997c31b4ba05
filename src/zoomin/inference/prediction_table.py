"""Predict many images into a CSV that remembers what is done: a stopped job resumes where it was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path

import torch

from ..classifiers import Classifier
from ..data.manifest import Record
from ..data.opening import record_key
from ..errors import DataError
from ..files import json_digest, unquoted, write_csv
from ..model.storage import model_fingerprint
from ..model.targets import Target, target_of
from ..model.targets.pooling import check_pooling
from ..runtime.executor import Executor
from ..runtime.ledger import KEY, Ledger, Line, check_all_there, part_of, read_lines
from ..runtime.locks import lock_file
from .config import InferenceConfig
from .distributed import iter_numbered
from .groups import write_groups
from .predictions import Prediction, Summary, cells_of, columns_of, counts_of, target_in
from .sources import name_of

__all__ = ["made_by", "merge_predictions", "predict_into"]

_FREE = ("batch_size", "threads", "prefetch", "read_timeout")  # settings that change no answer


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
        ConfigError: if the answers cannot be joined so, workers cannot start, or there is no such cluster.
        WriteError: if the CSV cannot be written, or another job writes it.
        Exception: an unexpected error that many images fail with, one after another: see `faults.Faults`.
    """
    config, target = config or InferenceConfig(), target_of(model.config)
    check_pooling(pool or "mean", target)
    with lock_file(out):
        maker = made_by(model, config)
        keys = {name_of(image): f"{maker}-{record_key(image)}" for image in images}
        columns = columns_of(target)
        ledger = Ledger(out, columns, keys, resume=resume, retry_failed=retry_failed)
        left = [image for image in images if name_of(image) not in ledger.lines]
        with ledger.filling("Predicting", shown=progress) as add:
            for _, row in iter_numbered(left, model, config, executor, device=device):
                add(row.image, cells_of(row, target))
        ordered = ledger.finish()
        rows = [_row(line, ledger.columns, target) for line in ordered]
        write_groups(images, rows, target, out, pool)
    return _summary(ordered, ledger.columns, target, ledger.kept)


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
    check_all_there([Path(path) for path in parts], "zoomin predict")
    tables = [_read_part(Path(path)) for path in parts]
    header, makers = tables[0][0], {line[-1].split("-")[0] for table in tables for line in table[1:]}
    for path, table in zip(parts, tables, strict=True):
        if table[0] != header:
            raise DataError("its columns are not those of the first part", where=path, remedy=_SAME)
    if len(makers) > 1:
        raise DataError("the parts were made by different models or settings", where=out, remedy=_SAME)
    lines = [
        line for row in zip_longest(*(table[1:] for table in tables)) for line in row if line is not None
    ]
    seen: set[str] = set()
    for line in lines:
        if line[0] in seen:
            raise DataError("the image is in two parts", where=line[0], remedy="Name each part once.")
        seen.add(line[0])
    with lock_file(out):
        write_csv(out, header, lines, exact=True)
    return _summary(lines, header, _target_in(header, lines), 0)


_SAME = "Make all parts with the same --run and the same options."


def _read_part(path: Path) -> list[Line]:
    if not path.is_file():
        begun = part_of(path).is_file()
        what = "it is not complete" if begun else "there is no such file"
        remedy = (
            "Let its job end, or resume it with --resume true."
            if begun
            else "Check the name, or run zoomin predict with its --shard."
        )
        raise DataError(what, where=path, remedy=remedy)
    lines = read_lines(path)
    names = lines[0] if lines else []
    if not {"image", "prediction", "status", "error", KEY} <= set(names) or names[-1] != KEY:
        raise DataError("no table of zoomin predict", where=path, remedy="Name what --shard wrote.")
    target, place = _target_in(names, lines[1:]), names.index("prediction")
    for number, line in enumerate(lines[1:], 2):
        fits = len(line) == len(names)
        if not fits or not (_failed(line, names) or _answers(target, unquoted(line[place]))):
            raise DataError(f"line {number} is damaged", where=path, remedy="Make this part again.")
    return lines


def made_by(model: Classifier, config: InferenceConfig) -> str:
    """The same for the same model and settings."""
    settings = {name: value for name, value in asdict(config).items() if name not in _FREE}
    return json_digest([model_fingerprint(model, model.config), settings])


def _row(line: Line, columns: Line, target: Target) -> Prediction:
    """What a row says of its image, as far as groups need it."""
    cells = dict(zip(columns, line, strict=True))
    failed = _failed(line, columns)
    answer = () if failed else tuple(float(cells[name]) for name in target.columns)
    label = None if failed else unquoted(cells["prediction"])
    return Prediction(unquoted(line[0]), label, answer, math.nan, cells["sampling"], 0, 0, 0, 0)


def _failed(line: Line, columns: Line) -> bool:
    return line[columns.index("status")] == "error"


def _target_in(columns: Line, lines: Sequence[Line]) -> Target:
    place = columns.index("prediction")
    return target_in(columns, {unquoted(line[place]) for line in lines if len(line) == len(columns)})


def _answers(target: Target, word: str) -> bool:
    """Whether a prediction is one of such a target."""
    try:
        return bool(word) and len(target.truth([word])) == 1
    except (KeyError, ValueError):
        return False


def _summary(lines: Iterable[Line], columns: Line, target: Target, kept: int) -> Summary:
    done: list[str] = []
    failed = []
    label, error = columns.index("prediction"), columns.index("error")
    for line in lines:
        if _failed(line, columns):
            failed.append((unquoted(line[0]), line[error]))
        else:
            done.append(unquoted(line[label]))
    return Summary(len(done), tuple(failed), counts_of(done, target), kept)
