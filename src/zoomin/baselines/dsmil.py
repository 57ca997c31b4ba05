"""DSMIL: every crop is weighed by its likeness to the crop that is most like each class.

Li, Li & Eliceiri, Dual-Stream Multiple Instance Learning Network for Whole Slide Image Classification with
Self-Supervised Contrastive Learning, CVPR 2021 (arXiv 2011.08939), section 3.2.

    c_km   = w_m . f(crop k) + b_m                             first stream: scores; their maximum counts
    k_m    = argmax over crops of c_km                         the critical crop of class m
    a_km   = softmax over crops of q(h_k) . q(h_k_m) / sqrt(query_width)
    B_m    = sum_k a_km v(h_k)
    logits = g(B_1, ..., B_classes)                            second stream: one linear layer on all of them
    loss   = CE(logits, y) / 2 + CE(max_k c_k, y) / 2

q has two layers, as in the authors' code, or one, as in the paper's text (`nonlinear`). The prediction is the
second stream's, as in their code by default. The self-supervised features of the publication are not part of
this. The harness adds the penalty to the cross-entropy, so that the whole loss is twice the publication's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional

from ..model.networks import LinearHead
from .bags import MIL, BagConfig, Bags, Pooled

__all__ = ["DSMIL", "DSMILConfig"]


@dataclass(frozen=True)
class DSMILConfig(BagConfig):
    """DSMIL on a bag of crops."""

    name: Literal["dsmil"] = "dsmil"
    """The baseline: dsmil."""

    query_width: int = 128
    """Width of the queries q; 128 is the publication's."""

    nonlinear: bool = True
    """Two layers make the queries, instead of one."""

    transform_values: bool = False
    """Whether v is a layer with ReLU after dropout, or the features as they are."""

    dropout: float = 0.0
    """Share of values dropped before v, while training."""

    _counts: ClassVar[tuple[str, ...]] = (*BagConfig._counts, "query_width")
    _shares: ClassVar[tuple[str, ...]] = ("dropout",)


class DSMIL(MIL[DSMILConfig]):
    """Attend to crops by their likeness to the critical ones.

    Example:
        >>> net = DSMIL(DSMILConfig(crop_size=40))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = DSMILConfig
    any_target = False

    def __init__(self, config: DSMILConfig) -> None:
        """Build the networks."""
        super().__init__(config)
        width = config.query_width
        self.scores = nn.Linear(self.dims, config.n_classes)
        self.query = (
            nn.Sequential(nn.Linear(self.dims, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh())
            if config.nonlinear
            else nn.Linear(self.dims, width)
        )
        self.value = (
            nn.Sequential(nn.Dropout(config.dropout), nn.Linear(self.dims, self.dims), nn.ReLU())
            if config.transform_values
            else nn.Identity()
        )
        self.head = LinearHead(config.n_classes * self.dims, config.n_classes)
        self.to(memory_format=torch.channels_last)

    def pool(self, bags: Bags, labels: Int[Tensor, " batch"] | None) -> Pooled:
        """The means of the crops under the attention of each class; and the first stream's loss."""
        best, critical = bags.padded(self.scores(bags.instances), -torch.inf).max(1)  # (B, C)
        queries = self.query(bags.instances)
        first = bags.count.cumsum(0) - bags.count
        of_critical = queries[first[:, None] + critical]
        products = bags.padded(queries, 0.0) @ of_critical.mT  # (B, crops, C)
        likeness = products[bags.image, bags.index] / math.sqrt(self.config.query_width)
        values = self.value(bags.instances)
        features = bags.sum(bags.softmax(likeness), values).flatten(1)
        penalty = self.nothing() if labels is None else functional.cross_entropy(best, labels)
        return Pooled(features, penalty)
