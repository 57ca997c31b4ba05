"""Classification heads g: from the expected feature to logits."""

from __future__ import annotations

from torch import nn

__all__ = ["LinearHead"]


class LinearHead(nn.Linear):
    """One linear layer (supplement, table 5), so that logits are sums of the sub-tiles' contributions.

    Input: features (n, dims). Output: logits (n, classes).
    """
