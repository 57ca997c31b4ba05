"""Every experiment of the paper on a reduced miniature: fewer trainings and epochs than `--scale mini`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from zoomin.app.cli import main
from zoomin.app.commands.reproduce import REPRODUCE
from zoomin.data.find import open_dataset
from zoomin.datasets.registry import PUBLISHED
from zoomin.errors import CheckpointError, ConfigError, DataError
from zoomin.experiments.all import EXPERIMENTS
from zoomin.experiments.columns import COLUMNS
from zoomin.experiments.crops import with_crops
from zoomin.experiments.data_sources import SOURCES, make_ready
from zoomin.experiments.experiment import PLANNED, Outcome, Setting, Spread
from zoomin.experiments.measures import MEASURES
from zoomin.experiments.reproduce import ReproductionConfig, reproduce
from zoomin.training.recipe import read_recipe

REDUCED = {  # what each experiment trains here, for one epoch on one fold
    "colon-cancer": ("zoom-in", "ats"),
    "needle-camelyon": ("zoom-in",),
    "needle-mnist": ("pretrained",),
    "traffic-signs": ("zoom-in",),
    "fmow": ("zoom-in",),
    "camelyon16": ("zoom-in",),
    "ablation": ("lambda-1",),
    "tradeoff": ("ats-n10",),
    "memory": ("colon-cancer-zoom-in",),
    "attention-roi": ("colon-cancer",),
    "interpretability": ("traffic-signs",),
    "comparison": ("gtsdb-any-zoom-in", "gtsdb-any-abmilx"),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Miniatures that have been made ready: each is made by the first experiment that needs it."""
    return tmp_path_factory.mktemp("data")


def share(prepared, out):
    """Let an experiment find what others have prepared."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "data").symlink_to(prepared, target_is_directory=True)
    return out


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_runs_on_a_reduced_miniature(name, prepared, tmp_path):
    out = share(prepared, tmp_path / name)
    plan = ReproductionConfig(out=str(out), only=REDUCED[name], fold=(1,), epochs=1)
    done = reproduce(name, plan)
    assert done.failed == {}
    rows = {row["setting"]: row for row in json.loads((out / "table.json").read_text())["rows"]}
    assert list(rows) == [setting.name for setting in EXPERIMENTS[name].settings if setting.in_mini]
    for setting in REDUCED[name]:
        row = rows[setting]
        assert (row["trainings"], row["epochs"]) == (1, 1)
        accuracy = row["measured"].get("accuracy")
        assert accuracy is None or 0 <= accuracy["mean"] <= 100
        assert any(value is not None for value in row["measured"].values())
    with (out / "table.csv").open() as file:
        assert [line["setting"] for line in csv.DictReader(file)] == list(rows)
    text = (out / "table.md").read_text()
    assert "Miniature" in text and all(rows[setting]["what"] in text for setting in rows)
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["settings"][REDUCED[name][0]]["train"]["epochs"] == 1
    with Image.open(out / "figure.png") as picture:
        assert min(picture.size) > 200
        assert len(picture.convert("L").resize((64, 64)).getcolors(4096) or ()) > 8, "an empty figure"
    assert (out / "figure.svg").read_text().lstrip().startswith("<?xml")


def test_that_a_miniature_holds_few_slides_is_no_warning(tmp_path, caplog):
    out = tmp_path / "data" / "camelyon16"
    make_ready("camelyon16", "mini", out, None, {}, partial=False)
    assert (out / "manifest.csv").is_file() and "missing" not in caplog.text
    PUBLISHED["camelyon16"].prepare(
        str(tmp_path / "data" / "camelyon16-miniature"),
        str(tmp_path / "again"),
        PUBLISHED["camelyon16"].config(),
        partial=True,
    )
    assert "training slides are missing" in caplog.text


def test_published_numbers_stand_beside_the_measured_ones(prepared, tmp_path):
    out = share(prepared, tmp_path / "tradeoff")
    reproduce("tradeoff", ReproductionConfig(out=str(out), gather=True))
    with (out / "table.csv").open() as file:
        rows = {row["setting"]: row for row in csv.DictReader(file)}
    assert [
        rows["zoom-in-n10"][f"{key}_published"] for key in ("best_accuracy", "saved_mb", "forward_ms")
    ] == [
        "95.0",
        "2.55",
        "3.2",
    ]
    assert rows["ats-n10"]["saved_mb_published"] == "15.83"
    assert rows["ats-n10"]["trainings"] == "0"


def test_epochs_are_those_asked_for_and_what_was_not_run_is_named(prepared, tmp_path):
    out = share(prepared, tmp_path / "colon-cancer")
    only = ("zoom-in", "cnn-250", "efficientnet-pretrained")
    reproduce("colon-cancer", ReproductionConfig(out=str(out), only=only, epochs=15, gather=True))
    rows = {row["setting"]: row for row in json.loads((out / "table.json").read_text())["rows"]}
    assert {name: rows[name]["epochs"] for name in only} == {
        "zoom-in": 15,
        "cnn-250": 15,
        "efficientnet-pretrained": 10,  # its own
    }
    table = (out / "table.md").read_text(encoding="utf-8")
    assert "Not run: " in table and "| CNN on the image shrunk" not in table


def test_finished_trainings_are_kept_and_errors_recorded(prepared, tmp_path, monkeypatch):
    out = share(prepared, tmp_path / "out")
    plan = ReproductionConfig(out=str(out), only=("zoom-in", "cnn"), epochs=1, set=("data.batch_size=3",))

    def fails(_):
        raise RuntimeError("no memory left")

    with monkeypatch.context() as patch:
        patch.setitem(MEASURES, "cost", fails)
        failed = reproduce(
            "colon-cancer", ReproductionConfig(**{**vars(plan), "only": ("cnn",), "fold": (2,)})
        ).failed
    assert failed == {"cnn/seed0_fold02": "RuntimeError: no memory left"}
    assert "no memory left" in (out / "table.md").read_text()
    assert reproduce("colon-cancer", plan).failed == {}
    assert main(["reproduce", "colon-cancer", "--out", str(out), "--gather", "true"]) == 2  # other settings
    times = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/seed*.json")}
    assert len(times) == 4
    again = reproduce("colon-cancer", plan)
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert {outcome.setting.name: len(outcome.results) for outcome in again.outcomes} == {
        "zoom-in": 2,
        "ats": 0,
        "abmil": 0,
        "cnn": 2,
    }
    with pytest.raises(CheckpointError, match=r"train\.epochs \(1, now 2\)"):
        reproduce("colon-cancer", ReproductionConfig(**{**vars(plan), "epochs": 2}))


def test_an_interrupted_training_goes_on(prepared, tmp_path, monkeypatch):
    out = share(prepared, tmp_path / "out")
    plan = ReproductionConfig(out=str(out), only=("zoom-in",), fold=(1,), epochs=2)

    def stops(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(MEASURES, "cost", stops)
        with pytest.raises(KeyboardInterrupt):
            reproduce("colon-cancer", plan)
    last = out / "runs" / "zoom-in" / "seed0_fold01" / "checkpoints" / "last.ckpt"
    written = last.stat().st_mtime_ns
    done = reproduce("colon-cancer", plan)
    assert last.stat().st_mtime_ns == written, "both epochs were behind it"
    [result] = done.outcomes[0].results
    assert len(result["history"]["train_saved_mb"]) == 2


def test_the_full_scale_says_what_it_needs(tmp_path):
    with pytest.raises(DataError, match=r"fMoW-rgb.*--data"):
        reproduce("fmow", ReproductionConfig("paper", out=str(tmp_path / "a")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Classification"):
        reproduce("colon-cancer", ReproductionConfig("paper", str(tmp_path / "empty"), str(tmp_path / "b")))
    with pytest.raises(ConfigError, match="zoom-in"):
        reproduce("fmow", ReproductionConfig(only=("zoomin",), out=str(tmp_path / "c")))
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        reproduce("needle-mnist", ReproductionConfig(prepare=("canvas",), out=str(tmp_path / "d")))
    with pytest.raises(ConfigError, match="ablation"):
        reproduce("ablations")


@pytest.mark.data("CRCHistoPhenotypes_2016_04_28", "colon_cancer_folds")
def test_full_scale_plans_the_authors_folds_and_the_recipes(data_root, tmp_path):
    root = data_root / "CRCHistoPhenotypes_2016_04_28"
    plan = ReproductionConfig("paper", str(root), str(tmp_path / "out"), gather=True)
    done = reproduce("ablation", plan)
    assert [outcome.planned for outcome in done.outcomes[:6]] == [30] * 6  # ten folds, three seeds
    assert set(done.failed) == {o.setting.name for o in done.outcomes[6:]}, "other data sets are not there"
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    recipe = read_recipe("colon_cancer")
    standard = config["settings"]["standard"]
    assert standard["train"]["epochs"] == recipe.train.epochs == 100
    assert standard["model"]["n_samples"] == 10
    assert config["settings"]["n-50"]["model"]["n_samples"] == 50
    assert config["settings"]["lambda-1"]["train"]["entropy_strength"] == 1.0


def test_crops_hold_the_needle(prepared):
    root = make_ready("needle-mnist", "mini", prepared / "needle-mnist", None, {}, partial=False)
    whole = open_dataset(root)
    crops = open_dataset(with_crops(root, prepared / "needle-mnist-crops", 0.5, 128))
    assert [r.label for r in crops] == [r.label for r in whole]
    cut = [
        record for record in crops if record.split == "train" and "needle-mnist-crops" in str(record.image)
    ]
    assert 0 < len(cut) < sum(record.split == "train" for record in whole)
    for record in cut:
        with Image.open(record.image) as picture:
            assert picture.size == (128, 128)
    assert all("crops" not in str(record.image) for record in crops if record.split != "train")


def test_every_experiment_is_declared_whole():
    assert list(EXPERIMENTS) == list(REPRODUCE.commands)
    for experiment in EXPERIMENTS.values():
        names = [setting.name for setting in experiment.settings]
        assert len(names) == len(set(names))
        assert set(experiment.columns) <= set(COLUMNS)
        assert set(experiment.measures) <= set(MEASURES)
        for setting in experiment.settings:
            assert experiment.data_of(setting) in SOURCES
            assert {key.removesuffix("_sd") for key in setting.published} <= set(experiment.columns)


def test_seeds_are_averaged_over_their_folds(tmp_path):
    results = [
        {
            "seed": seed,
            "scores": {"honest": {"accuracy": value}},
            "history": {"a": [value, None]},
            "measured": {},
        }
        for seed, value in ((0, 0.5), (0, 0.7), (1, 0.8))
    ]
    outcome = Outcome(Setting("a", "A", "colon_cancer"), results, 4, {}, 2, tmp_path)
    assert COLUMNS["accuracy"].measure(outcome) == Spread((60.0, 80.0))
    assert str(COLUMNS["accuracy"].measure(outcome)) == "70.0 ± 14.1"
    assert COLUMNS["auroc"].measure(outcome) is None
    assert outcome.curve("a") == pytest.approx([2 / 3])


def test_auroc_is_pooled_over_the_folds_of_a_seed():
    """Offsets between folds lower it where each fold ranks its own images without error."""
    fold = {"seed": 0, "scores": {"honest": {"auroc": 1.0}}, "measured": {}}
    offsets = ((0.1, 0.2), (0.7, 0.9))
    results = [
        {
            **fold,
            "cpu_seconds": 10.0 * place,
            "images": [
                {"label": label, "last_epoch_careful": [1 - p, p]} for label, p in enumerate(probabilities)
            ],
        }
        for place, probabilities in enumerate(offsets)
    ]
    setting = EXPERIMENTS["comparison"].settings[0]
    outcome = Outcome(setting, results, 2, {}, 1, Path("runs"))
    assert COLUMNS["auroc"].measure(outcome).mean == 100
    assert COLUMNS["pooled_auroc"].measure(outcome).mean == 75
    assert COLUMNS["train_cpu"].measure(outcome).mean == 5
    held = Outcome(setting, [{**fold, "scores": {"honest": {"auroc": 0.9}}}], 1, {}, 1, Path("runs"))
    assert COLUMNS["pooled_auroc"].measure(held).mean == 90


def test_the_methods_of_the_comparison_share_trunk_and_training():
    experiment = EXPERIMENTS["comparison"]
    for setting in experiment.settings:
        if setting.recipe == PLANNED:
            continue
        run = read_recipe(setting.recipe, setting.changes)
        assert run.model.features == "timm:tf_efficientnet_lite0" and run.model.pretrained
        assert (run.train.epochs, run.data.batch_size, run.train.class_weights) == (25, 16, "balanced")
        assert run.train.freeze_trunks == ("end to end" not in setting.what)
        assert run.data.val_fraction == 0, "no image is kept back from some methods alone"
    assert len(experiment.settings) == 8 * len({setting.data_set for setting in experiment.settings})
