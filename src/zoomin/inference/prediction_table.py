"""Predict many images into a CSV that remembers what is done: a stopped job resumes where it was."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import torch

from ..classifiers import Classifier
from ..data.manifest import Record
from ..errors import DataError, ImageError
from ..files import json_digest, telling, unquoted, write_csv
from ..images.stored import identity_of
from ..model.storage import model_fingerprint
from ..model.targets import Target, target_of
from ..model.targets.pooling import check_pooling
from ..progress import progress_bar
from ..runtime.executor import Executor
from ..runtime.locks import lock_file
from .abstain import check_abstaining
from .config import InferenceConfig
from .distributed import iter_numbered
from .groups import write_groups
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

__all__ = ["merge_predictions", "predict_into", "shard_name", "shard_of"]

_FREE = ("batch_size", "threads", "prefetch", "read_timeout")  # settings that change no answer
_KEY = "made_from"

T = TypeVar("T")
Line = list[str]  # a row of the CSV as it is written


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

    Every row is written to `out` + ".part" as soon as it is known. The column made_from tells of what it was
    made, in hexadecimal digits: of which model and settings, and of which file.

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
    columns = [*columns_of(target), _KEY]
    check_pooling(pool or "mean", target)
    check_abstaining(model, config)
    with lock_file(out):
        made_by = _made_by(model, config)
        keys = {name_of(image): f"{made_by}-{_file_key(image)}" for image in images}
        known = _known(Path(out), columns) if resume else {}
        lines = {
            name: known[name]
            for name, key in keys.items()
            if name in known
            and known[name][-1] == key
            and not (retry_failed and _failed(known[name], columns))
        }
        kept = len(lines)
        left = [image for image in images if name_of(image) not in lines]
        part = _part(Path(out))
        write_csv(part, columns, lines.values(), exact=True)
        failed = sum(_failed(line, columns) for line in lines.values())
        bar = progress_bar("Predicting", len(keys), done=kept, shown=progress)
        with telling(Path(out), part), part.open("a", encoding="utf-8", newline="") as file, bar as shown:
            for _, row in iter_numbered(left, model, config, executor, device=device):
                lines[row.image] = [_text(value) for value in [*cells_of(row, target), keys[row.image]]]
                csv.writer(file, lineterminator="\n").writerow(lines[row.image])
                file.flush()
                failed += row.label is None
                shown.advance(note=f"{failed} failed" if failed else None)
        ordered = [lines[name] for name in keys]
        write_csv(out, columns, ordered, exact=True)
        part.unlink()
        rows = [_row(line, columns, target) for line in ordered]
        write_groups(images, rows, target, out, pool, config.abstain_below)
    return _summary(ordered, columns, target, kept)


def shard_of(images: Sequence[T], shard: str) -> list[T]:
    """A part of a list of images, dealt like cards so that all parts are alike.

    Args:
        images: the whole list.
        shard: "2/8" is the second of eight parts.

    Raises:
        DataError: if that is no part.

    Example:
        >>> shard_of(["a", "b", "c", "d", "e"], "2/3")
        ['b', 'e']
    """
    number, count = _shard(shard)
    return list(images[number - 1 :: count])


def shard_name(name: str, shard: str) -> str:
    """The name of the table of a part; names sort as the parts do.

    Raises:
        DataError: if that is no part.

    Example:
        >>> shard_name("predictions.csv", "2/16")
        'predictions.02-of-16.csv'
    """
    number, count = _shard(shard)
    path = Path(name)
    return str(path.with_name(f"{path.stem}.{number:0{len(str(count))}}-of-{count}{path.suffix}"))


def _shard(shard: str) -> tuple[int, int]:
    number, _, count = shard.partition("/")
    parts = int(count) if number.isdecimal() and count.isdecimal() else 0
    if not (parts and 1 <= int(number) <= parts):
        remedy = "Give PART/PARTS, such as 1/8, 2/8 to 8/8."
        if parts:
            remedy = f"Of {parts} parts, give " + ("1/1." if parts == 1 else f"1/{parts} to {parts}/{parts}.")
        raise DataError(f"{shard!r} is not a part of a list", where="shard", remedy=remedy)
    return int(number), int(count)


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
    _check_all_there([Path(path) for path in parts])
    tables = [_read_part(Path(path)) for path in parts]
    header, made_by = tables[0][0], {line[-1].split("-")[0] for table in tables for line in table[1:]}
    for path, table in zip(parts, tables, strict=True):
        if table[0] != header:
            raise DataError("its columns are not those of the first part", where=path, remedy=_SAME)
    if len(made_by) > 1:
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


def _check_all_there(parts: Sequence[Path]) -> None:
    """Refuse tables whose names, those of `shard_name`, say that others belong to them."""
    found = [re.search(r"\.(\d+)-of-(\d+)\.[^.]+$", path.name) for path in parts]
    named = [(int(match[1]), int(match[2])) for match in found if match is not None]
    for count in {count for _, count in named}:
        missing = sorted(set(range(1, count + 1)) - {number for number, of in named if of == count})
        if missing and len(named) == len(parts):
            raise DataError(
                f"part {missing[0]} of {count} is missing",
                where=parts[0],
                remedy=f"Name it too; zoomin predict --shard {missing[0]}/{count} makes it.",
            )


_SAME = "Make all parts with the same --run and the same options."


def _read_part(path: Path) -> list[Line]:
    if not path.is_file():
        begun = _part(path).is_file()
        what = "it is not complete" if begun else "there is no such file"
        remedy = (
            "Let its job end, or resume it with --resume true."
            if begun
            else "Check the name, or run zoomin predict with its --shard."
        )
        raise DataError(what, where=path, remedy=remedy)
    lines = _lines(path)
    names = lines[0] if lines else []
    needed = {"image", "prediction", "ood_p_value", "abstained", "status", "error", _KEY}
    if not needed <= set(names) or names[-1] != _KEY:
        raise DataError("no table of zoomin predict", where=path, remedy="Name what --shard wrote.")
    target, place = _target_in(names, lines[1:]), names.index("prediction")
    for number, line in enumerate(lines[1:], 2):
        fits = len(line) == len(names)
        if not fits or not (_failed(line, names) or _answers(target, unquoted(line[place]))):
            raise DataError(f"line {number} is damaged", where=path, remedy="Make this part again.")
    return lines


def _made_by(model: Classifier, config: InferenceConfig) -> str:
    """The same for the same model and settings."""
    settings = {name: value for name, value in asdict(config).items() if name not in _FREE}
    return json_digest([model_fingerprint(model, model.config), settings])


def _file_key(image: str | Path | Record) -> str:
    """The same for the same file, unchanged, looked at in the same way."""
    record = image if isinstance(image, Record) else Record(Path(image), label=None)
    foreground = record.foreground and _stamp(record.foreground)
    return json_digest([_stamp(record.image), record.mpp, record.series, foreground])


def _stamp(path: Path) -> list[int]:
    try:
        _, size, changed = identity_of(path)
    except ImageError:
        return []
    return [size, changed]


def _part(path: Path) -> Path:
    path = path.resolve()
    return path.with_name(path.name + ".part")


def _known(path: Path, columns: Line) -> dict[str, Line]:
    """The rows of a finished and of an interrupted job, the newer ones of these, by image."""
    found: dict[str, Line] = {}
    for table in (path, _part(path)):
        lines = _lines(table) if table.is_file() else []
        if lines and lines[0] == columns:
            found.update({unquoted(line[0]): line for line in lines[1:] if len(line) == len(columns)})
    return found


def _lines(path: Path) -> list[Line]:
    """The rows that were written whole: a killed job leaves half of one at the end."""
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1].decode(errors="replace")
    try:
        return list(csv.reader(io.StringIO(whole, newline="")))
    except csv.Error:  # no table that the program wrote
        return []


def _text(value: object) -> str:
    return str(value)


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
