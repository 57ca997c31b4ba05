"""A training step of Zoom-In: the paper's objective, and trunks that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..annotations.reader import RoiReader
from ..data.batch import Batch
from ..data.failures import Failures
from ..errors import ConfigError
from ..images.augment import AugmentedBatch
from ..model.estimators import segment_sum
from ..model.losses import classification_loss, contrastive_loss, entropy, entropy_loss
from ..model.output import ZoomInOutput
from ..model.zoom_in import ZoomIn
from .config import TrainConfig
from .embedding_cache import EmbeddingCache, freeze_trunks, has_trunk, trunks
from .supervision import roi_terms
from .task import ClassifierTask

__all__ = ["ZoomInTask"]


class ZoomInTask(ClassifierTask[ZoomInOutput]):
    """Train a Zoom-In network with the paper's objective (supplement K, equation 12).

    Recorded of training also: cross_entropy, contrastive, entropy_term, tile_roi, position_roi, tiles
    (distinct tiles read in an image, on average), tile_entropy and position_entropy (of the attention, nats;
    of an image's maps, their mean).
    """

    net: ZoomIn
    terms = (
        *("loss", "cross_entropy", "contrastive", "entropy_term", "tile_roi", "position_roi"),
        *("tiles", "tile_entropy", "position_entropy"),
    )

    def __init__(
        self,
        net: ZoomIn,
        config: TrainConfig,
        seed: int = 0,
        class_weights: Sequence[float] | None = None,
        failures: Failures | None = None,
        roi: RoiReader | None = None,
    ) -> None:
        """Take the network to train; see `ClassifierTask`.

        Args:
            net: the network.
            config: how to train it.
            seed: of all draws.
            class_weights: weight of each class in the cross-entropy.
            failures: where images that cannot be read are recorded.
            roi: the annotations of the images, where the loss looks at them.

        Raises:
            ConfigError: if it does, and there are none; if several starts are asked of trunks that learn.
        """
        super().__init__(net, config, seed, class_weights, failures)
        self.roi = roi
        if config.uses_roi and roi is None:
            raise ConfigError(
                "the loss needs annotations", where="train.tile_roi_strength", remedy="Set it to 0."
            )
        self.contrastive_epoch = config.contrastive_epoch(net.config.n_classes)
        self.cache = EmbeddingCache() if config.freeze_trunks and has_trunk(net) else None
        if config.warm_up.starts > 1 and (self.cache is None or not has_trunk(net, positions=True)):
            raise ConfigError(
                "several starts need attention networks whose trunks are frozen",
                where="train.warm_up.starts",
                remedy="Set train.freeze_trunks, and timm:MODEL for both attentions; or take one start.",
            )
        if config.freeze_trunks:
            freeze_trunks(net, features=config.freeze_trunks != "attention")

    def train(self, mode: bool = True) -> ZoomInTask:
        """Switch training on or off; the statistics of frozen trunks stay."""
        super().train(mode)
        if self.config.freeze_trunks:
            for trunk in trunks(self.net, features=self.config.freeze_trunks != "attention"):
                trunk.eval()
        return self

    def on_fit_start(self) -> None:
        """Switch training on, but for frozen trunks: Lightning keeps the modes that it finds."""
        self.train()

    def cached_embeddings(self, batch: Batch) -> Float[Tensor, "tiles channels"] | None:
        """What the frozen trunk of the tile attention makes of a batch, None where it must be recomputed."""
        changed = isinstance(batch.images, AugmentedBatch)
        return None if self.cache is None or changed else self.cache.of(self.net, batch)

    @property
    def contrasts(self) -> bool:
        """Whether the contrastive loss takes part in the current epoch."""
        return self.contrastive_epoch is not None and self.current_epoch >= self.contrastive_epoch

    def answer(
        self,
        batch: Batch,
        keys: Int[Tensor, " batch"],
        *,
        sampling: str | None = None,
        replicates: int = 1,
        learning: bool = False,
    ) -> ZoomInOutput:
        """What the network answers; in learning, under the complement laws too where they take part."""
        out: ZoomInOutput = self.net(
            batch.images,
            keys=keys,
            tile_embeddings=self.cached_embeddings(batch),
            contrast=batch.labels > 0 if learning and self.contrasts else None,
            sampling=sampling,
            replicates=replicates,
        )
        return out

    def objective(
        self, out: ZoomInOutput, batch: Batch, labelled: float = 1.0
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " terms"]]:
        """The loss, and the numbers that `terms` names."""
        labels, tiles, log_alpha = batch.labels, out.tiles, out.attention.log_alpha
        cross_entropy = labelled * classification_loss(out.logits.float(), labels, self.class_weights)
        contrastive = contrastive_loss(out.contrast_logits.float(), len(labels))
        sharpness = log_alpha.new_zeros(())
        if self.config.entropy_strength:
            sharpness = entropy_loss(log_alpha, tiles.log_beta, tiles.image, self.config.entropy_strength)
        tile_roi = position_roi = log_alpha.new_zeros(())
        if self.roi is not None and self.config.uses_roi:
            tile_roi, position_roi = roi_terms(self.roi, batch, out, self.config)
        terms = torch.stack([cross_entropy, contrastive, sharpness, tile_roi, position_roi])
        loss = terms.sum()
        with torch.no_grad():
            drawn = torch.bincount(tiles.image, minlength=len(labels))
            maps = segment_sum(entropy(tiles.log_beta), tiles.image, len(labels)) / drawn
            spread = [entropy(log_alpha).mean(), maps.mean()]
            read = terms.new_tensor(len(tiles.image) / len(labels))
            values = torch.cat([loss[None], terms, torch.stack([read, *spread])])
        return loss, values
