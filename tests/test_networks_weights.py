"""Weights from files and packages: what fits is loaded, what does not is named, and nothing is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from zoomin import ZoomIn, ZoomInConfig
from zoomin.errors import ConfigError
from zoomin.inference import load_model
from zoomin.model.networks import attention_network, feature_network
from zoomin.model.networks.weights import read_weights
from zoomin.model.storage import model_fingerprint

MODEL = "resnet10t"


@pytest.fixture(scope="module")
def whole():
    torch.manual_seed(3)
    return timm.create_model(MODEL, pretrained=False).eval()


@pytest.mark.parametrize("wrapped", [None, "state_dict", "teacher"])
def test_a_file_of_a_whole_model_fits(whole, wrapped: str | None, tmp_path: Path) -> None:
    """With its classifier, behind the prefixes of its wrappers, in a dictionary of other things, or bare."""
    weights = whole.state_dict()
    path = tmp_path / "weights.safetensors"
    if wrapped is None:
        save_file(weights, path)
    else:
        path = tmp_path / "weights.pth"
        named = {f"module.backbone.{name}": value for name, value in weights.items()}
        torch.save({"epoch": 3, wrapped: named}, path)
    network, dims = feature_network(f"timm:{MODEL}@{path}")
    views = torch.randn(2, 3, 64, 64)
    expected = whole.forward_head(whole.forward_features(views), pre_logits=True)
    torch.testing.assert_close(network.eval()(views), expected)
    assert dims == 512
    attention = attention_network(f"timm:{MODEL}@{path}")
    ours = attention.trunk.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in ours.items())


def test_a_vision_transformer_with_layer_scale_takes_views_of_any_size(tmp_path: Path) -> None:
    """As pathology foundation models are: the name of the model says nothing of its layer scale."""
    torch.manual_seed(0)
    whole = timm.create_model("vit_tiny_patch16_224", init_values=1e-2, num_classes=0).eval()
    save_file(whole.state_dict(), tmp_path / "vit.safetensors")
    network, dims = feature_network(f"timm:vit_tiny_patch16_224@{tmp_path / 'vit.safetensors'}")
    views = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(network.eval()(views), whole(views), rtol=1e-4, atol=1e-5)
    assert network(views[:, :, :48, :48]).shape == (1, dims)


def test_a_saved_model_needs_the_file_no_more(whole, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(whole.state_dict(), path)
    config = ZoomInConfig(features=f"timm:{MODEL}@{path}", tile_size=64, sub_tile_size=32)
    net = ZoomIn(config).eval()
    net.save_pretrained(tmp_path / "model")
    path.unlink()
    again = load_model(tmp_path / "model")
    assert model_fingerprint(again, again.config) == model_fingerprint(net, net.config)


class Harm:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_no_code_in_a_file_is_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Harm()}, tmp_path / "bad.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harm()))
    for name in ("bad.pth", "plain.pth"):
        with pytest.raises(ConfigError, match=r"more than weights.*safetensors"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "harm").exists()


def test_what_does_not_fit_is_named(whole, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.pth: no such file of weights"):
        feature_network(f"timm:{MODEL}@{tmp_path / 'none.pth'}")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(ConfigError, match=r"weights.*safetensors"):
            read_weights(tmp_path / name)
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match="no weights by name"):
        read_weights(tmp_path / "list.pth")
    weights = whole.state_dict()
    first, *_ = weights
    save_file({name: value for name, value in weights.items() if name != first}, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=f"1 of them are missing .{first}"):
        feature_network(f"timm:{MODEL}@{tmp_path / 'a.safetensors'}")
    save_file({**weights, first: torch.zeros(2), "extra": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ConfigError, match=r"not the model's .extra.; 1 of them have another shape"):
        feature_network(f"timm:{MODEL}@{tmp_path / 'b.safetensors'}")


@pytest.mark.parametrize("size", [1, 2])
def test_lite_1_and_2_come_with_packages(size: int, monkeypatch) -> None:
    """Layers and order are timm's; nothing is fetched."""
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", None)
    network, dims = feature_network(f"timm:tf_efficientnet_lite{size}", pretrained=True)
    assert dims == 1280
    attention = attention_network(f"timm:tf_efficientnet_lite{size}", pretrained=True)
    ours = network.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in attention.trunk.state_dict().items())
    assert network(torch.rand(2, 3, 64, 64)).std() > 0.01
    assert float(ours["bn1.running_var"].std()) > 0, "the statistics are those of training"
