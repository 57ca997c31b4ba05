"""Train one network on one data set, leave everything needed to evaluate, repeat and use it in one folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..runtime.extras import extra_named

with extra_named():  # here, for programs that import `fit` itself
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

from ..annotations.reader import RoiReader
from ..baselines.bags import MIL
from ..classifiers import ClassifierConfig, build, zoom_in
from ..data.datamodule import ZoomInDataModule
from ..errors import ConfigError
from ..files import write_json, write_rows
from ..model.zoom_in import ZoomInConfig
from ..runtime.locks import lock_folder
from ..runtime.ranks import Ranks, joined
from .baseline_task import BaselineTask
from .channels import with_channels
from .checkpoints import (
    BEST,
    LAST,
    PREVIOUS,
    START,
    Done,
    IdentityWriter,
    checkpoint_callbacks,
    comparable,
    epochs_done,
    load_weights,
    save_start,
    stages_done,
)
from .config import MONITORS, RunConfig, TrainConfig
from .finish import finish
from .frozen.known_features import KnownFeatures
from .frozen.learn import make_embedder
from .frozen.pixels import PIXELS, PixelRun, learn_trunk_too
from .loggers import Logs, check_loggers, log_scores
from .matching import check_target, log_classes, match_data, resolved_data
from .parallel import meeting_point, same_everywhere, share_embeddings, training_ranks
from .plan import negative_class
from .pretrain import pretrain
from .records import EpochTable, ProgressBar
from .results import FitResult
from .run_folder import data_fingerprint, new_folder, record_readers, write_inputs
from .task import ClassifierTask
from .trainer import train, training_device
from .warm_up import warm_up
from .zoom_in_task import ZoomInTask

__all__ = [
    "FitResult",
    "fit",
    "new_task",
    "tiles_of",
]

logger = logging.getLogger(__name__)


def fit(
    config: RunConfig,
    *,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    logger: Logger | Sequence[Logger] | None = None,
) -> FitResult:
    """Train, choose the network, evaluate it, and fill the folder of the run.

    The folder holds config.yaml (complete, to be given to --config), versions.json, manifest.csv,
    splits.json, pretrain.csv (where there was any), metrics.csv (one row per epoch), what loggers write,
    checkpoints/last.ckpt and best.ckpt (start.ckpt: what came before the first epoch, until the last), model/
    (the network of the best validation epoch; of the last epoch where nothing is held out for validation),
    metrics.json, readers.csv (what decoded each training image) and, if images could not be read during
    training, skipped.csv. The test images, where there are any, take no part in any choice.

    Args:
        config: the run.
        progress: show progress bars.
        callbacks: of the training, beside those that keep its record.
        logger: Lightning's, in place of those that `train.logger` names.

    Raises:
        ConfigError: if settings cannot work together or with the data, the folder is not empty, the package
            of a logger is not installed, or the loss ceases to be a number.
        DataError: if the data cannot be used.
        CheckpointError: if the run to resume is damaged, or has other settings or data.
        WriteError: if the folder cannot be written to, or another job writes to it.
        KeyboardInterrupt: when interrupted; `resume` then resumes it.
    """
    if callbacks and config.frozen.enabled:
        raise ConfigError(
            "learning on a frozen trunk has no epochs for callbacks",
            where="callbacks",
            remedy="Leave them out, or set frozen.enabled to false.",
        )
    folder, named = Path(config.out), config.train.loggers() if logger is None else ()
    check_loggers(named)
    given = () if logger is None else (logger,) if isinstance(logger, Logger) else tuple(logger)
    logs = Logs(named, folder, folder.resolve().name, given=given)
    ranks = training_ranks(config)
    with joined(ranks, *meeting_point(ranks, config.train)), ExitStack() as held:
        ranks.first(lambda: held.enter_context(lock_folder(config.out, LAST.parent.name, "model")) and None)
        return _fit(folder, config, progress and ranks.is_first, callbacks, logs, ranks)


def _fit(
    folder: Path,
    config: RunConfig,
    progress: bool,
    callbacks: Sequence[Callback],
    logs: Logs,
    ranks: Ranks,
) -> FitResult:
    data = ZoomInDataModule(config.data, progress=progress, model=tiles_of(config.model))
    data = data.with_seed(config.seed)
    is_ordered = not config.frozen.enabled and data.target.kind == "classes"
    log_classes(data.classes, is_ordered=is_ordered)
    data.check_labels("fit")
    model = match_data(config.model, data, data.splits["train"])
    check_target(config, data.target)
    learned = [data.manifest.records[row] for row in data.splits["train"].tolist()]
    model = with_channels(model, config.data, learned, progress=progress)
    data.model = tiles_of(model)
    config = replace(config, model=model, data=resolved_data(config.data, data))
    if config.frozen.enabled:
        return _fit_frozen(config, data, progress, logs)
    _check_validation(config.train, data)
    task = new_task(config, data)
    task.ranks = ranks
    ranks.first(lambda: new_folder(folder, resume=config.resume))
    identity = {
        "config": comparable(config, ranks.world),
        "data": data_fingerprint(data.manifest, data.splits),
    }
    done = Done()
    if config.resume:
        done = ranks.first(lambda: epochs_done(folder, identity, config.train.epochs))
    ranks.each(lambda: _open(data, config.train))  # or refuse, before anything is written
    if ranks.is_first:
        write_inputs(folder, replace(config, resume=False), data.manifest, data.splits)
        data.failures.write_to(folder / "skipped.csv")
    table = EpochTable(folder / "metrics.csv" if ranks.is_first else None, done.rows)
    has_validation = data.splits["val"].numel() > 0
    hooks = [
        *callbacks,
        *checkpoint_callbacks(folder, config.train, has_validation),
        IdentityWriter(identity, table),
    ]
    hooks += [ProgressBar(table)] if progress else []
    loggers: list[Logger] = []
    with ExitStack() as followed:
        asked = replace(config, resume=False)
        ranks.first(lambda: loggers.extend(followed.enter_context(logs.open(asked, done.rows))))
        started = time.perf_counter()
        if not done.epochs:
            _before_training(task, data, config, identity, progress)
        train(task, data, hooks, [*loggers, table], folder / LAST if done.epochs else None)
        if not ranks.is_first:  # what follows is for one
            return FitResult(folder, folder / "model", {}, table.rows)
        seconds = time.perf_counter() - started
        metrics = _finished(task, data, config, table, seconds)
        log_scores(loggers, metrics, step=len(table.rows))
    return FitResult(folder, folder / "model", metrics, table.rows)


def _open(data: ZoomInDataModule, config: TrainConfig) -> None:
    """Open the images; those that cannot be opened are left out.

    Raises:
        DataError: if these are too many, or the others cannot be learned from.
    """
    data.leave_out_unreadable()
    _check_validation(config, data)
    data.setup("fit")


def _finished(
    task: ClassifierTask[Any], data: ZoomInDataModule, config: RunConfig, table: EpochTable, seconds: float
) -> dict[str, Any]:
    """Choose the network, save and evaluate it; what metrics.json holds."""
    folder, has_validation = Path(config.out), data.splits["val"].numel() > 0
    for needless in (START, PREVIOUS):
        (folder / needless).unlink(missing_ok=True)
    chosen = BEST if has_validation else LAST
    epoch = load_weights(task.net, folder / chosen)
    finished = finish(task.net, data, config)
    record_readers(task.net, data, folder)
    task.net.save_pretrained(folder / "model")
    metrics = {
        "model": chosen.stem,
        "epoch": epoch,
        "chosen_by": f"{config.train.monitor} of the validation images" if has_validation else None,
        "epochs": len(table.rows),
        "contrastive_from_epoch": task.contrastive_epoch,
        "seconds": seconds,
        "skipped": data.failures.images(),
        **finished,
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def _fit_frozen(config: RunConfig, data: ZoomInDataModule, progress: bool, logs: Logs) -> FitResult:
    """Learn on a frozen trunk; the folder holds what `fit` lists, except epochs and checkpoints."""
    folder, started, model = Path(config.out), time.perf_counter(), tiles_of(config.model)
    if model is None:
        raise ConfigError(
            "only Zoom-In has this training on a frozen trunk, and the model is a baseline",
            where="frozen.enabled",
            remedy="Set it to false; train.freeze_trunks freezes the trunk of a baseline.",
        )
    new_folder(folder, resume=config.resume)
    data.failures.path = folder / "skipped.csv"
    data = data.without_unreadable()
    negative = negative_class(data.classes, config.frozen.negative_class)
    embedder, rows = None, data.splits["train"]
    if config.frozen.trunk != "learned":
        embedder = make_embedder(model, config.frozen, data, progress)
        rows = embedder.readable(rows, data.note_unreadable)
        data = data.with_splits({**data.splits, "train": rows})
    data.setup("fit")
    write_inputs(folder, replace(config, resume=False), data.manifest, data.splits)
    pixels = PixelRun(
        folder / PIXELS, config.resume, progress, replace(logs, folder=folder / PIXELS, given=())
    )
    learned = learn_trunk_too(model, config.frozen, data, rows, config.seed, negative, pixels, embedder)
    train = replace(config.train, evaluation_sampling=learned.net.config.sampling, evaluation_replicates=1)
    finished = finish(learned.net, data, replace(config, train=train), calibrate=False)
    record_readers(learned.net, data, folder)
    learned.net.save_pretrained(folder / "model")
    metrics = {
        "model": "learned trunk" if learned.report["head"] == PIXELS else "frozen trunk",
        "chosen_by": None,
        "learned": learned.report,
        "seconds": time.perf_counter() - started,
        "skipped": data.failures.images(),
        **finished,
    }
    write_json(folder / "metrics.json", metrics)
    with logs.open(replace(config, resume=False)) as loggers:
        log_scores(loggers, metrics, step=0)
    return FitResult(folder, folder / "model", metrics, [])


def _before_training(
    task: ClassifierTask[Any],
    data: ZoomInDataModule,
    config: RunConfig,
    identity: dict[str, Any],
    progress: bool,
) -> None:
    """Pre-train from annotations and warm up from labels where configured; leave the losses in two CSVs.

    Each leaves its network too, so that a run that is resumed before its first epoch does not start over.
    Several processes do the same, each for itself; embeddings of frozen trunks they share out.
    """
    if not task.net.zooms:
        return
    folder, net = Path(config.out), zoom_in(task.net).to(training_device(config.train.device))
    ranks = task.ranks
    done = ranks.first(lambda: stages_done(folder, identity)) if config.resume else 0
    if done and ranks.is_first:
        load_weights(net, folder / START)
    same_everywhere(net, ranks)
    if config.pretrain.steps and done < 1:
        rows = pretrain(net, data, config.pretrain, config.seed, progress=progress)
        if ranks.is_first:
            write_rows(folder / "pretrain.csv", rows)
            save_start(folder, net, 1, identity)
    task.train()  # but for frozen trunks
    if isinstance(task, ZoomInTask):
        share_embeddings(task, data, ranks)
    if config.train.warm_up.is_on and done < 2:
        steps = warm_up(net, data, config.train.warm_up, config.seed, task.cached_embeddings, progress)
        if ranks.is_first:
            write_rows(folder / "warm_up.csv", [step._asdict() for step in steps])
            save_start(folder, net, 2, identity)
    same_everywhere(net, ranks)


def new_task(config: RunConfig, data: ZoomInDataModule) -> ClassifierTask[Any]:
    """A network with the first weights of the run's seed, ready to be trained on the data."""
    weights = None
    if data.target.picks_one:
        labels = data.labels[data.splits["train"]]
        counts = torch.bincount(labels[labels >= 0], minlength=len(data.classes)).tolist()
        weights = config.train.weights_of(counts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = build(config.model)
    if not net.zooms:
        _check_baseline(config)
        if isinstance(net, MIL):
            rows = [row for part in data.splits.values() for row in part.tolist()]
            net.check_stored([str(data.manifest.records[row].image) for row in rows])
        baseline = BaselineTask(net, config.train, config.seed, weights, data.failures)
        files = [record.image for record in data.manifest.records]
        for network in baseline.frozen if len(set(files)) == len(files) else []:  # what is known is by file
            baseline.net.known = KnownFeatures(baseline.net, network, config.frozen.cache)
        return baseline
    task = ZoomInTask(zoom_in(net), config.train, config.seed, weights, data.failures, _roi(config, data))
    doubtful = config.train.contrastive_from_epoch is not None and task.contrastive_epoch is None
    if doubtful and data.target.kind == "classes":
        logger.warning(
            "The contrastive loss is off: nothing says that the class %r means 'no object'. "
            "If it does, set train.negative_class to true.",
            data.classes[0],
        )
    return task


def _roi(config: RunConfig, data: ZoomInDataModule) -> RoiReader | None:
    """The annotations of the images, where training uses them.

    Raises:
        ConfigError: if it does, and no training image has one.
    """
    if not config.train.uses_roi:
        return None
    roi = RoiReader(data.manifest.records, data.file_frame)
    if not any(roi.has(row) for row in data.splits["train"].tolist()):
        raise ConfigError(
            "no training image has an annotation",
            where="train.tile_roi_strength"
            if config.train.tile_roi_strength
            else "train.position_roi_strength",
            remedy="Fill the column annotation or mask of the manifest, or set the strength to 0.",
        )
    return roi


def tiles_of(config: ClassifierConfig) -> ZoomInConfig | None:
    """The configuration whose tiles may be read ahead; a baseline reads its images as it goes."""
    return config if isinstance(config, ZoomInConfig) else None


def _check_baseline(config: RunConfig) -> None:
    """Refuse what only Zoom-In learns from."""
    asked = {
        "train.tile_roi_strength": config.train.uses_roi,
        "pretrain.steps": config.pretrain.steps > 0,
        "train.warm_up": config.train.warm_up.is_on,
        "train.freeze_trunks": config.train.freeze_trunks == "attention",
    }
    for name in (name for name, is_on in asked.items() if is_on):
        raise ConfigError(
            "only Zoom-In supports this; a baseline learns only from image labels",
            where=name,
            remedy="Switch it off.",
        )


def _check_validation(config: TrainConfig, data: ZoomInDataModule) -> None:
    held = data.splits["val"]
    if config.early_stopping_patience is not None and not held.numel():
        raise ConfigError(
            "early stopping needs validation images, and there are none",
            where="train.early_stopping_patience",
            remedy="Set data.val_fraction, mark a split 'val' in the manifest, or switch it off with null.",
        )
    if config.monitor.removeprefix("val_") not in ("loss", *data.target.scores):
        known = ", ".join(name for name in MONITORS if name[4:] in ("loss", *data.target.scores))
        raise ConfigError(
            f"{config.monitor} is not measured for the target {data.target.kind}",
            where="train.monitor",
            remedy=f"Choose one of {known}.",
        )
    one_class = data.target.picks_one and len(torch.unique(data.labels[held])) < 2
    if config.monitor == "val_auroc" and held.numel() and one_class:
        raise ConfigError(
            "the validation images are all of one class and have no AUROC",
            where="train.monitor",
            remedy="Set train.monitor to val_loss, or hold out images of other classes too.",
        )
