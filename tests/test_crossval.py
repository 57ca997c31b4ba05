from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training_examples import make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.data.find import open_dataset
from zoomin.errors import CheckpointError, ConfigError, DataError
from zoomin.training import crossval as crossval_module
from zoomin.training.config import CrossvalConfig, WarmUp
from zoomin.training.crossval import crossval
from zoomin.training.crossval_report import PROTOCOLS
from zoomin.training.folds import FoldJob, deal_folds, run_fold

CV = CrossvalConfig(folds=2, seeds=(0, 1))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"), n=8)


@pytest.fixture(scope="module")
def done(images, tmp_path_factory):
    """A finished cross-validation, two folds and two seeds, and its result."""
    run = run_config(images, tmp_path_factory.mktemp("runs") / "cv")
    return run, crossval(run, CV, progress=False)


def folder_of(run):
    return Path(run.out)


def saved_folds(run):
    return {
        path.name: json.loads(path.read_text()) for path in sorted((folder_of(run) / "folds").glob("*.json"))
    }


def timeless(fold):
    return {name: value for name, value in fold.items() if name != "seconds"}


def test_both_protocols_stand_side_by_side(done):
    run, result = done
    assert set(result["protocols"]) == {"last_epoch", "last_epoch_careful", "best_epoch"} == set(PROTOCOLS)
    folds = saved_folds(run)
    assert sorted(folds) == [f"seed{seed}_fold{n:02d}.json" for seed in (0, 1) for n in (1, 2)]
    for fold in folds.values():
        curve = fold["history"]["val_accuracy"]
        assert len(curve) == 3
        assert fold["last_epoch"]["accuracy"] == pytest.approx(curve[-1])
        assert fold["best_epoch"]["accuracy"] == pytest.approx(max(curve))
        assert fold["best_epoch"]["epoch"] == curve.index(max(curve))
        assert fold["last_epoch"]["auroc"] == pytest.approx(fold["history"]["val_auroc"][-1])


def test_means_are_over_folds_then_seeds(done):
    run, result = done
    folds = saved_folds(run).values()
    for protocol in PROTOCOLS:
        score = result["protocols"][protocol]["accuracy"]
        means = [sum(f[protocol]["accuracy"] for f in folds if f["seed"] == seed) / 2 for seed in (0, 1)]
        assert score["seeds"] == pytest.approx(means)
        assert score["mean"] == pytest.approx(sum(means) / 2)
        assert score["sd"] == pytest.approx(torch.tensor(means).std().item())


def test_every_image_is_held_out_once_a_seed(done, images):
    run, result = done
    with (folder_of(run) / "out_of_fold.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted(record.image.name for record in open_dataset(images))
    for seed in ("0", "1"):
        mine = [row for row in rows if row["seed"] == seed]
        assert sorted(row["image"] for row in mine) == names
        right = [
            (float(row["prob_square"]) > float(row["prob_empty"])) == (row["label"] == "square")
            for row in mine
        ]
        pooled = result["pooled"]["last_epoch"]["seeds"][int(seed)]
        assert pooled["accuracy"] == pytest.approx(sum(right) / 8)
        assert pooled["accuracy_interval"][0] <= pooled["accuracy"] <= pooled["accuracy_interval"][1]
        assert pooled["n_images"] == 8


def test_folds_are_warmed_up(images, tmp_path):
    """As runs are: attention that has learned something gives another first epoch."""
    run = run_config(images, tmp_path / "cv", epochs=1, contrastive_from_epoch=None)
    data = ZoomInDataModule(run.data, progress=False)
    data.setup("fit")
    ((train, held), *_) = deal_folds(data.manifest, run.data, 2)
    job = FoldJob(0, 1, train, held)
    how = WarmUp(steps=5, position_steps=5, batch_size=4, learning_rate=0.05)
    plain = run_fold(run, data, job)
    warmed = run_fold(replace(run, train=replace(run.train, warm_up=how)), data, job)
    assert plain["history"]["train_loss"] != warmed["history"]["train_loss"]


def test_the_folder_holds_everything(done):
    run, result = done
    folder = folder_of(run)
    stored = json.loads((folder / "crossval.json").read_text())
    assert stored["protocols"] == result["protocols"]
    assert stored["config"]["cv"]["folds"] == 2
    assert stored["versions"]["zoomin"]
    assert (folder / "crossval.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "crossval.md").read_text()
    assert "honest" in text
    assert "optimistic" in text
    assert (folder / "config.yaml").is_file()
    assert (folder / "manifest.csv").is_file()


def test_only_what_is_missing_is_computed_again(done, tmp_path, monkeypatch):
    run, whole = done
    run = replace(run, out=str(tmp_path / "cv"), resume=True)
    crossval(run, CV, progress=False)
    folds = saved_folds(run)
    lost = folder_of(run) / "folds" / "seed1_fold01.json"
    lost.unlink()
    (lost.parent / "seed1_fold01.json.part").write_text("{")  # what a killed run leaves
    trained = []
    run_fold = crossval_module.run_fold
    monkeypatch.setattr(
        crossval_module,
        "run_fold",
        lambda *rest, **more: trained.append(rest[2].name) or run_fold(*rest, **more),
    )
    again = crossval(run, CV, progress=False)
    assert trained == ["seed1_fold01"]
    assert again["protocols"] == whole["protocols"]
    assert timeless(saved_folds(run)[lost.name]) == timeless(folds[lost.name])


def test_processes_find_the_same_and_more_seeds_go_on(done, tmp_path):
    run, whole = done
    run = replace(run, out=str(tmp_path / "cv"), resume=True)
    crossval(run, replace(CV, seeds=(0,)), progress=False)
    parallel = crossval(run, replace(CV, jobs=2), progress=False)
    for protocol in PROTOCOLS:
        found, expected = (r["protocols"][protocol]["accuracy"]["seeds"] for r in (parallel, whole))
        assert found == pytest.approx(expected)


def test_an_error_in_a_process_arrives_whole(images, tmp_path):
    run = run_config(images, tmp_path / "cv", learning_rate=1e37)
    with pytest.raises(ConfigError, match=r"not finite at step"):
        crossval(run, replace(CV, jobs=2), progress=False)


def test_an_interrupt_keeps_what_is_finished(images, tmp_path, monkeypatch):
    run = run_config(images, tmp_path / "cv", epochs=1)
    run_fold = crossval_module.run_fold

    def interrupted(*rest, **more):
        if rest[2].fold == 2:
            raise KeyboardInterrupt
        return run_fold(*rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(crossval_module, "run_fold", interrupted)
        with pytest.raises(KeyboardInterrupt):
            crossval(run, replace(CV, seeds=(0,)), progress=False)
    assert list(saved_folds(run)) == ["seed0_fold01.json"]
    result = crossval(replace(run, resume=True), replace(CV, seeds=(0,)), progress=False)
    assert len(result["folds"]) == 2
    assert result["protocols"]["last_epoch"]["accuracy"]["sd"] is None


def test_folds_of_one_class_count_without_auroc(images, tmp_path, monkeypatch):
    manifest = open_dataset(images)
    labels = manifest.targets()
    empty, square = ((labels == c).nonzero()[:, 0] for c in (0, 1))
    held = [empty[:2], torch.cat([empty[2:], square[:2]])]
    every = torch.arange(len(manifest))
    folds = [(every[~torch.isin(every, h)], h) for h in held]
    monkeypatch.setattr(crossval_module, "deal_folds", lambda *rest, **options: folds)
    result = crossval(run_config(images, tmp_path / "cv"), replace(CV, seeds=(0,)), progress=False)
    one_class, both = result["folds"]
    for protocol in PROTOCOLS:
        assert one_class[protocol]["auroc"] is None
        assert one_class[protocol]["accuracy"] is not None
        assert result["protocols"][protocol]["auroc"]["mean"] == both[protocol]["auroc"]
    assert result["pooled"]["last_epoch"]["auroc"] is not None


def test_other_settings_are_not_mixed(done, tmp_path):
    run, _ = done
    with pytest.raises(ConfigError, match=r"not empty.*--resume true"):
        crossval(run, CV, progress=False)
    run = replace(run, resume=True)
    with pytest.raises(CheckpointError, match=r"train\.epochs \(3, now 9\)"):
        crossval(replace(run, train=replace(run.train, epochs=9)), CV, progress=False)
    other = make_images(tmp_path / "other", n=10)
    with pytest.raises(CheckpointError, match="other images, labels or folds"):
        crossval(replace(run, data=replace(run.data, root=str(other))), CV, progress=False)


def test_early_stopping_has_no_place(images, tmp_path):
    with pytest.raises(ConfigError, match="early stopping"):
        crossval(run_config(images, tmp_path / "cv", early_stopping_patience=1), CV, progress=False)


@pytest.mark.parametrize(
    "settings",
    [{"folds": 1}, {"repeats": 0}, {"jobs": 0}, {"seeds": ()}, {"seeds": (1, 1)}, {"seeds": (-1,)}],
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigError, match=rf"cv\.{next(iter(settings))}"):
        CrossvalConfig(**settings)


def test_too_many_folds_are_refused(images, tmp_path):
    with pytest.raises(DataError, match="too few for 9 folds"):
        crossval(run_config(images, tmp_path / "cv"), replace(CV, folds=9), progress=False)


def test_repeats_deal_anew(images):
    manifest = open_dataset(images)
    config = run_config(images, images).data
    folds = deal_folds(manifest, config, 2, repeats=2)
    assert len(folds) == 4
    assert not torch.equal(folds[0][1], folds[2][1])


@pytest.mark.data("CRCHistoPhenotypes_2016_04_28", "colon_cancer_folds")
def test_the_authors_folds_are_found_beside_the_data(data_root):
    root = data_root / "CRCHistoPhenotypes_2016_04_28"
    config = run_config(root, root).data
    manifest = open_dataset(root)
    folds = deal_folds(manifest, config, "authors")
    labels = manifest.targets()
    assert [int(labels[held].sum()) for _, held in folds] == [6, 6, 3, 5, 8, 6, 7, 6, 4, 0]
    assert sorted(torch.cat([held for _, held in folds]).tolist()) == list(range(100))
    given = deal_folds(manifest, config, "authors", folds_dir=str(data_root / "colon_cancer_folds"))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(folds, given, strict=True))
    with pytest.raises(ConfigError, match=r"cv\.repeats"):
        deal_folds(manifest, config, "authors", repeats=2)


def test_missing_folds_name_the_option(images):
    config = run_config(images, images).data
    with pytest.raises(ConfigError, match=r"folds are missing.*cv\.folds_dir"):
        deal_folds(open_dataset(images), config, "authors")


def test_every_seed_and_fold_draws_its_own_numbers():
    nothing = torch.zeros(0, dtype=torch.int64)
    jobs = [FoldJob(seed, fold, nothing, nothing) for seed in range(3) for fold in range(1, 11)]
    assert len({job.run_seed for job in jobs}) == 30
    assert len({job.name for job in jobs}) == 30
