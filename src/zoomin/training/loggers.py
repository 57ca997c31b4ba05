"""Where a training can be followed: Lightning's loggers by name, with their files in the run folder."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ..errors import ConfigError
from ..files import plain, write_json
from ..runtime.extras import PACKAGES, install
from .config import LoggerName
from .epoch_rows import Row
from .records import quiet_lightning

__all__ = ["NO_LOGS", "Logs", "check_loggers", "log_scores", "share_experiment"]

_IDS = "loggers.json"  # of the runs that services know by a name of their own, for resuming
_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}  # of the loggers of services
_LOG_IN = {
    "wandb": "Log in with `wandb login`, or set WANDB_MODE=offline.",
    "mlflow": "Check MLFLOW_TRACKING_URI, or unset it to keep the run in its own folder.",
}


@dataclass(frozen=True)
class Logs:
    """The loggers of one training.

    Attributes:
        names: of the loggers.
        folder: for their files.
        run: the name of the training.
        group: the folder of the cross-validation that the training is a fold of.
        given: loggers that take the place of those named.
    """

    names: tuple[LoggerName, ...]
    folder: Path
    run: str
    group: Path | None = None
    given: tuple[Logger, ...] = ()

    @contextmanager
    def open(self, config: object, rows: Sequence[Row] = ()) -> Iterator[list[Logger]]:
        """The loggers, which know the configuration; closed in the end.

        Args:
            config: of the run.
            rows: of the epochs done, where a run resumes.

        Raises:
            ConfigError: if a service refuses.
        """
        loggers, status = list(self.given), "failed"
        try:
            with quiet_lightning():
                loggers += [] if self.given else self._made(rows)
                for logger in loggers:
                    if not (rows and isinstance(logger, MLFlowLogger)):  # where parameters are set once
                        logger.log_hyperparams(plain(config))
                    logger.save()
            yield loggers
            status = "success"
        finally:
            for logger in loggers:
                logger.finalize(status)
                if isinstance(logger, WandbLogger) and logger not in self.given:
                    logger.experiment.finish(exit_code=int(status == "failed"))  # or the next reuses its run

    def _made(self, rows: Sequence[Row]) -> list[Logger]:
        ids = self.folder / _IDS
        known = json.loads(ids.read_text(encoding="utf-8")) if rows and ids.is_file() else {}
        loggers = [_MAKERS[name](self, known.get(name)) for name in self.names]
        for logger in loggers:
            if isinstance(logger, CSVLogger):  # whose table starts anew
                for row in rows:
                    logger.log_metrics({**row, "epoch": row["epoch"] + 1}, step=int(row["epoch"]) + 1)
        services = {
            name: logger for name, logger in zip(self.names, loggers, strict=True) if name in _PACKAGES
        }
        if services:
            write_json(ids, {name: _connect(name, each) for name, each in services.items()})
        return loggers


NO_LOGS = Logs((), Path(), "")


def check_loggers(names: Sequence[LoggerName]) -> None:
    """Check that the loggers can be made, before a training starts.

    Raises:
        ConfigError: if a package is not installed.
    """
    for name in names:
        package = name if name == "tensorboard" else _PACKAGES.get(name)
        if package is not None and find_spec(package) is None:
            raise ConfigError(
                f"the logger {name} needs the package {package}, which is not installed",
                where="train.logger",
                remedy=f"{install(PACKAGES[package].extra)}, or name another logger.",
            )


def share_experiment(names: Sequence[LoggerName], folder: Path) -> None:
    """Make the experiment of MLflow before several processes want it at once.

    Args:
        names: of the loggers.
        folder: of all trainings.
    """
    if "mlflow" in names:
        address, artifacts = _mlflow_places(folder)
        client = import_module("mlflow").MlflowClient(address)
        if client.get_experiment_by_name(_mlflow_experiment()) is None:
            client.create_experiment(_mlflow_experiment(), artifact_location=artifacts)


def log_scores(loggers: Sequence[Logger], metrics: Mapping[str, Any], step: int) -> None:
    """Log the scores of the trained network, as final_val_NAME and final_test_NAME.

    Args:
        loggers: of the training.
        metrics: what metrics.json holds.
        step: the last epoch, counted from 1; 0 where there are none.
    """
    scores = {
        f"final_{part}_{name}": float(value)
        for part in ("val", "test")
        for name, value in metrics.get(part, {}).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    for logger in loggers if scores else ():
        logger.log_metrics(scores, step=step)
        logger.save()


def _connect(name: LoggerName, logger: Logger) -> str:
    """Begin the run at a service; what this calls it.

    Raises:
        ConfigError: if the service refuses, or cannot be reached.
    """
    try:
        if isinstance(logger, WandbLogger):
            return str(logger.experiment.id)
        return str(logger.version)
    except Exception as error:  # each service has its own kinds
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ConfigError(
            f"{name} refuses the run ({reason})", where="train.logger", remedy=_LOG_IN[name]
        ) from error


def _csv(logs: Logs, known: str | None) -> Logger:
    return CSVLogger(logs.folder, name="", version="csv", flush_logs_every_n_steps=1)


def _tensorboard(logs: Logs, known: str | None) -> Logger:
    return TensorBoardLogger(logs.folder, name="", version="tensorboard", default_hp_metric=False)


def _wandb(logs: Logs, known: str | None) -> Logger:
    return WandbLogger(
        name=logs.run,
        project=os.environ.get("WANDB_PROJECT", "zoomin"),
        save_dir=logs.folder,
        id=known or uuid.uuid4().hex[:12],
        group=os.environ.get("WANDB_RUN_GROUP") if logs.group is None else logs.group.name,
    )


def _mlflow(logs: Logs, known: str | None) -> Logger:
    address, artifacts = _mlflow_places(logs.group or logs.folder)
    return MLFlowLogger(
        experiment_name=_mlflow_experiment(),
        run_name=logs.run,
        tracking_uri=address,
        artifact_location=artifacts,
        tags=None if logs.group is None else {"group": logs.group.name},
        run_id=known,
    )


def _mlflow_experiment() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", "zoomin")


def _mlflow_places(folder: Path) -> tuple[str, str | None]:
    """The address of the tracking server, by default a database in the folder, and where artifacts go."""
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if address:
        return address, None
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}", str(folder.resolve() / "mlflow")


_MAKERS: dict[LoggerName, Callable[[Logs, str | None], Logger]] = {
    "csv": _csv,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
