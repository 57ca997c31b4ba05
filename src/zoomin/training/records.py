"""What a training run leaves behind and shows while it goes: a table of epochs, a progress bar."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor

from ..files import write_rows
from ..progress import progress_bar
from .epoch_rows import Row

__all__ = [
    "EpochHook",
    "EpochTable",
    "ProgressBar",
    "quiet_lightning",
]

_SHOWN = ("train_loss", "val_loss", "val_balanced_accuracy", "val_auroc")


class EpochTable(Logger):
    """Gathers what is logged into one row per epoch, training and validation side by side.

    Its epochs count from 0, as those of checkpoints; those of what is logged, from 1.

    Args:
        path: CSV file to keep up to date, or None to keep the rows in memory alone.
        rows: of the epochs done, according to the checkpoint: the file may lack the last.
    """

    def __init__(self, path: Path | None = None, rows: Sequence[Row] = ()) -> None:
        """Take the rows of the epochs done, into the file too."""
        super().__init__()
        self._path = path
        self._rows: dict[int, Row] = {int(row["epoch"]): dict(row) for row in rows}
        if path is not None and rows:
            write_rows(path, self.rows)

    @property
    def name(self) -> str | None:
        """No sub-folder."""
        return None

    @property
    def version(self) -> int | str | None:
        """No sub-folder."""
        return None

    @property
    def rows(self) -> list[Row]:
        """One row per epoch, in order; what was not logged is absent."""
        return [self._rows[epoch] for epoch in sorted(self._rows)]

    def rows_with(self, epoch: int, metrics: Mapping[str, Tensor]) -> list[Row]:
        """The rows, and in that of an epoch what is measured and not logged yet."""
        row: Row = {"epoch": epoch, **self._rows.get(epoch, {})}
        more = {name: _rounded(float(value)) for name, value in metrics.items() if name not in {*row, "step"}}
        return [*(known for known in self.rows if known["epoch"] != epoch), {**row, **more}]

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (the base class's signature)
        """Nothing: config.yaml holds them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to the row of their epoch; those of training come last and complete it."""
        if "epoch" not in metrics:
            return  # of a callback's own
        epoch = int(metrics["epoch"]) - 1
        self._rows.setdefault(epoch, {"epoch": epoch}).update(
            {name: _rounded(value) for name, value in metrics.items() if name != "epoch"}
        )
        if "lr" in metrics and self._path is not None:
            write_rows(self._path, self.rows)


def _rounded(value: float) -> float:
    return float(f"{value:.7g}")


class ProgressBar(Callback):
    """One bar for the whole run: epoch, the latest losses and scores, time left."""

    def __init__(self, table: EpochTable) -> None:
        """Show the last row of this table."""
        self._table = table
        self._open = ExitStack()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start where the run resumes."""
        assert trainer.max_epochs is not None
        steps = int(trainer.num_training_batches)
        bar = progress_bar("Training", trainer.max_epochs * steps, done=trainer.current_epoch * steps)
        self._bar = self._open.enter_context(bar)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Name the epoch, and what the last one was like."""
        last = self._table.rows[-1] if self._table.rows else {}
        note = ", ".join(f"{name} {last[name]:.3f}" for name in _SHOWN if name in last)
        self._bar.show(title=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", note=note)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """One step further."""
        self._bar.advance()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the finished bar."""
        self._open.close()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        self._open.close()


class EpochHook(Callback):
    """Calls a function before every epoch of training."""

    def __init__(self, call: Callable[[], None]) -> None:
        """Remember the function."""
        self._call = call

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Call it."""
        self._call()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence what Lightning says of devices, workers and intervals; errors still speak."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in (
                r".*does not have many workers",
                r".*Checkpoint directory .* exists",
                r".*number of training batches",
            ):
                warnings.filterwarnings("ignore", message)
            warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning\.")
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        sys.stderr.flush()
