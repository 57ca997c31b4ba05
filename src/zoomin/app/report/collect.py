"""Find out what there is to report: a training run, a cross-validation, or predictions and labels alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...data.csv_table import Row, read_table
from ...data.find import open_dataset
from ...data.manifest import SPLITS, Manifest, Record, read_manifest
from ...errors import CheckpointError, DataError
from ...files import read_json
from ...inference.predictions import Prediction, counts_of, target_in
from ...inference.run_images import label_options, splits_of_run
from ...model.targets import Target, target_named
from ...training.epoch_rows import read_rows
from .findings import Answer, Findings, Origin

__all__ = [
    "answers_of",
    "caution",
    "crossval_findings",
    "is_crossval",
    "origin_of_run",
    "read_predictions",
    "read_truth",
]


def is_crossval(folder: Path) -> bool:
    """Whether a folder is that of a cross-validation.

    Raises:
        CheckpointError: if the cross-validation has not finished.
    """
    if (folder / "crossval.json").is_file():
        return True
    if (folder / "folds").is_dir():
        done = len(list((folder / "folds").glob("*.json")))
        raise CheckpointError(
            f"this cross-validation has not finished; {done} of its trainings are done",
            where=folder,
            remedy=f"Continue with zoomin crossval --config {folder / 'config.yaml'} --resume true.",
        )
    return False


# --------------------------------------------------------------------------- a training run


def caution(split: str) -> str | None:
    """What the reader must know of a run evaluated on images of this split, if anything."""
    return {
        "val": "There are no test images. The validation images, by which the epoch was chosen, are used "
        "instead: read the numbers as an upper bound.",
        "train": "These are the images that the model was trained on: the numbers say nothing about "
        "new images.",
        "all": "The images that the model was trained on are among these: the numbers say little about "
        "new images.",
    }.get(split)


def _own_manifest(run: Path, target: Target) -> Manifest:
    """The images that a run was trained with, some of which may be gone by now."""
    return read_manifest(run / "manifest.csv", files_required=False, **label_options(target))


def origin_of_run(run: Path, target: Target) -> Origin:
    """What the files of a run say of how its model was made; each of them may be missing.

    Args:
        run: its folder.
        target: of its model.
    """
    metrics = read_json(run / "metrics.json")
    counts: dict[str, dict[str, int]] = {}
    if (run / "manifest.csv").is_file():
        manifest = _own_manifest(run, target)
        splits = splits_of_run(run, manifest)
        for split in (*SPLITS, None):
            rows = [index for index, found in enumerate(splits) if found == split]
            if rows:
                counts[split or "unused"] = manifest.subset(rows).counts()
    return Origin(
        config=_text(run / "config.yaml"),
        versions=read_json(run / "versions.json"),
        commands=_commands("train", run),
        history=tuple(read_rows(run / "metrics.csv")),
        chosen_epoch=metrics.get("epoch"),
        chosen_by=metrics.get("chosen_by"),
        counts=counts,
    )


def _commands(command: str, run: Path) -> tuple[str, ...]:
    if not (run / "config.yaml").is_file():
        return ()
    config, out = shlex.quote(str(run / "config.yaml")), shlex.quote(f"{run}-again")
    return (f"zoomin {command} --config {config} --out {out}",)


def answers_of(predictions: Sequence[Prediction], manifest: Manifest) -> tuple[Answer, ...]:
    """Answers from predictions of the images of a manifest, in its order."""
    return tuple(
        Answer(
            image=row.image,
            label=record.label,
            probabilities=row.probabilities,
            standard_error=None if math.isnan(row.standard_error) else row.standard_error,
            pixels_read=row.pixels_read,
            ood_p_value=row.ood_p_value,
            abstained=row.abstained,
            error=row.error,
            record=record,
        )
        for row, record in zip(predictions, manifest, strict=True)
    )


# --------------------------------------------------------------------------- predictions in a file


def read_predictions(
    path: Path, truth: Callable[[Target], Mapping[str, Record]] | None = None, target: Target | None = None
) -> tuple[Target, tuple[Answer, ...]]:
    """Target and answers of a CSV that `zoomin predict` or `zoomin evaluate` wrote.

    Args:
        path: with the columns `image` and `prob_CLASS`, and perhaps `label`.
        truth: records by image for a target, whose labels win over those of the file.
        target: of the model, where that is known; by default what the columns say.

    Raises:
        DataError: if the file cannot be used, or a label is not a class.
    """
    table = read_table(path, "image", "the first line")
    words = [row.cells.get(name, "") for row in table.rows for name in ("prediction", "label")]
    found = target_in(table.header, words)
    if target is None or (not target.has_probabilities and found.kind == target.kind):
        target = target or found
    elif found.names != target.names:
        raise DataError(
            f"the predictions are of {', '.join(found.names)}, the model's target is {target.kind}: "
            f"{', '.join(target.names)}",
            where=path,
            remedy="Give the run that made these predictions.",
        )
    columns, classes = target.columns, target.names
    if len(classes) < (2 if target.picks_one else 1):
        raise DataError(
            f"{len(classes)} columns prob_CLASS, and at least 2 are needed",
            where=path,
            remedy="Give a file that zoomin predict or zoomin evaluate wrote.",
        )
    answers, known = [], {} if truth is None else truth(target)
    for row in table.rows:
        record = _match(known, row.cells.get("image", ""))
        label = record.label if record and record.label else row.cells.get("label")
        if label is not None and not target.fits(label):
            raise DataError(
                f"row {row.number} has the label {label!r}; the classes are {', '.join(classes)}",
                where=path if record is None else record.place,
                remedy="Fix the label, or leave it empty if it is unknown.",
            )
        answers.append(_answer(row, columns, label, record, path))
    return target, tuple(answers)


def read_truth(path: str, target: Target) -> dict[str, Record]:
    """Records by image, from labels of this target in any layout that training accepts.

    Raises:
        DataError: if they cannot be read.
    """
    if Path(path).is_file():
        names = target.names if target.kind == "labels" else None
        manifest = read_manifest(path, classes=names, target=target.kind, files_required=False)
    else:
        manifest = open_dataset(path, target=target.kind)
    return {str(record.image): record for record in manifest}


def _match(truth: Mapping[str, Record], image: str) -> Record | None:
    """The record of an image: by path, else by a file name that is the only one of its kind."""
    if image in truth:
        return truth[image]
    named = [record for record in truth.values() if record.image.name == Path(image).name]
    return named[0] if len(named) == 1 else None


def _answer(row: Row, columns: list[str], label: str | None, record: Record | None, path: Path) -> Answer:
    cells = row.cells
    image = cells.get("image", f"row {row.number}")
    failed = cells.get("status", "ok") == "error"
    try:
        probabilities = () if failed else tuple(float(cells[name]) for name in columns)
        error = float(cells["standard_error"]) if "standard_error" in cells else None
        pixels = int(cells["pixels_read"]) if "pixels_read" in cells else None
        like = float(cells["ood_p_value"]) if "ood_p_value" in cells else None
    except (KeyError, ValueError) as problem:
        raise DataError(
            f"row {row.number} has no number in the column {problem}"
            if isinstance(problem, KeyError)
            else f"row {row.number}: {problem}",
            where=path,
            remedy="Fix or drop the row.",
        ) from problem
    known = record or (Record(Path(image), label) if Path(image).is_file() else None)
    return Answer(
        image,
        label,
        probabilities,
        standard_error=error,
        pixels_read=pixels,
        ood_p_value=like,
        abstained=cells.get("abstained", ""),
        error=cells.get("error", ""),
        record=known,
    )


# --------------------------------------------------------------------------- a cross-validation


def crossval_findings(folder: Path) -> Findings:
    """What a finished cross-validation found, from its files.

    Raises:
        DataError: if a file is missing or damaged.
    """
    summary = read_json(folder / "crossval.json")
    classes = tuple(summary.get("classes", ()))
    target = target_named(summary.get("target", "classes"), classes)
    if not classes or not (folder / "out_of_fold.csv").is_file():
        raise DataError(
            "crossval.json or out_of_fold.csv is missing or damaged",
            where=folder,
            remedy="Write them again with zoomin crossval --config FOLDER/config.yaml --resume true.",
        )
    folds = [read_json(path) for path in sorted((folder / "folds").glob("*.json"))]
    summary["histories"] = [fold["history"][f"val_{target.score}"] for fold in folds if "history" in fold]
    answers = tuple(_held_out(folder, target))
    seeds = sorted({str(answer.seed) for answer in answers})
    images = len({answer.image for answer in answers})
    return Findings(
        title=folder.resolve().name,
        target=target,
        answers=answers,
        evaluated=f"{images} images, each by a model that was not trained on it"
        + (f", with {len(seeds)} seeds" if len(seeds) > 1 else ""),
        origin=Origin(
            config=_text(folder / "config.yaml"),
            versions=summary.get("versions", {}),
            commands=_commands("crossval", folder),
            counts=_counts(answers, target),
        ),
        notes=(
            f"Confusion matrix, curves, calibration and tables count every image {len(seeds)} times, once "
            "per seed. A cross-validation keeps no model; it evaluates the recipe, not one model.",
        )
        if len(seeds) > 1
        else (),
        folds=summary,
    )


def _held_out(folder: Path, target: Target) -> list[Answer]:
    known: dict[str, Record] = {}
    if (folder / "manifest.csv").is_file():
        manifest = _own_manifest(folder, target)
        known = {record.image.name: record for record in manifest}
    table = read_table(folder / "out_of_fold.csv", "image", "the first line")
    answers = []
    for row in table.rows:
        cells = row.cells
        probabilities = tuple(float(cells[f"careful_{name}"]) for name in target.columns)
        record = known.get(cells["image"])
        answers.append(
            Answer(
                image=str(record.image) if record else cells["image"],
                label=cells["label"],
                probabilities=probabilities,
                seed=int(cells["seed"]),
                fold=int(cells["fold"]),
                record=record,
            )
        )
    return answers


def _counts(answers: Sequence[Answer], target: Target) -> dict[str, dict[str, int]]:
    labels = {answer.image: answer.label for answer in answers}
    if not target.has_probabilities:
        return {"all": {target.names[0]: len(labels)}}
    return {"all": counts_of([label for label in labels.values() if label is not None], target)}


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
