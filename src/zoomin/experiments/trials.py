"""One training of an experiment: run it, keep what came out in a file, never run it again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from ..classifiers import load_model
from ..data.datamodule import ZoomInDataModule
from ..data.manifest import Manifest
from ..errors import CheckpointError
from ..files import write_json, write_text
from ..training.checkpoints import comparable
from ..training.config import RunConfig
from ..training.fit import fit, tiles_of
from ..training.folds import FoldJob, run_fold
from ..training.matching import match_classes
from ..training.records import EpochHook
from ..training.run_folder import data_fingerprint, differing_settings
from .experiment import Trial
from .measures import MEASURES, Measured
from .memory_watch import MemoryWatch

__all__ = ["Job", "error_of", "note_error", "read_trial", "run_trial"]

Folds = Sequence[tuple[torch.Tensor, torch.Tensor]]
_HISTORY = ("train_loss", "train_accuracy", "train_tiles", "train_saved_mb", "train_cuda_mb", "val_accuracy")


@dataclass(frozen=True)
class Job:
    """A trial and everything it needs.

    Attributes:
        trial: which training.
        run: its configuration.
        folder: of the setting.
        folds: of the cross-validation; empty where the data set has a test split.
        measures: keys of `MEASURES`.
        brief: measure once, not for the record: in miniatures.
    """

    trial: Trial
    run: RunConfig
    folder: Path
    folds: Folds
    measures: tuple[str, ...]
    brief: bool

    @property
    def file(self) -> Path:
        """Of the results."""
        return self.folder.parent / f"{self.trial.name}.json"

    @property
    def error_file(self) -> Path:
        """Of the error."""
        return self.folder.parent / f"{self.trial.name}.error.txt"

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that results of this training were made with."""
        settings = comparable(self.run)
        settings["train"] = {**settings["train"], "epochs": self.run.train.epochs}
        settings.pop("seed")
        if "frozen" in settings:  # where features lie changes nothing
            settings["frozen"] = {k: v for k, v in settings["frozen"].items() if k != "cache"}
        settings["crops"] = list(self.trial.setting.crops or ())
        return settings


def read_trial(job: Job) -> dict[str, Any] | None:
    """The results of a training that has been done, None where it has not.

    Raises:
        CheckpointError: if they were made with other settings.
    """
    if not job.file.is_file():
        return None
    result: dict[str, Any] = json.loads(job.file.read_text(encoding="utf-8"))
    if differences := differing_settings(result["settings"], job.identity):
        raise CheckpointError(
            f"this training was done with other settings: {'; '.join(differences)}",
            where=job.file,
            remedy="Give the same settings, another --out, or delete the file.",
        )
    return result


def error_of(job: Job) -> str | None:
    """Why a training failed, None where it did not."""
    return job.error_file.read_text(encoding="utf-8").strip() if job.error_file.is_file() else None


def run_trial(job: Job, manifest: Manifest, on_epoch: Callable[[], None]) -> dict[str, Any]:
    """Train, evaluate and measure, and write the results.

    An interrupted training resumes after its last complete epoch.

    Returns:
        `scores`: accuracy, balanced_accuracy and auroc by protocol: "honest" (nothing chosen on the images
        evaluated: the last epoch of a fold, many estimates per image; the test images), "best" (the best
        epoch of a fold on its held-out images), "plain" (the last epoch, one estimate). `history`: numbers
        by epoch. `measured`: by measure. And setting, seed, fold, settings, seconds, counts of images.

    Raises:
        ZoomInError: if the training cannot be done.
    """
    started = time.perf_counter()
    result = _fold(job, manifest, on_epoch) if job.folds else _split(job, manifest, on_epoch)
    whole = {
        "setting": job.trial.setting.name,
        "seed": job.trial.seed,
        "fold": job.trial.fold,
        "epochs": job.run.train.epochs,
        "settings": job.identity,
        **result,
        "seconds": time.perf_counter() - started,
    }
    write_json(job.file, whole)
    job.error_file.unlink(missing_ok=True)
    return whole


def note_error(job: Job, error: Exception) -> None:
    """Write why a training failed."""
    write_text(job.error_file, f"{type(error).__name__}: {error}\n")


def _fold(job: Job, manifest: Manifest, on_epoch: Callable[[], None]) -> dict[str, Any]:
    train, held = job.folds[job.trial.fold - 1]
    fold = FoldJob(job.trial.seed, job.trial.fold, train, held)
    data = ZoomInDataModule(
        job.run.data, manifest, {"train": train, "val": held}, progress=False, model=tiles_of(job.run.model)
    )
    run = replace(job.run, model=match_classes(job.run.model, data.classes))
    folder = job.folder / f"seed{job.trial.seed}_fold{job.trial.fold:02d}"
    measured: dict[str, Any] = {}

    began, cpu = time.process_time(), 0.0

    def measure(net: Any, here: ZoomInDataModule) -> None:  # noqa: ANN401 (Zoom-In or a baseline)
        nonlocal cpu
        cpu = time.process_time() - began
        where = Measured(net, run, here, "val", folder, job.brief)
        wanted = [name for name in job.measures if name != "prediction" or job.trial.fold <= 1]
        measured.update({name: MEASURES[name](where) for name in wanted})

    result = run_fold(
        run,
        data,
        fold,
        on_epoch,
        callbacks=[MemoryWatch()],
        folder=folder,
        after=measure,
        history=_HISTORY,
    )
    embedding = result["embedding"] or {"made": 0.0, "training": 0.0}
    return {
        "scores": {
            "plain": result["last_epoch"],
            "honest": result["last_epoch_careful"],
            "best": result["best_epoch"],
        },
        "n_train": result["n_train"],
        "n_held": result["n_held"],
        "history": result["history"],
        "images": result["images"],
        "cpu_seconds": cpu - embedding["made"] + embedding["training"],
        "measured": measured,
    }


def _split(job: Job, manifest: Manifest, on_epoch: Callable[[], None]) -> dict[str, Any]:
    folder = job.folder / f"seed{job.trial.seed}"
    run = replace(job.run, out=str(folder), seed=job.trial.seed, resume=True)
    callbacks: list[Callback] = [MemoryWatch(), EpochHook(on_epoch)]
    began = time.process_time()
    fitted = fit(run, progress=False, callbacks=callbacks)
    cpu = time.process_time() - began
    net = load_model(fitted.folder)
    data = ZoomInDataModule(run.data, progress=False, model=tiles_of(run.model))
    where = Measured(net, run, data, "test", folder, job.brief)
    measured = {name: MEASURES[name](where) for name in job.measures}
    evaluated = fitted.metrics.get("test") or fitted.metrics.get("val") or {}
    names = ("accuracy", "balanced_accuracy", "auroc")
    return {
        "scores": {"honest": {name: evaluated.get(name) for name in names}},
        "test": evaluated,
        "n_train": data.splits["train"].numel(),
        "n_held": data.splits["test"].numel(),
        "history": {name: [row.get(name) for row in fitted.history] for name in _HISTORY},
        "data": data_fingerprint(data.manifest, data.splits),
        "cpu_seconds": cpu,
        "measured": measured,
    }
