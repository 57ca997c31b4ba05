"""Networks that a caller or a plug-in brings: named in the configuration, tried before use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...errors import ConfigError

__all__ = ["feature_dims", "map_size", "refuse_own", "with_own_names"]

_OWN = "own:"  # in a saved configuration: a module that the caller passed, and its class

Config = TypeVar("Config", bound=Any)  # a frozen dataclass with a name for each network


def with_own_names(config: Config, modules: Mapping[str, nn.Module | None]) -> Config:
    """A configuration that records which networks the caller brought, by setting.

    Raises:
        ConfigError: if something else than a module is given.
    """
    own = {setting: module for setting, module in modules.items() if module is not None}
    for setting, module in own.items():
        if not isinstance(module, nn.Module):
            raise ConfigError(
                f"{setting} is a {type(module).__name__}, not a torch.nn.Module",
                where=setting,
                remedy="Pass the network itself; networks by name stand in the configuration.",
            )
    named = {setting: _OWN + type(module).__name__ for setting, module in own.items()}
    return dataclasses.replace(config, **named) if own else config


def refuse_own(name: str, setting: str) -> None:
    """Refuse the name of a network that only its author can build.

    Raises:
        ConfigError: if the name is one of `with_own_names`.
    """
    if name.startswith(_OWN):
        kind = name.removeprefix(_OWN)
        raise ConfigError(
            f"the model has a custom network, {kind}, which is not part of zoomin",
            where=setting,
            remedy=f"Pass it: ZoomIn(config, {setting}={kind}()), or ZoomIn.from_pretrained(folder, "
            f"{setting}={kind}()). The zoomin command needs it as a plug-in (docs/extend.md).",
        )


def feature_dims(network: nn.Module, name: str, side: int, channels: int = 3) -> int:
    """The number of features that a network makes of a sub-tile.

    Args:
        network: from (n, 3, side, side) to (n, features).
        name: what to call it.
        side: of the sub-tiles, pixels.
        channels: of the views.

    Raises:
        ConfigError: if it cannot take such sub-tiles, or does not give one vector for each.
    """
    try:
        found = _probed(network, side, channels)
    except RuntimeError as error:
        raise ConfigError(
            f"sub-tiles of {side} pixels do not pass through the feature network {name!r} "
            f"({str(error).splitlines()[0]}); mostly they are too small",
            where="sub_tile_size",
            remedy="Give a larger sub_tile_size, or another network.",
        ) from error
    _check(found, "features", f"the feature network {name!r}", "n 3 h w", ("n", "features"))
    return int(found.shape[1])


def map_size(network: nn.Module, name: str, side: int, setting: str, channels: int = 3) -> tuple[int, int]:
    """Rows and columns of the map of logits that an attention network makes of a view.

    Args:
        network: from (n, 3, side, side) to (n, rows, columns).
        name: what to call it.
        side: of the views, pixels.
        setting: "tile_attention" or "position_attention".
        channels: of the views.

    Raises:
        ConfigError: if it cannot take such views, or does not give one map for each.
    """
    try:
        found = _probed(network, side, channels)
    except RuntimeError as error:
        raise ConfigError(
            f"views of {side} pixels do not pass through the attention network {name!r} "
            f"({str(error).splitlines()[0]})",
            where=setting,
            remedy="Give a larger tile_size or scale, or another network.",
        ) from error
    _check(found, setting, f"the attention network {name!r}", "n 3 h w", ("n", "rows", "columns"))
    return int(found.shape[1]), int(found.shape[2])


def _probed(network: nn.Module, side: int, channels: int) -> Any:  # noqa: ANN401 (a stranger's module may return anything)
    """What a network makes of two black views; its mode is put back."""
    training = [module for module in network.modules() if module.training]
    try:
        with torch.no_grad():
            return network.eval()(torch.zeros(2, channels, side, side))
    finally:
        for module in training:
            module.training = True


def _check(found: object, setting: str, who: str, takes: str, shape: tuple[str, ...]) -> None:
    if not isinstance(found, Tensor) or not found.is_floating_point():
        kind = f"{found.dtype} numbers" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ConfigError(
            f"{who} gives {kind}",
            where=setting,
            remedy="It must return one tensor of floating-point numbers.",
        )
    if found.ndim != len(shape) or found.shape[0] != 2 or 0 in found.shape:
        raise ConfigError(
            f"{who} gives the shape {tuple(found.shape)} for 2 views",
            where=setting,
            remedy=f"It must make ({', '.join(shape)}) of views ({', '.join(takes.split())}).",
        )
