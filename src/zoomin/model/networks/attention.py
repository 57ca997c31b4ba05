"""Attention networks: from a view to a map of logits, one per position.

The tile network a averages its map to one logit per tile; the position network b keeps it. No nonlinearity
follows the last convolution: a softmax over tanh-limited logits could never become sharp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...errors import ConfigError
from ...runtime.plugins import IF_PLUGGED_IN, Registry
from .first_layer import adapt_first_layer
from .own import refuse_own
from .pyramid import PYRAMID_PREFIX, PyramidAttention, UniformAttention
from .trunks import TIMM_PREFIX, timm_trunk

__all__ = [
    "ATTENTION_NETWORKS",
    "ConvAttention",
    "Embedding",
    "TimmAttention",
    "attention_network",
    "takes_any_size",
    "trunk_of",
]


STRIP_PIXELS = 1 << 16  # view pixels seen at a time on a CPU: 32 channels of them are 8 MiB


def _to_logits(last: nn.Conv2d, maps: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n h w"]:
    """A 3 x 3 convolution to one channel without gradients on a CPU, whose kernels compute 16 at a time.

    The nine products of each cell's channels with the taps are taken at once, as a product of matrices, and
    added up over the neighbours: the same sum in another order, four times faster.
    """
    if last.padding_mode != "zeros":
        maps = functional.pad(maps, (1, 1, 1, 1), last.padding_mode)
        return _sums(last, maps)[:, 1:-1, 1:-1]
    return _sums(last, maps)


def _sums(last: nn.Conv2d, maps: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n h w"]:
    n, channels, height, width = maps.shape
    taps = last.weight[0].permute(1, 2, 0).reshape(9, channels)
    products = taps @ maps.permute(0, 2, 3, 1).reshape(-1, channels).T
    exact = products.to(torch.promote_types(products.dtype, torch.float32))
    left, rows, right = exact.view(3, 3, n, height, width).unbind(1)
    rows[..., 1:] += left[..., :-1]
    rows[..., :-1] += right[..., 1:]
    above, logits, below = rows
    logits[:, 1:] += above[:, :-1]
    logits[:, :-1] += below[:, 1:]
    assert last.bias is not None
    whole: Tensor = logits + last.bias
    return whole


def _rectified(maps: Tensor) -> Tensor:
    """ReLU in place. Whole numbers have the same sign bit, and PyTorch has no fast kernel for bfloat16."""
    if maps.dtype != torch.bfloat16:
        return maps.relu_()
    maps.view(torch.int16).clamp_min_(0)
    return maps


class ConvAttention(nn.Sequential):
    """3 x 3 convolutions of the given widths, a nonlinearity after each, then one to a single logit.

    Input: views (n, 3, h, w), float; reflected at the border, of at least two pixels a side. Output: logits
    (n, h, w).
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        activation: Callable[[], nn.Module],
        padding: Literal["zeros", "reflect"] = "zeros",
    ) -> None:
        """Build the stack.

        Args:
            widths: channels behind each convolution but the last.
            activation: makes a nonlinearity.
            padding: what lies beyond a view: zeros (the paper's), which mark its border, or its mirror image.
        """
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1, padding_mode=padding), activation()]
            channels = width
        super().__init__(*layers, nn.Conv2d(channels, 1, 3, padding=1, padding_mode=padding))

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        """Logits of every position."""
        if not torch.is_grad_enabled() and views.device.type == "cpu":
            return self._in_strips(views)
        for layer in self:
            views = layer(views)
        return views.squeeze(1)

    def _in_strips(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        """The same on a CPU, without gradients: of large views strip by strip, whose maps stay in cache.

        A strip is seen with as many rows beside it as the convolutions together reach.
        """
        *layers, last = self
        assert isinstance(last, nn.Conv2d)
        n, _, height, width = views.shape
        strips = max(1, -(-n * height * width // STRIP_PIXELS))
        tall, reach = -(-height // strips), sum(isinstance(layer, nn.Conv2d) for layer in self)
        parts = []
        for top in range(0, height, tall):
            first = max(0, top - reach)
            maps = views[:, :, first : top + tall + reach]
            for layer in layers:
                maps = _rectified(maps) if isinstance(layer, nn.ReLU) else layer(maps)
            parts.append(_to_logits(last, maps)[:, top - first : top - first + tall])
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


class TimmAttention(nn.Module):
    """The feature map of a `timm` model and a 1 x 1 convolution to logits, at the model's stride.

    Input: views (n, 3, h, w), float. Output: logits (n, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        """Load the trunk."""
        super().__init__()
        self.trunk, channels = timm_trunk(name, pretrained)
        self.logit = nn.Conv2d(channels, 1, 1)

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n u v"]:
        """Logits of every position of the trunk's feature map."""
        logits: Tensor = self.logit(self.maps(views))
        return logits.squeeze(1)

    def maps(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n channels u v"]:
        """The trunk's feature maps."""
        maps: Tensor = self.trunk(views)[-1]
        return maps

    def embed(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n channels"]:
        """The mean over each feature map: all that the mean logit of a view depends on."""
        return self.maps(views).mean((2, 3))

    def mean_logits(self, embeddings: Float[Tensor, "n channels"]) -> Float[Tensor, " n"]:
        """The mean logit of each view from its embedding: averaging and a 1 x 1 convolution commute."""
        return functional.linear(embeddings, self.logit.weight.flatten(1), self.logit.bias).squeeze(1)


class Embedding(nn.Module):
    """What the trunk of an attention network makes of views, as a network; weights are shared."""

    def __init__(self, attention: TimmAttention | PyramidAttention, *, maps: bool = False) -> None:
        """Keep the attention network; `maps`: give its `maps`, not what it would `embed`."""
        super().__init__()
        self.attention = attention
        self._see = "maps" if maps else "embed"

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n channels *positions"]:
        """`TimmAttention.embed` or `TimmAttention.maps`."""
        seen: Tensor = getattr(self.attention, self._see)(views)
        return seen

    def extra_repr(self) -> str:
        """What tells the two apart, also where engines keep what they have converted."""
        return self._see


def _relu() -> nn.Module:
    """In place: maps of large tiles are large, and no gradient needs what a convolution gave."""
    return nn.ReLU(inplace=True)


ATTENTION_NETWORKS: Registry[Callable[[], nn.Module]] = Registry(
    "zoomin.networks",
    {
        "lenet": lambda: ConvAttention((8, 8), nn.Tanh),  # supplement, table 5
        "lenet_relu": lambda: ConvAttention((8, 8), _relu),  # supplement K, the text
        "resnet16": lambda: ConvAttention((8, 16, 32), _relu),  # supplement, table 6
        "lenet_reflect": lambda: ConvAttention((8, 8), nn.Tanh, "reflect"),
        "lenet_relu_reflect": lambda: ConvAttention((8, 8), _relu, "reflect"),
        "resnet16_reflect": lambda: ConvAttention((8, 16, 32), _relu, "reflect"),
        "uniform": UniformAttention,
    },
    callable,
    "a function that builds a network",
    prefix="attention.",
)


def takes_any_size(name: str) -> bool:
    """Whether a network needs no try on views of its size: ours without mirrored borders."""
    return name in ATTENTION_NETWORKS.built_in and not name.endswith("_reflect")


def attention_network(
    name: str, *, pretrained: bool = False, setting: str = "tile_attention", channels: int = 3
) -> nn.Module:
    """An attention network by name: one of `ATTENTION_NETWORKS`, `timm:MODEL`, `pyramid:MODEL`.

    Args:
        name: of the network.
        pretrained: load the pretrained weights of `timm` networks.
        setting: which network it is, for messages.
        channels: of the views; the first layer is adapted to them.

    Raises:
        ConfigError: if there is no network of that name, it is a plug-in that does not work, or it cannot
            take so many channels.
    """
    network = _of_colours(name, pretrained, setting)
    adapt_first_layer(network, channels, name, pretrained=pretrained)
    return network


def _of_colours(name: str, pretrained: bool, setting: str) -> nn.Module:
    """An attention network for red, green and blue."""
    refuse_own(name, setting)
    if name.startswith(TIMM_PREFIX):
        return TimmAttention(name.removeprefix(TIMM_PREFIX), pretrained)
    if name.startswith(PYRAMID_PREFIX):
        return PyramidAttention(name.removeprefix(PYRAMID_PREFIX), pretrained)
    if name not in ATTENTION_NETWORKS:
        raise ConfigError(
            f"unknown attention network {name!r}",
            remedy=f"Choose one of {', '.join(ATTENTION_NETWORKS)}, timm:MODEL or pyramid:MODEL. "
            f"{IF_PLUGGED_IN}",
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
