"""Lightning's trainer over all epochs, in one process or in several."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger

from ..data.datamodule import ZoomInDataModule
from ..data.sharing import Share
from ..runtime.allocator import memory_kept
from .checkpoints import WholeCheckpoints
from .parallel import environment_of, strategy_of
from .records import EpochHook, quiet_lightning
from .task import ClassifierTask

__all__ = ["train", "training_device"]


def train(
    task: ClassifierTask[Any],
    data: ZoomInDataModule,
    callbacks: list[Callback],
    loggers: list[Logger],
    checkpoint: Path | None = None,
) -> None:
    """Run Lightning's trainer over all epochs, from a checkpoint where one is given.

    Networks that draw random numbers of their own (dropout) are seeded before every epoch, and torch's global
    random state is afterwards what it was.

    Raises:
        KeyboardInterrupt: when interrupted.
    """
    config, ranks = task.config, task.ranks
    data = data.with_part(Share(ranks.rank, ranks.world))
    seeding = EpochHook(lambda: _seed(1_000_003 * task.seed + task.current_epoch))
    devices = range(torch.cuda.device_count()) if config.device != "cpu" else ()
    with (
        quiet_lightning(),
        _interruptible(),
        torch.random.fork_rng(devices),
        TemporaryDirectory() as empty,
        memory_kept(),
    ):
        trainer = lightning.Trainer(
            # Lightning begins from what any run has saved under SLURM in this folder.
            default_root_dir=empty,
            plugins=[WholeCheckpoints(), environment_of(ranks)],
            accelerator=config.device,
            precision=config.precision,
            max_epochs=config.epochs,
            gradient_clip_val=config.gradient_clip,
            callbacks=[*callbacks, seeding],
            logger=loggers,
            limit_val_batches=1.0 if data.splits["val"].numel() else 0,
            num_sanity_val_steps=0,
            enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1_000_000,
            **strategy_of(ranks),
        )
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)


def training_device(name: str) -> torch.device:
    """The device that `TrainConfig.device` names; "auto" is a GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")


def _seed(seed: int) -> None:
    torch.manual_seed(seed)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the exit that Lightning makes of an interrupt back into the interrupt."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
