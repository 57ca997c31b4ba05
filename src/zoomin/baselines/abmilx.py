"""ABMILX: attention MIL of several heads, whose attention is smoothed over crops that look alike.

Tang et al., Revisiting End-to-End Learning with Slide-level Supervision in Computational Pathology, NeurIPS
2025 (arXiv 2506.02408). The layers, their widths and first weights are those of the authors' published code,
DearCaat/E2E-WSI-ABMILX, at its commit 8b909b1.

    z_k    = dropout(GELU(W norm(f(crop k)))), cut into heads z_hk
    A_hk   = w' GELU(V z_hk); V and w are shared by the heads                    multi-head local attention
    U_hkj  = softmax over j of (Q norm(z_hk)) . (K norm(z_hj)) / sqrt(d)
    A+_hk  = A_hk + s sum_j U_hkj A_hj                                           attention plus
    Z      = P [sum_k softmax(A+_h)_k z_hk], heads side by side
    Z      = Z + MLP(norm(Z)),  logits = g(norm(Z))

While training, `drawn` crops at random are read of each image; where `coarse` is above 1 a `coarse_part` of
them are crops `coarse` times as wide, read at the scale that makes them as many pixels (the paper's random
patches of several scales). Prediction reads all crops at `scale`. The MLP and both norms can be switched off
as in the authors' two-stage configurations. The head keeps its bias, which theirs has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ..errors import require
from ..geometry import TileGrid
from ..images.image import ImageBatch
from ..model.networks import LinearHead
from ..model.sampling import uniforms
from .bags import MIL, BagConfig, Bags, Pooled
from .baseline import BaselineOutput, Drawing

__all__ = ["ABMILX", "ABMILXConfig", "AttentionPlus", "LocalAttention"]

_STREAM = 12  # of the draws; another for the coarse crops


@dataclass(frozen=True)
class ABMILXConfig(BagConfig):
    """ABMILX on a bag of crops."""

    name: Literal["abmilx"] = "abmilx"
    """The baseline: abmilx."""

    width: int = 512
    """Width of the crops' features after the first layer, a multiple of `heads`; 512 is the authors'."""

    heads: int = 8
    """Heads of the attention; 8 is the authors' default, 4 where they train ResNet-18 end to end."""

    attention_plus: bool = True
    """Smooth each head's attention over crops that look alike; off: plain attention of several heads."""

    mlp: bool = True
    """A layer of four times the width behind the pooled feature, as the authors have it end to end."""

    norm: bool = True
    """Layer norms before the first layer and before the head, as the authors have them end to end."""

    dropout: float = 0.25
    """Share of values dropped after the first layer, while training; 0.25 is the authors'."""

    drawn: int = 0
    """Crops read of an image in a training step, at random; 0: all. The authors train with 128 to 512."""

    coarse: int = 1
    """How much wider a coarse crop is; 1: there are none."""

    coarse_part: float = 0.25
    """Part of the drawn crops that are coarse; 0.25 is the authors'."""

    _counts: ClassVar[tuple[str, ...]] = (*BagConfig._counts, "width", "heads", "coarse")
    _shares: ClassVar[tuple[str, ...]] = ("dropout",)

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        require(self.width % self.heads == 0, "width", self.width, f"Give a multiple of heads, {self.heads}.")
        require(self.drawn >= 0, "drawn", self.drawn, "Give 0 or more.")
        require(0 <= self.coarse_part <= 1, "coarse_part", self.coarse_part, "Give a number from 0 to 1.")
        require(
            self.coarse == 1 or self.drawn > 0,
            "coarse",
            f"{self.coarse}, and all crops are read",
            "Coarse crops are for training on some: set drawn too.",
        )


class LocalAttention(nn.Module):
    """Logits of crops from a part of their features, by the same two layers for every head."""

    def __init__(self, dims: int) -> None:
        """Build the layers for heads of `dims` numbers."""
        super().__init__()
        self.inner = nn.Linear(dims, dims, bias=False)
        self.out = nn.Linear(dims, 1, bias=False)

    def forward(self, z: Float[Tensor, "batch heads n dims"]) -> Float[Tensor, "batch heads n 1"]:
        """Logits before the softmax."""
        logits: Tensor = self.out(nn.functional.gelu(self.inner(z)))
        return logits


class AttentionPlus(nn.Module):
    """Adds to each crop's logit those of the crops that look like it."""

    def __init__(self, dims: int) -> None:
        """Build the layers for heads of `dims` numbers."""
        super().__init__()
        self.norm = nn.LayerNorm(dims)
        self.to_query_key = nn.Linear(dims, 2 * dims, bias=False)
        self.scale = nn.Linear(1, 1, bias=False)

    def forward(
        self,
        z: Float[Tensor, "batch heads n dims"],
        logits: Float[Tensor, "batch heads n 1"],
        inside: Bool[Tensor, "batch n"],
    ) -> Float[Tensor, "batch heads n 1"]:
        """The smoothed logits.

        Args:
            z: features of the crops, head by head.
            logits: of the local attention.
            inside: which crops there are; the others are padding.
        """
        queries, keys = self.to_query_key(self.norm(z)).chunk(2, dim=3)
        read = scaled_dot_product_attention(
            queries, keys, self.scale(logits), attn_mask=inside[:, None, None, :]
        )
        return logits + read


class ABMILX(MIL[ABMILXConfig]):
    """Weigh all crops by several heads of smoothed attention.

    Example:
        >>> net = ABMILX(ABMILXConfig(crop_size=40, width=32, heads=4))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = ABMILXConfig

    def __init__(self, config: ABMILXConfig) -> None:
        """Build the networks."""
        super().__init__(config)
        width, dims = config.width, config.width // config.heads
        self.first = nn.Sequential(
            nn.LayerNorm(self.dims, bias=False) if config.norm else nn.Identity(),
            nn.Linear(self.dims, width, bias=False),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.local = LocalAttention(dims)
        self.plus = AttentionPlus(dims) if config.attention_plus else None
        self.project = nn.Linear(width, width, bias=False)
        self.mlp = _mlp(width, norm=not config.norm) if config.mlp else None
        self.norm = nn.LayerNorm(width, bias=False) if config.norm else nn.Identity()
        for part in (self.first, self.local, self.plus, self.project, self.mlp):
            if part is not None:
                part.apply(_draw)
        self.head = LinearHead(width, config.n_classes)
        self.to(memory_format=torch.channels_last)

    def pool(self, bags: Bags, labels: Int[Tensor, " batch"] | None) -> Pooled:
        """The crops under the attention of each head, side by side, and what the layers behind make of it."""
        z = self.first(bags.instances).unflatten(1, (self.config.heads, -1))
        z = bags.padded(z, 0.0).transpose(1, 2)  # (batch, heads, n, dims)
        logits = self.local(z)
        if self.plus is not None:
            logits = self.plus(z, logits, bags.inside)
        weights = logits.masked_fill(~bags.inside[:, None, :, None], -torch.inf).softmax(2)
        features = self.project((weights * z).sum(2).flatten(1))
        if self.mlp is not None:
            features = features + self.mlp(features)
        return Pooled(self.norm(features), self.nothing())

    def classify(
        self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Encode the crops, while training those drawn, pool them, classify."""
        if self._draws and self.features is not None and self.known is None:
            return super().answer(self._encoded(batch, self.features, how.keys), how.keys, labels)
        return self.answer(self.bags(batch), how.keys, labels)

    def answer(
        self, bags: Bags, keys: Int[Tensor, " batch"], labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Pool encoded crops, while training some of them, and classify."""
        if self._draws:  # of features that are there, which are of one scale
            kept = _drawn(bags.count, keys, self.config.drawn, _STREAM)
            bags = Bags.of(bags.instances[kept], bags.image[kept], len(bags.count))
        return super().answer(bags, keys, labels)

    @property
    def _draws(self) -> bool:
        return self.training and self.config.drawn > 0

    def _encoded(self, batch: ImageBatch, network: nn.Module, keys: Int[Tensor, " batch"]) -> Bags:
        """Crops drawn of every image, fine ones and coarse ones, encoded."""
        config = self.config
        coarse = int(config.drawn * config.coarse_part) if config.coarse > 1 else 0
        found, images = [], []
        for count, factor in ((config.drawn - coarse, 1), (coarse, config.coarse)):
            side, scale = config.crop_size * factor, config.scale / factor
            grid = TileGrid.of(batch.sizes, side)
            kept = _drawn(grid.count, keys, count, _STREAM + factor)
            if len(kept):
                image, regions = grid.image[kept], grid.regions[kept]
                found.append(self.chunks.apply(network, batch, image, regions, side, scale))
                images.append(image)
        image = torch.cat(images)
        order = image.argsort(stable=True)
        return Bags.of(torch.cat(found)[order], image[order], len(batch))


def _drawn(
    count: Int[Tensor, " batch"], keys: Int[Tensor, " batch"], n: int, stream: int
) -> Int[Tensor, " kept"]:
    """Places of `n` rows drawn of each image, or of all that it has, in a list image by image.

    Args:
        count: rows of each image.
        keys: seed of each image's draw.
        n: how many to draw.
        stream: of random numbers.
    """
    widest = int(count.max())
    there = torch.arange(widest, device=count.device) < count[:, None]
    rank = uniforms(keys.to(count.device), widest, stream).masked_fill(~there, 2.0).argsort(1).argsort(1)
    return (rank < n)[there].nonzero()[:, 0]


def _mlp(width: int, *, norm: bool) -> nn.Sequential:
    """Two layers; a norm before them where there is none elsewhere."""
    first = nn.LayerNorm(width) if norm else nn.Identity()
    return nn.Sequential(first, nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


def _draw(layer: nn.Module) -> None:
    """First weights as the authors draw them."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
