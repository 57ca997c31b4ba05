"""The gradients of several processes that train one network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["add_up_gradients"]


def add_up_gradients(net: nn.Module) -> None:
    """Give every process the sum of the gradients of all; a weight that has none anywhere keeps none.

    Running statistics of batch normalization become the means over the processes.
    """
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    has = torch.tensor([float(w.grad is not None) for w in weights], device=weights[0].device)
    parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    statistics = list(_statistics(net))
    flat = torch.cat([has, *(part.flatten().float() for part in [*parts, *statistics])])
    dist.all_reduce(flat)
    found, *summed = flat.split([len(weights), *(part.numel() for part in [*parts, *statistics])])
    for weight, part, there in zip(weights, summed, found.tolist(), strict=False):
        if not there:
            continue
        if weight.grad is None:
            weight.grad = torch.empty_like(weight)
        weight.grad.copy_(part.view_as(weight))  # in the order in memory of the weight, as optimisers expect
    for statistic, part in zip(statistics, summed[len(weights) :], strict=True):
        statistic.copy_(part.view_as(statistic) / dist.get_world_size())


def _statistics(net: nn.Module) -> Iterable[Tensor]:
    for module in net.modules():
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats:
            assert module.running_mean is not None and module.running_var is not None
            yield from (module.running_mean, module.running_var)
