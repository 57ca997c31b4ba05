"""The first layer of a network that was made for red, green and blue, adapted to other channels.

The rule is timm's (`in_chans`): one channel takes the sum of the weights of red, green and blue; more take
them in turn, scaled by three over their number, so that activations keep their size.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import ConfigError
from .weights import AT

__all__ = ["adapt_first_layer", "adapted_weight"]


def adapted_weight(weight: Float[Tensor, "out 3 kh kw"], channels: int) -> Float[Tensor, "out c kh kw"]:
    """Weights for so many channels from those for red, green and blue.

    Example:
        >>> weight = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
        >>> adapted_weight(weight, 1).flatten().tolist(), adapted_weight(weight, 4).flatten().tolist()
        ([6.0], [0.75, 1.5, 2.25, 0.75])
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    turns = weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels]
    return turns * (3 / channels)


def adapt_first_layer(network: nn.Module, channels: int, name: str, *, pretrained: bool) -> None:
    """Make a network for red, green and blue take other channels, in place.

    Args:
        network: its first convolution of three channels is changed.
        channels: that views have.
        name: of the network, for the message.
        pretrained: whether the weights of `timm` networks were loaded: those are adapted, as are those of a
            file; any other layer is drawn anew.

    Raises:
        ConfigError: if it has no such layer.
    """
    if channels == 3 or not any(True for _ in network.parameters()):
        return
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3), None)
    if first is None or first.groups != 1:
        raise ConfigError(
            f"the network {name!r} has no first convolution of three channels that could take {channels}",
            where="data.channels",
            remedy="Choose another network, or pass one of your own for these channels.",
        )
    with torch.no_grad():
        first.weight = nn.Parameter(adapted_weight(first.weight.detach(), channels).contiguous())
        first.in_channels = channels
        if not (":" in name and (pretrained or AT in name)):  # its weights mean nothing
            first.reset_parameters()
