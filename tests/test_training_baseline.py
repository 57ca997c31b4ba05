"""Training baselines on a frozen network: it stays as it is, and sees every image once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training_examples import make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.baselines import ABMILConfig, CNNConfig, IPSConfig
from zoomin.classifiers import build
from zoomin.data.datamodule import BatchKey, ZoomInDataModule
from zoomin.errors import BatchReadError, ConfigError
from zoomin.images.augmentation import Augmentation
from zoomin.model.chunks import Chunks
from zoomin.training.fit import fit, new_task
from zoomin.training.frozen.known_features import KnownFeatures
from zoomin.training.frozen_config import FrozenConfig
from zoomin.training.matching import match_classes
from zoomin.training.records import EpochTable
from zoomin.training.trainer import train

GATED = ABMILConfig(crop_size=16, gated=True, hidden=8, width=8, dropout=0.25, standardize=True)


def trained(tmp_path, model, **settings):
    """The task after training, and how many crops its network encoded."""
    root = make_images(tmp_path / "images")
    config = replace(run_config(root, root, data_val_fraction=0.0, **settings), model=model)
    data = ZoomInDataModule(config.data, progress=False)
    task = new_task(replace(config, model=match_classes(config.model, data.classes)), data)
    before = {name: value.clone() for name, value in task.net.features.state_dict().items()}
    train(task, data, [], [EpochTable()])
    after = task.net.features.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(p.requires_grad for p in task.net.features.parameters())
    return task


@pytest.fixture
def seen(monkeypatch):
    counts, apply = [], Chunks.apply

    def counted(self, network, batch, image, *rest):
        counts.append(len(image))
        return apply(self, network, batch, image, *rest)

    monkeypatch.setattr(Chunks, "apply", counted)
    return counts


def test_an_image_is_encoded_once(tmp_path, seen):
    task = trained(tmp_path, GATED, epochs=3, freeze_trunks=True)
    grids = [-(-height // 16) * 3 for height in (48, 49, 50, 48, 49, 50, 48, 49)]
    assert sum(seen) == sum(grids)
    assert float(task.net.first[0].running_mean.abs().sum()) > 0, "what lies behind it learns"


def test_augmented_images_are_encoded_anew(tmp_path, seen):
    trained(tmp_path, GATED, epochs=2, freeze_trunks=True, data_augmentation=Augmentation(flips=True))
    assert sum(seen) > 2 * 8 * 9


def test_other_baselines_freeze_their_network_too(tmp_path):
    trained(tmp_path, CNNConfig(side=24, features="resnet16"), epochs=1, freeze_trunks=True)


def test_there_must_be_a_network(tmp_path):
    config = run_config(make_images(tmp_path / "images"), tmp_path / "run", freeze_trunks="attention")
    with pytest.raises(ConfigError, match="only Zoom-In supports this"):
        fit(replace(config, model=GATED), progress=False)


def test_what_is_on_disk_is_not_encoded_again(tmp_path, seen):
    """Another method of the same trunk, crops and images finds what the first one left."""
    pretrained = {"features": "timm:tf_efficientnet_lite0", "pretrained": True}
    gated, ips = replace(GATED, crop_size=32, **pretrained), IPSConfig(tile_size=32, memory=2, **pretrained)
    root, cache = make_images(tmp_path / "images"), tmp_path / "cache"
    answers = []
    for model in (gated, gated, ips):
        config = run_config(root, root, data_val_fraction=0.0, epochs=1, freeze_trunks=True)
        config = replace(config, model=model, frozen=FrozenConfig(cache=str(cache)))
        data = ZoomInDataModule(config.data, progress=False)
        task = new_task(replace(config, model=match_classes(config.model, data.classes)), data)
        train(task, data, [], [EpochTable()])
        answers.append(task.net.known.seconds_of([str(r.image) for r in data.manifest]))
        if model is gated:
            assert sum(seen) == 8 * 4
    assert sum(seen) == 8 * 4 and len(list(cache.rglob("*.h5"))) == 8
    assert answers[0] > 0 and answers[1] == answers[2] == pytest.approx(answers[0], abs=1e-6)
    assert task.net.known.made_seconds == 0


def test_what_is_known_answers_as_pixels_do(tmp_path):
    data = ZoomInDataModule(run_config(make_images(tmp_path / "images"), tmp_path).data, progress=False)
    batch = data.batch(BatchKey((0, 1, 2), -1, 0)).images
    for model in (GATED, IPSConfig(tile_size=16, memory=2), CNNConfig(side=24)):
        net = build(model).eval()
        keys = torch.arange(3)
        with torch.no_grad():
            expected = net(batch, keys=keys).logits
            net.known = KnownFeatures(net, net.features, str(tmp_path / "cache"))
            torch.testing.assert_close(net(batch, keys=keys).logits, expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(net(batch, keys=keys).logits, expected, atol=1e-5, rtol=1e-5)


def test_the_image_that_cannot_be_read_is_named(tmp_path):
    """By its place in the batch, not among the images that are new."""
    root = make_images(tmp_path / "images")
    data = ZoomInDataModule(run_config(root, tmp_path, data_resident="never").data, progress=False)
    net = build(GATED).eval()
    net.known = KnownFeatures(net, net.features, None)
    net(data.batch(BatchKey((0, 1), -1, 0)).images)
    data.manifest.records[3].image.unlink()
    with pytest.raises(BatchReadError) as caught:
        net(data.batch(BatchKey((0, 1, 2, 3), -1, 0)).images)
    assert list(caught.value.failures) == [3]
