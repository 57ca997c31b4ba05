"""Gated attention inside Zoom-In: sub-tiles carry a weight of their own, and the head divides by its sum.

Gated attention (Ilse, Tomczak & Welling 2018) weighs the features h of an image's crops by a softmax over
their gates g. A softmax over crops that are drawn is not linear in them, so its parts are: f returns, for
each copy,

    f = [exp(g) h, exp(g)],     F = sum over c of alpha_c f_c = [sum alpha exp(g) h, sum alpha exp(g)],

which every sampling law estimates without bias, and the head classifies the quotient. The attention of both
together is alpha exp(g) over its sum: the network a says where to read, the gate what to make of it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .heads import LinearHead

__all__ = ["GatedCopies", "GatedFeatures", "GatedHead"]


def _layer(copies: int, inputs: int, outputs: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights and biases of linear layers side by side, drawn as `nn.Linear` draws them."""
    bound = 1 / math.sqrt(inputs)
    weight = torch.empty(copies, inputs, outputs).uniform_(-bound, bound)
    return nn.Parameter(weight), nn.Parameter(torch.empty(copies, 1, outputs).uniform_(-bound, bound))


class GatedCopies(nn.Module):
    """The layers behind the projection, in copies that differ by their first weights.

    Input: projected features (copies, n, components). Output: h (copies, n, width) and g (copies, n).
    """

    def __init__(self, components: int, width: int, copies: int, dropout: float = 0.25) -> None:
        """Draw the weights."""
        super().__init__()
        self.hidden, self.hidden_bias = _layer(copies, components, width)
        self.tanh, self.tanh_bias = _layer(copies, width, width)
        self.sigmoid, self.sigmoid_bias = _layer(copies, width, width)
        self.gate, _ = _layer(copies, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "copies n components"]
    ) -> tuple[Float[Tensor, "copies n width"], Float[Tensor, "copies n"]]:
        """Features and gates of crops, copy by copy."""
        h = self.dropout(torch.baddbmm(self.hidden_bias, self.dropout(x), self.hidden).relu())
        open_ = torch.baddbmm(self.sigmoid_bias, h, self.sigmoid).sigmoid()
        g = (torch.baddbmm(self.tanh_bias, h, self.tanh).tanh() * open_) @ self.gate
        return h, g.squeeze(2)


class GatedFeatures(nn.Module):
    """f: a trunk, a linear projection, and [exp(g) h, exp(g)] of each copy.

    Where the trunk gives several cells of a sub-tile, the gates weigh cells, each of which is seen beside the
    whole sub-tile: f is the mean over them.

    Input: sub-tiles (n, 3, h, w), float. Output: (n, copies * (width + 1)).
    """

    def __init__(
        self,
        trunk: nn.Module,
        dims: int,
        components: int,
        width: int,
        copies: int,
        cells: int = 1,
        whole: int = 0,
    ) -> None:
        """Put the layers behind a trunk of `dims` features per cell, and `whole` of the sub-tile."""
        super().__init__()
        self.trunk = trunk
        self.project = nn.Linear(dims + whole, components)
        self.whole = whole
        self.copies = GatedCopies(components, width, copies)
        self.cells = cells
        self.dims = copies * (width + 1)

    def forward(self, sub_tiles: Float[Tensor, "n c h w"]) -> Float[Tensor, "n dims"]:
        """Features of sub-tiles."""
        return self.behind(self.trunk(sub_tiles))

    def behind(self, embeddings: Float[Tensor, "n channels"]) -> Float[Tensor, "n dims"]:
        """The same from what the trunk made of the sub-tiles."""
        x = self._projected(embeddings.float())
        h, g = self.copies(x.expand(len(self.copies.gate), -1, -1))
        e = g.exp().unsqueeze(2)
        f: Tensor = torch.cat([e * h, e], 2).unflatten(1, (-1, self.cells)).mean(2)  # engines would fix len()
        return f.transpose(0, 1).flatten(1)

    def _projected(self, embeddings: Float[Tensor, "n channels"]) -> Float[Tensor, "cells components"]:
        """Of every cell, one sub-tile after the other."""
        if not self.whole:
            x: Tensor = self.project(embeddings.unflatten(1, (self.cells, -1)).flatten(0, 1))
            return x
        own, whole = embeddings[:, : -self.whole], embeddings[:, -self.whole :]
        weight = self.project.weight
        seen = functional.linear(own.unflatten(1, (self.cells, -1)), weight[:, : -self.whole])
        beside = functional.linear(whole, weight[:, -self.whole :], self.project.bias)
        return (seen + beside[:, None]).flatten(0, 1)


class GatedHead(LinearHead):
    """g: divides the expected feature of each copy by its weight; one linear layer for all copies.

    Input: features (..., copies * (width + 1) + overview), those of the overview last. Output: logits
    (..., classes).
    """

    def __init__(self, copies: int, width: int, n_classes: int, overview: int = 0) -> None:
        """Draw the weights."""
        super().__init__(copies * width + overview, n_classes)
        self.copies, self._gates = copies, copies * (width + 1)

    def forward(self, features: Float[Tensor, "*n dims"]) -> Float[Tensor, "*n classes"]:
        """Logits, in single precision wherever the networks compute in another."""
        with torch.autocast(features.device.type, enabled=False):
            return functional.linear(self.seen(features), self.weight, self.bias)

    def seen(self, features: Float[Tensor, "*n dims"]) -> Float[Tensor, "*n inputs"]:
        """The mean feature of each copy, and the overview."""
        h, weight = self._parts(features)
        return torch.cat([(h / weight).flatten(-2), features[..., self._gates :].float()], -1)

    @torch.no_grad()
    def keep_mean(self, seen: Float[Tensor, "n inputs"]) -> None:
        """Keep the mean of what each copy sees of training images: a feature whose weights are 1."""
        mean = seen.to(self.weight).mean(0)
        h = mean[: self._gates - self.copies].unflatten(0, (self.copies, -1))
        own = torch.cat([h, torch.ones_like(h[:, :1])], 1).flatten()
        self.mean_feature = torch.cat([own, mean[self._gates - self.copies :]])

    def mean_parts(self, dims: int) -> Float[Tensor, "copies classes"] | None:
        """What the mean feature of sub-tiles adds to the logits, copy by copy; None where unknown."""
        if self.mean_feature is None:
            return None
        h, weight = self._parts(self.mean_feature)
        own = self.weight[:, : self._gates - self.copies].unflatten(1, (self.copies, -1))
        return torch.einsum("kw,ckw->kc", h / weight, own)

    def shares(
        self, features: Float[Tensor, "n dims"], weight: Float[Tensor, " n"], whole: Float[Tensor, "n all"]
    ) -> Float[Tensor, "n copies"]:
        """The share of sub-tiles in the attention of each copy."""
        (_, own), (_, total) = self._parts(features), self._parts(whole)
        return (weight[:, None, None] * own / total).squeeze(2)

    def contributions(
        self, features: Float[Tensor, "n dims"], weight: Float[Tensor, " n"], whole: Float[Tensor, "n all"]
    ) -> tuple[Float[Tensor, "n classes"], Float[Tensor, " n"]]:
        """What sub-tiles add to the logits, and the mean over copies of their share in the attention."""
        (h, _), (_, total) = self._parts(features), self._parts(whole)
        contributed = (weight[:, None, None] / total * h).flatten(1)
        shares = self.shares(features, weight, whole)
        return contributed @ self.weight[:, : contributed.shape[1]].T, shares.mean(1)

    def _parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of exp(g) h and of exp(g): (..., copies, width) and (..., copies, 1)."""
        parts = features[..., : self._gates].float().unflatten(-1, (self.copies, -1))
        return parts[..., :-1], parts[..., -1:].clamp(min=torch.finfo(torch.float32).tiny)
