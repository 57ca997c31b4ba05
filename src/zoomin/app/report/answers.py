"""Predictions of a run's images, kept beside the run so that a second report need not look again."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ...classifiers import Classifier
from ...data.manifest import Manifest, Record
from ...files import unquoted, write_json
from ...inference.config import InferenceConfig
from ...inference.prediction import iter_predictions
from ...inference.predictions import Prediction, write_predictions
from ...model.storage import WEIGHTS
from ...model.targets import Target, target_of

__all__ = ["kept_predictions", "predictions_of"]


def predictions_of(
    run: Path,
    manifest: Manifest,
    model: Classifier,
    config: InferenceConfig,
    name: str | None,
    *,
    progress: bool = False,
) -> list[Prediction]:
    """One prediction per image, taken from the run's folder where model and settings are the same.

    Args:
        run: folder of the run.
        manifest: the images, labelled or not.
        model: of the run.
        config: how to look.
        name: of the files `predictions-NAME.csv` and `.json` in the run's folder; None to keep nothing.
        progress: show a progress bar on stderr.
    """
    key = {"inference": _identity(config), "weights": _weights(run)}
    target = target_of(model.config)
    known = _read(run, name, key, target) if name else {}
    left = [record for record in manifest if str(record.image) not in known]
    new = iter_predictions(left, model, config, progress=progress and bool(left))

    def rows() -> Iterator[Prediction]:
        for record in manifest:
            yield known[str(record.image)] if str(record.image) in known else next(new)

    if name is None:
        return list(rows())
    kept: list[Prediction] = []
    labels = [record.label or "" for record in manifest]
    path = run / f"predictions-{name}.csv"
    write_json(path.with_suffix(".json"), key)
    write_predictions(_keeping(rows(), kept), target, path, labels=labels)
    return kept


def kept_predictions(run: Path, manifest: Manifest, name: str) -> list[Prediction] | None:
    """What an earlier report kept of a run whose model is gone; None where there is nothing."""
    rows = _rows(run / f"predictions-{name}.csv", manifest.kind())
    lost = "the model of the run is gone, and nothing was kept for this image"
    return [rows.get(str(r.image)) or _unanswered(r, lost) for r in manifest] if rows else None


def _keeping(rows: Iterator[Prediction], kept: list[Prediction]) -> Iterator[Prediction]:
    for row in rows:
        kept.append(row)
        yield row


def _identity(config: InferenceConfig) -> dict[str, object]:
    """Without what changes no answer."""
    free = ("batch_size", "threads", "prefetch", "read_timeout")
    return {k: v for k, v in asdict(config).items() if k not in free}


def _weights(run: Path) -> str | None:
    path = next((p for p in (run / "model" / WEIGHTS, run / WEIGHTS) if p.is_file()), None)
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _read(run: Path, name: str, key: object, target: Target) -> dict[str, Prediction]:
    """The kept predictions that hold, by image; those of images that failed are made again."""
    side = run / f"predictions-{name}.json"
    try:
        if json.loads(side.read_text(encoding="utf-8")) != key:
            raise ValueError("other settings or another model")
    except (OSError, ValueError):
        side.with_suffix(".csv").unlink(missing_ok=True)
        return {}
    begun = side.with_suffix(".csv.part")  # of a report that was interrupted
    return {**_rows(side.with_suffix(".csv"), target), **_rows(begun, target)}


def _rows(path: Path, target: Target) -> dict[str, Prediction]:
    if not path.is_file():
        return {}
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row.get("status") != "ok" or not all(row.get(name) for name in target.columns):
                continue
            image = unquoted(row["image"])
            found[image] = Prediction(
                image=image,
                label=unquoted(row["prediction"]),
                probabilities=tuple(float(row[name]) for name in target.columns),
                standard_error=float(row["standard_error"] or math.nan),
                sampling=row["sampling"],
                n_samples=int(row["n_samples"]),
                replicates=int(row["replicates"]),
                seed=int(row["seed"]),
                pixels_read=int(row["pixels_read"]),
                decoded_pixels=int(row.get("decoded_pixels") or 0),
                ood_p_value=float(row["ood_p_value"]) if row.get("ood_p_value") else None,
                abstained=row.get("abstained", ""),
            )
    return found


def _unanswered(record: Record, why: str) -> Prediction:
    return Prediction(str(record.image), None, (), math.nan, "", 0, 0, 0, 0, "error", why)
