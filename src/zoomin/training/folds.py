"""The folds of a cross-validation: which images they hold out, and how to train and evaluate one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ..classifiers import Classifier, zoom_in
from ..data.config import DataConfig
from ..data.datamodule import ZoomInDataModule
from ..data.manifest import Manifest
from ..data.splits import kfold
from ..datasets.colon_cancer import colon_cancer_folds, fold_indices
from ..errors import ConfigError
from ..model.config import ZoomInConfig
from ..model.targets import Target, target_of
from .checkpoints import LAST, Done, IdentityWriter, checkpoint_callbacks, comparable, epochs_done
from .config import RunConfig
from .epoch_rows import Row
from .evaluation import Evaluated, evaluate
from .fit import new_task, tiles_of
from .frozen.classify import classify
from .frozen.known_features import KnownFeatures
from .frozen.learn import make_embedder
from .frozen.pixels import PIXELS, PixelRun, learn_trunk_too
from .loggers import NO_LOGS, Logs, log_scores
from .matching import match_data
from .plan import negative_class
from .pretrain import pretrain
from .records import EpochHook, EpochTable
from .run_folder import data_fingerprint
from .task import evaluation_keys
from .trainer import train, training_device
from .warm_up import warm_up

__all__ = ["FoldJob", "deal_folds", "embed_folds", "run_fold", "unreadable"]

_FOLDS = "colon_cancer_folds"


@dataclass(frozen=True)
class FoldJob:
    """One training of a cross-validation.

    Attributes:
        seed: the seed among those repeated.
        fold: number of the fold, from 1; with repeats the numbers continue.
        train: places in the manifest of the images to train on.
        held: places of the images held out.
        failed: images held out that could not be read before the training, with the reason.
    """

    seed: int
    fold: int
    train: Int[Tensor, " train"]
    held: Int[Tensor, " held"]
    failed: Mapping[str, str] = field(default_factory=dict)

    def without(self, failed: Mapping[int, str], manifest: Manifest) -> FoldJob:
        """The same without images that cannot be read.

        Args:
            failed: the reason, by place in the manifest.
            manifest: all images.
        """
        held = {str(manifest.records[row].image): failed[row] for row in self.held.tolist() if row in failed}
        absent = torch.tensor(list(failed), dtype=torch.int64)
        train, kept = (rows[~torch.isin(rows, absent)] for rows in (self.train, self.held))
        return replace(self, train=train, held=kept, failed={**self.failed, **held})

    @property
    def name(self) -> str:
        """Of its file."""
        return f"seed{self.seed}_fold{self.fold:02d}"

    @property
    def run_seed(self) -> int:
        """The seed of this training, another for every seed and fold."""
        return int(np.random.SeedSequence([self.seed, self.fold]).generate_state(1)[0])


def deal_folds(
    manifest: Manifest,
    config: DataConfig,
    folds: int | Literal["authors"],
    *,
    repeats: int = 1,
    folds_dir: str | None = None,
) -> list[tuple[Int[Tensor, " train"], Int[Tensor, " held"]]]:
    """The folds as (train, held out) places in the manifest.

    Args:
        manifest: all images.
        config: of the data; its seed shuffles.
        folds: number of stratified folds, groups kept whole, or "authors" for the published ones.
        repeats: times that stratified folds are dealt out.
        folds_dir: folder of the published folds; by default `colon_cancer_folds` in or beside `config.root`.

    Raises:
        ConfigError: if the published folds are not found, or are to be repeated.
        DataError: if the folds do not fit the images.
    """
    if folds != "authors":
        return kfold(manifest, folds, config.seed, repeats)
    if repeats != 1:
        raise ConfigError(
            "the authors' folds cannot be drawn again",
            where="cv.repeats",
            remedy="Leave repeats at 1, or give a number of folds.",
        )
    root = Path(config.root)
    places = (
        [Path(folds_dir)] if folds_dir else [root / _FOLDS, root.parent / _FOLDS, root.parent.parent / _FOLDS]
    )
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise ConfigError(
            "the authors' folds are missing",
            where=" or ".join(str(place) for place in places),
            remedy="Give the folder of labels_histo_train_fold_1.csv with cv.folds_dir.",
        )
    return fold_indices(manifest, colon_cancer_folds(found))


def run_fold(
    run: RunConfig,
    data: ZoomInDataModule,
    job: FoldJob,
    on_epoch: Callable[[], None] | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    folder: Path | None = None,
    after: Callable[[Classifier, ZoomInDataModule], None] | None = None,
    history: Sequence[str] | None = None,
    logs: Logs = NO_LOGS,
) -> dict[str, Any]:
    """Train on a fold's training images for all epochs, evaluating those held out after each.

    Args:
        run: network and training.
        data: the images, already opened.
        job: the fold.
        on_epoch: called before every epoch.
        callbacks: of the training, beside that.
        folder: of checkpoints and of metrics.csv; where it holds some, training resumes from there. It is
            left with the weights of the last epoch. None: nothing is kept.
        after: called with the trained network and the data.
        history: what to give of every epoch; by default losses and the scores of the target.
        logs: where the training can be followed.

    Returns:
        Ready for JSON: scores of `last_epoch` (the configured validation, nothing chosen),
        `last_epoch_careful` (many replicates, the same network) and `best_epoch` (the first epoch of highest
        held-out accuracy: the paper's protocol, optimistic), the history, probabilities of all held-out
        images by the last epoch's network, and `failed`: held-out images that could not be read, with the
        reason; no score knows them. Where a frozen trunk sees images once, also `embedding`: CPU seconds that
        this took here (`made`), and for the training images, here or earlier (`training`).
    """
    started = time.perf_counter()
    run = replace(run, seed=job.run_seed, model=match_data(run.model, data, job.train))
    if run.frozen.enabled:
        if on_epoch is not None:
            on_epoch()
        result = _frozen_fold(run, data, job, folder, after, logs)
        with logs.open(run) as loggers:
            log_scores(loggers, {"val": result["last_epoch"]}, step=0)
        return {**result, "seconds": time.perf_counter() - started}
    data = data.with_splits({"train": job.train, "val": job.held}).with_seed(job.run_seed)
    task, hooks = new_task(run, data), [*callbacks, *([] if on_epoch is None else [EpochHook(on_epoch)])]
    done, table = Done(), EpochTable()
    if folder is not None:
        identity = {"config": comparable(run), "data": data_fingerprint(data.manifest, data.splits)}
        done = epochs_done(folder, identity, run.train.epochs)
        folder.mkdir(parents=True, exist_ok=True)
        table = EpochTable(folder / "metrics.csv", done.rows)
        saving = checkpoint_callbacks(folder, run.train, has_validation=False)
        hooks += [IdentityWriter(identity, table), *saving]
    if task.net.zooms and not done.epochs:
        learner = zoom_in(task.net).to(training_device(run.train.device))
        pretrain(learner, data, run.pretrain, run.seed)
        task.train()  # but for frozen trunks
        warm_up(learner, data, run.train.warm_up, run.seed, task.cached_embeddings)
    net, settings = task.net, run.train
    with logs.open(run, done.rows) as loggers:
        checkpoint = folder / LAST if folder is not None and done.epochs else None
        train(task, data, hooks, [*loggers, table], checkpoint)
        net.to(data.store.device)
        last, careful = (
            evaluate(net, data.val_dataloader(), sampling=sampling, replicates=replicates, seed=run.seed)
            for sampling, replicates in (
                (settings.validation_sampling, settings.validation_replicates),
                (settings.evaluation_sampling, settings.evaluation_replicates),
            )
        )
        result = _result(job, data, last, careful)
        log_scores(loggers, {"val": result["last_epoch_careful"]}, step=len(table.rows))
    if after is not None:
        after(net, data)
    return {
        **result,
        "best_epoch": _best(table.rows, data.target),
        "seconds": time.perf_counter() - started,
        "history": {name: [row.get(name) for row in table.rows] for name in history or _history(data.target)},
        "embedding": _embedding(net, data.manifest, job),
    }


def embed_folds(
    run: RunConfig, manifest: Manifest, jobs: Sequence[FoldJob], folder: Path, progress: bool
) -> list[FoldJob]:
    """Embed all images of some folds, before processes want the same ones at once.

    Args:
        run: network and training.
        manifest: all images.
        jobs: the folds.
        folder: for `skipped.csv`.
        progress: show progress bars.

    Returns:
        The folds without the images that cannot be read.

    Raises:
        ConfigError: if the model does not learn on a frozen trunk.
        DataError: if more images than `data.max_failures` cannot be read.
    """
    rows = torch.unique(torch.cat([torch.cat([job.train, job.held]) for job in jobs]))
    data = ZoomInDataModule(run.data, manifest, {"train": rows}, progress=progress, model=_learns_frozen(run))
    data.failures.path = folder / "skipped.csv"
    data = data.without_unreadable()
    embedder = make_embedder(_learns_frozen(run), run.frozen, data, progress)
    good = embedder.readable(data.splits["train"], data.note_unreadable)
    failed = unreadable(rows, data.with_splits({"train": good}))
    return [job.without(failed, manifest) for job in jobs]


def unreadable(rows: Int[Tensor, " n"], data: ZoomInDataModule) -> dict[int, str]:
    """The reason of each row that is not in the data any more."""
    reasons, records = data.failures.images(), data.manifest.records
    bad = rows[~torch.isin(rows, data.splits["train"])].tolist()
    return {row: reasons[str(records[row].image)] for row in bad}


def _learns_frozen(run: RunConfig) -> ZoomInConfig:
    model = tiles_of(run.model)
    if model is None:
        raise ConfigError(
            "only Zoom-In has this training on a frozen trunk, and the model is a baseline",
            where="frozen.enabled",
            remedy="Set it to false; train.freeze_trunks freezes the trunk of a baseline.",
        )
    return model


def _frozen_fold(
    run: RunConfig,
    data: ZoomInDataModule,
    job: FoldJob,
    folder: Path | None,
    after: Callable[[Classifier, ZoomInDataModule], None] | None,
    logs: Logs,
) -> dict[str, Any]:
    """The same on a frozen trunk: images held out are classified from embeddings, as from pixels."""
    model = _learns_frozen(run)
    negative = negative_class(data.classes, run.frozen.negative_class)
    with TemporaryDirectory() as nowhere:
        place = Path(nowhere) if folder is None else folder / PIXELS
        pixels = PixelRun(place, resume=folder is not None, logs=logs)
        embedder = None if run.frozen.trunk == "learned" else make_embedder(model, run.frozen, data)
        learned = learn_trunk_too(model, run.frozen, data, job.train, run.seed, negative, pixels, embedder)
    data = data.with_splits({"train": job.train, "val": job.held})
    embedding = None
    if embedder is not None:
        embedding = {"made": embedder.made_seconds, "training": embedder.seconds_of(job.train)}
    if embedder is None or learned.report["head"] == PIXELS:
        found = evaluate(learned.net, data.val_dataloader(), seed=run.seed)
        share = 1.0
    else:
        seen = embedder.seen_by(learned.net)
        embedded = seen.of(job.held)
        logits, drawn = classify(learned.net, embedded, evaluation_keys(run.seed, job.held))
        answers = target_of(learned.net.config).answers(logits)
        found = Evaluated(answers, data.labels[job.held], answers[:, :0], job.held, {})
        share = float((drawn / torch.tensor([len(one.sub_tiles) for one in embedded])).mean())
    if after is not None:
        after(learned.net, data)
    result = _result(job, data, found, found)
    return {
        **result,
        "best_epoch": {"epoch": 0, **result["last_epoch"]},
        "history": {f"val_{data.target.score}": [result["last_epoch"][data.target.score]]},
        "learned": {**learned.report, "share_of_sub_tiles": share},
        "embedding": embedding,
    }


def _result(job: FoldJob, data: ZoomInDataModule, last: Evaluated, careful: Evaluated) -> dict[str, Any]:
    """What is recorded of every fold, however it is trained."""
    return {
        "seed": job.seed,
        "fold": job.fold,
        "run_seed": job.run_seed,
        "n_train": job.train.numel(),
        "n_held": job.held.numel(),
        "last_epoch": data.target.point_scores(last.answers, last.labels),
        "last_epoch_careful": data.target.point_scores(careful.answers, careful.labels),
        "images": _images(data.manifest, last, careful),
        "failed": {**job.failed, **last.failed, **careful.failed},
    }


def _embedding(net: Classifier, manifest: Manifest, job: FoldJob) -> dict[str, float] | None:
    known = getattr(net, "known", None)
    if not isinstance(known, KnownFeatures):
        return None
    names = [str(manifest.records[row].image) for row in job.train.tolist()]
    return {"made": known.made_seconds, "training": known.seconds_of(names)}


def _history(target: Target) -> list[str]:
    return ["train_loss", f"train_{target.score}", "val_loss", *(f"val_{name}" for name in target.scores)]


def _best(rows: Sequence[Row], target: Target) -> dict[str, int | float | None]:
    best = max(rows, key=lambda row: row.get(f"val_{target.score}", -math.inf))  # of equals, the first
    scores = {name: best.get(f"val_{name}") for name in target.scores}
    return {"epoch": best["epoch"], **scores}


def _images(manifest: Manifest, last: Evaluated, careful: Evaluated) -> list[dict[str, Any]]:
    both = set(last.image.tolist()) & set(careful.image.tolist())
    in_last, in_careful = (
        torch.tensor([row in both for row in evaluated.image.tolist()]) for evaluated in (last, careful)
    )
    columns = (
        last.image[in_last].tolist(),
        last.labels[in_last].tolist(),
        last.answers[in_last].tolist(),
        careful.answers[in_careful].tolist(),
    )
    return [
        {
            "row": row,
            "image": manifest.records[row].image.name,
            "group": manifest.records[row].group,
            "label": label if isinstance(label, int) else manifest.records[row].label,
            "last_epoch": probabilities,
            "last_epoch_careful": better,
        }
        for row, label, probabilities, better in zip(*columns, strict=True)
    ]
