"""Trunks from `timm`, for attention and for features.

The weights of EfficientNet-Lite0 (ImageNet; Tan & Le 2019, without squeeze-and-excitation) come with a Python
package, so that a pretrained trunk needs no download; the weights of other models `timm` fetches.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ...errors import ConfigError
from . import lite0

__all__ = ["TIMM_PREFIX", "timm_encoder", "timm_maps", "timm_trunk"]

TIMM_PREFIX = "timm:"


def timm_trunk(name: str, pretrained: bool) -> tuple[nn.Module, int]:
    """The first half of a `timm` model, to stride 8 or as near as it has, and its number of channels.

    Raises:
        ConfigError: if `timm` has no such model, or its weights cannot be loaded.
    """
    if name.split(".")[0] == lite0.NAME:
        return _bundled(lite0.Lite0Trunk(), pretrained), lite0.Lite0Trunk.channels
    _check(name)
    reductions = _created(name, False, features_only=True).feature_info.reduction()
    stage = min(range(len(reductions)), key=lambda i: abs(reductions[i] - 8))
    trunk = _created(name, pretrained, features_only=True, out_indices=(stage,))
    return trunk, trunk.feature_info.channels()[-1]


def timm_maps(name: str, pretrained: bool, strides: tuple[int, ...]) -> tuple[nn.Module, list[int]]:
    """A `timm` model that gives its maps of some strides, and their numbers of channels.

    Raises:
        ConfigError: if `timm` has no such model, it lacks a stride, or its weights cannot be loaded.
    """
    if name.split(".")[0] == lite0.NAME and strides == lite0.Lite0Maps.strides:
        return _bundled(lite0.Lite0Maps(), pretrained), list(lite0.Lite0Maps.channels)
    _check(name)
    reductions = _created(name, False, features_only=True).feature_info.reduction()
    if missing := [stride for stride in strides if stride not in reductions]:
        raise ConfigError(
            f"timm model {name!r} has no map of stride {missing[0]}, but of {reductions}",
            where="tile_attention",
            remedy="Choose a convolutional model, such as tf_efficientnet_lite0.",
        )
    stages = tuple(reductions.index(stride) for stride in strides)
    trunk = _created(name, pretrained, features_only=True, out_indices=stages)
    return trunk, list(trunk.feature_info.channels())


def timm_encoder(name: str, pretrained: bool) -> tuple[nn.Module, int]:
    """A `timm` model without its classifier, from views to pooled features, and their number.

    Raises:
        ConfigError: if `timm` has no such model, or its weights cannot be loaded.
    """
    if name.split(".")[0] == lite0.NAME:
        return _bundled(lite0.Lite0Encoder(), pretrained), lite0.FEATURES
    _check(name)
    model = _created(name, pretrained, num_classes=0)
    return model, model.num_features


def _bundled(network: nn.Module, pretrained: bool) -> nn.Module:
    if pretrained:
        lite0.load_bundled_weights(network)
    return network


def _created(name: str, pretrained: bool, **options: Any) -> Any:  # noqa: ANN401 (timm is not typed)
    import timm

    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except (OSError, RuntimeError) as error:
        raise _unloadable(name, error) from error


def _check(name: str) -> None:
    import timm

    if not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")[:5]
        hint = f" Near: {', '.join(near)}." if near else ""
        raise ConfigError(f"timm has no model {name!r}", remedy=f"timm.list_models() lists them.{hint}")


def _unloadable(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"the weights of timm model {name!r} could not be loaded ({error})",
        remedy="Use pretrained: false, or put the weights into the Hugging Face cache first.",
    )
