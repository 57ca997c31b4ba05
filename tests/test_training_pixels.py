"""A trunk that is learned from pixels: the average, the choice against a frozen one, resuming, commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoomin import load_model, predict
from zoomin.app.cli import main
from zoomin.data.config import DataConfig
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.errors import CheckpointError, ConfigError
from zoomin.images.augmentation import Augmentation
from zoomin.images.batch import as_batch
from zoomin.model.config import ZoomInConfig
from zoomin.model.networks import PyramidAttention
from zoomin.model.zoom_in import ZoomIn
from zoomin.training.config import TrainConfig
from zoomin.training.frozen import pixels
from zoomin.training.frozen.averaged import AveragedTask
from zoomin.training.frozen.learn import Learned
from zoomin.training.frozen.pairs import PairedData, partners
from zoomin.training.frozen.pixels import PIXELS, PixelRun, learn_pixels, learn_trunk_too
from zoomin.training.frozen_config import FrozenConfig

MODEL = ZoomInConfig(
    tile_size=32,
    sub_tile_size=32,
    tile_scale=0.5,
    sub_tile_scale=1 / 32,
    sampling="exact",
    n_samples=4,
    tile_attention="uniform",
    position_attention="uniform",
    features="timm:tf_efficientnet_lite0",
    normalize_features=False,
    std=(0.5, 0.5, 0.5),
    class_names=("empty", "square"),
)
FROZEN = FrozenConfig(enabled=True, folds=2, trunk="learned", trunk_epochs=12, trunk_rate=5e-3)
SHORT = replace(FROZEN, trunk_epochs=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of four tiles; a small square makes the class. Four boards of their own brightness."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    lines = ["image,label,group"]
    for number in range(48):
        values = rng.integers(20 * (number % 4), 20 * (number % 4) + 40, (64, 64), dtype=np.uint8)
        if number // 4 % 2:
            y, x = rng.integers(4, 48, 2)
            values[y : y + 12, x : x + 12] = 250
        Image.fromarray(values).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{('empty', 'square')[number // 4 % 2]},board{number % 4}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def data(root: Path) -> ZoomInDataModule:
    return ZoomInDataModule(DataConfig(str(root), val_fraction=0.0, threads=1), progress=False, model=MODEL)


@pytest.fixture(scope="module")
def learned(data: ZoomInDataModule, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    run = PixelRun(tmp_path_factory.mktemp("run"))
    return learn_trunk_too(MODEL, FROZEN, data, data.splits["train"], 0, 0, run)


def test_learns_what_decides_from_pixels(learned: Learned) -> None:
    held = learned.report["held_out"][PIXELS]
    assert held["auroc"] > 0.95
    assert learned.net.config.features == pixels.TRUNK
    assert learned.report["reads"] == {"sampling": "exact", "n_samples": 4}


def test_the_model_is_a_zoom_in_model(learned: Learned, root: Path, tmp_path: Path) -> None:
    learned.net.save_pretrained(tmp_path)
    model, images = load_model(tmp_path), [root / f"{number}.png" for number in range(8)]
    rows = predict(images, model)
    assert {row.sampling for row in rows} == {"exact"}
    square = [row.probabilities[1] for row in rows]
    assert square == pytest.approx([row.probabilities[1] for row in predict(images, learned.net)])
    assert max(square[:4]) < min(square[4:])  # twelve passes do not suffice for a threshold of one half


def test_groups_are_held_out_whole(
    data: ZoomInDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def train(self: object, name: str, splits: dict[str, torch.Tensor], *_: object) -> ZoomIn:
        seen.append(splits)
        return ZoomIn(pixels._network(MODEL, SHORT, is_many=False, is_taught=False)).eval()

    monkeypatch.setattr(pixels._Job, "train", train)
    learn_pixels(MODEL, SHORT, data, data.splits["train"], 0, PixelRun(tmp_path))
    held_out, everything = seen
    boards = [
        {data.manifest.records[row].group for row in held_out[name].tolist()} for name in ("train", "val")
    ]
    assert not boards[0] & boards[1]
    assert len(everything["train"]) == 48


def _frozen(data: ZoomInDataModule, certainty: float) -> Learned:
    """What a frozen trunk might have learned, which knows the images held out more or less surely."""
    held = {"gated": {"auroc": 0.6, "accuracy": 0.5}}
    logits = certainty * torch.nn.functional.one_hot(data.labels[data.splits["train"]], 2).float()
    return Learned(ZoomIn(MODEL), {"head": "gated", "tiles": 4, "held_out": held}, logits)


def test_the_frozen_trunk_stays_where_it_is_better(data: ZoomInDataModule, tmp_path: Path) -> None:
    rows, frozen = data.splits["train"], _frozen(data, 20.0)
    found = learn_pixels(MODEL, SHORT, data, rows, 0, PixelRun(tmp_path), frozen)
    assert found.net is frozen.net
    assert found.report["head"] == "gated"
    assert found.report[PIXELS]["kept"] is False
    assert not (tmp_path / "all").exists()


def test_the_learned_trunk_stays_where_it_is_better(data: ZoomInDataModule, tmp_path: Path) -> None:
    rows, frozen = data.splits["train"], _frozen(data, 0.0)
    found = learn_pixels(MODEL, FROZEN, data, rows, 0, PixelRun(tmp_path), frozen)
    assert found.report["head"] == PIXELS
    assert found.report[PIXELS]["kept"] is True
    assert set(found.report["held_out"]) == {"gated", PIXELS}


@pytest.mark.parametrize(
    ("change", "called"),
    [
        ({"trunk": "auto", "trunk_images": 48}, True),
        ({"trunk": "auto", "trunk_images": 49}, False),
        ({"trunk": "auto", "trunk_images": 48, "trunk_below": 0.6}, False),
        ({"trunk": "pretrained", "trunk_images": 2}, False),
    ],
)
def test_when_a_trunk_is_learned(
    data: ZoomInDataModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, object],
    called: bool,
) -> None:
    calls = []
    monkeypatch.setattr(pixels, "learn", lambda *_, **__: _frozen(data, 1.0))
    monkeypatch.setattr(pixels, "learn_pixels", lambda *arguments: calls.append(arguments) or arguments[-1])
    frozen = replace(FROZEN, **change)  # type: ignore[arg-type]
    learn_trunk_too(MODEL, frozen, data, data.splits["train"], 0, 0, PixelRun(tmp_path))
    assert bool(calls) is called


def test_many_sub_tiles_are_drawn_by_the_taught_attention(data: ZoomInDataModule, tmp_path: Path) -> None:
    taught = replace(
        MODEL,
        tile_attention="pyramid:tf_efficientnet_lite0",
        sampling="top",
        n_samples=2,
        gate_copies=1,
        gate_overview=True,
    )
    frozen = Learned(ZoomIn(taught), {**_frozen(data, 0.0).report}, _frozen(data, 0.0).logits)
    few = replace(FROZEN, trunk_tiles=2, trunk_epochs=1)
    found = learn_pixels(taught, few, data, data.splits["train"][:16], 0, PixelRun(tmp_path), frozen)
    if found.report[PIXELS]["kept"]:
        attention = found.net.tile_attention
        assert isinstance(attention, PyramidAttention)
        assert torch.equal(attention.logit.weight, frozen.net.tile_attention.logit.weight)
    rows = (tmp_path / "held_out" / "metrics.csv").read_text().splitlines()
    assert float(dict(zip(rows[0].split(","), rows[1].split(","), strict=True))["train_tiles"]) == 2


def test_a_run_that_is_interrupted_resumes(
    data: ZoomInDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = data.splits["train"]
    whole = learn_pixels(MODEL, SHORT, data, rows, 0, PixelRun(tmp_path / "whole"))
    step = AveragedTask.on_train_batch_end

    def interrupted(self: AveragedTask, outputs: object, batch: object, batch_idx: int) -> None:
        step(self, outputs, batch, batch_idx)
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AveragedTask, "on_train_batch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learn_pixels(MODEL, SHORT, data, rows, 0, PixelRun(tmp_path / "part"))
    again = learn_pixels(MODEL, SHORT, data, rows, 0, PixelRun(tmp_path / "part", resume=True))
    for name, value in whole.net.state_dict().items():
        torch.testing.assert_close(again.net.state_dict()[name], value, msg=name)
    with pytest.raises(CheckpointError, match="seed"):
        learn_pixels(MODEL, SHORT, data, rows, 1, PixelRun(tmp_path / "part", resume=True))


def test_the_average_is_what_is_evaluated() -> None:
    net = ZoomIn(pixels._network(MODEL, FROZEN, is_many=False, is_taught=False))
    task = AveragedTask(net, TrainConfig())
    before = task.averaged.head.weight.clone()
    task.on_train_batch_end(None, None, 0)  # the first step begins the average
    with torch.no_grad():
        net.head.weight.add_(1)
    task.on_train_batch_end(None, None, 1)
    torch.testing.assert_close(task.averaged.head.weight, before + 9 / 11)  # (1 + n) / (10 + n) is kept
    assert task.train().net.training and not task.averaged.training


def test_pairs_are_alike_but_for_the_class(data: ZoomInDataModule) -> None:
    paired = PairedData.of(data)
    order = list(paired.train_dataloader().sampler)
    rows = torch.cat([torch.tensor(key.rows) for key in order]).view(-1, 2)
    assert len(rows) == 24
    assert (data.labels[rows[:, 0]] != data.labels[rows[:, 1]]).all()
    groups = [{data.manifest.records[row].group for row in pair} for pair in rows.tolist()]
    assert all(len(pair) == 1 for pair in groups)


def test_pairs_are_augmented_alike() -> None:
    change = Augmentation(True, True, shift=3)
    data = PairedData.__new__(PairedData)
    data.config = DataConfig("unused", augmentation=change)
    images = torch.randint(256, (3, 3, 40, 40), dtype=torch.uint8).repeat_interleave(2, 0)
    changed = data.augment(as_batch(images), torch.Generator().manual_seed(1))
    views = changed.read(torch.arange(6), torch.tensor([[0, 0, 40, 40]]).expand(6, 4), 1.0)
    assert torch.equal(views[::2], views[1::2])
    assert not torch.equal(views[::2], images[::2])


def test_partners_are_of_another_class_where_the_group_has_one() -> None:
    values = torch.tensor([[0.0], [0.1], [3.0], [9.0]])
    found = partners(values, torch.tensor([0, 0, 1, 1]), ["a", "b", "b", "a"])
    assert found.tolist() == [3, 2, 1, 0]


def test_colours_change_where_there_are_some(data: ZoomInDataModule) -> None:
    grey = pixels._augmentation(data.store.select(torch.arange(4)))
    assert (grey.brightness, grey.shift, grey.quarter_turns) == (0.0, pixels._SHIFT, True)
    coloured = torch.randint(256, (2, 3, 40, 40), dtype=torch.uint8)
    assert pixels._augmentation(as_batch(coloured)).brightness > 0


@pytest.mark.parametrize(
    "change", [{"trunk_epochs": 0}, {"trunk_tiles": 0}, {"trunk_below": 2.0}, {"trunk_rate": 0.0}]
)
def test_settings_that_cannot_work(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(FROZEN, **change)  # type: ignore[arg-type]


def test_train_from_pixels_by_command(root: Path, tmp_path: Path) -> None:
    words = ["train", "--data.root", str(root), "--out", str(tmp_path / "run"), "--frozen.trunk", "learned"]
    assert main([*words, "--frozen.trunk_epochs", "1", "--frozen.folds", "2"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["model"] == "learned trunk"
    assert metrics["learned"]["head"] == PIXELS
    head = load_model(tmp_path / "run").head
    assert head.mean_feature is not None and torch.isfinite(head(head.mean_feature)).all()
    assert (tmp_path / "run" / "pixels" / "all" / "metrics.csv").is_file()
