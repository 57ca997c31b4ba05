from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from training_examples import make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.errors import CheckpointError, ConfigError, DataError, WriteError
from zoomin.model import ZoomIn
from zoomin.runtime.locks import lock_folder
from zoomin.training.checkpoints import WholeCheckpoints
from zoomin.training.config import RunConfig
from zoomin.training.fit import FitResult, fit
from zoomin.training.records import EpochTable


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"), n=16)


@pytest.fixture(scope="module")
def done(images, tmp_path_factory) -> tuple[RunConfig, FitResult]:
    """A finished run of four epochs with validation and test images."""
    out = tmp_path_factory.mktemp("runs") / "done"
    config = run_config(images, out, epochs=4, lr_step=2, data_test_fraction=0.25, gradient_clip=1.0)
    return config, fit(config, progress=False)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one | other)


def timeless(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if name != "seconds"}


def stopped_after(
    config: RunConfig, epochs: int, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Run `fit` until the start of an epoch, where it breaks off."""
    from zoomin.training.zoom_in_task import ZoomInTask

    def break_off(self) -> None:
        if self.current_epoch == epochs:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(ZoomInTask, "on_train_epoch_start", break_off)
        with pytest.raises(error):
            fit(config, progress=False)


def test_the_folder_holds_everything(done):
    _, result = done
    names = {path.relative_to(result.folder).as_posix() for path in result.folder.rglob("*")}
    assert names >= {
        "config.yaml",
        "versions.json",
        "manifest.csv",
        "splits.json",
        "metrics.json",
        "metrics.csv",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "model/model.safetensors",
        "model/config.json",
    }
    assert any(name.startswith("tensorboard/events") for name in names)
    assert not any(name.endswith(".part") for name in names)
    assert json.loads((result.folder / "metrics.json").read_text()) == result.metrics
    versions = json.loads((result.folder / "versions.json").read_text())
    assert versions["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    resolved = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert resolved["model"]["class_names"] == ["empty", "square"]
    assert resolved["data"]["classes"] == ["empty", "square"]
    assert resolved["train"]["lr_step"] == 2
    assert resolved["resume"] is False
    splits = json.loads((result.folder / "splits.json").read_text())
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 8, "val": 4, "test": 4}


def test_metrics_say_what_was_chosen_and_how_it_was_evaluated(done):
    _, result = done
    metrics = result.metrics
    assert metrics["model"] == "best"
    assert metrics["chosen_by"] == "val_loss of the validation images"
    losses = [row["val_loss"] for row in result.history]
    assert metrics["epoch"] == losses.index(min(losses))
    assert metrics["evaluation"] == {"sampling": "systematic", "replicates": 2, "seed": 0}
    for part in ("val", "test"):
        assert metrics[part]["accuracy_interval"][0] <= metrics[part]["accuracy"]
        assert sum(map(sum, metrics[part]["confusion_matrix"])) == metrics[part]["n_images"]


def test_every_epoch_has_one_row(done):
    _, result = done
    with (result.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    for name in (
        "train_loss",
        "val_loss",
        "train_tiles",
        "train_position_entropy",
        "val_balanced_accuracy",
        "lr",
    ):
        assert all(row[name] for row in rows)
    assert [float(row["train_contrastive"]) > 0 for row in rows] == [False, True, True, True]


def test_the_saved_model_is_that_of_the_chosen_epoch(done):
    _, result = done
    net = ZoomIn.from_pretrained(result.model)
    assert net.config.class_names == ("empty", "square")
    checkpoint = torch.load(result.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["epoch"] == result.metrics["epoch"]
    saved = {name.removeprefix("net."): value for name, value in checkpoint["state_dict"].items()}
    state = net.state_dict()
    assert state.pop("head.mean_feature").shape == (net.head.in_features,)
    assert same(saved, state)


def test_checkpoints_hold_no_images(done, images):
    _, result = done
    size = (result.folder / "checkpoints" / "last.ckpt").stat().st_size
    weights_size = (result.folder / "model" / "model.safetensors").stat().st_size
    assert size < 3 * weights_size + 60_000  # weights, two moments, settings


def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(done, tmp_path, monkeypatch):
    config, whole = done
    config = replace(config, out=str(tmp_path / "run"))
    stopped_after(config, 2, monkeypatch, RuntimeError)
    assert not (tmp_path / "run" / "model").exists()
    result = fit(replace(config, resume=True), progress=False)
    assert same(weights(result.folder), weights(whole.folder))
    last = [torch.load(r.folder / "checkpoints" / "last.ckpt", weights_only=True) for r in (result, whole)]
    assert same(last[0]["state_dict"], last[1]["state_dict"])
    assert timeless(result.metrics) == timeless(whole.metrics)
    assert result.history == whole.history
    texts = [(r.folder / "metrics.csv").read_text() for r in (result, whole)]
    assert texts[0] == texts[1]


def test_a_run_that_moved_knows_its_best_epoch(done, tmp_path, monkeypatch):
    config, whole = done
    stopped_after(replace(config, out=str(tmp_path / "run")), 3, monkeypatch, RuntimeError)
    (tmp_path / "run").rename(tmp_path / "moved")
    result = fit(replace(config, out=str(tmp_path / "moved"), resume=True), progress=False)
    assert timeless(result.metrics) == timeless(whole.metrics)
    assert same(weights(result.folder), weights(whole.folder))
    last = torch.load(tmp_path / "moved" / "checkpoints" / "last.ckpt", weights_only=True)
    [best] = [s for s in last["callbacks"].values() if s.get("monitor") and "best_model_score" in s]
    assert Path(best["best_model_path"]) == tmp_path / "moved" / "checkpoints" / "best.ckpt"
    first = torch.load(whole.folder / "checkpoints" / "last.ckpt", weights_only=True)
    [expected] = [s for s in first["callbacks"].values() if s.get("monitor") and "best_model_score" in s]
    assert best["best_model_score"] == expected["best_model_score"]


def test_an_interrupt_leaves_a_resumable_run(done, tmp_path, monkeypatch):
    config, whole = done
    config = replace(config, out=str(tmp_path / "run"))
    handler = signal.getsignal(signal.SIGINT)
    stopped_after(config, 1, monkeypatch, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    result = fit(replace(config, resume=True), progress=False)
    assert same(weights(result.folder), weights(whole.folder))


def test_resuming_a_finished_run_changes_nothing_and_more_epochs_go_on(done, tmp_path, images):
    config, whole = done
    config = replace(config, out=str(tmp_path / "run"), train=replace(config.train, epochs=2))
    fit(config, progress=False)
    again = fit(replace(config, resume=True), progress=False)
    assert len(again.history) == 2
    longer = fit(replace(config, resume=True, train=replace(config.train, epochs=4)), progress=False)
    assert longer.history == whole.history
    assert same(weights(longer.folder), weights(whole.folder))
    with pytest.raises(ConfigError, match=r"finished 4 epochs, train\.epochs is 2.*at least 4"):
        fit(replace(config, resume=True), progress=False)


def test_resume_without_a_run_starts_one(images, tmp_path):
    result = fit(run_config(images, tmp_path / "run", epochs=1, run_resume=True), progress=False)
    assert len(result.history) == 1


def test_another_seed_gives_another_run_and_threads_do_not(done, tmp_path):
    config, whole = done
    threaded = replace(
        config, out=str(tmp_path / "threads"), data=replace(config.data, threads=3, resident="never")
    )
    assert timeless(fit(threaded, progress=False).metrics) == timeless(whole.metrics)
    other = fit(replace(config, out=str(tmp_path / "seed"), seed=1), progress=False)
    assert other.history != whole.history
    splits = [(result.folder / "splits.json").read_text() for result in (other, whole)]
    assert splits[0] == splits[1]  # data.seed decides the splits


def test_without_validation_the_last_epoch_is_kept(images, tmp_path):
    result = fit(run_config(images, tmp_path / "run", data_val_fraction=0.0), progress=False)
    assert result.metrics["model"] == "last"
    assert result.metrics["epoch"] == 2
    assert result.metrics["chosen_by"] is None
    assert "val" not in result.metrics
    assert not (result.folder / "checkpoints" / "best.ckpt").exists()


def test_early_stopping_stops(images, tmp_path):
    config = run_config(images, tmp_path / "run", epochs=30, early_stopping_patience=1, learning_rate=1e-9)
    config = replace(config, train=replace(config.train, monitor="val_accuracy"))
    assert len(fit(config, progress=False).history) == 2


def test_three_classes_need_no_setting(tmp_path):
    root = make_images(tmp_path / "images", n=15, classes=("empty", "green", "blue"))
    result = fit(run_config(root, tmp_path / "run", monitor="val_balanced_accuracy"), progress=False)
    assert ZoomIn.from_pretrained(result.model).config.n_classes == 3
    assert result.metrics["contrastive_from_epoch"] is None


def test_a_full_folder_is_not_overwritten(done):
    config, result = done
    before = (result.folder / "metrics.json").read_text()
    with pytest.raises(ConfigError, match=r"not empty.*--resume true"):
        fit(config, progress=False)
    assert (result.folder / "metrics.json").read_text() == before
    with pytest.raises(WriteError, match="a file, not a folder"):
        fit(replace(config, out=str(result.folder / "metrics.json")), progress=False)


def test_other_settings_are_not_resumed(done):
    config, _ = done
    other = replace(
        config,
        resume=True,
        seed=3,
        model=replace(config.model, n_samples=7),
        train=replace(config.train, learning_rate=0.5),
    )
    with pytest.raises(CheckpointError) as caught:
        fit(other, progress=False)
    message = str(caught.value)
    assert "model.n_samples (4, now 7)" in message
    assert "train.learning_rate (0.001, now 0.5)" in message
    assert "seed (0, now 3)" in message
    assert "epochs" not in message


def test_other_data_are_not_resumed(done, tmp_path):
    config, _ = done
    moved = replace(config, resume=True, data=replace(config.data, root=str(make_images(tmp_path, n=12))))
    with pytest.raises(CheckpointError, match="other images, labels or splits"):
        fit(moved, progress=False)


def saved(**parts):
    buffer = BytesIO()
    torch.save(parts, buffer)
    return buffer.getvalue()


ONE = b"\0\0\x80\x3f"  # a weight of 1
DAMAGED = {
    "empty": b"",
    "text": b"not a checkpoint",
    "an empty stack": b"\x80\x02)R.",
    "one bit of a weight": saved(state_dict={"a": torch.ones(2)}, epoch=0).replace(ONE, b"\0\0\x80\x3e", 1),
    "no epoch": saved(state_dict={"a": torch.ones(2)}),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_checkpoint_is_named(images, tmp_path, content):
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged"):
        fit(run_config(images, tmp_path / "run", run_resume=True), progress=False)


def test_a_torn_last_checkpoint_falls_back_to_the_one_before(done, tmp_path, monkeypatch, caplog):
    """TMPDIR on another file system made Lightning copy onto the live file; now nothing is half-written."""
    config, whole = done
    folder = tmp_path / "run"
    config = replace(config, out=str(folder))
    stopped_after(config, 3, monkeypatch, RuntimeError)
    (folder / "metrics.csv").unlink()  # killed between a checkpoint and its row: the checkpoint has all rows
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    result = fit(replace(config, resume=True), progress=False)
    assert "last.ckpt: damaged" in caplog.text
    assert "Going on from the checkpoint before it" in caplog.text
    assert same(weights(result.folder), weights(whole.folder))
    assert (folder / "metrics.csv").read_text() == (whole.folder / "metrics.csv").read_text()
    assert {path.name for path in last.parent.iterdir()} == {"last.ckpt", "best.ckpt"}


def test_a_run_killed_before_its_last_row_has_every_row(done, tmp_path, monkeypatch):
    config, whole = done
    config = replace(config, out=str(tmp_path / "run"))
    log = EpochTable.log_metrics

    def dies(self, metrics, step=None):
        if metrics["epoch"] == 4 and "lr" in metrics:
            raise KeyboardInterrupt
        log(self, metrics, step)

    with monkeypatch.context() as patch:
        patch.setattr(EpochTable, "log_metrics", dies)
        with pytest.raises(KeyboardInterrupt):
            fit(config, progress=False)
    table = tmp_path / "run" / "metrics.csv"
    assert len(table.read_text().splitlines()) == 1 + 3
    fit(replace(config, resume=True), progress=False)
    assert table.read_text() == (whole.folder / "metrics.csv").read_text()


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    io = WholeCheckpoints()
    io.save_checkpoint({"epoch": 0}, path)
    io.save_checkpoint({"epoch": 1}, path)

    def full(checkpoint, part):
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WriteError, match=r"last\.ckpt: cannot be written: the disk is full"):
        io.save_checkpoint({"epoch": 2}, path)
    kept = [torch.load(tmp_path / name)["epoch"] for name in ("last.ckpt", "previous.ckpt")]
    assert kept == [1, 0]
    assert len(list(tmp_path.iterdir())) == 2


def test_slurm_brings_in_no_checkpoint_of_others(done, tmp_path, monkeypatch):
    config, whole = done
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "job"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes((whole.folder / "checkpoints" / "last.ckpt").read_bytes())
    config = replace(config, out=str(tmp_path / "run"), train=replace(config.train, epochs=1))
    assert len(fit(config, progress=False).history) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"hpc_ckpt_1.ckpt", "run"}


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_several_processes_do_not_train_the_same(images, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with pytest.raises(ConfigError, match=r"train\.devices: (torchrun|srun) has started 2 processes"):
        fit(run_config(images, tmp_path / "run"), progress=False)
    assert not (tmp_path / "run").exists()


def test_two_jobs_do_not_share_a_folder(images, tmp_path):
    with lock_folder(tmp_path / "run"), pytest.raises(WriteError, match="another job writes here: process"):
        fit(run_config(images, tmp_path / "run"), progress=False)


def test_bad_runs_are_refused_before_anything_is_written(images, tmp_path):
    config = run_config(images, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"model\.n_classes.*3 classes, the data 2 \(empty, square\)"):
        fit(replace(config, model=replace(config.model, n_classes=3)), progress=False)
    with pytest.raises(ConfigError, match=r"model's classes are a, b, the data's empty, square"):
        fit(replace(config, model=replace(config.model, class_names=("a", "b"))), progress=False)
    with pytest.raises(ConfigError, match="early stopping needs validation images"):
        fit(
            run_config(images, tmp_path / "run", early_stopping_patience=2, data_val_fraction=0.0),
            progress=False,
        )
    one_class = tmp_path / "one"
    make_images(one_class, n=4, classes=("empty",))
    with pytest.raises(DataError, match="only the class 'empty'"):
        fit(run_config(one_class, tmp_path / "run", data_val_fraction=0.0), progress=False)
    broken = make_images(tmp_path / "broken")
    (broken / "empty" / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"000\.png"):
        fit(run_config(broken, tmp_path / "run", data_max_failures=0), progress=False)
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_training_is_quiet(images, tmp_path):
    code = f"""
from training_examples import run_config
from pathlib import Path
from zoomin.training.fit import fit
fit(run_config(Path({str(images)!r}), Path({str(tmp_path / "run")!r}), epochs=1), progress=False)
"""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
