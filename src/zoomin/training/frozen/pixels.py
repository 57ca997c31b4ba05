"""Learn the trunk from pixels, where a frozen one falls short or images are many; kept only if it wins.

    a small trunk, gated attention, a linear head     end to end, over all sub-tiles of each image
    one inner fold out, groups whole                  does it win over the frozen trunk there?
    all images join                                   a few more epochs, from the weights that won
    scale and shift of the logits                     fitted to the images that were held out at first

The network is a Zoom-In model from the first step on. It learns with AdamW, a cosine schedule with warm-up,
averaged weights and changed images; where images have many sub-tiles, from some that are drawn by the taught
tile attention.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...data.datamodule import ZoomInDataModule
from ...files import plain
from ...geometry import TileGrid
from ...images.augmentation import Augmentation
from ...images.image import ImageBatch
from ...model.config import ZoomInConfig
from ...model.networks import GatedFeatures, SmallResNet
from ...model.zoom_in import ZoomIn
from ..calibration import Calibration, calibrated, held_out_scores
from ..checkpoints import LAST, Done, IdentityWriter, checkpoint_callbacks, epochs_done
from ..config import TrainConfig
from ..evaluation import evaluate
from ..frozen_config import TRUNK_BATCH, FrozenConfig
from ..loggers import NO_LOGS, Logs
from ..records import EpochTable, ProgressBar
from ..run_folder import data_fingerprint
from ..trainer import train
from .averaged import AveragedTask
from .embeddings import Embedder
from .inner_folds import inner_folds
from .learn import Learned, learn, make_embedder
from .pairs import PairedData

__all__ = ["PIXELS", "TRUNK", "PixelRun", "learn_pixels", "learn_trunk_too"]

PIXELS = "pixels"  # in reports, the head of a model whose trunk was learned
TRUNK = "small_resnet"
_CHUNK = 32  # sub-tiles per call of the trunk, over which batch normalisation averages
_WEIGHT_DECAY = 0.05
_CLIP = 5.0  # largest norm of the gradient
_SHIFT = 8  # pixels, the stride at which the trunk first sees a map
_JITTER = 0.1  # of brightness and contrast, where there is colour
_SAMPLED = 8  # images checked for colour
_MORE = 3  # a third of the epochs again, when all images join
_WORSE = 0.02  # loss that reading N sub-tiles, and not all, may cost

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PixelRun:
    """Where a training from pixels leaves its checkpoints and tables of epochs.

    Attributes:
        folder: of both trainings.
        resume: resume what it holds.
        progress: show progress bars.
        logs: where both trainings can be followed, each in a folder of its own.
    """

    folder: Path
    resume: bool = False
    progress: bool = False
    logs: Logs = NO_LOGS


def learn_trunk_too(
    config: ZoomInConfig,
    frozen: FrozenConfig,
    data: ZoomInDataModule,
    rows: Int[Tensor, " rows"],
    seed: int,
    negative: int | None,
    run: PixelRun,
    embedder: Embedder | None = None,
) -> Learned:
    """Learn on a frozen trunk, on one from pixels, or on both and keep the better, as `frozen.trunk` says.

    Args:
        config: of a model on the frozen trunk.
        frozen: the steps.
        data: the images.
        rows: of the manifest, those to learn from.
        seed: of everything drawn.
        negative: the class whose images hold nothing to find; None where there is none.
        run: of the training from pixels.
        embedder: what has embedded the images on the frozen trunk already.

    Raises:
        CheckpointError: if what is to be resumed is damaged, or of other settings.
        ConfigError: if the model cannot be learned so.
        DataError: if a class has too few images.
        ImageError: if pixels cannot be read.
    """
    if frozen.trunk == "learned":
        return learn_pixels(config, frozen, data, rows, seed, run)
    embedder = embedder or make_embedder(config, frozen, data, run.progress)
    learned = learn(config, frozen, data, rows, seed, negative=negative, embedder=embedder)
    if data.target.kind != "classes" or not _falls_short(frozen, len(rows), learned.report):
        return learned
    return learn_pixels(config, frozen, data, rows, seed, run, learned)


def _falls_short(frozen: FrozenConfig, images: int, report: Mapping[str, Any]) -> bool:
    """Whether a trunk is worth learning: the frozen one falls short, and there are images enough."""
    auroc = report["held_out"][report["head"]]["auroc"]
    few = frozen.trunk == "pretrained" or images < frozen.trunk_images
    return not few and auroc is not None and auroc < frozen.trunk_below


@dataclass(frozen=True)
class _Job:
    """What both trainings share.

    Attributes:
        config: of the network.
        frozen: the steps.
        data: the images.
        seed: of weights, order, augmentation and draws.
        run: where it is left.
        start: the tile attention, where it is taught.
    """

    config: ZoomInConfig
    frozen: FrozenConfig
    data: ZoomInDataModule
    seed: int
    run: PixelRun
    start: nn.Module | None

    def train(
        self, name: str, splits: Mapping[str, Tensor], epochs: int, weights: ZoomIn | None = None
    ) -> ZoomIn:
        """Train on some images, or resume; the averaged network of the last epoch."""
        folder = self.run.folder / name
        data = PairedData.of(self.data.with_splits(splits).with_seed(self.seed))
        settings = _settings(self.frozen, epochs, rate=1.0 if weights is None else 0.5)
        task = AveragedTask(self._net(weights), settings, self.seed, _class_weights(settings, data))
        identity: dict[str, Any] = {
            "config": plain({"model": self.config, "train": settings, "seed": self.seed}),
            "data": data_fingerprint(data.manifest, data.splits),
        }
        done = epochs_done(folder, identity, epochs) if self.run.resume else Done()
        folder.mkdir(parents=True, exist_ok=True)
        table = EpochTable(folder / "metrics.csv", done.rows)
        hooks = [*checkpoint_callbacks(folder, settings, has_validation=False)]
        hooks += [IdentityWriter(identity, table), *([ProgressBar(table)] if self.run.progress else [])]
        logs = self.run.logs
        logs = replace(logs, folder=logs.folder / name, run=f"{logs.run} {name}")
        with logs.open(settings, done.rows) as loggers:
            train(task, data, hooks, [*loggers, table], folder / LAST if done.epochs else None)
        return task.averaged.eval()

    def _net(self, weights: ZoomIn | None) -> ZoomIn:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            net = ZoomIn(self.config)
        if self.start is not None:
            net.tile_attention.load_state_dict(self.start.state_dict())
        net.tile_attention.requires_grad_(False)
        assert isinstance(net.features, GatedFeatures)
        net.features.copies.dropout.p = 0.0  # its noise would hide what little differs in a pair
        if weights is not None:
            net.load_state_dict(weights.state_dict())
        return net


def learn_pixels(
    config: ZoomInConfig,
    frozen: FrozenConfig,
    data: ZoomInDataModule,
    rows: Int[Tensor, " rows"],
    seed: int,
    run: PixelRun,
    learned: Learned | None = None,
) -> Learned:
    """What is learned with a trunk from pixels, where images held out are classified better than before.

    Args:
        config: of a model on the frozen trunk.
        frozen: the steps.
        data: the images.
        rows: of the manifest, those to learn from, as `learned` did.
        seed: of everything drawn, the inner folds included.
        run: where it is left.
        learned: on the frozen trunk; None: the trunk from pixels is kept whatever it gives, and where images
            have many sub-tiles, they are drawn alike.

    Returns:
        The better of the two; its report has both.

    Raises:
        CheckpointError: if what is to be resumed is damaged, or of other settings.
        ConfigError: if the loss ceases to be a number.
        ImageError: if pixels cannot be read.
    """
    folds, batch = inner_folds(data, rows, frozen.folds, seed), data.store.select(rows)
    data = data.with_splits({"train": rows})
    data.config = replace(data.config, batch_size=TRUNK_BATCH, augmentation=_augmentation(batch))
    config = config if learned is None else learned.net.config
    is_many = int(TileGrid.of(batch.sizes, config.tile_size).count.median()) > frozen.trunk_tiles
    start = learned.net.tile_attention if learned is not None and is_many else None
    config = _network(config, frozen, is_many=is_many, is_taught=start is not None)
    job = _Job(config, frozen, data, seed, run, start)
    train_rows, held = rows[folds.train[0]], rows[folds.held[0]]
    logger.info("Learning a trunk from pixels; %d images are held out to evaluate it.", len(held))
    epochs = frozen.passes(len(train_rows))
    net = job.train("held_out", {"train": train_rows, "val": held}, epochs)
    found = _Read.best(net, data.with_splits({"train": train_rows, "val": held}), seed)
    labels = data.labels[found.rows]
    own = calibrated(found.logits, labels, data.target)
    groups = [record.group for record in data.manifest.subset(found.rows)]
    held_out = {PIXELS: held_out_scores(found.logits, labels, own, data.target, groups)}
    report: dict[str, Any] = {"trunk": TRUNK, "epochs": epochs, "images_held_out": len(held)}
    if learned is not None:
        before = learned.logits[folds.held[0]][torch.searchsorted(held, found.rows)]
        other = calibrated(before, labels, data.target)
        report |= {
            "held_out": held_out[PIXELS],
            "frozen_held_out": held_out_scores(before, labels, other, data.target, groups),
        }
        report["kept"] = own.loss < other.loss
        held_out |= learned.report["held_out"]
        if not report["kept"]:
            return replace(learned, report={**learned.report, PIXELS: report})
    final = job.train("all", {"train": rows}, -(-epochs // _MORE), net)
    final = _finished(final, found.sampling, own)
    changes = {"head": PIXELS, "held_out": held_out, PIXELS: report, "inner_folds": len(folds.held)}
    changes["reads"] = {"sampling": found.sampling, "n_samples": final.config.n_samples}
    return Learned(final, changes, found.logits)


@dataclass(frozen=True)
class _Read:
    """How images held out are classified.

    Attributes:
        logits: of each that can be read.
        rows: of the manifest, likewise.
        sampling: by which design.
    """

    logits: Float[Tensor, "held classes"]
    rows: Int[Tensor, " held"]
    sampling: str

    @classmethod
    def best(cls, net: ZoomIn, data: ZoomInDataModule, seed: int) -> _Read:
        """By all sub-tiles; by N that the tile attention chooses where that is hardly worse."""

        def read(sampling: str) -> _Read:
            found = evaluate(net, data.val_dataloader(), sampling=sampling, seed=seed)
            return cls(found.answers.clamp(min=1e-6).log(), found.image, sampling)

        every = read("exact")
        if net.config.tile_attention == "uniform":
            return every
        some, labels = read("top"), data.labels[every.rows]
        cost = calibrated(some.logits, labels, data.target).loss
        cost -= calibrated(every.logits, labels, data.target).loss
        return some if cost <= _WORSE else every


def _network(config: ZoomInConfig, frozen: FrozenConfig, *, is_many: bool, is_taught: bool) -> ZoomInConfig:
    """The network that learns from pixels: one copy of gated attention behind a trunk from scratch."""
    return replace(
        config,
        features=TRUNK,
        gate_copies=1,
        gate_components=SmallResNet.dims,
        gate_overview=False,
        context_side=0,
        normalize_features=False,
        sampling="systematic" if is_many else "exact",
        prediction_sampling="exact",
        n_samples=frozen.trunk_tiles if is_many else config.n_samples,
        tile_attention=config.tile_attention if is_taught else "uniform",
        chunk_size=_CHUNK,
        checkpoint="never",
    )


def _settings(frozen: FrozenConfig, epochs: int, rate: float) -> TrainConfig:
    return TrainConfig(
        epochs=epochs,
        learning_rate=rate * frozen.trunk_rate,
        weight_decay=_WEIGHT_DECAY,
        gradient_clip=_CLIP,
        contrastive_from_epoch=None,
        entropy_strength=0.0,
        class_weights=frozen.class_weights,
    )


def _class_weights(settings: TrainConfig, data: ZoomInDataModule) -> list[float] | None:
    labels = data.labels[data.splits["train"]]
    return settings.weights_of(torch.bincount(labels, minlength=len(data.classes)).tolist())


def _augmentation(batch: ImageBatch) -> Augmentation:
    """Changes that leave what decides an image as it is; of colours only where there are some."""
    batch = batch.select(torch.arange(min(_SAMPLED, len(batch))))
    side = int(batch.sizes.min())
    index = torch.arange(len(batch), device=batch.device)
    regions = torch.tensor([[0, 0, side, side]], device=batch.device).expand(len(batch), 4)
    views = batch.read(index, regions, min(1.0, 64 / side))
    is_grey = bool((views.amax(1) == views.amin(1)).all())
    jitter = 0.0 if is_grey else _JITTER
    return Augmentation(True, True, jitter, jitter, shift=_SHIFT)


def _finished(net: ZoomIn, sampling: str, calibration: Calibration) -> ZoomIn:
    """The network with calibrated logits, and how it is to be read."""
    own = ZoomIn(replace(net.config, sampling=sampling, prediction_sampling=sampling))
    own.load_state_dict(net.state_dict())
    own.head.rescale(calibration.scale, calibration.shift)
    return own.eval()
