"""Attention networks: from a view to a map of logits, one a position.

The tile network a averages its map to one logit a tile; the position network b keeps it. No nonlinearity
follows the last convolution: a softmax over tanh-limited logits could never become sharp.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ConfigError
from .trunks import TIMM_PREFIX, timm_trunk

__all__ = [
    "ATTENTION_NETWORKS",
    "ConvAttention",
    "Embedding",
    "TimmAttention",
    "attention_network",
    "trunk_of",
]


class ConvAttention(nn.Sequential):
    """3 x 3 convolutions of the given widths, a nonlinearity after each, then one to a single logit.

    Input: views (n, 3, h, w), float. Output: logits (n, h, w).
    """

    def __init__(self, widths: tuple[int, ...], activation: Callable[[], nn.Module]) -> None:
        """Build the stack."""
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), activation()]
            channels = width
        super().__init__(*layers, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, views: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n h w"]:
        """Logits of every position."""
        for layer in self:
            views = layer(views)
        return views.squeeze(1)


class TimmAttention(nn.Module):
    """The feature map of a `timm` model and a 1 x 1 convolution to logits, at the model's stride.

    Input: views (n, 3, h, w), float. Output: logits (n, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        """Load the trunk."""
        super().__init__()
        self.trunk, channels = timm_trunk(name, pretrained)
        self.logit = nn.Conv2d(channels, 1, 1)

    def forward(self, views: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n u v"]:
        """Logits of every position of the trunk's feature map."""
        logits: Tensor = self.logit(self.maps(views))
        return logits.squeeze(1)

    def maps(self, views: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n channels u v"]:
        """The trunk's feature maps."""
        maps: Tensor = self.trunk(views)[-1]
        return maps

    def embed(self, views: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n channels"]:
        """The mean over each feature map: all that the mean logit of a view depends on."""
        return self.maps(views).mean((2, 3))

    def mean_logits(self, embeddings: Float[Tensor, "n channels"]) -> Float[Tensor, " n"]:
        """The mean logit of each view from its embedding: averaging and a 1 x 1 convolution commute."""
        return functional.linear(embeddings, self.logit.weight.flatten(1), self.logit.bias).squeeze(1)


class Embedding(nn.Module):
    """The embedding of views by a `TimmAttention`, as a network of its own; the weights are shared."""

    def __init__(self, attention: TimmAttention) -> None:
        """Keep the attention network."""
        super().__init__()
        self.attention = attention

    def forward(self, views: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n channels"]:
        """`TimmAttention.embed`."""
        return self.attention.embed(views)


def _relu() -> nn.Module:
    """In place: maps of large tiles are large, and no gradient needs what a convolution gave."""
    return nn.ReLU(inplace=True)


ATTENTION_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lambda: ConvAttention((8, 8), nn.Tanh),  # supplement, table 5
    "lenet_relu": lambda: ConvAttention((8, 8), _relu),  # supplement K, the text
    "resnet16": lambda: ConvAttention((8, 16, 32), _relu),  # supplement, table 6
}


def attention_network(name: str, *, pretrained: bool = False) -> nn.Module:
    """An attention network by name: one of `ATTENTION_NETWORKS`, or `timm:MODEL`.

    Raises:
        ConfigError: if there is no network of that name.
    """
    if name.startswith(TIMM_PREFIX):
        return TimmAttention(name.removeprefix(TIMM_PREFIX), pretrained)
    if name not in ATTENTION_NETWORKS:
        raise ConfigError(
            f"unknown attention network {name!r}",
            remedy=f"Choose one of {', '.join(ATTENTION_NETWORKS)}, or timm:MODEL.",
        )
    return ATTENTION_NETWORKS[name]()


def trunk_of(attention: nn.Module) -> TimmAttention:
    """An attention network that has a trunk.

    Raises:
        ConfigError: if it has none.
    """
    if not isinstance(attention, TimmAttention):
        raise ConfigError(
            "this attention network has no trunk",
            where="tile_attention",
            remedy="Use timm:MODEL, for example timm:tf_efficientnet_lite0.",
        )
    return attention
