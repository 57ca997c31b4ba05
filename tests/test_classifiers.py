"""A baseline goes through training, cross-validation, evaluation and prediction as Zoom-In does."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import zoomin
from training_examples import MODEL, make_images, one_thread, run_config
from zoomin.app.cli import main
from zoomin.baselines.cnn import CNN, CNNConfig
from zoomin.classifiers import BASELINES, Classifier, ClassifierConfig, baseline, build, config_class, zoom_in
from zoomin.errors import CheckpointError, ConfigError
from zoomin.inference import explain, load_model
from zoomin.model import ZoomIn
from zoomin.model.config import ZoomInConfig
from zoomin.training.config import CrossvalConfig, PretrainConfig, TrainConfig
from zoomin.training.crossval import crossval
from zoomin.training.fit import fit
from zoomin.training.recipe import read_recipe

__all__ = ["one_thread"]
CNN_MODEL = CNNConfig(side=24, features="lenet_released")


def test_every_name_has_a_configuration_and_a_network():
    for name in BASELINES:
        kind, config = baseline(name), config_class(name)()
        assert isinstance(config, ClassifierConfig)
        assert config.to_dict()["name"] == name
        assert kind.config_class is config_class(name)
        assert config_class(name).from_dict(config.to_dict()) == config
        assert isinstance(build(config), kind) and isinstance(build(config), Classifier)
    assert isinstance(build(MODEL), ZoomIn) and isinstance(build(MODEL), Classifier)
    with pytest.raises(ConfigError, match=r"model\.name: unknown model 'vit'.* If another package brings it"):
        config_class("vit")


def test_a_model_loads_without_the_compiler_of_torch(tmp_path):
    """Which takes a second to import: timm's networks and initialisers on a meta device bring it along."""
    trunk = "timm:tf_efficientnet_lite0"
    build(replace(MODEL, sub_tile_size=24, features=trunk, pretrained=False)).save_pretrained(tmp_path)
    code = f"""
import sys, zoomin
zoomin.load_model({str(tmp_path)!r})
print([name for name in ("torch._dynamo", "sympy", "torch.onnx", "lightning") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_configuration_that_asks_for_more_than_is_stored_is_refused(tmp_path):
    build(MODEL).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "n_classes": 10**6}))
    with pytest.raises(CheckpointError, match="far more than the"):
        load_model(tmp_path)


def test_trained_from_the_command_line_and_used(tmp_path):
    """A recipe that names a model; run folder, resumption, evaluation and predictions as for Zoom-In."""
    data, run = make_images(tmp_path / "data"), tmp_path / "run"
    recipe = tmp_path / "recipe.yaml"
    values = {
        "model": {"name": "cnn", "side": 24, "features": "lenet_released"},
        "data": {"root": str(data), "batch_size": 4, "val_fraction": 0.25, "threads": 1},
        "train": {"epochs": 1, "device": "cpu", "learning_rate": 0.003},
    }
    recipe.write_text(yaml.safe_dump(values))
    assert main(["train", "--config", str(recipe), "--out", str(run), "--model.chunk_size", "7"]) == 0
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["model"]["name"] == "cnn" and saved["model"]["chunk_size"] == 7
    more = ["--resume", "true", "--train.epochs", "2"]
    assert main(["train", "--config", str(run / "config.yaml"), *more]) == 0
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert len(rows) == 2 and float(rows[1]["train_cross_entropy"]) > 0
    assert main(["evaluate", "--run", str(run), "--split", "all", "--out", str(tmp_path / "evaluated")]) == 0
    metrics = json.loads((tmp_path / "evaluated" / "metrics.json").read_text())
    assert metrics["sampling"] == {"exact": 8}
    [row, *_] = list(csv.DictReader((tmp_path / "evaluated" / "predictions.csv").open()))
    assert row["prediction"] in ("empty", "square") and row["pixels_read"] == str(24 * 24)
    assert float(row["standard_error"]) == 0
    model = load_model(run)
    assert isinstance(model, CNN) and model.config.classes == ("empty", "square")
    assert zoomin.predict(torch.zeros(1, 3, 40, 50, dtype=torch.uint8), model)[0].status == "ok"


def test_cross_validated_by_both_protocols(tmp_path):
    run = replace(run_config(make_images(tmp_path / "data"), tmp_path / "cv", epochs=2), model=CNN_MODEL)
    summary = crossval(run, CrossvalConfig(folds=2), progress=False)
    assert {"last_epoch", "best_epoch"} <= set(summary["protocols"])


def test_what_only_zoom_in_can_do_is_refused(tmp_path):
    run = replace(run_config(make_images(tmp_path / "data"), tmp_path / "run"), model=CNN_MODEL)
    with pytest.raises(ConfigError, match="only from image labels"):
        fit(replace(run, pretrain=PretrainConfig(steps=1)), progress=False)
    with pytest.raises(ConfigError, match="only from image labels"):
        fit(replace(run, train=TrainConfig(tile_roi_strength=1.0)), progress=False)
    with pytest.raises(ConfigError, match="draws no sub-tiles to explain"):
        explain(torch.zeros(1, 3, 40, 50, dtype=torch.uint8), build(CNN_MODEL))
    with pytest.raises(ConfigError, match="no tiles and sub-tiles"):
        zoom_in(build(CNN_MODEL))


def test_a_wrong_name_is_told(tmp_path, capsys):
    assert main(["train", "--model.name", "vit", "--data.root", str(tmp_path)]) == 2
    assert "Choose one of cnn" in capsys.readouterr().err


def test_a_recipe_with_options_is_read_outside_the_command_line_too():
    recipes = Path(__file__).resolve().parent.parent / "recipes"
    run = read_recipe(recipes / "colon_cancer.yaml", ["--model.n_samples", "7"])
    assert isinstance(run.model, ZoomInConfig) and (run.model.n_samples, run.model.tile_size) == (7, 250)
    run = read_recipe(recipes / "colon_cancer_cnn.yaml", ["--model.side", "64"])
    assert isinstance(run.model, CNNConfig) and run.model.side == 64
