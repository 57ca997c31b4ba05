"""Loggers: by one option or in Python; configuration, epochs from 1, folds apart, resumed runs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import ClassVar

import pytest
import yaml
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training_examples import make_images, one_thread, run_config
from zoomin.app.cli import main
from zoomin.errors import ConfigError
from zoomin.training import loggers
from zoomin.training.config import CrossvalConfig
from zoomin.training.crossval import crossval
from zoomin.training.fit import fit
from zoomin.training.recipe import read_recipe

__all__ = ["one_thread"]


class Notebook(Logger):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.settings, self.rows, self.statuses = {}, [], []

    name = version = "notebook"

    def log_hyperparams(self, params, *args, **kwargs):
        self.settings = params

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def finalize(self, status):
        self.statuses.append(status)


class Service(Notebook):
    """In place of a service's logger: a run that it calls by an id."""

    made: ClassVar[list[Service]] = []

    def __init__(self, **options):
        super().__init__()
        self.options, self.finished = options, None
        Service.made.append(self)

    @property
    def experiment(self):
        return self

    @property
    def id(self):
        return self.options.get("id") or self.options.get("run_id") or "given"

    version = id

    def finish(self, exit_code):
        self.finished = exit_code


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "images", 8)


@pytest.fixture
def services(monkeypatch):
    """W&B and MLflow that keep what they get; neither needs to be installed."""
    Service.made = []
    for name in ("WandbLogger", "MLFlowLogger"):
        monkeypatch.setattr(loggers, name, type(name, (Service,), {}))
    monkeypatch.setattr(loggers, "find_spec", lambda name: name)
    for name in ("WANDB_PROJECT", "WANDB_RUN_GROUP", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return Service.made


def epochs(logger):
    return [step for step, metrics in logger.rows if "val_loss" in metrics]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_logger_in_python_gets_everything(images, tmp_path):
    notebook, config = Notebook(), run_config(images, tmp_path / "run", epochs=2)
    monitor = LearningRateMonitor()  # logs by itself, to every logger
    result = fit(config, progress=False, logger=notebook, callbacks=[monitor])
    assert notebook.settings["train"]["epochs"] == 2
    assert notebook.settings["model"]["class_names"] == ["empty", "square"]
    assert epochs(notebook) == [1, 2]
    logged = {}
    for step, metrics in notebook.rows:
        assert metrics.get("epoch", step) == step or "epoch" not in metrics
        logged.setdefault(step, {}).update(metrics)
    for row in result.history:
        for name in row.keys() - {"epoch"}:
            assert logged[row["epoch"] + 1][name] == pytest.approx(row[name], rel=1e-5), name
    assert logged[2]["final_val_accuracy"] == result.metrics["val"]["accuracy"]
    assert set(notebook.statuses) == {"success"}
    assert not (result.folder / "tensorboard").exists()
    assert [row["epoch"] for row in rows_of(result.folder / "metrics.csv")] == ["0", "1"]


def test_files_of_the_named_loggers_lie_in_the_run(images, tmp_path):
    fit(run_config(images, tmp_path / "run", epochs=2, logger=("csv", "tensorboard")), progress=False)
    rows = rows_of(tmp_path / "run" / "csv" / "metrics.csv")
    assert [row["step"] for row in rows if row["val_loss"]] == ["1", "2"]
    settings = yaml.safe_load((tmp_path / "run" / "csv" / "hparams.yaml").read_text())
    assert settings["train"]["logger"] == ["csv", "tensorboard"]
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"val_loss", "train_loss", "lr", "final_val_accuracy"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("val_loss")] == [1, 2]


def test_a_resumed_run_continues_its_loggers(images, tmp_path, services):
    names = ("csv", "wandb", "mlflow")
    fit(run_config(images, tmp_path / "run", epochs=1, logger=names), progress=False)
    known = json.loads((tmp_path / "run" / "loggers.json").read_text())
    assert known["mlflow"] == "given" and len(known["wandb"]) == 12
    fit(run_config(images, tmp_path / "run", epochs=3, logger=names, run_resume=True), progress=False)
    _, _, wandb, mlflow = services
    assert wandb.options["id"] == known["wandb"] and mlflow.options["run_id"] == "given"
    assert epochs(wandb) == epochs(mlflow) == [2, 3]
    assert wandb.settings["train"]["epochs"] == 3 and not mlflow.settings
    rows = rows_of(tmp_path / "run" / "csv" / "metrics.csv")
    assert [row["step"] for row in rows if row["val_loss"]] == ["1", "2", "3"]


def test_services_know_the_run_and_keep_its_files(images, tmp_path, services, monkeypatch):
    fit(run_config(images, tmp_path / "run", epochs=1, logger=("wandb", "mlflow")), progress=False)
    wandb, mlflow = services
    assert wandb.options | {"id": None} == {
        "name": "run",
        "project": "zoomin",
        "save_dir": tmp_path / "run",
        "id": None,
        "group": None,
    }
    assert wandb.finished == 0 and mlflow.statuses[-1] == "success"
    assert mlflow.options["tracking_uri"] == f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:elsewhere")
    monkeypatch.setenv("WANDB_PROJECT", "slides")
    fit(run_config(images, tmp_path / "other", epochs=1, logger=("wandb", "mlflow")), progress=False)
    wandb, mlflow = services[2:]
    assert wandb.options["project"] == "slides"
    assert (mlflow.options["tracking_uri"], mlflow.options["artifact_location"]) == ("file:elsewhere", None)


def test_folds_are_told_apart(images, tmp_path, services, monkeypatch):
    shared = []
    monkeypatch.setattr(
        "zoomin.training.crossval.share_experiment", lambda names, folder: shared.append((names, folder))
    )
    config = run_config(images, tmp_path / "cv", epochs=1, logger=("csv", "wandb", "mlflow"))
    crossval(config, CrossvalConfig(folds=2), progress=False)
    assert shared == [(("csv", "wandb", "mlflow"), tmp_path / "cv")]
    wandb, mlflow = services[::2], services[1::2]
    assert [logger.options["name"] for logger in wandb] == ["seed0_fold01", "seed0_fold02"]
    assert {logger.options["group"] for logger in wandb} == {"cv"}
    assert [logger.finished for logger in wandb] == [0, 0]
    assert {logger.options["tracking_uri"] for logger in mlflow} == {
        f"sqlite:///{tmp_path / 'cv' / 'mlflow.db'}"
    }
    for n, logger in enumerate(wandb, start=1):
        fold = json.loads((tmp_path / "cv" / "folds" / f"seed0_fold{n:02d}.json").read_text())
        (final,) = [metrics for _, metrics in logger.rows if "final_val_accuracy" in metrics]
        assert final["final_val_accuracy"] == fold["last_epoch_careful"]["accuracy"]
        (row,) = [
            row for row in rows_of(tmp_path / "cv" / "folds" / f"seed0_fold{n:02d}" / "csv" / "metrics.csv")
            if row["val_loss"]
        ]  # fmt: skip
        assert float(row["val_loss"]) == pytest.approx(fold["history"]["val_loss"][0], rel=1e-5)


def test_a_failed_training_is_told_to_the_service(images, tmp_path, services, monkeypatch):
    def fail(*arguments):
        raise ConfigError("the loss is not finite", where="train")

    monkeypatch.setattr("zoomin.training.fit.train", fail)
    with pytest.raises(ConfigError, match="not finite"):
        fit(run_config(images, tmp_path / "run", logger="wandb"), progress=False)
    assert services[0].finished == 1


def test_a_service_that_refuses_names_the_remedy(images, tmp_path, services, monkeypatch):
    def refuse(logger):
        raise RuntimeError("No API key configured.\nUse ...")

    monkeypatch.setattr(loggers.WandbLogger, "experiment", property(refuse))
    with pytest.raises(ConfigError, match=r"No API key configured\).*WANDB_MODE=offline"):
        fit(run_config(images, tmp_path / "run", logger="wandb"), progress=False)


def test_a_missing_package_names_its_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    for command in ("train", "crossval"):
        words = ["--config=colon_cancer", f"--data.root={tmp_path}", "--train.logger=[csv,wandb]"]
        assert main([command, *words, f"--out={tmp_path / 'run'}"]) == 2
        shown = capsys.readouterr().err
        assert "wandb" in shown and "pip install 'zoomin-net[loggers]'" in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "names", "folds"),
    [
        ("auto", ("tensorboard",), ()),
        ("none", (), ()),
        ("csv", ("csv",), ("csv",)),
        ("[csv,mlflow,csv]", ("csv", "mlflow"), ("csv", "mlflow")),
    ],
)
def test_the_option_names_them(text, names, folds):
    config = read_recipe("colon_cancer", [f"--train.logger={text}"]).train
    assert config.loggers() == names
    assert config.loggers(crossval=True) == folds


def test_unknown_loggers_are_refused():
    with pytest.raises(ConfigError, match=r"(?s)train\.logger.*csv.*tensorboard.*wandb.*mlflow"):
        read_recipe("colon_cancer", ["--train.logger=comet"])


def test_frozen_trunks_have_scores_and_no_callbacks(images, tmp_path):
    config = run_config(images, tmp_path / "run")
    frozen = replace(config, frozen=replace(config.frozen, enabled=True))
    with pytest.raises(ConfigError, match="no epochs for callbacks"):
        fit(frozen, progress=False, callbacks=[LearningRateMonitor()])
