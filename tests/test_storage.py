"""Models on disk: the same after a round trip, and clear words when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from problems import picture, small_network
from zoomin.errors import CheckpointError, ConfigError
from zoomin.images.array import ArrayImage
from zoomin.model import ZoomIn
from zoomin.model.storage import model_fingerprint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return small_network(class_names=("no", "yes")).save_pretrained(tmp_path / "model")


@pytest.mark.parametrize("features", ["lenet", "resnet16"])
def test_round_trip(features: str, tmp_path: Path) -> None:
    net = small_network(features=features)
    images = [ArrayImage(picture(20, 40))]
    net(images)  # batch normalisation's statistics are part of the model
    folder = net.eval().save_pretrained(tmp_path / "a" / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    again = ZoomIn.from_pretrained(folder)
    assert again.config == net.config
    assert not again.training
    keys = torch.tensor([3])
    assert torch.equal(net(images, keys=keys).logits, again(images, keys=keys).logits)
    assert again.state_dict().keys() == net.state_dict().keys()


def test_the_mean_feature_comes_along_and_changes_no_answer(saved: Path, tmp_path: Path) -> None:
    """Models saved without one load too, into a network that has one."""
    plain = ZoomIn.from_pretrained(saved)
    assert plain.head.mean_feature is None
    fingerprint = model_fingerprint(plain, plain.config)
    plain.head.mean_feature = torch.arange(plain.head.in_features, dtype=torch.float32)
    known = ZoomIn.from_pretrained(plain.save_pretrained(tmp_path / "known"))
    assert torch.equal(known.head.mean_feature, plain.head.mean_feature)
    assert model_fingerprint(known, known.config) == fingerprint
    known.load_state_dict(ZoomIn.from_pretrained(saved).state_dict())
    assert known.head.mean_feature is None


def test_saving_replaces(saved: Path) -> None:
    other = small_network(seed=1)
    other.save_pretrained(saved)
    again = ZoomIn.from_pretrained(saved)
    assert torch.equal(again.head.weight, other.head.weight)
    assert again.config.class_names == ()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(name: str, saved: Path) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"no {name} in this folder.*finished run"):
        ZoomIn.from_pretrained(saved)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing here"):
        ZoomIn.from_pretrained(tmp_path / "nothing here")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff" * 40], ids=["empty", "cut", "bytes"])
def test_damaged_file(name: str, content: bytes, saved: Path) -> None:
    (saved / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        ZoomIn.from_pretrained(saved)


def test_truncated_weights(saved: Path) -> None:
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        ZoomIn.from_pretrained(saved)


def test_config_that_is_no_table(saved: Path) -> None:
    (saved / "config.json").write_text("[1, 2]")
    with pytest.raises(CheckpointError, match="damaged"):
        ZoomIn.from_pretrained(saved)


@pytest.mark.parametrize("change", [{"features": "resnet16"}, {"n_classes": 3, "class_names": []}])
def test_weights_of_another_configuration(change: dict[str, object], saved: Path) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match="do not fit the configuration"):
        ZoomIn.from_pretrained(saved)


def test_settings_of_another_version(saved: Path) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "depth": 3}))
    with pytest.raises(ConfigError, match=r"config\.json: unknown model settings depth"):
        ZoomIn.from_pretrained(saved)
