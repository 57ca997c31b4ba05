"""TransMIL: crops attend to each other, by Nystrom attention and convolutions over their places.

Shao et al., TransMIL: Transformer based Correlated Multiple Instance Learning for Whole Slide Image
Classification, NeurIPS 2021 (arXiv 2106.00908), algorithms 1 to 3.

    h      = ReLU(W f(crop))                    the first repeated until there is a square number
    x      = [class token, h]
    x      = x + attention(norm(x))             Nystrom attention (Xiong et al., AAAI 2021), 8 heads
    x      = [class token, PPEG(h)]             depthwise convolutions of 7, 5 and 3 over the square, summed
    x      = x + attention(norm(x))
    logits = g(norm(x)[class token])

Attention of n tokens goes through m landmarks, means of successive tokens:

    softmax(Q K') V  ~  softmax(Q K_m') pinv(softmax(Q_m K_m')) softmax(Q_m K') V

with the pseudo-inverse by six iterations of third order, started from each matrix's own norms, so that an
image's result does not depend on its batch; and a convolution of 33 values per head beside it. The authors
pad with zero tokens until m divides n; here landmarks are means of segments of nearly equal length, and of
fewer tokens than m each is a landmark. Bags of one size go through the layers together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ..errors import require
from ..model.networks import LinearHead
from .bags import MIL, BagConfig, Bags, Pooled

__all__ = ["PPEG", "NystromAttention", "TransMIL", "TransMILConfig", "pseudo_inverse"]

_VALUES = 33  # that the convolution beside the attention sees


@dataclass(frozen=True)
class TransMILConfig(BagConfig):
    """TransMIL on a bag of crops."""

    name: Literal["transmil"] = "transmil"
    """The baseline: transmil."""

    width: int = 512
    """Width of the tokens, a multiple of `heads`; 512 is the publication's."""

    heads: int = 8
    """Heads of the attention; 8 is the publication's."""

    landmarks: int = 256
    """m, landmarks of the Nystrom approximation; the publication has half of `width`."""

    dropout: float = 0.1
    """Share of values dropped after the attention, while training; 0.1 is the publication's."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        for name in ("width", "heads", "landmarks"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "Give a whole number of at least 1.")
        require(self.width % self.heads == 0, "width", self.width, f"Give a multiple of heads, {self.heads}.")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "Give a number from 0 to below 1.")


class NystromAttention(nn.Module):
    """Attention of tokens to each other through landmarks, and a convolution of the values beside it."""

    def __init__(self, width: int, heads: int, landmarks: int, dropout: float) -> None:
        """Build the layers."""
        super().__init__()
        self.heads, self.landmarks = heads, landmarks
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        sides = (_VALUES // 2, 0)
        self.beside = nn.Conv2d(heads, heads, (_VALUES, 1), padding=sides, groups=heads, bias=False)

    def forward(self, tokens: Float[Tensor, "batch n width"]) -> Float[Tensor, "batch n width"]:
        """What the tokens read from each other."""
        queries, keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.to_qkv(tokens).chunk(3, dim=2)
        )
        queries = queries / math.sqrt(queries.shape[3])
        few_queries, few_keys = self._landmarks(queries), self._landmarks(keys)
        to_few = (queries @ few_keys.mT).softmax(3)
        among = (few_queries @ few_keys.mT).softmax(3)
        from_few = (few_queries @ keys.mT).softmax(3)
        read = to_few @ pseudo_inverse(among) @ (from_few @ values) + self.beside(values)
        out: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out

    def _landmarks(
        self, tokens: Float[Tensor, "batch heads n width"]
    ) -> Float[Tensor, "batch heads m width"]:
        if tokens.shape[2] <= self.landmarks:
            return tokens
        means = functional.adaptive_avg_pool1d(tokens.mT.flatten(0, 1), self.landmarks)
        landmarks: Tensor = means.unflatten(0, tokens.shape[:2]).mT
        return landmarks


def pseudo_inverse(matrices: Float[Tensor, "*n m m"], iterations: int = 6) -> Float[Tensor, "*n m m"]:
    """The Moore-Penrose inverse by iterations of third order (Razavi et al. 2014), each matrix on its own.

    Example:
        >>> pseudo_inverse(torch.eye(2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    magnitude = matrices.abs()
    norm = magnitude.sum(-1).amax(-1) * magnitude.sum(-2).amax(-1)
    z = matrices.mT / norm[..., None, None]
    one = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    for _ in range(iterations):
        product = matrices @ z
        z = 0.25 * z @ (13 * one - product @ (15 * one - product @ (7 * one - product)))
    return z


class PPEG(nn.Module):
    """Where tokens are: depthwise convolutions over their square, and the tokens themselves, summed."""

    def __init__(self, width: int) -> None:
        """Build convolutions of 7, 5 and 3."""
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, side, padding=side // 2, groups=width) for side in (7, 5, 3)
        )

    def forward(self, tokens: Float[Tensor, "batch n width"]) -> Float[Tensor, "batch n width"]:
        """The tokens, a square number of them, with their surroundings."""
        side = math.isqrt(tokens.shape[1])
        square = tokens.mT.unflatten(2, (side, side))
        summed: Tensor = square + sum(convolution(square) for convolution in self.convolutions)
        return summed.flatten(2).mT


class TransMIL(MIL[TransMILConfig]):
    """Let crops attend to each other and read a class token.

    Example:
        >>> net = TransMIL(TransMILConfig(crop_size=40, width=16, landmarks=8))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = TransMILConfig

    def __init__(self, config: TransMILConfig) -> None:
        """Build the networks.

        Raises:
            ConfigError: if the network is unknown or its weights cannot be loaded.
        """
        super().__init__(config)
        width, how = config.width, (config.heads, config.landmarks, config.dropout)
        self.first = nn.Sequential(nn.Linear(self.dims, width), nn.ReLU())
        self.token = nn.Parameter(torch.randn(width))
        self.attention_1 = nn.Sequential(nn.LayerNorm(width), NystromAttention(width, *how))
        self.places = PPEG(width)
        self.attention_2 = nn.Sequential(nn.LayerNorm(width), NystromAttention(width, *how))
        self.norm = nn.LayerNorm(width)
        self.head = LinearHead(width, config.n_classes)
        self.to(memory_format=torch.channels_last)

    def pool(self, bags: Bags, labels: Int[Tensor, " batch"] | None) -> Pooled:
        """The class token after both layers; bags of one size together."""
        instances = self.first(bags.instances)
        features = instances.new_zeros(len(bags.count), instances.shape[1])
        for count in bags.count.unique().tolist():
            image = (bags.count == count).nonzero()[:, 0]
            own = instances[bags.count[bags.image] == count].unflatten(0, (len(image), count))
            features = features.index_put((image,), self.read(own))
        return Pooled(features, self.nothing())

    def read(self, instances: Float[Tensor, "batch n width"]) -> Float[Tensor, "batch width"]:
        """The class token of bags of n crops."""
        n = instances.shape[1]
        square = math.isqrt(n - 1) + 1
        crops = torch.cat([instances, instances[:, : square**2 - n]], 1)
        tokens = torch.cat([self.token.expand(len(crops), 1, -1), crops], 1)
        tokens = tokens + self.attention_1(tokens)
        tokens = torch.cat([tokens[:, :1], self.places(tokens[:, 1:])], 1)
        tokens = tokens + self.attention_2(tokens)
        read: Tensor = self.norm(tokens[:, 0])
        return read
