"""What one training step is, for every network: random keys, the optimiser, what is recorded of an epoch."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import lightning.pytorch as lightning
import torch
from jaxtyping import Float, Int, Shaped
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import Metric

from ..annotations.reader import RoiReader
from ..classifiers import Classifier, Output
from ..data.batch import Batch
from ..data.failures import Failures, with_readable
from ..errors import ConfigError, DataError, ImageError
from ..model.sampling import derive_keys
from ..model.targets import Target, target_of
from ..runtime.ranks import Ranks
from .config import TrainConfig
from .gradients import add_up_gradients
from .target_scores import TargetScores

__all__ = ["ClassifierTask", "Draws", "EpochMeans", "evaluation_keys", "training_keys"]

logger = logging.getLogger(__name__)
Out = TypeVar("Out", bound=Output)

_LARGE = 1e6
_VALIDATION = -2  # where keys of validation have what keys of training have the number of the step


def training_keys(
    seed: int, step: int, batch: int, device: torch.device | str = "cpu"
) -> Int[Tensor, " batch"]:
    """Keys of the draws of a training step: they depend on the seed, the step and the place in the batch."""
    return _keys_of(seed, step, torch.arange(batch, device=device))


def _keys_of(seed: int, step: int, place: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    return derive_keys(derive_keys(torch.full_like(place, seed), step), place)


def evaluation_keys(seed: int, index: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Keys of the draws of an evaluation: they depend on the seed and the number of the image alone."""
    return derive_keys(derive_keys(torch.full_like(index, seed), _VALIDATION), index)


class EpochMeans(Metric):
    """Means over an epoch of several numbers, in one small tensor on the device.

    Example:
        >>> means = EpochMeans(("loss", "tiles"))
        >>> means.update(torch.tensor([1.0, 4.0]), 3)
        >>> means.update(torch.tensor([5.0, 8.0]), 1)
        >>> means.compute()
        {'loss': 2.0, 'tiles': 5.0}
    """

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        """Name the numbers."""
        super().__init__()
        self.names = tuple(names)
        self.add_state("total", default=torch.zeros(len(self.names)), dist_reduce_fx="sum")
        self.add_state("weight", default=torch.zeros(()), dist_reduce_fx="sum")

    def update(self, values: Float[Tensor, " names"], weight: float | int | Float[Tensor, ""]) -> None:
        """Add the means of a batch, which weighs as much as its images."""
        self.total += values.detach() * weight
        self.weight += weight

    def compute(self) -> dict[str, float]:
        """The means over everything added."""
        return dict(zip(self.names, (self.total / self.weight).tolist(), strict=True))


@dataclass(frozen=True)
class Draws:
    """What is drawn for an answer.

    Attributes:
        keys: seed of each image's draws.
        sampling: the design; None: the network's own.
        replicates: estimates averaged.
        learning: whether the objective of a training step follows, which may need more than the answer.
    """

    keys: Int[Tensor, " batch"]
    sampling: str | None = None
    replicates: int = 1
    learning: bool = False


class ClassifierTask(lightning.LightningModule, ABC, Generic[Out]):
    """Train a network: optimisation, draws and records; a child says what is learned.

    Recorded of every epoch, as train_NAME and val_NAME: loss, and the scores of the target, such as accuracy,
    balanced_accuracy and auroc of classes (not where one is undefined, as where only one class occurs; for
    training images under training's own draws). Of training also the
    child's `terms`, and lr.
    """

    terms: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        net: Classifier,
        config: TrainConfig,
        seed: int = 0,
        class_weights: Sequence[float] | None = None,
        failures: Failures | None = None,
        roi: RoiReader | None = None,
    ) -> None:
        """Take the network to train.

        Args:
            net: the network.
            config: how to train it.
            seed: of all draws.
            class_weights: weight of each class in the cross-entropy.
            failures: where images that cannot be read are recorded; by default the first one stops the run.
            roi: the annotations of the images, where the loss compares the attention with them.

        Raises:
            ConfigError: if the network does not support what the configuration asks for.
        """
        super().__init__()
        self.net = net
        self.config = config
        self.seed = seed
        self.failures = failures or Failures(0)
        self.roi = roi
        self.ranks = Ranks()
        self._failures_shared = 0
        self.class_weights: Tensor | None
        self.first_bad_step: Tensor
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.register_buffer("first_bad_step", torch.tensor(-1), persistent=False)
        self.train_means = EpochMeans(self.terms)
        self.val_means = EpochMeans(("loss",))
        self.target: Target = target_of(net.config)
        self.train_scores = TargetScores(self.target)
        self.val_scores = TargetScores(self.target)
        self.no_foreground: set[str] = set()
        self.check()
        self.frozen = self.frozen_parts()
        for part in self.frozen:
            part.requires_grad_(False)

    def check(self) -> None:
        """Refuse what the network does not support.

        Raises:
            ConfigError: naming the setting.
        """

    @abstractmethod
    def frozen_parts(self) -> list[nn.Module]:
        """The parts of the network whose weights and statistics stay as they are."""

    @property
    def contrastive_epoch(self) -> int | None:
        """The first epoch with contrastive loss, None where there is none."""
        return None

    def train(self, mode: bool = True) -> ClassifierTask[Out]:
        """Switch training on or off; the statistics of frozen parts stay."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def on_fit_start(self) -> None:
        """Switch training on, but for frozen parts: Lightning keeps the modes that it finds."""
        self.train()
        self._failures_shared = len(self.failures.rows)  # what cannot be opened, every process knows

    @abstractmethod
    def answer(self, batch: Batch, draws: Draws) -> Out:
        """What the network answers."""

    @abstractmethod
    def objective(
        self, out: Out, batch: Batch, labelled: float = 1.0
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " terms"]]:
        """The loss of an answer, and the numbers that `terms` names; `labelled` times the cross-entropy."""

    def cached_embeddings(self, batch: Batch) -> Float[Tensor, "tiles channels"] | None:
        """What a frozen trunk makes of the tiles of a batch; None where nothing is kept."""
        return None

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""] | None:
        """The objective of a batch, without its images that cannot be read; None where none can.

        Of several processes: this one's part of the objective of them all.
        """
        keys = _keys_of(self.seed, self.global_step, batch.places.to(self.device))

        def run(part: Batch, kept: Int[Tensor, " kept"]) -> Float[Tensor, ""]:
            return self._train(part, keys[kept.to(keys.device)])

        loss = with_readable(batch, run, self._note)
        if loss is None and self.ranks.world > 1:
            self._parts(batch.labels[:0])
            return torch.zeros((), device=self.device, requires_grad=True)
        return loss

    def on_after_backward(self) -> None:
        """Add up the gradients of all processes."""
        if self.ranks.world > 1:
            add_up_gradients(self)

    def _train(self, batch: Batch, keys: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        try:
            out = self.answer(batch, Draws(keys, learning=True))
        except (RuntimeError, IndexError) as error:  # attention that is not finite draws nothing
            if self._diverged():
                raise self._divergence(self.global_step) from error
            raise
        part, labelled = self._parts(batch.labels)
        loss, values = self.objective(out, batch, labelled)
        self._watch(loss)
        self._note_empty(batch, out)
        self.train_means.update(values, len(batch.labels))
        self.train_scores.update(self.target.answers(out.logits.detach().float()), batch.labels)
        return loss if part == 1.0 else part * loss

    def _parts(self, labels: Shaped[Tensor, "batch ..."]) -> tuple[float, float]:
        """This process's share of the images of a step, and of their class weights over that share."""
        if self.ranks.world == 1:
            return 1.0, 1.0
        weight = self._weight(labels)
        own = torch.stack([torch.full_like(weight, len(labels)), weight])
        total = own.clone()
        torch.distributed.all_reduce(total)
        if not len(labels):
            return 0.0, 0.0
        images, weighed = (own.double() / total.double()).tolist()
        return images, weighed / images

    def _weight(self, labels: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
        """What images weigh in the cross-entropy: their class weights, or one each."""
        if self.class_weights is None:
            return torch.tensor(float(len(labels)), device=labels.device)
        return self.class_weights[labels].sum()

    def on_train_epoch_start(self) -> None:
        """Begin the scores with no image, which every process has."""
        self._begin(self.train_scores)

    def on_validation_epoch_start(self) -> None:
        """Begin the scores with no image, which every process has."""
        self._begin(self.val_scores)

    def _begin(self, scores: TargetScores) -> None:
        if self.ranks.world > 1:
            empty = torch.zeros(0, self.net.config.n_classes, device=self.device)
            scores.update(empty, self.target.truth([]).to(self.device))

    def on_train_epoch_end(self) -> None:
        """Log what the epoch was like."""
        self._end_together()
        means = self.train_means.compute()
        self._raise_where_nothing(means, "training")
        record = {**means, **_defined(self.train_scores.compute())}
        record["lr"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self._log_epoch("train", record)
        self.train_means.reset()
        self.train_scores.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a batch by one estimate per image, or as many as configured."""
        with_readable(batch, self._validate, self._note)

    def _validate(self, batch: Batch, kept: Int[Tensor, " kept"]) -> None:
        keys, config = evaluation_keys(self.seed, batch.index), self.config
        out = self.answer(batch, Draws(keys, config.validation_sampling, config.validation_replicates))
        loss = self.target.loss(out.logits.float(), batch.labels, self.class_weights)
        self.val_means.update(loss[None], self._weight(batch.labels))
        self.val_scores.update(self.target.answers(out.logits.float()), batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log what validation found."""
        self._end_together()
        means = self.val_means.compute()
        self._raise_where_nothing(means, "validation")
        self._log_epoch("val", {**means, **_defined(self.val_scores.compute())})
        self.val_means.reset()
        self.val_scores.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, and the steps of its learning rate where configured."""
        config = self.config
        # Lightning clips no gradients of a fused optimiser in mixed precision, for the scaler it might have
        clips = config.gradient_clip is not None and config.precision != "32-true"
        adam = torch.optim.Adam(
            [weight for weight in self.net.parameters() if weight.requires_grad],
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=self.device.type in ("cpu", "cuda") and not clips,
        )
        if config.lr_step is None:
            return adam
        steps = torch.optim.lr_scheduler.StepLR(adam, config.lr_step, config.lr_gamma)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": steps, "interval": "epoch"}}

    def _note(self, name: str, error: ImageError) -> None:
        """Record an image that cannot be read."""
        self.failures.note(self.current_epoch, "train" if self.training else "val", name, error)

    def _end_together(self) -> None:
        """Raise where the loss was not finite; report to other processes what could not be read.

        Raises:
            ConfigError: if the loss of any process was not finite.
            DataError: if too many images cannot be read.
        """
        if self.ranks.world == 1:
            self._raise_where_bad()
            return
        new = self.failures.rows[self._failures_shared :]
        gathered = self.ranks.each(lambda: (int(self.first_bad_step), new))
        for rank, (step, rows) in enumerate(gathered):
            if step >= 0:
                raise self._divergence(step)
            if rank != self.ranks.rank:
                self.failures.take(rows)
        self._failures_shared = len(self.failures.rows)

    def _raise_where_nothing(self, means: Mapping[str, float], what: str) -> None:
        if math.isnan(means["loss"]):  # no image
            raise DataError(
                f"none of the {what} images could be read in epoch {self.current_epoch + 1}",
                where="data.root",
                remedy="Check the disk or network drive that holds them; then resume with --resume true.",
            )

    def _note_empty(self, batch: Batch, out: Output) -> None:
        """Warn once of each image without foreground; all of its tiles take part."""
        for place in out.no_foreground:
            name = batch.images.names[place]
            if name not in self.no_foreground:
                self.no_foreground.add(name)
                logger.warning("%s: no foreground found; all of its tiles are used.", name)

    def _watch(self, loss: Float[Tensor, ""]) -> None:
        """Note the first step whose loss is not finite; on a GPU without waiting for it."""
        bad = ~loss.detach().isfinite() & (self.first_bad_step < 0)
        self.first_bad_step.masked_fill_(bad, self.global_step)
        if loss.device.type == "cpu":
            self._raise_where_bad()

    def _raise_where_bad(self) -> None:
        step = int(self.first_bad_step)
        if step >= 0:
            raise self._divergence(step)

    def _diverged(self) -> bool:
        """Whether a weight is not finite, or absurdly large."""
        return any(not bool((weight.detach().abs() < _LARGE).all()) for weight in self.net.parameters())

    def _divergence(self, step: int) -> ConfigError:
        return ConfigError(
            f"the loss is not finite at step {step}, epoch {self.current_epoch + 1}",
            where="train",
            remedy="Lower train.learning_rate, set train.gradient_clip, or use train.precision 32-true; "
            "with --resume true training resumes from the last complete epoch.",
        )

    def _log_epoch(self, stage: str, record: dict[str, float]) -> None:
        values = {"lr" if name == "lr" else f"{stage}_{name}": value for name, value in record.items()}
        epoch = float(self.current_epoch + 1)  # Lightning takes "step" for that of all loggers
        values |= {"epoch": epoch, "step": epoch}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1)


def _defined(scores: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if value is not None}
