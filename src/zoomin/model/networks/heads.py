"""Classification heads g: from the expected feature to logits."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["LinearHead"]


class LinearHead(nn.Linear):
    """One linear layer (supplement, table 5), so that logits are sums of the sub-tiles' contributions.

    Input: features (n, dims). Output: logits (n, classes).
    """

    def forward(self, features: Float[Tensor, "*n dims"]) -> Float[Tensor, "*n classes"]:
        """Logits, in single precision wherever the networks compute in another."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))
