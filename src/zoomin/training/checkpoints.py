"""The checkpoints of a run: when they are written, what they belong to, and how they are read back."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import nn

from ..classifiers import Classifier
from ..errors import CheckpointError, ConfigError
from ..files import plain, whole_file
from .config import MONITORS, TrainConfig
from .epoch_rows import Row, read_rows
from .records import EpochTable
from .run_folder import check_settings

__all__ = [
    "BEST",
    "LAST",
    "PREVIOUS",
    "START",
    "Done",
    "IdentityWriter",
    "WholeCheckpoints",
    "checkpoint_callbacks",
    "comparable",
    "epochs_done",
    "load_weights",
    "save_start",
    "stages_done",
]

BEST = Path("checkpoints") / "best.ckpt"
LAST = Path("checkpoints") / "last.ckpt"
PREVIOUS = Path("checkpoints") / "previous.ckpt"  # the last but one, should the last not be readable
START = Path("checkpoints") / "start.ckpt"  # what comes before the first epoch
logger = logging.getLogger(__name__)
_NET = "net."  # before the names of the network's weights

_FREE = {  # settings that a resumed run may change
    "out": None,
    "resume": None,
    "data": ("root", "threads", "resident", "cache_mb", "prefetch", "max_failures", "read_timeout"),
    "model": ("checkpoint",),
    "train": (
        "epochs",
        "device",
        "devices",
        "num_nodes",
        "strategy",
        "early_stopping_patience",
        "logger",
        "evaluation_sampling",
        "evaluation_replicates",
    ),
}


def checkpoint_callbacks(folder: Path, config: TrainConfig, has_validation: bool) -> list[Callback]:
    """Best before last, so that the last checkpoint knows of the best one; both after every whole epoch."""
    options: dict[str, Any] = {
        "dirpath": (folder / LAST).parent,
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    callbacks: list[Callback] = []
    if has_validation:
        mode = MONITORS[config.monitor]
        callbacks.append(_Checkpoint(filename=BEST.stem, monitor=config.monitor, mode=mode, **options))
        if config.early_stopping_patience is not None:
            patience = config.early_stopping_patience
            callbacks.append(EarlyStopping(config.monitor, patience=patience, mode=mode))
    return [*callbacks, _Checkpoint(filename=LAST.stem, **options)]


class _Checkpoint(ModelCheckpoint):
    """Knows the best score too where the folder of the run has been moved since."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Read the paths as those of the folder of today; Lightning would drop what is of another."""
        there, here = str(state_dict.get("dirpath")), str(self.dirpath)

        def moved(value: object) -> object:
            if isinstance(value, dict):
                return {moved(name): score for name, score in value.items()}
            return value.replace(there, here, 1) if isinstance(value, str) else value

        super().load_state_dict({name: moved(value) for name, value in state_dict.items()})


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, in their own folder; the last but one is kept."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401
    ) -> None:
        """Write one.

        Raises:
            WriteError: if the disk is full or the folder cannot be written to.
        """
        path = Path(path)
        with whole_file(path) as part:
            torch.save(checkpoint, part)
            if path.name == LAST.name and path.is_file():
                previous = path.with_name(PREVIOUS.name)
                previous.unlink(missing_ok=True)
                try:
                    previous.hardlink_to(path)
                except OSError:  # not every file system can
                    path.replace(previous)


class IdentityWriter(Callback):
    """Writes into every checkpoint which configuration and data it belongs to, and the rows of its epochs.

    The table of epochs is written after the checkpoint: a run that dies between them loses no row.
    """

    def __init__(self, identity: Mapping[str, Any], table: EpochTable) -> None:
        """Remember them."""
        self._identity, self._table = identity, table

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write it."""
        rows = self._table.rows_with(trainer.current_epoch, trainer.callback_metrics)
        checkpoint["zoomin"] = {**self._identity, "rows": rows}


def comparable(config: object, world: int = 1) -> dict[str, Any]:
    """The settings that a run and its resumption must share.

    The images of a step are those of all processes: another number of these may resume with a `batch_size` of
    each that gives the same number.
    """
    settings: dict[str, Any] = plain(config)
    if world > 1:
        settings["data"]["batch_size"] *= world
    for name, inner in _FREE.items():
        for setting in inner or ():
            del settings[name][setting]
        if inner is None:
            del settings[name]
    return settings


class Done(NamedTuple):
    """What a run to resume has behind it.

    Attributes:
        epochs: whole ones; 0 where there is no checkpoint.
        rows: what was measured of them.
    """

    epochs: int = 0
    rows: tuple[Row, ...] = ()


def epochs_done(folder: Path, identity: Mapping[str, Any], epochs: int) -> Done:
    """What is behind the last checkpoint, or behind the one before where the last is damaged.

    Args:
        folder: of the run.
        identity: settings ("config") and data ("data") that the checkpoint must have been written with.
        epochs: how far the run shall go.

    Raises:
        CheckpointError: if it is damaged, or of other settings or data.
        ConfigError: if it is already further than the run shall go.
    """
    path = folder / LAST
    checkpoint = _latest(folder)
    if checkpoint is None:
        return Done()
    _check_identity(path, checkpoint, identity)
    done = int(checkpoint["epoch"]) + 1
    if done > epochs:
        raise ConfigError(
            f"the run to resume has finished {done} epochs, train.epochs is {epochs}",
            where=path,
            remedy=f"Set train.epochs to at least {done}.",
        )
    rows = checkpoint["zoomin"].get("rows")  # earlier versions kept them in the table alone
    return Done(done, tuple(read_rows(folder / "metrics.csv")[:done] if rows is None else rows))


def _latest(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint that can be read, which is `LAST` from now on.

    Raises:
        CheckpointError: if there are some, and all are damaged.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    if last.is_file():
        try:
            return _load(last)
        except CheckpointError as error:
            if not previous.is_file():
                raise
            checkpoint = _load(previous)
            logger.warning("%s Going on from the checkpoint before it.", error)
    elif previous.is_file():
        checkpoint = _load(previous)
    else:
        return None
    previous.replace(last)
    return checkpoint


def save_start(folder: Path, net: nn.Module, stages: int, identity: Mapping[str, Any]) -> None:
    """Write the network between two stages that come before the first epoch.

    Args:
        folder: of the run.
        net: the network.
        stages: how many it has behind it.
        identity: settings and data, as for `epochs_done`.
    """
    weights = {f"{_NET}{name}": value for name, value in net.state_dict().items()}
    with whole_file(folder / START) as part:
        torch.save({"state_dict": weights, "epoch": -1, "stages": stages, "zoomin": dict(identity)}, part)


def stages_done(folder: Path, identity: Mapping[str, Any]) -> int:
    """Stages behind the network that `save_start` wrote, 0 without one.

    Raises:
        CheckpointError: if it is damaged, or of other settings or data.
    """
    path = folder / START
    if not path.is_file():
        return 0
    checkpoint = _load(path)
    _check_identity(path, checkpoint, identity)
    return int(checkpoint["stages"])


def _check_identity(path: Path, checkpoint: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    folder, known = path.parents[1], checkpoint.get("zoomin")
    if known is None:
        raise CheckpointError("not a checkpoint of zoomin", where=path, remedy="Give the folder of a run.")
    check_settings(known["config"], identity["config"], "run", path, folder)
    if known["data"] != identity["data"]:
        raise CheckpointError(
            "the run was started with other images, labels or splits",
            where=path,
            remedy=f"Compare {folder / 'manifest.csv'} and splits.json with the data, or give another --out.",
        )


def _load(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as file:  # PyTorch does not look at the checksums
            if (torn := file.testzip()) is not None:
                raise ValueError(f"the checksum of {torn}")
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not (checkpoint["state_dict"].keys() and int(checkpoint["epoch"]) >= -1):
            raise ValueError("no weights")
    except Exception as error:  # a damaged pickle raises anything
        raise CheckpointError(
            f"damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            where=path,
            remedy="Delete the folder of the run and train again.",
        ) from error
    return checkpoint


def load_weights(net: Classifier, path: Path) -> int:
    """Give a network the weights in a checkpoint; its epoch, counted from 0.

    Raises:
        CheckpointError: if it is damaged.
    """
    checkpoint = _load(path)
    weights = {k.removeprefix(_NET): v for k, v in checkpoint["state_dict"].items() if k.startswith(_NET)}
    net.load_state_dict(weights)
    return int(checkpoint["epoch"])
