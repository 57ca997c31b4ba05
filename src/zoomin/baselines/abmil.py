"""Attention MIL, plain and gated: every crop of an image is read, encoded and weighed, end to end.

Ilse, Tomczak & Welling, Attention-based Deep Multiple Instance Learning, ICML 2018, section 2.4.

    h_k    = f(crop k)
    a      = softmax over crops of w' tanh(V h_k)                                        equation 8
    a      = softmax over crops of w' (tanh(V h_k) * sigmoid(U h_k))            gated,   equation 9
    logits = g(sum_k a_k h_k)

Nothing is drawn: the work grows with the number of crops. The paper takes crops of 27 pixels around marked
nuclei of the colon-cancer images; here they tile the image, so that no annotation is needed. V and U have 128
rows, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..estimators import segment_sum
from ..geometry import TileGrid, view_size
from ..images.base import ImageBatch
from ..networks import LinearHead, feature_network
from .base import Baseline, BaselineConfig, BaselineOutput, Drawing, require

__all__ = ["ABMIL", "ABMILConfig", "BagAttention"]


@dataclass(frozen=True)
class ABMILConfig(BaselineConfig):
    """Attention MIL on a bag of crops.

    Attributes:
        name: "abmil".
        crop_size: side of the crops that tile the image, level-0 pixels.
        scale: to read them at.
        features: the network f: "lenet", "lenet_released", "resnet16" or "timm:MODEL".
        hidden: rows of V, and of U.
        gated: equation 9 instead of equation 8.
        n_classes: see `BaselineConfig`, as for all that follow.
        class_names: names of the classes.
        pretrained: of `timm` networks.
        mean: subtracted from views.
        std: views are divided by it.
        chunk_size: most crops that one network call sees at once.
        checkpoint: compute activations again in the backward pass.
    """

    name: Literal["abmil"] = "abmil"
    crop_size: int = 27
    scale: float = 1.0
    features: str = "lenet_released"
    hidden: int = 128
    gated: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        for name in ("crop_size", "hidden"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "Give a whole number of at least 1.")
        require(0 < self.scale <= 1, "scale", self.scale, "Give a scale above 0 and at most 1.")


class BagAttention(nn.Module):
    """Logits of instances before the softmax over their bag: equation 8, or 9 where gated."""

    def __init__(self, dims: int, hidden: int, gated: bool) -> None:
        """Build V, w and, where gated, U."""
        super().__init__()
        self.v = nn.Linear(dims, hidden)
        self.u = nn.Linear(dims, hidden) if gated else None
        self.w = nn.Linear(hidden, 1)

    def forward(self, instances: Float[Tensor, "n dims"]) -> Float[Tensor, " n"]:
        """One logit an instance."""
        inner = self.v(instances).tanh()
        if self.u is not None:
            inner = inner * self.u(instances).sigmoid()
        logits: Tensor = self.w(inner)
        return logits.squeeze(1)


class ABMIL(Baseline[ABMILConfig]):
    """Weigh all crops of an image by attention.

    Example:
        >>> net = ABMIL(ABMILConfig(crop_size=40, gated=True))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = ABMILConfig

    def __init__(self, config: ABMILConfig) -> None:
        """Build the networks.

        Raises:
            ConfigError: if the network is unknown or its weights cannot be loaded.
        """
        super().__init__(config)
        self.features, dims = feature_network(config.features, pretrained=config.pretrained)
        self.attention = BagAttention(dims, config.hidden, config.gated)
        self.head = LinearHead(dims, config.n_classes)
        self.to(memory_format=torch.channels_last)

    def look(self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None) -> BaselineOutput:
        """Encode all crops, weigh them, classify their mean."""
        side, scale = self.config.crop_size, self.config.scale
        grid = TileGrid.of(batch.sizes, side)
        instances = self.chunks.see(self.features, batch, grid.image, grid.regions, side, scale)
        logits = self.attention(instances)
        padded = logits.new_full((len(batch), int(grid.count.max())), -torch.inf)
        attention = padded.index_put((grid.image, grid.index), logits).softmax(1)
        weights = attention[grid.image, grid.index]
        features = segment_sum(weights[:, None] * instances, grid.image, len(batch))
        return BaselineOutput(
            logits=self.head(features),
            features=features,
            replicates=features[None],
            pixels_read=grid.count * view_size(side, scale) ** 2,
            views_read=grid.count,
            penalty=self.nothing(),
        )

    def pixels_of(self, height: int, width: int) -> int:
        """All crops."""
        side, seen = self.config.crop_size, view_size(self.config.crop_size, self.config.scale)
        return -(-height // side) * -(-width // side) * seen**2
