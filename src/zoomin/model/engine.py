"""What computes networks that only answer: OpenVINO on a CPU where it is installed, else PyTorch.

Converted networks are kept in the user's cache: a second process starts them in hundredths of a second. Each
is compiled for one height and width of views, and for any number of them: with a free height and width
OpenVINO (2026.4.1) rounds towards zero where a network computes its paddings by floor division, and answers
wrongly for some sides (findings/openvino_divides_two_ways.sh).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError
from ..files import user_cache
from ..runtime.extras import install
from .choices import check_engine
from .networks.weights import weight_bytes

__all__ = ["Engine", "has_openvino"]

_WORTH = 500_000  # parameters from which "auto" compiles: smaller networks end before they are compiled
_NEAR = 1e-3  # largest difference from PyTorch, of the largest output; measured: 1e-6
_KNOWN = ("zoomin", "timm", "torch")  # packages whose layers take the same path for all views


@cache
def has_openvino() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


class Engine:
    """Computes networks; keeps what it has compiled as long as their weights stay as they are.

    Args:
        name: "torch"; "openvino"; or "auto", OpenVINO for large networks where it is installed.

    Raises:
        ConfigError: if there is no such engine, or OpenVINO is asked for and not installed.
    """

    def __init__(self, name: str = "auto") -> None:
        """Nothing is compiled yet."""
        check_engine(name)
        if name == "openvino" and not has_openvino():
            raise ConfigError(
                "OpenVINO is not installed", where="engine", remedy=f"{install('fast')}, or use torch."
            )
        self.name = name
        self._compiled: WeakKeyDictionary[nn.Module, _Eager | _Network] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[Engine], tuple[str]]:
        """A copy compiles anew."""
        return Engine, (self.name,)

    def run(self, network: nn.Module, views: Float[Tensor, "n c h w"]) -> Tensor:
        """What a network makes of views.

        On a GPU, with gradients, in training mode and in other precisions PyTorch computes.

        Args:
            network: from views to rows.
            views: standardised.
        """
        return self.on(network)(views)

    def on(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """`run` for many calls between which the weights stay as they are: they are looked at once.

        Args:
            network: from views to rows.
        """
        known: _Eager | _Network | None = None

        def run(views: Tensor) -> Tensor:
            nonlocal known
            if not self._takes(network, views):
                return _eager(network, views)
            known = known or self._known(network)
            return known.run(network, views)

        return run

    def _known(self, network: nn.Module) -> _Eager | _Network:
        known, state = self._compiled.get(network), _state(network)
        if known is None or known.state != state:
            worth = self.name == "openvino" or _worth(network)
            known = self._compiled[network] = _Network(state) if worth else _Eager(state)
        return known

    def _takes(self, network: nn.Module, views: Tensor) -> bool:
        if self.name == "torch" or views.device.type != "cpu" or views.dtype != torch.float32:
            return False
        if torch.is_grad_enabled() or network.training or torch.is_autocast_enabled("cpu"):
            return False
        return len(views) > 0 and has_openvino()


def _eager(network: nn.Module, views: Tensor) -> Tensor:
    found: Tensor = network(views.contiguous(memory_format=torch.channels_last))
    return found


class _Eager:
    """A network that PyTorch computes."""

    def __init__(self, state: tuple[tuple[int, int], ...]) -> None:
        """Nothing is to be compiled."""
        self.state = state

    def run(self, network: nn.Module, views: Tensor) -> Tensor:
        """What the network makes of views."""
        return _eager(network, views)


class _Network:
    """A network compiled for each shape of views that came; PyTorch where that is not possible."""

    def __init__(self, state: tuple[tuple[int, int], ...]) -> None:
        """Nothing is compiled yet."""
        self.state = state
        self._compiled: dict[tuple[int, ...], Callable[[Any], Any] | None] = {}
        self._lock = threading.Lock()  # a compiled network answers one call at a time

    def run(self, network: nn.Module, views: Tensor) -> Tensor:
        """What the network makes of views."""
        with self._lock:
            shape = tuple(views.shape[1:])
            if shape not in self._compiled:
                self._compiled[shape] = _checked(network, views[:1].contiguous())
            if (compiled := self._compiled[shape]) is not None:
                return torch.from_numpy(compiled(views.contiguous().numpy())[0].copy())
        return _eager(network, views)


def _worth(network: nn.Module) -> bool:
    """Whether a network is large, and built of layers that can be converted."""
    if sum(parameter.numel() for parameter in network.parameters()) < _WORTH:
        return False
    return all(type(layer).__module__.split(".")[0] in _KNOWN for layer in network.modules())


def _state(network: nn.Module) -> tuple[tuple[int, int], ...]:
    """Tells weights from what they were before they were changed."""
    found: list[tuple[int, int]] = []
    layers = [network]
    while layers:  # Module.parameters() names them too, which takes longer
        layer = layers.pop()
        layers += [part for part in layer._modules.values() if part is not None]
        for tensor in (*layer._parameters.values(), *layer._buffers.values()):
            if tensor is not None:
                found.append((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version))
    return tuple(found)


def _checked(network: nn.Module, view: Tensor) -> Callable[[Any], Any] | None:
    """A compiled network, if it answers views as PyTorch does: two, lest it was bound to one at a time."""
    views = torch.cat([view, view.flip(3)])
    expected = _eager(network, views)
    try:
        compiled = _compile(network, view)
        found = torch.from_numpy(compiled(views.numpy())[0])
        off = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
    except Exception as error:  # whatever a converter fails with, PyTorch computes
        warnings.warn(f"OpenVINO cannot run {type(network).__name__} ({error}); PyTorch does", stacklevel=2)
        return None
    if off <= _NEAR * max(1.0, float(expected.abs().max())):
        return compiled
    warnings.warn(
        f"OpenVINO answers {off:.2g} off with {type(network).__name__}; PyTorch computes", stacklevel=2
    )
    return None


def _compile(network: nn.Module, view: Tensor) -> Callable[[Any], Any]:
    """A network for views of one height and width, from the cache where it is there."""
    how: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    folder = user_cache("engines") / _key(network, view)
    with suppress(OSError, RuntimeError):  # a damaged or read-only cache is made again, or done without
        if not folder.is_dir():
            _write(_converted(network, view), folder)
        kept = {**how, "CACHE_DIR": str(folder)}
        found: Callable[[Any], Any] = _core().compile_model(folder / "network.xml", "CPU", kept)
        return found
    shutil.rmtree(folder, ignore_errors=True)
    found = _core().compile_model(_converted(network, view), "CPU", how)
    return found


@cache
def _core() -> Any:  # noqa: ANN401 (OpenVINO is not typed)
    """The one core of the process, which is never closed.

    Each gives its thread a stack for signals and takes that away when it is closed (2026.4.1): after several
    have come and gone, the next signal, such as Ctrl-C, finds a stack that is no more, and ends the process.
    """
    import openvino

    return openvino.Core()


def _converted(network: nn.Module, view: Tensor) -> Any:  # noqa: ANN401 (OpenVINO is not typed)
    """OpenVINO's model of a network.

    By its front end: `openvino.convert_model` sends usage events to its makers unless the user has opted out
    (findings/openvino_convert_model_reports_home.sh).
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about itself
        traced = torch.jit.trace(network, view, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced)
        front_end = FrontEndManager().load_by_framework("pytorch")
        loaded = front_end.load(decoder)
        model = front_end.convert(loaded)
    model.reshape([-1, *view.shape[1:]])
    return model


def _write(model: Any, folder: Path) -> None:  # noqa: ANN401 (OpenVINO is not typed)
    """Keep a converted network; the folder appears whole."""
    import openvino

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as part:
        openvino.save_model(model, Path(part) / "network.xml", compress_to_fp16=False)
        Path(part).chmod(0o755)
        with suppress(FileExistsError):
            if os.path.lexists(folder):  # another process was faster
                return
            Path(part).rename(folder)
            Path(part).mkdir()  # for the context to remove


def _key(network: nn.Module, view: Tensor) -> str:
    """Of a network's layers and weights, the shape of a view and the versions that convert it."""
    digest = hashlib.sha256(f"{network}{tuple(view.shape)}{version('openvino')}{torch.__version__}".encode())
    for part in weight_bytes(network.state_dict()):
        digest.update(part)
    return digest.hexdigest()[:20]
