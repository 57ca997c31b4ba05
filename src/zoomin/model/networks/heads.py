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

    def contributions(
        self, features: Float[Tensor, "n dims"], weight: Float[Tensor, " n"], whole: Float[Tensor, "n all"]
    ) -> tuple[Float[Tensor, "n classes"], Float[Tensor, " n"]]:
        """What sub-tiles add to the logits of their image, and their weight in it.

        Args:
            features: of the sub-tiles.
            weight: of each in the expected feature.
            whole: the feature of the image of each, the context view's behind the expected one.
        """
        return weight[:, None] * (features @ self.weight[:, : features.shape[1]].T), weight

    def context(self, features: Float[Tensor, "n context"]) -> Float[Tensor, "n classes"]:
        """What the features of context views add to the logits."""
        return features.float() @ self.weight[:, self.weight.shape[1] - features.shape[1] :].T
