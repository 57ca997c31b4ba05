"""The estimates that a forward pass draws."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ..errors import ConfigError
from .network import random_keys
from .sampling import derive_keys

__all__ = ["Estimates", "plan_estimates"]


class Estimates(NamedTuple):
    """The estimates that a forward pass draws: replicates of every image, then the contrastive ones.

    Attributes:
        image: image of each estimate.
        replicate: replicate of each estimate.
        contrast: whether it is drawn from the complement laws.
        keys: seed of its random numbers.
    """

    image: Int[Tensor, " estimates"]
    replicate: Int[Tensor, " estimates"]
    contrast: Bool[Tensor, " estimates"]
    keys: Int[Tensor, " estimates"]


def plan_estimates(
    batch: int,
    device: torch.device,
    generator: torch.Generator | None,
    keys: Tensor | None,
    n: int,
    replicates: int,
    contrast: Tensor | None,
) -> Estimates:
    """Lay out the estimates to draw, replicate by replicate, then the contrastive ones.

    Raises:
        ConfigError: if N or the number of replicates is not positive.
    """
    for name, value in (("n_samples", n), ("replicates", replicates)):
        if value < 1:
            raise ConfigError(f"{name} is {value}", where=name, remedy="Give at least 1.")
    keys = random_keys(batch, generator, device) if keys is None else keys.to(device)
    image = torch.arange(batch, device=device).repeat(replicates)
    replicate = torch.arange(replicates, device=device).repeat_interleave(batch)
    extra = image[:0] if contrast is None else contrast.to(device).nonzero()[:, 0]
    return Estimates(
        image=torch.cat([image, extra]),
        replicate=torch.cat([replicate, torch.zeros_like(extra)]),
        contrast=torch.cat([torch.zeros_like(image), torch.ones_like(extra)]).bool(),
        keys=torch.cat([derive_keys(keys.repeat(replicates), replicate), derive_keys(keys[extra], -2)]),
    )
