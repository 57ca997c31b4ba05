"""What a training run leaves behind and shows while it goes: a table of epochs, a progress bar."""

from __future__ import annotations

import csv
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = [
    "EpochHook",
    "EpochTable",
    "ProgressBar",
    "Row",
    "counting",
    "progress_columns",
    "quiet_lightning",
    "write_rows",
]

Row = dict[str, int | float]  # one epoch: its number, and what was measured

_SHOWN = ("train_loss", "val_loss", "val_balanced_accuracy", "val_auroc")


class EpochTable(Logger):
    """Gathers what is logged into one row an epoch, training and validation side by side.

    Args:
        path: CSV file to keep up to date, or None to keep the rows in memory alone.
        resume_at: epochs done; rows of the file that belong to them are kept.
    """

    def __init__(self, path: Path | None = None, resume_at: int = 0) -> None:
        """Read the rows of the epochs done."""
        super().__init__()
        self._path = path
        self._rows: dict[int, Row] = {}
        if path is not None and path.is_file() and resume_at:
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    if int(row["epoch"]) < resume_at:
                        values: Row = {name: float(value) for name, value in row.items() if value}
                        self._rows[int(row["epoch"])] = {**values, "epoch": int(row["epoch"])}

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
        """A row an epoch, in order; what was not logged is absent."""
        return [self._rows[epoch] for epoch in sorted(self._rows)]

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (the base class's signature)
        """Nothing: config.yaml holds them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to the row of their epoch; those of training come last and complete it."""
        epoch = int(metrics["epoch"])
        self._rows.setdefault(epoch, {"epoch": epoch}).update(
            {name: float(f"{value:.7g}") for name, value in metrics.items() if name != "epoch"}
        )
        if "lr" in metrics and self._path is not None:
            self._write(self._path)

    def _write(self, path: Path) -> None:
        write_rows(path, self.rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV with a column for every name that occurs, whole or not at all."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


class ProgressBar(Callback):
    """One bar for the whole run: epoch, the latest losses and scores, time left."""

    def __init__(self, table: EpochTable) -> None:
        """Show the last row of this table."""
        self._table = table
        self._bar = Progress(*progress_columns(), console=Console(stderr=True), refresh_per_second=4)
        self._task = self._bar.add_task("training", note="")

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start where the run resumes."""
        assert trainer.max_epochs is not None
        steps = int(trainer.num_training_batches)
        self._bar.update(
            self._task, total=trainer.max_epochs * steps, completed=trainer.current_epoch * steps
        )
        self._bar.start()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Name the epoch, and what the last one was like."""
        last = self._table.rows[-1] if self._table.rows else {}
        note = ", ".join(f"{name} {last[name]:.3f}" for name in _SHOWN if name in last)
        self._bar.update(
            self._task, description=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", note=note
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """One step further."""
        self._bar.advance(self._task)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the finished bar."""
        self._bar.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        self._bar.stop()


class EpochHook(Callback):
    """Calls a function before every epoch of training."""

    def __init__(self, call: Callable[[], None]) -> None:
        """Remember the function."""
        self._call = call

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Call it."""
        self._call()


def progress_columns() -> tuple[Any, ...]:
    """Columns of the progress bars of training."""
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )


@contextmanager
def counting(total: int, what: str, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar over some things, and the function that counts one more."""
    with Progress(*progress_columns(), console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda: bar.advance(task)


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
