"""Save and load models: `model.safetensors` and `config.json` in a folder, no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import CheckpointError
from ..files import parse_json, whole_file, write_json
from .networks.weights import weight_bytes, without_file

__all__ = ["CONFIG", "READERS", "WEIGHTS", "load_pretrained", "model_fingerprint", "save_pretrained"]

Model = TypeVar("Model", bound=nn.Module)
Config = TypeVar("Config", bound="ModelConfig")
_DAMAGE = (
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
    OverflowError,
    MemoryError,
    SafetensorError,
    OSError,
)
_FEW = 1 << 24  # weights
_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}
WEIGHTS, CONFIG = "model.safetensors", "config.json"
READERS = "readers.json"  # what decoded the training images


@runtime_checkable
class ModelConfig(Protocol):
    """What is asked of a model's configuration: to become plain values, and to have defaults."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists."""
        ...


@runtime_checkable
class Weighted(Protocol):
    """What is asked of a model: its weights by name."""

    def state_dict(self) -> Mapping[str, torch.Tensor]: ...


def save_pretrained(model: nn.Module, config: ModelConfig, folder: str | Path) -> Path:
    """Write weights and configuration into a folder; whole files replace old ones at once."""
    folder = Path(folder)
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in model.state_dict().items()}
    with whole_file(folder / WEIGHTS) as part:
        save_file(state, part, metadata={"format": "pt"})
        write_json(folder / CONFIG, config.to_dict())
        if readers := getattr(model, "readers", ()):
            write_json(folder / READERS, list(readers))
    return folder


def load_pretrained(
    build: Callable[[Config], Model],
    folder: str | Path,
    device: str | torch.device,
    parse: Callable[[dict[str, Any], str], Config],
) -> Model:
    """The model that `save_pretrained` wrote, in evaluation mode.

    Args:
        build: a model of a configuration.
        folder: with model.safetensors and config.json.
        device: where to compute.
        parse: a configuration of plain values and the name of their file.

    Raises:
        CheckpointError: if a file is missing or damaged, or the weights are of another configuration.
        ConfigError: if the configuration has settings that this version does not know.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            remedy = "Give the model/ folder of a finished run."
            raise CheckpointError(f"no {name} in this folder", where=folder, remedy=remedy)
    try:
        values = _unfetched(parse_json((folder / CONFIG).read_text(encoding="utf-8")))
        known = folder / READERS
        readers = tuple(map(str, parse_json(known.read_text(encoding="utf-8")))) if known.is_file() else ()
        state = load_file(folder / WEIGHTS, device=str(device))
        config = parse(values, str(folder / CONFIG))
        with _Bounded(sum(tensor.numel() for tensor in state.values())):
            model = build(config)
    except _DAMAGE as error:
        remedy = "Copy or train the model again."
        raise CheckpointError(f"damaged ({error})", where=folder, remedy=remedy) from error
    _load_state(model, state, folder)
    if readers:
        model.readers = readers  # type: ignore[assignment]  # of a Network
    return model.to(device).eval()


class _Bounded(TorchFunctionMode):
    """Stops the construction of a network that asks for far more weights than its file holds.

    Building it on `torch.device("meta")` first would tell as much, but imports torch's compiler, which takes
    more than a second.
    """

    def __init__(self, stored: int) -> None:
        super().__init__()
        self.stored, self.left = stored, 2 * stored + _FEW

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the function returns
        made = func(*args, **(kwargs or {}))
        if func in _FACTORIES:
            self.left -= made.numel()
            if self.left < 0:
                raise ValueError(
                    f"its configuration asks for far more than the {self.stored:,} weights stored"
                )
        return made


def _load_state(model: nn.Module, state: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Give a model its weights.

    Raises:
        CheckpointError: if they are of another configuration.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights do not fit the configuration ({str(error).splitlines()[-1].strip()})",
            where=folder,
            remedy="config.json and model.safetensors must come from the same run.",
        ) from error


def _unfetched(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose networks take no weights from elsewhere: the model's own follow."""
    named = {name: without_file(value) for name, value in values.items() if isinstance(value, str)}
    return {**values, **named, "pretrained": False}


def model_fingerprint(model: Weighted, config: ModelConfig) -> str:
    """The same for the same weights and configuration, on any machine: 16 hexadecimal digits.

    Of the configuration, what is at its default does not count, so that a setting which a later version adds
    changes nothing; nor do `chunk_size`, `pretrained` and the mean feature, which change no answer of a
    trained model.
    """
    default = type(config)().to_dict()
    settings = {
        name: value
        for name, value in _unfetched(config.to_dict()).items()
        if value != default[name] and name not in ("chunk_size", "pretrained")
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    weights = {name: value for name, value in model.state_dict().items() if name != "head.mean_feature"}
    for part in weight_bytes(weights):
        digest.update(part)
    return digest.hexdigest()[:16]
