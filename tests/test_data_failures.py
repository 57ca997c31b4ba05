"""Images that fail during a run are left out of their batch, recorded, counted; the others lose nothing."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import tifffile
import torch

from slides import picture, pyramid
from training_examples import MODEL, make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.data import store as store_module
from zoomin.data.batch import Batch
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.data.failures import Failures, with_readable
from zoomin.errors import BatchReadError, DataError, ImageError
from zoomin.images.cache import Cache
from zoomin.images.streamed import StreamedImages
from zoomin.model import ZoomIn
from zoomin.training.checkpoints import LAST
from zoomin.training.crossval import CrossvalConfig, crossval
from zoomin.training.fit import fit
from zoomin.training.task import training_keys
from zoomin.training.zoom_in_task import ZoomInTask


@pytest.fixture
def nothing_decoded(monkeypatch):
    """Photographs are decoded at every read, so that what happens to their files is seen at once."""
    monkeypatch.setattr(store_module, "_DECODED", Cache(0))
    monkeypatch.setattr(store_module, "_size_of", lambda image: 1)


def batch_of(root, rows, **options):
    config = replace(run_config(root, root).data, val_fraction=0.0, resident="never", **options)
    data = ZoomInDataModule(config, progress=False, model=MODEL)
    rows = torch.tensor(rows)
    return data, Batch(data.prepare().select(rows), data.labels[rows], rows)


def test_a_batch_runs_again_without_what_cannot_be_read():
    images = StreamedImages([store_module.PathImage(Path("x"), 5, 5 + i, None, (0, 0, 0)) for i in range(5)])
    batch = Batch(images, torch.tensor([0, 1, 0, 1, 0]), torch.tensor([10, 11, 12, 13, 14]))
    calls, noted = [], []

    def run(part, kept):
        assert part.index.tolist() == (kept + 10).tolist() and len(part.images) == len(kept)
        calls.append(kept.tolist())
        bad = {place: ImageError("torn") for place, row in enumerate(part.index.tolist()) if row in (11, 14)}
        if len(calls) == 1:
            bad = {1: bad[1]}  # the second failure shows in the second run alone
        if bad:
            raise BatchReadError.of(bad)
        return "done"

    assert with_readable(batch, run, lambda name, error: noted.append(str(error))) == "done"
    assert calls == [[0, 1, 2, 3, 4], [0, 2, 3, 4], [0, 2, 3]] and noted == ["torn."] * 2

    def never(part, kept):
        raise BatchReadError.of({place: ImageError("torn") for place in range(len(part))})

    assert with_readable(batch, never, lambda name, error: None) is None


def test_failures_are_written_warned_of_once_and_limited(tmp_path, caplog):
    failures = Failures(limit=2)
    failures.path = tmp_path / "skipped.csv"
    for epoch in range(2):
        failures.note(epoch, "train", "a.png", ImageError('torn, "badly"', where="a.png"))
    failures.note(1, "val", "b.png", ImageError("gone", where="b.png"))
    assert [record.message for record in caplog.records] == [
        'Skipped (train, epoch 1): a.png: torn, "badly".',
        "Skipped (val, epoch 2): b.png: gone.",
    ]
    with pytest.raises(DataError, match=r"c\.png: 3 images could not be read.*data\.max_failures"):
        failures.note(2, "train", "c.png", ImageError("gone"))
    with (tmp_path / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["stage"], row["image"]) for row in rows] == [
        ("0", "train", "a.png"),
        ("1", "train", "a.png"),
        ("1", "val", "b.png"),
        ("2", "train", "c.png"),
    ]
    assert failures.images("val") == {"b.png": "b.png: gone."} and len(failures.images()) == 3


def test_the_others_of_a_batch_learn_as_they_would_have(tmp_path, nothing_decoded):
    root = make_images(tmp_path / "images")
    data, batch = batch_of(root, [0, 5, 2, 7])
    data.manifest.records[2].image.unlink()
    torch.manual_seed(0)
    net = ZoomIn(MODEL)
    task = ZoomInTask(net, run_config(root, root).train, seed=3, failures=Failures(1))
    loss = task.training_step(batch, 0)
    kept = torch.tensor([0, 1, 3])
    expected = task._train(batch.select(kept), training_keys(3, 0, 4)[kept])
    assert torch.equal(loss, expected)
    assert list(task.failures.images("train")) == [str(data.manifest.records[2].image)]
    with pytest.raises(DataError, match="2 images could not be read"):
        data.manifest.records[5].image.unlink()
        task.training_step(batch, 0)


def vanish_in_epoch(monkeypatch, epoch, paths):
    start = ZoomInTask.on_train_epoch_start

    def lose(self):
        if self.current_epoch == epoch:
            for path in paths():
                path.unlink()
        start(self)

    monkeypatch.setattr(ZoomInTask, "on_train_epoch_start", lose)


def test_a_run_goes_on_without_files_that_vanish(tmp_path, monkeypatch, nothing_decoded):
    root = make_images(tmp_path / "images", n=12)
    config = run_config(root, tmp_path / "run", data_resident="never")
    splits = ZoomInDataModule(replace(config.data, seed=config.seed)).splits
    records = ZoomInDataModule(config.data).manifest.records
    lost = [records[int(splits["train"][0])].image, records[int(splits["val"][0])].image]
    vanish_in_epoch(monkeypatch, 1, lambda: lost)
    result = fit(config, progress=False)
    assert set(result.metrics["skipped"]) == {str(path) for path in lost}
    assert result.metrics["val"]["failed"].keys() == {str(lost[1])}
    assert result.metrics["val"]["n_images"] == len(splits["val"]) - 1
    rows = list(csv.DictReader((tmp_path / "run" / "skipped.csv").open(newline="")))
    for path, stage in zip(lost, ("train", "val"), strict=True):
        own = [(row["epoch"], row["stage"]) for row in rows if row["image"] == str(path)]
        assert own[:2] == [("1", stage), ("2", stage)]
    assert "no such file" in rows[0]["error"] and len(result.history) == 3
    json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_files_that_cannot_be_opened_are_left_out(tmp_path):
    root = make_images(tmp_path / "images", n=12)
    bad = [sorted(root.rglob("*.png"))[place] for place in (0, 7)]
    bad[0].write_bytes(bad[0].read_bytes()[:100])
    bad[1].write_text("no image")
    names = {str(path) for path in bad}
    config = run_config(root, tmp_path / "run", epochs=1)
    result = fit(config, progress=False)
    assert result.metrics["skipped"].keys() == names
    rows = list(csv.DictReader((tmp_path / "run" / "skipped.csv").open(newline="")))
    assert {row["image"] for row in rows} == names and len(rows) == 2
    with pytest.raises(DataError, match=r"(?s)2 of 12 images cannot be read:\n.*data\.max_failures"):
        fit(
            replace(config, out=str(tmp_path / "b"), data=replace(config.data, max_failures=1)),
            progress=False,
        )
    assert not (tmp_path / "b").exists()
    run = replace(config, out=str(tmp_path / "cv"))
    summary = crossval(run, CrossvalConfig(folds=2), progress=False)
    assert {name for fold in summary["folds"] for name in fold["failed"]} == names
    assert len((tmp_path / "cv" / "out_of_fold.csv").read_text().splitlines()) == 1 + 10


def test_over_the_limit_a_run_stops_with_its_checkpoints_and_goes_on_when_mended(
    tmp_path, monkeypatch, nothing_decoded
):
    root = make_images(tmp_path / "images", n=12)
    config = run_config(root, tmp_path / "run", data_resident="never", data_max_failures=1)
    contents = {path: path.read_bytes() for path in sorted(root.rglob("*.png"))}
    with monkeypatch.context() as patch:
        vanish_in_epoch(patch, 1, lambda: list(contents)[:5])
        with pytest.raises(DataError, match="2 images could not be read"):
            fit(config, progress=False)
    assert (tmp_path / "run" / LAST).is_file() and (tmp_path / "run" / "skipped.csv").is_file()
    for path, content in contents.items():
        path.write_bytes(content)
    resumed = fit(replace(config, resume=True, data=replace(config.data, max_failures=0)), progress=False)
    assert [row["epoch"] for row in resumed.history] == [0, 1, 2] and resumed.metrics["skipped"] == {}


def test_an_epoch_without_a_readable_image_stops_the_run(tmp_path, monkeypatch, nothing_decoded):
    root = make_images(tmp_path / "images", n=8)
    config = run_config(root, tmp_path / "run", data_resident="never", data_max_failures=100)
    vanish_in_epoch(monkeypatch, 1, lambda: list(root.rglob("*.png")))
    with pytest.raises(DataError, match=r"none of the .* images could be read in epoch 2"):
        fit(config, progress=False)


def test_a_slide_with_a_corrupt_block_is_skipped(tmp_path):
    root = tmp_path / "slides"
    root.mkdir()
    for seed in range(8):
        pyramid(root / f"{seed}.tif", picture(128, 128, seed), levels=2)
    with tifffile.TiffFile(root / "3.tif") as file:
        offset, count = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
    with (root / "3.tif").open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * count)
    rows = "\n".join(f"{seed}.tif,{'ab'[seed % 2]}" for seed in range(8))
    (root / "manifest.csv").write_text(f"image,label\n{rows}\n")
    config = run_config(root, tmp_path / "run", epochs=2, data_val_fraction=0.0)
    model = replace(MODEL, tile_size=64, tile_scale=1.0, sub_tile_scale=0.5)
    result = fit(replace(config, model=model), progress=False)
    [(name, reason)] = result.metrics["skipped"].items()
    assert name.endswith("3.tif") and "cannot be decoded" in reason


@pytest.mark.parametrize("augmented", [False, True])
def test_neither_residence_nor_cache_nor_prefetch_nor_threads_change_a_weight(tmp_path, augmented):
    """Images of sizes that are no multiple of a tile, at scales that make no whole number of pixels."""
    root = make_images(tmp_path / "images", n=10, size=67)
    model = replace(MODEL, tile_scale=0.3, sub_tile_scale=0.45, sub_tile_size=20)
    settings = [
        {"data_resident": "always"},
        {"data_resident": "never", "data_prefetch": 0, "data_cache_mb": 0},
        {"data_resident": "never", "data_prefetch": 2, "data_threads": 3},
    ]
    weights = []
    for number, options in enumerate(settings):
        config = run_config(root, tmp_path / f"run{number}", epochs=2, **options)
        augmentation = replace(config.data.augmentation, flips=augmented, quarter_turns=augmented)
        config = replace(config, model=model, data=replace(config.data, augmentation=augmentation))
        weights.append(ZoomIn.from_pretrained(fit(config, progress=False).model).state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]) and torch.equal(value, weights[2][name]), name
