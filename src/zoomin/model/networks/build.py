"""The three networks of a Zoom-In model: by name, or the caller's own; tried out before any image is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import nn

from ...geometry import view_size
from .attention import attention_network, takes_any_size
from .cells import CellTrunk
from .features import feature_network
from .gated import GatedFeatures, GatedHead
from .heads import LinearHead
from .own import feature_dims, map_size
from .pyramid import PyramidAttention, UniformAttention

__all__ = ["Networks", "block_networks", "build_networks", "classifier"]


class Networks(NamedTuple):
    """The networks, and the shapes of what they give.

    Attributes:
        tile_attention: a.
        position_attention: b.
        features: f.
        dims: number of features of a sub-tile.
        map_size: rows and columns of b's map of a tile.
    """

    tile_attention: nn.Module
    position_attention: nn.Module
    features: nn.Module
    dims: int
    map_size: tuple[int, int]


def build_networks(
    names: Mapping[str, str],
    own: Mapping[str, nn.Module | None],
    sides: Mapping[str, int],
    pretrained: bool,
    channels: int = 3,
) -> Networks:
    """Build a, b and f, and try each on black views of the size that it will see.

    Args:
        names: of the networks, by the settings "tile_attention", "position_attention", "features".
        own: the caller's networks instead of those by name, likewise.
        sides: of the views of each, pixels.
        pretrained: load the pretrained weights of `timm` networks.
        channels: of the views; the first layers of networks by name are adapted to them.

    Raises:
        ConfigError: if a network is unknown, its weights cannot be loaded, or it gives another shape.
    """
    attention = {}
    for setting in ("tile_attention", "position_attention"):
        given = own[setting]
        name = names[setting]
        attention[setting] = (
            attention_network(name, pretrained=pretrained, setting=setting, channels=channels)
            if given is None
            else given
        )
    first, second = attention.values()
    f, name, side = own["features"], names["features"], sides["features"]
    if f is None:
        f, _ = feature_network(name, pretrained=pretrained, side=side, channels=channels)
    if not takes_any_size(names["tile_attention"]):
        map_size(first, names["tile_attention"], sides["tile_attention"], "tile_attention", channels)
    setting = "position_attention"
    shape = (1, 1) if isinstance(second, UniformAttention) else (sides[setting], sides[setting])
    if own[setting] is not None or not takes_any_size(names[setting]):
        shape = map_size(second, names[setting], sides[setting], setting, channels)
    return Networks(first, second, f, feature_dims(f, name, side, channels), shape)


@runtime_checkable
class BlockSettings(Protocol):
    """What is asked of the settings of a stage above the tiles."""

    @property
    def size(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def attention(self) -> str: ...


def block_networks(stages: Sequence[BlockSettings], pretrained: bool, channels: int = 3) -> nn.ModuleList:
    """The attention networks of the stages above the tiles, each with its own weights; tried on black views.

    Args:
        stages: side of the blocks of each, the scale they are seen at, and the name of the network.
        pretrained: load the pretrained weights of `timm` networks.
        channels: of the views.

    Raises:
        ConfigError: if a network is unknown, its weights cannot be loaded, or it gives another shape.
    """
    built, setting = nn.ModuleList(), "blocks.attention"
    for stage in stages:
        name = stage.attention
        network = attention_network(name, pretrained=pretrained, setting=setting, channels=channels)
        if not takes_any_size(name):
            map_size(network, name, view_size(stage.size, stage.scale), setting, channels)
        built.append(network)
    return built


def classifier(
    built: Networks, n_classes: int, gates: tuple[int, int, int], context: bool, overview: bool = False
) -> tuple[nn.Module, LinearHead]:
    """F and g: f as it is, or gated attention behind it.

    Args:
        built: the networks.
        n_classes: number of classes.
        gates: copies of gated attention, components that they see, features of each; without copies none.
        context: the head sees features of a view of the whole image too.
        overview: the head behind the gates sees what the tile attention's trunk makes of the overview too.
    """
    copies, components, width = gates
    if not copies:
        return built.features, LinearHead(built.dims * (2 if context else 1), n_classes)
    trunk, dims, cells, whole = built.features, built.dims, 1, 0
    if isinstance(trunk, CellTrunk):
        dims, cells, whole = trunk.channels, trunk.cells, trunk.whole
    gated = GatedFeatures(trunk, dims, components, width, copies, cells, whole)
    a = built.tile_attention
    seen = 2 * a.logit.in_features if overview and isinstance(a, PyramidAttention) else 0
    return gated, GatedHead(copies, width, n_classes, seen)
