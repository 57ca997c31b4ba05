"""Trunks from `timm`, for attention and for features."""

from __future__ import annotations

from torch import nn

from ..errors import ConfigError

__all__ = ["TIMM_PREFIX", "timm_encoder", "timm_trunk"]

TIMM_PREFIX = "timm:"


def timm_trunk(name: str, pretrained: bool) -> tuple[nn.Module, int]:
    """The first half of a `timm` model, to stride 8 or as near as it has, and its number of channels.

    Raises:
        ConfigError: if `timm` has no such model, or its weights cannot be loaded.
    """
    import timm

    _check(name)
    probe = timm.create_model(name, pretrained=False, features_only=True)
    reductions = probe.feature_info.reduction()
    stage = min(range(len(reductions)), key=lambda i: abs(reductions[i] - 8))
    try:
        trunk = timm.create_model(name, pretrained=pretrained, features_only=True, out_indices=(stage,))
    except (OSError, RuntimeError) as error:
        raise _unloadable(name, error) from error
    return trunk, trunk.feature_info.channels()[-1]


def timm_encoder(name: str, pretrained: bool) -> tuple[nn.Module, int]:
    """A `timm` model without its classifier, from views to pooled features, and their number.

    Raises:
        ConfigError: if `timm` has no such model, or its weights cannot be loaded.
    """
    import timm

    _check(name)
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (OSError, RuntimeError) as error:
        raise _unloadable(name, error) from error
    return model, model.num_features


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
