"""Random numbers from keys and counters: the same in any batch, for any number of workers, on any device."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["ascending", "derive_keys", "uniforms"]

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, odd; as signed 64-bit integers: SplitMix64
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of signed 64-bit integers."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    x = _shift(x, 30).bitwise_xor_(x).mul_(_MIX_1)
    x = _shift(x, 27).bitwise_xor_(x).mul_(_MIX_2)
    return _shift(x, 31).bitwise_xor_(x)


def derive_keys(keys: Int[Tensor, "*rows"], value: Int[Tensor, "*rows"] | int) -> Int[Tensor, "*rows"]:
    """New keys from keys and a number: a tile's key from its image's, a replicate's from the seed.

    Example:
        >>> derive_keys(torch.tensor([7, 7, 8]), torch.tensor([0, 1, 0])).unique().numel()
        3
    """
    return _mix(keys + _GOLDEN * (torch.as_tensor(value, device=keys.device) + 1))


def uniforms(keys: Int[Tensor, " rows"], n: int, stream: int = 0) -> Float[Tensor, "rows n"]:
    """Numbers in (0, 1), uniform, the same for the same key, stream and column, on every device.

    Double precision, except on devices that have none.

    Example:
        >>> u = uniforms(torch.tensor([1, 2]), 3)
        >>> bool(((0 < u) & (u < 1)).all()), bool((u[:1] == uniforms(torch.tensor([1]), 3)).all())
        (True, True)
    """
    counter = torch.arange(1, n + 1, device=keys.device)
    bits = _mix(derive_keys(keys, stream)[:, None] + _GOLDEN * counter)
    if keys.device.type == "mps":
        return _shift(bits, 41).float().add_(0.5).mul_(2.0**-23)
    return _shift(bits, 12).double().add_(0.5).mul_(2.0**-52)


def ascending(numbers: Float[Tensor, "rows n"]) -> Int[Tensor, "rows n"]:
    """Places of the numbers of each row, the least first; no two of a row are the same.

    On a CPU NumPy sorts three times as fast as PyTorch.

    Example:
        >>> ascending(torch.tensor([[0.5, 0.1, 0.3]])).tolist()
        [[1, 2, 0]]
    """
    if numbers.device.type != "cpu":
        return numbers.argsort(1)
    return torch.from_numpy(np.argsort(numbers.numpy(), axis=1))
