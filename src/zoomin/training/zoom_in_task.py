"""A training step of Zoom-In: the paper's objective, and trunks that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import ConfigError
from ..geometry import TileGrid
from ..images.augment import AugmentedBatch
from ..model.estimators import segment_sum
from ..model.losses import contrastive_loss, entropy, entropy_loss
from ..model.output import ZoomInOutput
from ..model.zoom_in import ZoomIn
from .embedding_cache import EmbeddingCache, has_trunk, trunks
from .supervision import roi_terms
from .task import ClassifierTask, Draws

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

    def check(self) -> None:
        """Refuse a loss without its annotations, and several starts of trunks that learn."""
        if self.config.uses_roi and self.roi is None:
            raise ConfigError(
                "the loss needs annotations", where="train.tile_roi_strength", remedy="Set it to 0."
            )
        several = self.config.warm_up.starts > 1
        if several and self.net.config.blocks:
            raise ConfigError(
                "several starts are for models of two stages, and this one has blocks",
                where="train.warm_up.starts",
                remedy="Set it to 1.",
            )
        if several and not (self.embeds_once and has_trunk(self.net.position_attention)):
            raise ConfigError(
                "several starts need attention networks whose trunks are frozen",
                where="train.warm_up.starts",
                remedy="Set train.freeze_trunks, and timm:MODEL for both attentions; or take one start.",
            )

    def frozen_parts(self) -> list[nn.Module]:
        """The `timm` trunks, where asked for."""
        which = self.config.freeze_trunks
        return trunks(self.net, features=which != "attention") if which else []

    @property
    def contrastive_epoch(self) -> int | None:
        """The first epoch with contrastive loss, None where it is off."""
        if self.target.kind != "classes":
            return None
        return self.config.contrastive_epoch(self.net.config.n_classes)

    @property
    def embeds_once(self) -> bool:
        """Whether the tile attention has a frozen trunk, whose embeddings are kept."""
        return bool(self.config.freeze_trunks) and has_trunk(self.net.tile_attention)

    @cached_property
    def cache(self) -> EmbeddingCache:
        """Embeddings of the tiles of images seen before."""
        return EmbeddingCache()

    def cached_embeddings(self, batch: Batch) -> Float[Tensor, "tiles channels"] | None:
        """What the frozen trunk of the tile attention makes of a batch, None where it must be recomputed."""
        if not self.embeds_once or isinstance(batch.images, AugmentedBatch):
            return None
        return torch.cat(self.cache.of(batch, self._embed))

    def _embed(self, batch: Batch) -> Sequence[Tensor]:
        count = TileGrid.of(batch.images.sizes, self.net.config.tile_size).count
        embeddings: Tensor = self.net.embed_tiles(batch.images)
        return list(embeddings.split(count.tolist()))

    @property
    def contrasts(self) -> bool:
        """Whether the contrastive loss takes part in the current epoch."""
        return self.contrastive_epoch is not None and self.current_epoch >= self.contrastive_epoch

    def answer(self, batch: Batch, draws: Draws) -> ZoomInOutput:
        """What the network answers; in learning, under the complement laws too where they take part."""
        out: ZoomInOutput = self.net(
            batch.images,
            keys=draws.keys,
            tile_embeddings=self.cached_embeddings(batch),
            contrast=batch.labels > 0 if draws.learning and self.contrasts else None,
            sampling=draws.sampling,
            replicates=draws.replicates,
        )
        return out

    def objective(
        self, out: ZoomInOutput, batch: Batch, labelled: float = 1.0
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " terms"]]:
        """The loss, and the numbers that `terms` names."""
        labels, tiles, log_alpha = batch.labels, out.tiles, out.attention.log_alpha
        cross_entropy = labelled * self.target.loss(out.logits.float(), labels, self.class_weights)
        contrastive = contrastive_loss(out.contrast_logits.float(), len(labels))
        sharpness = log_alpha.new_zeros(())
        if self.config.entropy_strength:
            first, *between = [(stage.log_p, stage.image) for stage in out.stages]
            strength = self.config.entropy_strength
            sharpness = entropy_loss(first[0], tiles.log_beta, tiles.image, strength, between)
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
