"""A tile attention to be taught: a trunk's maps of three strides of the enlarged view, and one layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .trunks import timm_maps

__all__ = ["PYRAMID_PREFIX", "PyramidAttention", "UniformAttention"]

PYRAMID_PREFIX = "pyramid:"
ENLARGED = 2  # a trunk responds better to small things in an enlarged view; this reads no additional pixels


class PyramidAttention(nn.Module):
    """Mean and maximum of the maps of strides 8, 16 and 32 of a `timm` model, and a linear layer.

    The view is enlarged by two before the trunk sees it. Input: views (n, 3, h, w), float. Output: one logit
    a view, as a map (n, 1, 1).
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        """Load the trunk."""
        super().__init__()
        self.trunk, channels = timm_maps(name, pretrained, (8, 16, 32))
        self.logit = nn.Linear(2 * sum(channels), 1)

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 1"]:
        """The logit of each view."""
        logits: Tensor = self.logit(self.embed(views))
        return logits.unsqueeze(2)

    def embed(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n channels"]:
        """Mean and maximum over each feature map."""
        large = functional.interpolate(views, scale_factor=ENLARGED, mode="bilinear")
        pooled = [(m.mean((2, 3)), m.amax((2, 3))) for m in self.trunk(large)]
        return torch.cat([part for pair in pooled for part in pair], 1)

    def mean_logits(self, embeddings: Float[Tensor, "n channels"]) -> Float[Tensor, " n"]:
        """The logit of each view from its embedding."""
        logits: Tensor = self.logit(embeddings)
        return logits.squeeze(1)


def pool_overview(embeddings: Float[Tensor, "n channels"]) -> Float[Tensor, " pooled"]:
    """What a head sees of an overview: mean and maximum over its tiles."""
    return torch.cat([embeddings.mean(0), embeddings.amax(0)])


class UniformAttention(nn.Module):
    """The same logit everywhere: one position a view, nothing to learn.

    As tile attention every tile counts alike; as position attention the sub-tile of a tile is its middle.
    """

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 1"]:
        """A map of one cell of each view."""
        return views.new_zeros(len(views), 1, 1)
