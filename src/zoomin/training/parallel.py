"""Several processes that train one network: how Lightning is set up for them, and what they share.

Every step adds up the gradients of all processes, each of which is that of its part of the objective: a mean
over all images of the step, however unevenly these are dealt, and though some cannot be read.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from ..data.datamodule import ZoomInDataModule
from ..data.failures import with_readable
from ..data.sharing import Share
from ..errors import ConfigError
from ..runtime.ranks import Ranks, check_ranks, started_ranks
from .config import RunConfig, TrainConfig
from .zoom_in_task import ZoomInTask

__all__ = [
    "asked_ranks",
    "environment_of",
    "meeting_point",
    "ranks_to_launch",
    "same_everywhere",
    "share_embeddings",
    "strategy_of",
    "training_ranks",
]


class _SharedGradients(DDPStrategy):
    """Lightning's DDP without torch's wrapper, whose mean over processes is no mean over images."""

    def configure_ddp(self) -> None:
        """Leave the network as it is: the task adds up its gradients."""


def asked_ranks(config: RunConfig, per_node: int = 1) -> int:
    """How many processes the settings ask for.

    Args:
        config: the run.
        per_node: processes that "auto" means where something has started them; without GPUs else 1.

    Raises:
        ConfigError: if what is to be trained cannot be trained by several processes.
    """
    train = config.train
    gpus = torch.cuda.device_count() if train.device in ("auto", "cuda") else 0
    devices = (max(gpus, 1) if per_node == 1 else per_node) if train.devices == "auto" else train.devices
    asked = devices * train.num_nodes
    if asked > 1:
        _check_parallel(config, devices, gpus)
    return asked


def _check_parallel(config: RunConfig, devices: int, gpus: int) -> None:
    if config.frozen.enabled:
        raise ConfigError(
            "learning on a frozen trunk runs in one process",
            where="train.devices",
            remedy="Leave train.devices and train.num_nodes out; or learn from pixels, with a recipe.",
        )
    if config.train.device == "mps" or (
        config.train.device == "auto" and not gpus and torch.mps.is_available()
    ):
        raise ConfigError(
            "Apple's GPU trains in one process",
            where="train.devices",
            remedy="Set it to 1, or use device cpu.",
        )
    if gpus and devices > gpus:
        raise ConfigError(
            f"{devices} devices are asked for, and this machine shows {gpus} GPU{'s'[: gpus != 1]}",
            where="train.devices",
            remedy="Give at most that number, or set train.device to cpu.",
        )


def ranks_to_launch(config: RunConfig) -> int:
    """How many processes the command has to start itself; 1 where something else has, or has to.

    Raises:
        ConfigError: if what is to be trained cannot be trained by several processes.
    """
    return asked_ranks(config) if started_ranks().world == 1 and config.train.num_nodes == 1 else 1


def training_ranks(config: RunConfig) -> Ranks:
    """The processes that train, which were started as the settings ask.

    Raises:
        ConfigError: if other numbers of processes were started than are asked for, or this is one alone.
    """
    ranks = started_ranks()
    asked = asked_ranks(config, ranks.per_node)
    if asked > 1 and ranks.world == 1:
        raise ConfigError(
            f"train.devices and train.num_nodes ask for {asked} processes, and this is one",
            where="train.devices",
            remedy="Use the command zoomin train, which starts those of one machine, torchrun or srun.",
        )
    check_ranks(ranks, asked)
    return ranks


def meeting_point(ranks: Ranks, config: TrainConfig) -> tuple[str, tuple[str, int] | None]:
    """How the processes talk, and where they meet where the starter does not tell: see `ranks.joined`."""
    on_gpu = config.device in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu and ranks.world > 1:
        torch.cuda.set_device(ranks.local_rank)
    address = None
    if ranks.starter == "srun":
        slurm = SLURMEnvironment(auto_requeue=False)
        address = slurm.main_address, slurm.main_port
    return "nccl" if on_gpu else "gloo", address


def environment_of(ranks: Ranks) -> ClusterEnvironment:
    """What tells Lightning which process this is.

    Named explicitly: under SLURM, Lightning would save into the working directory when time is up, and begin
    from what any other run has saved there.
    """
    if ranks.starter == "torchrun":
        return TorchElasticEnvironment()
    return SLURMEnvironment(auto_requeue=False) if ranks.starter == "srun" else LightningEnvironment()


def strategy_of(ranks: Ranks) -> dict[str, Any]:
    """The arguments of Lightning's trainer that make it one of several."""
    if ranks.world == 1:
        return {"devices": 1}
    return {
        "devices": ranks.per_node,
        "num_nodes": ranks.world // ranks.per_node,
        "strategy": _SharedGradients(),
        "use_distributed_sampler": False,  # batches are dealt by the data module
    }


def same_everywhere(net: nn.Module, ranks: Ranks) -> None:
    """Give all processes the weights of the first: those of several machines may differ in the last digit."""
    if ranks.world == 1:
        return
    import torch.distributed as dist

    with torch.no_grad():
        for tensor in net.state_dict().values():
            dist.broadcast(tensor, 0)


def share_embeddings(task: ZoomInTask, data: ZoomInDataModule, ranks: Ranks) -> None:
    """Let each process embed a part of the images by the frozen trunk, and all know the embeddings of all.

    Images that are augmented have no embeddings that stay; those that cannot be read are left for later.
    """
    cache = task.cache
    if not task.embeds_once or ranks.world == 1 or data.config.augmentation.active:
        return
    used = data.with_splits({name: data.splits[name] for name in ("train", "val")})
    own = used.with_part(Share(ranks.rank, ranks.world))
    for batch in own.predict_dataloader():
        with_readable(batch, lambda part, kept: task.cached_embeddings(part), lambda name, error: None)
    for known in ranks.each(cache.on_cpu):
        cache.take(known, task.net.device)
