"""What one training step is: the losses, the random keys, the optimiser, and what is recorded of an epoch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
from jaxtyping import Float, Int
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import Metric

from ..annotations.reader import RoiReader
from ..classifiers import Classifier, zoom_in
from ..data.batch import Batch
from ..data.failures import Failures, with_readable
from ..errors import ConfigError, DataError, ImageError
from ..images.augment import AugmentedBatch
from ..metrics import ClassificationScores, Scores
from ..model.losses import classification_loss, contrastive_loss, entropy, entropy_loss
from ..model.output import ZoomInOutput
from ..model.sampling import derive_keys
from .config import TrainConfig
from .embedding_cache import EmbeddingCache, freeze_trunks, has_trunk, trunks
from .supervision import roi_terms

__all__ = ["EpochMeans", "TrainConfig", "ZoomInTask", "evaluation_keys", "training_keys"]

logger = logging.getLogger(__name__)

_LARGE = 1e6
_VALIDATION = -2  # where keys of validation have what keys of training have the number of the step
_LOSSES = ("loss", "cross_entropy", "contrastive", "entropy_term", "tile_roi", "position_roi")
_TERMS = (*_LOSSES, "tiles", "tile_entropy", "position_entropy")


def training_keys(
    seed: int, step: int, batch: int, device: torch.device | str = "cpu"
) -> Int[Tensor, " batch"]:
    """Keys of the draws of a training step: they depend on the seed, the step and the place in the batch."""
    place = torch.arange(batch, device=device)
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

    def update(self, values: Float[Tensor, " names"], weight: int) -> None:
        """Add the means of a batch of `weight` images."""
        self.total += values.detach() * weight
        self.weight += weight

    def compute(self) -> dict[str, float]:
        """The means over everything added."""
        return dict(zip(self.names, (self.total / self.weight).tolist(), strict=True))


class ZoomInTask(lightning.LightningModule):
    """Train a Zoom-In network with the paper's objective (supplement K, equation 12).

    Recorded of every epoch, as train_NAME and val_NAME: loss, accuracy, balanced_accuracy and auroc (not
    where only one class occurs; for training images under training's own draws). Of training also
    cross_entropy, contrastive, entropy_term, tile_roi, position_roi, tiles (distinct tiles read in an image,
    on average), tile_entropy and position_entropy (of the attention, nats), and lr.
    """

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
            roi: the annotations of the images, where the loss looks at them.

        Raises:
            ConfigError: if it does, and there are none.
        """
        super().__init__()
        self.net = net
        self.config = config
        self.seed = seed
        self.failures = failures or Failures(0)
        self.roi = roi
        if config.uses_roi and roi is None:
            raise ConfigError(
                "the loss needs annotations", where="train.tile_roi_strength", remedy="Set it to 0."
            )
        self.contrastive_epoch = config.contrastive_epoch(net.config.n_classes)
        self.class_weights: Tensor | None
        self.first_bad_step: Tensor
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.register_buffer("first_bad_step", torch.tensor(-1), persistent=False)
        self.embeddings = EmbeddingCache() if config.freeze_trunks and has_trunk(zoom_in(net)) else None
        if config.warm_up.starts > 1 and (
            self.embeddings is None or not has_trunk(zoom_in(net), positions=True)
        ):
            raise ConfigError(
                "several starts need attention networks whose trunks are frozen",
                where="train.warm_up.starts",
                remedy="Set train.freeze_trunks, and timm:MODEL for both attentions; or take one start.",
            )
        if config.freeze_trunks:
            freeze_trunks(zoom_in(net), features=config.freeze_trunks != "attention")
        self.train_means = EpochMeans(_TERMS)
        self.val_means = EpochMeans(("loss",))
        self.train_scores = ClassificationScores()
        self.val_scores = ClassificationScores()
        self.no_foreground: set[str] = set()

    def train(self, mode: bool = True) -> ZoomInTask:
        """Switch training on or off; the statistics of frozen trunks stay."""
        super().train(mode)
        if self.config.freeze_trunks:
            for trunk in trunks(zoom_in(self.net), features=self.config.freeze_trunks != "attention"):
                trunk.eval()
        return self

    def on_fit_start(self) -> None:
        """Switch training on, but for frozen trunks: Lightning keeps the modes that it finds."""
        self.train()

    def cached_embeddings(self, batch: Batch) -> Float[Tensor, "tiles channels"] | None:
        """What the frozen trunk of the tile attention sees of a batch, None where it must look anew."""
        changed = isinstance(batch.images, AugmentedBatch)
        return None if self.embeddings is None or changed else self.embeddings.of(zoom_in(self.net), batch)

    @property
    def contrasts(self) -> bool:
        """Whether the contrastive loss takes part in the current epoch."""
        return self.contrastive_epoch is not None and self.current_epoch >= self.contrastive_epoch

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""] | None:
        """The objective of a batch, without its images that cannot be read; None where none can."""
        keys = training_keys(self.seed, self.global_step, len(batch.labels), self.device)

        def run(part: Batch, kept: Int[Tensor, " kept"]) -> Float[Tensor, ""]:
            return self._train(part, keys[kept.to(keys.device)])

        return with_readable(batch, run, self._note)

    def _train(self, batch: Batch, keys: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        try:
            out = self._look(batch, keys, contrast=batch.labels > 0 if self.contrasts else None)
        except (RuntimeError, IndexError) as error:  # attention that is no number draws nothing
            if self._diverged():
                raise self._divergence(self.global_step) from error
            raise
        loss, values = self._objective(out, batch)
        self._watch(loss)
        if isinstance(out, ZoomInOutput):  # competitors know no foreground
            self._note_empty(batch, out)
        self.train_means.update(values, len(batch.labels))
        self.train_scores.update(out.logits.detach().float().softmax(1), batch.labels)
        return loss

    def _look(self, batch: Batch, keys: Int[Tensor, " batch"], **how: Any) -> Any:  # noqa: ANN401
        """The network's answer; of a competitor, another kind of output."""
        return self.net(batch.images, keys=keys, tile_embeddings=self.cached_embeddings(batch), **how)

    def answer(self, batch: Batch, keys: Int[Tensor, " batch"]) -> Any:  # noqa: ANN401 (of either kind)
        """What the network says of a batch in training, nothing contrasted, nothing recorded."""
        return self._look(batch, keys)

    def loss_of(self, out: Any, batch: Batch) -> Float[Tensor, ""]:  # noqa: ANN401 (of either kind)
        """The objective of an answer."""
        return self._objective(out, batch)[0]

    def on_train_epoch_end(self) -> None:
        """Log what the epoch was like."""
        self._raise_where_bad()
        self._raise_where_nothing(self.train_means, "training")
        record = {**self.train_means.compute(), **_defined(self.train_scores.compute())}
        record["lr"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self._log_epoch("train", record)
        self.train_means.reset()
        self.train_scores.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch by one estimate an image, or as many as configured."""
        with_readable(batch, self._validate, self._note)

    def _validate(self, batch: Batch, kept: Int[Tensor, " kept"]) -> None:
        out = self._look(
            batch,
            evaluation_keys(self.seed, batch.index),
            sampling=self.config.validation_sampling,
            replicates=self.config.validation_replicates,
        )
        loss = classification_loss(out.logits.float(), batch.labels, self.class_weights)
        self.val_means.update(loss[None], len(batch.labels))
        self.val_scores.update(out.logits.float().softmax(1), batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log what validation found."""
        self._raise_where_bad()
        self._raise_where_nothing(self.val_means, "validation")
        self._log_epoch("val", {**self.val_means.compute(), **_defined(self.val_scores.compute())})
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

    def _objective(
        self, out: ZoomInOutput, images: Batch
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " terms"]]:
        """The loss, and the numbers that `_TERMS` names."""
        labels, tiles, log_alpha = images.labels, out.tiles, out.attention.log_alpha
        cross_entropy = classification_loss(out.logits.float(), labels, self.class_weights)
        contrastive = contrastive_loss(out.contrast_logits.float(), len(labels))
        sharpness = log_alpha.new_zeros(())
        if self.config.entropy_strength:
            sharpness = entropy_loss(log_alpha, tiles.log_beta, tiles.image, self.config.entropy_strength)
        tile_roi = position_roi = log_alpha.new_zeros(())
        if self.roi is not None and self.config.uses_roi:
            tile_roi, position_roi = roi_terms(self.roi, images, out, self.config)
        terms = torch.stack([cross_entropy, contrastive, sharpness, tile_roi, position_roi])
        loss = terms.sum()
        with torch.no_grad():
            spread = [entropy(log_alpha).mean(), entropy(tiles.log_beta).mean()]
            read = terms.new_tensor(len(tiles.image) / len(labels))
            values = torch.cat([loss[None], terms, torch.stack([read, *spread])])
        return loss, values

    def _note(self, name: str, error: ImageError) -> None:
        """Record an image that cannot be read.

        Raises:
            DataError: if too many cannot.
        """
        self.failures.note(self.current_epoch, "train" if self.training else "val", name, error)

    def _raise_where_nothing(self, means: EpochMeans, what: str) -> None:
        if not float(means.weight):
            raise DataError(
                f"none of the {what} images could be read in epoch {self.current_epoch}",
                where="data.root",
                remedy="Check the disk or network drive that holds them; then go on with --resume true.",
            )

    def _note_empty(self, batch: Batch, out: ZoomInOutput) -> None:
        """Warn once of each image without foreground; it is learnt from with all of its tiles."""
        for place in out.attention.no_foreground:
            name = batch.images.names[place]
            if name not in self.no_foreground:
                self.no_foreground.add(name)
                logger.warning("%s: no foreground found; all of its tiles are used.", name)

    def _watch(self, loss: Float[Tensor, ""]) -> None:
        """Note the first step whose loss is no number; on a GPU without waiting for it."""
        bad = ~loss.detach().isfinite() & (self.first_bad_step < 0)
        self.first_bad_step.masked_fill_(bad, self.global_step)
        if loss.device.type == "cpu":
            self._raise_where_bad()

    def _raise_where_bad(self) -> None:
        step = int(self.first_bad_step)
        if step >= 0:
            raise self._divergence(step)

    def _diverged(self) -> bool:
        """Whether a weight is no number, or absurdly large."""
        return any(not bool((weight.detach().abs() < _LARGE).all()) for weight in self.net.parameters())

    def _divergence(self, step: int) -> ConfigError:
        return ConfigError(
            f"the loss is no finite number at step {step}, epoch {self.current_epoch}",
            where="train",
            remedy="Lower train.learning_rate, set train.gradient_clip, or use train.precision 32-true; "
            "with --resume true training goes on from the last whole epoch.",
        )

    def _log_epoch(self, stage: str, record: dict[str, float]) -> None:
        values = {"lr" if name == "lr" else f"{stage}_{name}": value for name, value in record.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1)


def _defined(scores: Scores) -> dict[str, float]:
    return {name: value for name, value in scores._asdict().items() if value is not None}
