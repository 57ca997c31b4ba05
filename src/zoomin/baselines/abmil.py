"""Attention MIL, plain and gated: every crop of an image is read, encoded and weighed, end to end.

Ilse, Tomczak & Welling, Attention-based Deep Multiple Instance Learning, ICML 2018, section 2.4.

    h_k    = f(crop k)
    a      = softmax over crops of w' tanh(V h_k)                                        equation 8
    a      = softmax over crops of w' (tanh(V h_k) * sigmoid(U h_k))            gated,   equation 9
    logits = g(sum_k a_k h_k)

Beyond the paper, off by default: features standardised by what training saw, a first layer of `width`, and
dropout, which attention on the features of a frozen trunk needs where images are few.

The paper takes crops of 27 pixels around marked nuclei of the colon-cancer images; here they tile the image,
so that no annotation is needed. V and U have 128 rows, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import require
from ..model.networks import LinearHead
from .bags import MIL, BagConfig, Bags, Pooled

__all__ = ["ABMIL", "ABMILConfig", "BagAttention"]


@dataclass(frozen=True)
class ABMILConfig(BagConfig):
    """Attention MIL on a bag of crops."""

    name: Literal["abmil"] = "abmil"
    """The baseline: abmil, attention MIL."""

    hidden: int = 128
    """Rows of V, and of U, which compute the attention; 128 is the publication's."""

    gated: bool = False
    """Gated attention, equation 9 of the publication, instead of equation 8."""

    width: int = 0
    """Width of a first layer with ReLU behind the network; 0: none, the publication's."""

    dropout: float = 0.0
    """Share of values dropped before and after that layer, while training; 0: none, the publication's."""

    standardize: bool = False
    """Standardise each feature of the crops, by mean and deviation over the training crops."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        require(self.hidden >= 1, "hidden", self.hidden, "Give a whole number of at least 1.")
        require(self.width >= 0, "width", self.width, "Give 0 or more.")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "Give a number from 0 to below 1.")


class BagAttention(nn.Module):
    """Logits of instances before the softmax over their bag: equation 8, or 9 if gated; a column per map."""

    def __init__(self, dims: int, hidden: int, gated: bool, maps: int = 1, dropout: float = 0.0) -> None:
        """Build V, w and, where gated, U."""
        super().__init__()
        self.v = nn.Linear(dims, hidden)
        self.u = nn.Linear(dims, hidden) if gated else None
        self.w = nn.Linear(hidden, maps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, instances: Float[Tensor, "*n dims"]) -> Float[Tensor, "*n maps"]:
        """The logits of every instance."""
        inner = self.dropout(self.v(instances).tanh())
        if self.u is not None:
            inner = inner * self.dropout(self.u(instances).sigmoid())
        logits: Tensor = self.w(inner)
        return logits


class ABMIL(MIL[ABMILConfig]):
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
        self.first, dims = _first(self.dims, config)
        self.attention = BagAttention(dims, config.hidden, config.gated)
        self.head = LinearHead(dims, config.n_classes)
        self.to(memory_format=torch.channels_last)

    def pool(self, bags: Bags, labels: Int[Tensor, " batch"] | None) -> Pooled:
        """The mean of the crops under the attention."""
        instances = self.first(bags.instances)
        weights = bags.softmax(self.attention(instances))
        return Pooled(bags.sum(weights, instances).squeeze(1), self.nothing())


def _first(dims: int, config: ABMILConfig) -> tuple[nn.Sequential, int]:
    """What lies between network and attention, and the number of features that it gives."""
    layers: list[nn.Module] = [nn.BatchNorm1d(dims, affine=False)] if config.standardize else []
    if config.dropout:
        layers.append(nn.Dropout(config.dropout))
    if config.width:
        layers += [nn.Linear(dims, config.width), nn.ReLU()]
        layers += [nn.Dropout(config.dropout)] if config.dropout else []
    return nn.Sequential(*layers), config.width or dims
