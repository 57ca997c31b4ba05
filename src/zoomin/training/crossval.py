"""Cross-validate: every fold and seed once, in parallel, resumable, both protocols side by side."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from json import loads
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..runtime.extras import extra_named

with extra_named():  # here, for programs that import `crossval` itself
    from ..data.datamodule import ZoomInDataModule

from ..data.manifest import Manifest
from ..errors import CheckpointError, ConfigError
from ..files import plain, write_json
from ..progress import Bar, progress_bar
from ..runtime.locks import lock_folder
from ..runtime.processes import end_with_parent, end_workers, one_process
from .channels import with_channels
from .config import CrossvalConfig, RunConfig
from .crossval_report import summarise, write_report
from .fit import tiles_of
from .folds import FoldJob, deal_folds, embed_folds, run_fold, unreadable
from .loggers import Logs, check_loggers, share_experiment
from .matching import check_target, log_classes, match_data, resolved_data
from .run_folder import (
    check_settings,
    data_fingerprint,
    new_folder,
    versions,
    write_inputs,
)

__all__ = ["CrossvalConfig", "crossval"]

_POLL = 0.5  # seconds
_SIDES = ("train", "held out")
_FREE = {  # settings that a resumed cross-validation may change; those of "" stand at the top
    "": ("out", "resume", "seed"),
    "data": ("root", "threads", "resident", "cache_mb", "prefetch", "max_failures", "read_timeout"),
    "model": ("checkpoint",),
    "train": ("device", "logger"),
    "cv": ("jobs", "seeds", "folds_dir"),
}


def crossval(run: RunConfig, cv: CrossvalConfig, *, progress: bool = True) -> dict[str, Any]:
    """Train and evaluate every fold with every seed.

    Two protocols stand side by side. `last_epoch` is honest: training runs for all epochs and the network of
    the last one is evaluated. `best_epoch` is the paper's: the best of all epochs on the held-out images
    themselves, which is optimistic. The folder `run.out` receives folds/*.json (one per training, written
    once it is done), crossval.json, crossval.md, crossval.png, out_of_fold.csv, config.yaml, versions.json
    and manifest.csv; where loggers are named, folds/NAME/ has what they write for each training.

    Args:
        run: network, data and training; `run.seed` is replaced by the seeds of `cv`.
        cv: folds, seeds and processes.
        progress: show a progress bar.

    Returns:
        What crossval.json holds beside configuration and versions; see `crossval_report.summarise`.

    Raises:
        ConfigError: if settings cannot work, or the folder is not empty and `run.resume` is off.
        CheckpointError: if the folder holds a cross-validation of other settings or data.
        DataError: if the data cannot be used.
        WriteError: if the folder cannot be written to, or another job writes to it.
        KeyboardInterrupt: when interrupted; `run.resume` then continues with the remaining folds.
    """
    one_process()
    check_loggers(run.train.loggers(crossval=True))
    if run.train.devices != 1 or run.train.num_nodes != 1:
        raise ConfigError(
            "cross-validation trains each fold in one process",
            where="train.devices",
            remedy="Leave train.devices and train.num_nodes at 1; --cv.jobs trains several folds at a time.",
        )
    with lock_folder(run.out) as folder:
        return _crossval(folder, run, cv, progress)


def _crossval(folder: Path, run: RunConfig, cv: CrossvalConfig, progress: bool) -> dict[str, Any]:
    if run.train.early_stopping_patience is not None:
        raise ConfigError(
            "early stopping would choose the epoch on the held-out images",
            where="train.early_stopping_patience",
            remedy="Set it to null: every fold is trained for all epochs.",
        )
    data = ZoomInDataModule(run.data, progress=progress)
    is_ordered = not run.frozen.enabled and data.target.kind == "classes"
    log_classes(data.classes, is_ordered=is_ordered)
    model = match_data(run.model, data, torch.arange(len(data.manifest)))
    check_target(run, data.target)
    run = replace(run, model=with_channels(model, run.data, data.manifest.records, progress=progress))
    run = replace(run, data=resolved_data(run.data, data))
    folds = deal_folds(data.manifest, run.data, cv.folds, repeats=cv.repeats, folds_dir=cv.folds_dir)
    jobs = [FoldJob(seed, n, *fold) for seed in cv.seeds for n, fold in enumerate(folds, start=1)]
    new_folder(folder, resume=run.resume)
    _check_same(folder, _identity(run, cv, data.manifest, folds))
    settings = {**plain(replace(run, resume=False)), "cv": plain(cv)}
    write_inputs(folder, settings, data.manifest)
    (folder / "folds").mkdir(exist_ok=True)
    share_experiment(run.train.loggers(crossval=True), folder)
    left = [job for job in jobs if not _file(folder, job).is_file()]
    if run.frozen.enabled and left:
        left = embed_folds(run, data.manifest, left, folder, progress)
    epochs = 1 if run.frozen.enabled else run.train.epochs
    done = (len(jobs) - len(left)) * epochs  # of finished folds
    title = f"{len(jobs)} trainings" + ("" if run.frozen.enabled else f" x {epochs} epochs")
    with progress_bar(title, len(jobs) * epochs, done=done, shown=progress) as bar:
        _Runner(run, cv, data.manifest, folder, bar).run(left)
    results = [loads(_file(folder, job).read_text(encoding="utf-8")) for job in jobs]
    summary = summarise(results, data.target)
    origin = {"config": settings, "versions": versions(), "classes": list(data.classes)}
    if data.target.kind != "classes":
        origin["target"] = data.target.kind
    write_json(folder / "crossval.json", {**summary, **origin})
    write_report(folder, summary, results, data.target)
    return summary


@dataclass(frozen=True)
class _Runner:
    """Runs trainings in this process or in several, and shows how far they are."""

    run_config: RunConfig
    cv: CrossvalConfig
    manifest: Manifest
    folder: Path
    bar: Bar

    def run(self, jobs: Sequence[FoldJob]) -> None:
        if not jobs:
            return
        if self.cv.jobs == 1:
            worker = _Worker(self.run_config, self.manifest, self.folder, jobs)
            for job in jobs:
                worker.work(job, self.bar.advance)
                self.bar.show(note=f"{job.name} done")
            return
        context = multiprocessing.get_context("spawn")
        epochs, stop = context.Value("q", 0), context.Value("b", 0)
        pool = ProcessPoolExecutor(
            self.cv.jobs,
            mp_context=context,
            initializer=_start,
            initargs=(self.run_config, self.manifest, self.folder, list(jobs), self.cv.jobs, epochs, stop),
        )
        try:
            self._watch({pool.submit(_work, job): job for job in jobs}, epochs)
        except BaseException as error:
            stop.value = 1
            end_workers(pool)  # a fold that is not finished is lost anyway
            if isinstance(error, BrokenProcessPool):
                raise ConfigError(
                    "a training process died, perhaps for lack of memory",
                    where="cv.jobs",
                    remedy="Continue with fewer jobs and --resume true; finished folds are kept.",
                ) from error
            raise
        pool.shutdown()

    def _watch(self, futures: dict[Future[None], FoldJob], epochs: Synchronized[int]) -> None:
        reported, waiting = 0, set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
            self.bar.advance(epochs.value - reported)
            reported = epochs.value
            for future in done:
                future.result()
                self.bar.show(note=f"{futures[future].name} done")


class _Worker:
    """The images of a cross-validation, opened once per process, and what is done with them."""

    def __init__(self, run: RunConfig, manifest: Manifest, folder: Path, jobs: Sequence[FoldJob]) -> None:
        rows = torch.unique(torch.cat([torch.cat([job.train, job.held]) for job in jobs]))
        self.run, self.folder = run, folder
        self.data = ZoomInDataModule(
            run.data, manifest, {"train": rows}, progress=False, model=tiles_of(run.model)
        ).without_unreadable()
        self.failed = unreadable(rows, self.data)

    def work(self, job: FoldJob, on_epoch: Callable[[], None]) -> None:
        """Train one fold and write its file."""
        if self.failed:
            job = job.without(self.failed, self.data.manifest)
        names = self.run.train.loggers(crossval=True)
        logs = Logs(names, _file(self.folder, job).with_suffix(""), job.name, self.folder)
        write_json(_file(self.folder, job), run_fold(self.run, self.data, job, on_epoch, logs=logs))


@dataclass(frozen=True)
class _Process:
    """What a worker process keeps from one fold to the next."""

    worker: _Worker
    epochs: Synchronized[int]
    stop: Synchronized[int]

    def on_epoch(self) -> None:
        """Tell of an epoch; stop where the cross-validation has been stopped."""
        if self.stop.value:
            raise KeyboardInterrupt
        with self.epochs.get_lock():
            self.epochs.value += 1


_process: list[_Process] = []  # filled in processes that `_Runner` starts, empty elsewhere


def _start(
    run: RunConfig,
    manifest: Manifest,
    folder: Path,
    jobs: Sequence[FoldJob],
    processes: int,
    epochs: Synchronized[int],
    stop: Synchronized[int],
) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it and stops all
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    _process.append(_Process(_Worker(run, manifest, folder, jobs), epochs, stop))


def _work(job: FoldJob) -> None:
    (process,) = _process
    process.worker.work(job, process.on_epoch)


def _file(folder: Path, job: FoldJob) -> Path:
    return folder / "folds" / f"{job.name}.json"


def _check_same(folder: Path, identity: dict[str, Any]) -> None:
    """Write what the folder belongs to, or compare with what is written.

    Raises:
        CheckpointError: if the folder belongs to other settings or data.
    """
    path = folder / "identity.json"
    if not path.is_file():
        write_json(path, identity)
        return
    known = loads(path.read_text(encoding="utf-8"))
    check_settings(known["settings"], identity["settings"], "cross-validation", folder, folder)
    if known["folds"] != identity["folds"]:
        raise CheckpointError(
            "the cross-validation was started with other images, labels or folds",
            where=folder,
            remedy="Give another --out.",
        )


def _identity(
    run: RunConfig, cv: CrossvalConfig, manifest: Manifest, folds: Sequence[tuple[Tensor, Tensor]]
) -> dict[str, Any]:
    """Settings and folds that all trainings of one cross-validation share."""
    settings: dict[str, Any] = {**plain(run), "cv": plain(cv)}
    for section, names in _FREE.items():
        for name in names:
            del (settings[section] if section else settings)[name]
    rows_of = {
        f"{n} {side}": rows
        for n, fold in enumerate(folds, 1)
        for side, rows in zip(_SIDES, fold, strict=True)
    }
    return {"settings": settings, "folds": data_fingerprint(manifest, rows_of)}
