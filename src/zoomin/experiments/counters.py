"""Counters of what a computation costs: FLOPs by the paper's equation 10, bytes saved for backward, peaks.

They watch any code that runs inside them, on any device.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["LiveMemory", "SavedMemory", "counted_flops", "equation_10"]


class SavedMemory:
    """Bytes that autograd keeps for the backward pass: the activations of a training step.

    A storage that several operations keep counts once; parameters and buffers do not count. What is computed
    again in the backward pass (activation checkpointing) is not kept, and does not count.

    Args:
        network: whose parameters and buffers are left out.

    Attributes:
        bytes: of all storages kept.

    Example:
        >>> layer = torch.nn.Linear(4, 2)
        >>> with SavedMemory(layer) as saved:
        ...     y = layer(torch.zeros(10, 4)).relu()
        >>> saved.bytes  # the input, and what the rectifier gave: 40 and 20 numbers
        240
    """

    def __init__(self, network: nn.Module) -> None:
        """Nothing is kept yet."""
        owned = [*network.parameters(), *network.buffers()]
        self._owned = {tensor.untyped_storage().data_ptr() for tensor in owned}
        self._kept: dict[int, Tensor] = {}  # holding a tensor, no other can take its address
        self.bytes = 0
        self._hooks = saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def __enter__(self) -> SavedMemory:
        """Begin to watch."""
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop; what was kept is let go, its size stays known."""
        self._hooks.__exit__(*error)
        self._kept.clear()

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place not in self._owned and place not in self._kept:
            self._kept[place] = tensor.detach()
            self.bytes += storage.nbytes()
        return tensor


class LiveMemory(TorchDispatchMode):
    """Bytes of all tensors made inside, and alive: at most, and now.

    What a GPU's allocator would report as its peak, on any device, without its rounding and without the
    working memory that libraries take inside an operation.

    Example:
        >>> with LiveMemory() as live:
        ...     a = torch.zeros(100)
        ...     b = a + 1
        ...     del a
        >>> live.peak, live.now
        (800, 400)
    """

    def __init__(self) -> None:
        """Nothing is alive."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run an operation, and look at what it gives."""
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self._alive or not size:
            return
        self._alive.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, place, size)

    def _remove(self, place: int, size: int) -> None:
        self._alive.discard(place)
        self.now -= size


@contextmanager
def equation_10(network: nn.Module) -> Iterator[Callable[[], int]]:
    """Count FLOPs by equation 10 of the paper's supplement: C_in k^2 H_out W_out C_out of each convolution.

    A linear layer is a convolution of one pixel. One FLOP is one multiplication with its addition, as in the
    equation; layers without weights are not counted.

    Yields:
        A function that tells the FLOPs counted so far.

    Example:
        >>> layer = torch.nn.Conv2d(3, 8, 5, padding=2)
        >>> with equation_10(layer) as flops:
        ...     _ = layer(torch.zeros(2, 3, 10, 10))
        >>> flops() == 2 * 3 * 5 * 5 * 10 * 10 * 8
        True
    """
    total = 0

    def count(layer: nn.Module, _: Any, out: Tensor) -> None:  # noqa: ANN401 (of whatever inputs)
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            kernel = layer.kernel_size[0] * layer.kernel_size[1]
            total += layer.in_channels // layer.groups * kernel * out.numel()
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * out.numel()

    handles = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        yield lambda: total
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def counted_flops() -> Iterator[Callable[[], int]]:
    """Count FLOPs by torch's counter, which knows every operation; one multiplication or addition is one.

    Yields:
        A function that tells the FLOPs counted so far.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        yield lambda: int(counter.get_total_flops())
