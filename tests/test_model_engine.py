"""Networks by OpenVINO answer as by PyTorch, at any size of views, and whatever the batch."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from zoomin.errors import ConfigError
from zoomin.inference import predict
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.model import engine as engines
from zoomin.model.engine import Engine, has_openvino
from zoomin.model.networks import GatedFeatures, feature_network

LITE0 = "timm:tf_efficientnet_lite0"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOOMIN_CACHE", str(tmp_path))
    return tmp_path / "engines"


def _encoder() -> nn.Module:
    network, _ = feature_network(LITE0, pretrained=True)
    return network.eval()


def _run(engine: Engine, network: nn.Module, views: Tensor) -> Tensor:
    with torch.no_grad():
        return engine.run(network, views)


def test_same_answers_at_every_side(own_cache: Path) -> None:
    """OpenVINO 2026.4.1 answers wrongly at 112 (7 pixels before a stride) with a free height and width."""
    assert has_openvino(), "the dev extra installs openvino"
    network, auto = _encoder(), Engine("auto")
    for side in (56, 112, 128):
        views = torch.randn(3, 3, side, side)
        expected = _run(Engine("torch"), network, views)
        found = _run(auto, network, views)
        assert not torch.equal(found, expected)  # another engine did compute
        assert torch.allclose(found, expected, atol=1e-4)
        assert torch.equal(found, torch.cat([_run(auto, network, view) for view in views.split(1)]))
    assert len(list(own_cache.iterdir())) == 3


def test_converted_once_for_all_processes(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, views = _encoder(), torch.randn(2, 3, 64, 64)
    first = _run(Engine(), network, views)

    def fail(network: nn.Module, view: Tensor) -> object:
        raise AssertionError("converted again")

    with monkeypatch.context() as changed:
        changed.setattr(engines, "_converted", fail)
        assert torch.equal(_run(Engine(), network, views), first)
    (kept,) = own_cache.iterdir()
    (kept / "network.xml").write_text("damaged")
    assert torch.equal(_run(Engine(), network, views), first)


def test_changed_weights_count() -> None:
    network, views, engine = _encoder(), torch.randn(1, 3, 64, 64), Engine()
    first = _run(engine, network, views)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.01)
    assert not torch.allclose(_run(engine, network, views), first, atol=1e-3)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_models_can_be_copied_after_an_answer(copied) -> None:
    net = ZoomIn(ZoomInConfig(tile_size=64, sub_tile_size=32, features=LITE0, pretrained=True)).eval()
    images = torch.randint(256, (1, 3, 130, 150), dtype=torch.uint8)
    (first,) = predict(images, net, engine="openvino")
    (second,) = predict(images, copied(net), engine="openvino")
    assert first == second


def test_small_networks_and_gradients_stay_with_torch() -> None:
    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    views = torch.randn(2, 3, 8, 8)
    assert torch.equal(_run(Engine(), small, views), _run(Engine("torch"), small, views))
    network = _encoder()
    large = torch.randn(1, 3, 64, 64)
    assert Engine().run(network, large).requires_grad
    assert torch.equal(_run(Engine(), network.train(), large).isnan(), torch.zeros(1, 1280, dtype=torch.bool))


def test_predictions_agree() -> None:
    config = ZoomInConfig(
        tile_size=128, sub_tile_size=32, tile_attention=LITE0, features=LITE0, pretrained=True, n_samples=4
    )
    net = ZoomIn(config).eval()
    images = torch.randint(256, (3, 3, 300, 400), dtype=torch.uint8)
    slow = list(predict(images, net, engine="torch"))
    fast = list(predict(images, net, engine="auto"))
    for one, other in zip(slow, fast, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


@pytest.mark.parametrize("cells", [1, 4])
def test_gates_are_not_bound_to_a_batch(cells: int) -> None:
    trunk = nn.Sequential(nn.Conv2d(3, 64 * cells, 32, 32), nn.Flatten())
    network = GatedFeatures(trunk, 64, 8, 16, copies=2, cells=cells).eval()
    views = torch.randn(3, 3, 32, 32)
    found = _run(Engine("openvino"), network, views)
    assert torch.allclose(found, _run(Engine("torch"), network, views), atol=1e-4)


def test_a_network_bound_to_a_batch_is_found_out() -> None:
    class OneByOne(nn.Module):
        def forward(self, views: Tensor) -> Tensor:
            rows = views.flatten(2).transpose(0, 1)
            rows = rows.reshape(3, len(views), 1, -1)  # a trace keeps len(), that of its batch
            return rows.mean(2).transpose(0, 1).flatten(1)

    views = torch.randn(3, 3, 8, 8)
    with pytest.warns(UserWarning, match="PyTorch"):
        assert _run(Engine("openvino"), OneByOne().eval(), views).shape == (3, 192)


def test_a_wrong_engine_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_compile", lambda network, view: lambda views: [views[:, 0, 0, :1] + 7])
    network, views = _encoder(), torch.randn(2, 3, 64, 64)
    with pytest.warns(UserWarning, match="PyTorch computes"):
        found = _run(Engine(), network, views)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert torch.equal(_run(Engine("torch"), network, views), found)


def test_signals_arrive_after_engines_have_gone() -> None:
    """A closed core of OpenVINO 2026.4.1 takes the stack of signals along."""
    code = """
import faulthandler, gc, os, signal, torch
faulthandler.enable()
from zoomin.model.engine import Engine
from zoomin.model.networks import GatedFeatures, feature_network
signal.signal(signal.SIGTERM, lambda number, frame: print("arrived", flush=True))
network = feature_network("timm:tf_efficientnet_lite0", pretrained=True)[0].eval()
with torch.no_grad():
    for engine in (Engine(), Engine()):
        for side in (32, 40):
            engine.run(network, torch.randn(2, 3, side, side))
del engine, network
gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "arrived\n"), ended.stderr


def test_unknown_engines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="auto, torch, openvino"):
        Engine("tensorrt")
    monkeypatch.setattr(engines, "has_openvino", lambda: False)
    with pytest.raises(ConfigError, match=r"zoomin-net\[fast\]"):
        Engine("openvino")
