"""Pre-training on crops: which crops, with which labels, and that attention finds the ROI afterwards."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import shapely
import torch

from test_training_supervision import annotated
from training_examples import MODEL, make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.annotations.mask import MaskAnnotation
from zoomin.annotations.polygons import PolygonAnnotation
from zoomin.annotations.reader import RoiReader
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.datasets.synthetic.needles import NeedleConfig, make_needles
from zoomin.errors import CheckpointError, ConfigError
from zoomin.images.augment import Augmentation
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.training.config import PARTS, PretrainConfig, WarmUp
from zoomin.training.fit import fit, new_task
from zoomin.training.pretrain import _CropSource, pretrain, roi_points


def data_of(manifest, **settings):
    config = run_config(manifest.source, manifest.source, data_val_fraction=0.0, **settings).data
    return ZoomInDataModule(config, manifest, progress=False)


def test_points_lie_evenly_in_the_roi():
    rng = np.random.default_rng(0)
    mask = np.zeros((70, 130), dtype=bool)
    mask[3:10, 100:130], mask[60, 5] = True, True  # 210 pixels, and one
    points = roi_points(MaskAnnotation(mask, 70, 130), 4000, rng)
    x, y = np.floor(points).astype(int).T
    assert mask[y, x].mean() > 0.98  # the cell of a point may reach beyond
    count = np.zeros(mask.shape)
    np.add.at(count, (y, x), 1)
    expected = 4000 / 211
    assert abs(count[mask] - expected).max() < 7 * expected**0.5


def test_points_of_a_speck_on_a_giant_image():
    speck = PolygonAnnotation([shapely.box(71_003, 20_001, 71_009, 20_008)], 100_000, 100_000)
    points = roi_points(speck, 50, np.random.default_rng(0))
    assert (points > (71_002, 20_000)).all() and (points < (71_010, 20_009)).all()
    assert len(np.unique(points, axis=0)) > 20


def test_crops_are_balanced_and_truly_labelled(tmp_path):
    """Two of four squares are annotated: the others are never looked at."""
    manifest = annotated(tmp_path, every=2)
    source = _CropSource(data_of(manifest), seed=0)
    masks = {row: RoiReader(manifest.records).open(row, *source._size[row]) for row in (1, 5)}
    for side in (MODEL.sub_tile_size, MODEL.tile_size):
        rows, regions, labels = source.draw(200, side)
        assert labels.sum() == 100 and set(rows[labels > 0].tolist()) == {1, 5}
        assert {0, 2, 4, 6} < set(rows[labels == 0].tolist()) <= {0, 1, 2, 4, 5, 6}
        for row, region, label in zip(rows.tolist(), regions, labels.tolist(), strict=True):
            if row in masks:
                share = masks[row].read_boxes(region[None].double().numpy(), 1, 1)
                assert bool(share > 0) == bool(label)
        assert (regions[:, :2] >= 0).all() and regions[:, 2:].eq(side).all()
        size = torch.tensor([source._size[row] for row in rows.tolist()])
        assert (regions[:, [1, 0]] + side <= size.clamp(min=side)).all()


def test_crops_where_the_network_reads(tmp_path):
    manifest = annotated(tmp_path, every=2)
    source = _CropSource(data_of(manifest), seed=0)
    masks = {row: RoiReader(manifest.records).open(row, *source._size[row]) for row in (1, 5)}
    side = MODEL.sub_tile_size
    for place in ("grid", "middle"):
        rows, regions, labels = source.draw(200, side, place)
        assert labels.sum() == 100
        for row, region, label in zip(rows.tolist(), regions, labels.tolist(), strict=True):
            middle = torch.cat([region[:2] + side // 2, torch.ones(2, dtype=torch.int64)])
            seen = middle if place == "middle" and label else region
            if row in masks:
                share = masks[row].read_boxes(seen[None].double().numpy(), 1, 1)
                assert bool(share > 0) == bool(label)
            height, width = source._size[row]
            assert -side < region[0] < width and -side < region[1] < height
        assert bool((regions[:, :2] % side == 0).all()) == (place == "grid")
    assert len(source.draw(200, side, "grid").regions.unique(dim=0)) > 5


def test_crops_are_read_as_they_are_but_for_augmentation(tmp_path):
    manifest = annotated(tmp_path)
    source = _CropSource(data_of(manifest), seed=0)
    crops = source.draw(12, 19)
    views = source.read(crops, 1.0)
    bright = (views[:, 1] == 255).flatten(1).any(1)
    assert bright.tolist() == (crops.labels > 0).tolist()
    turned = _CropSource(data_of(manifest, data_augmentation=Augmentation(flips=True)), seed=0)
    again = turned.read(turned.draw(12, 19), 1.0)
    assert not torch.equal(again, views)
    torch.testing.assert_close(again.long().sum((1, 2, 3)), views.long().sum((1, 2, 3)))


def test_pre_training_on_needles_raises_the_attention_on_them(tmp_path):
    size = NeedleConfig(n_train=8, n_val=0, n_test=0, min_size=200, max_size=240)
    manifest = make_needles(tmp_path / "needles", size)
    data = data_of(manifest)
    config = ZoomInConfig(
        tile_size=40,
        sub_tile_size=20,
        tile_scale=0.4,
        sub_tile_scale=0.4,
        tile_attention="lenet_relu",
        position_attention="lenet_relu",
        features="lenet_released",
    )
    torch.manual_seed(0)
    net = ZoomIn(config)
    before = attention_on_roi(net, data)
    records = pretrain(net, data, PretrainConfig(steps=60, batch_size=16, learning_rate=1e-2), seed=1)
    after = attention_on_roi(net, data)
    assert after > 2 * before
    last = {part: [r for r in records if r["part"] == part][-1] for part in PARTS}
    assert all(row["accuracy"] > 0.6 and row["step"] == 60 for row in last.values())


def attention_on_roi(net, data):
    """The attention that falls on needles, on average over positive images."""
    rows = torch.tensor([row for row, record in enumerate(data.manifest) if record.label == "positive"])
    images = data.store.select(rows)
    with torch.no_grad():
        _, tiles = net.attend(images)
    reader = RoiReader(data.manifest.records)
    share = reader.read(images, rows, tiles.image, tiles.regions, tiles.map_size).flatten(1)
    return float((share * (tiles.log_alpha[:, None] + tiles.log_beta).exp()).sum()) / len(rows)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_head_alone(tmp_path):
    data = data_of(annotated(tmp_path))
    weights = []
    for seed in (3, 3, 4):
        torch.manual_seed(0)
        net = ZoomIn(MODEL)
        head = net.head.weight.clone()
        pretrain(net, data, PretrainConfig(steps=2, batch_size=4, parts=("features",)), seed)
        assert torch.equal(net.head.weight, head)
        weights.append(torch.cat([w.flatten() for w in net.features.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_frozen_trunks_are_pre_trained_and_then_stay(tmp_path):
    """Freezing is of the training that follows."""
    from zoomin.data.manifest import write_manifest

    write_manifest(annotated(tmp_path / "images"), tmp_path / "images" / "manifest.csv")
    model = replace(
        MODEL, tile_attention="timm:tf_efficientnet_lite0", tile_scale=1.0, position_attention="lenet"
    )
    trunk, frozen = {}, {}
    for steps in (0, 2):
        config = run_config(
            tmp_path / "images",
            tmp_path / f"run{steps}",
            epochs=1,
            freeze_trunks="attention",
            run_model=model,
            run_pretrain=PretrainConfig(steps=steps, batch_size=4, parts=PARTS[:1]),
        )
        data = ZoomInDataModule(config.data, progress=False, model=model).with_seed(config.seed)
        task = new_task(config, data)
        pretrain(task.net, data, config.pretrain, config.seed)
        frozen[steps] = [p.requires_grad for p in task.net.tile_attention.trunk.parameters()]
        trunk[steps] = torch.cat([p.flatten() for p in task.net.tile_attention.trunk.parameters()])
    assert not torch.equal(trunk[0], trunk[2])
    assert not any(frozen[0]) and not any(frozen[2])
    result = fit(config, progress=False)
    kept = ZoomIn.from_pretrained(result.model).tile_attention.trunk.parameters()
    assert torch.equal(torch.cat([p.flatten() for p in kept]), trunk[2])


def test_no_steps_nothing_happens(tmp_path):
    net = ZoomIn(MODEL)
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    assert pretrain(net, data_of(annotated(tmp_path)), PretrainConfig()) == []
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())


def test_what_cannot_be_learnt_from_is_refused(tmp_path):
    root = make_images(tmp_path / "images")
    data = ZoomInDataModule(run_config(root, root).data, progress=False)
    with pytest.raises(ConfigError, match="no training image has annotated ROI"):
        pretrain(ZoomIn(MODEL), data, PretrainConfig(steps=1))
    manifest = annotated(tmp_path / "annotated")
    squares = replace(manifest, records=tuple(r for r in manifest if r.label == "square"))
    large = ZoomIn(replace(MODEL, tile_size=48))
    with pytest.raises(ConfigError, match="no crop of 48 pixels without ROI"):
        pretrain(large, data_of(squares), PretrainConfig(steps=1))


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_falls_where_asked(tmp_path, monkeypatch, schedule):
    rates = []
    step = torch.optim.Adam.step

    def recorded(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    config = PretrainConfig(steps=4, batch_size=4, learning_rate=0.1, parts=PARTS[:1], schedule=schedule)
    pretrain(ZoomIn(MODEL), data_of(annotated(tmp_path)), config)
    falling = [0.1, 0.05 + 0.05 * 0.5**0.5, 0.05, 0.05 - 0.05 * 0.5**0.5]
    assert rates == pytest.approx([0.1] * 4 if schedule == "constant" else falling)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"parts": ("head",)},
        {"parts": ()},
    ],
)
def test_settings_that_cannot_work(wrong):
    with pytest.raises(ConfigError, match=f"pretrain.{next(iter(wrong))}"):
        PretrainConfig(**wrong)


def test_a_run_pre_trains_once_and_records_it(tmp_path):
    from zoomin.data.manifest import write_manifest

    manifest = annotated(tmp_path / "images")
    write_manifest(manifest, tmp_path / "images" / "manifest.csv")
    config = run_config(
        tmp_path / "images", tmp_path / "run", epochs=1, run_pretrain=PretrainConfig(steps=3, batch_size=4)
    )
    fit(config, progress=False)
    with (tmp_path / "run" / "pretrain.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["part"] for row in rows} == set(PARTS) and rows[-1]["step"] == "3"
    (tmp_path / "run" / "pretrain.csv").unlink()
    more = replace(config, resume=True, train=replace(config.train, epochs=2))
    fit(more, progress=False)
    assert not (tmp_path / "run" / "pretrain.csv").exists()


def test_what_came_before_the_first_epoch_is_not_done_again(tmp_path, monkeypatch):
    """Interrupted in the warm-up, then in the first epoch: the network is that of a run without a break."""
    from zoomin.data.manifest import write_manifest
    from zoomin.training import fit as module

    write_manifest(annotated(tmp_path / "images"), tmp_path / "images" / "manifest.csv")
    settings = {
        "epochs": 1,
        "run_pretrain": PretrainConfig(steps=3, batch_size=4),
        "warm_up": WarmUp(steps=2, position_steps=2, batch_size=4),
    }
    whole = fit(run_config(tmp_path / "images", tmp_path / "whole", **settings), progress=False)
    config = run_config(tmp_path / "images", tmp_path / "run", **settings)
    resumed = replace(config, resume=True)
    for name, run in (("warm_up", config), ("train", resumed)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, interrupted)
            if run is resumed:
                patch.setattr(module, "pretrain", forbidden)
            with pytest.raises(KeyboardInterrupt):
                fit(run, progress=False)
    monkeypatch.setattr(module, "pretrain", forbidden)
    monkeypatch.setattr(module, "warm_up", forbidden)
    with pytest.raises(CheckpointError, match="started with other settings"):
        fit(replace(resumed, seed=5), progress=False)
    result = fit(resumed, progress=False)
    weights = [ZoomIn.from_pretrained(run.model).state_dict() for run in (whole, result)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not (tmp_path / "run" / "checkpoints" / "start.ckpt").exists()


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


def forbidden(*args, **kwargs):
    raise AssertionError("done again")
