"""Activation memory of training, epoch by epoch: what figure 4 of the supplement shows."""

from __future__ import annotations

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback

from .counters import SavedMemory

__all__ = ["MemoryWatch"]


class MemoryWatch(Callback):
    """Records for every epoch the bytes kept for the backward pass per image, contrastive pass included.

    train_saved_mb is in megabytes (10^6 bytes) per image; train_cuda_mb, where a GPU trains, is the most that
    its allocator held for a batch beyond what it held before.
    """

    def __init__(self) -> None:
        """Nothing has been seen."""
        self._saved: SavedMemory | None = None
        self._bytes = self._images = 0
        self._cuda: float | None = None

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Begin to count."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
            self._cuda = -float(torch.cuda.memory_allocated(pl_module.device))
        self._saved = SavedMemory(pl_module)
        self._saved.__enter__()

    def on_before_backward(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: torch.Tensor
    ) -> None:
        """The forward pass is over."""
        self._end()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Count the images; a batch without a backward pass ends here."""
        self._end()
        self._images += len(getattr(batch, "labels", ()))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the epoch."""
        found = {"train_saved_mb": self._bytes / max(1, self._images) / 1e6}
        if self._cuda is not None:
            peak = torch.cuda.max_memory_allocated(pl_module.device)
            found["train_cuda_mb"] = (peak + self._cuda) / 1e6
        pl_module.log_dict(found, on_step=False, on_epoch=True, batch_size=1)
        self._bytes = self._images = 0

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Take the hooks off."""
        self._end()

    def _end(self) -> None:
        if self._saved is not None:
            self._saved.__exit__(None, None, None)
            self._bytes += self._saved.bytes
            self._saved = None
