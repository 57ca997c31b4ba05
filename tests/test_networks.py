"""The networks of supplement tables 5 and 6, layer by layer, and timm's in their place."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from zoomin.errors import ConfigError
from zoomin.model.config import ZoomInConfig
from zoomin.model.networks import (
    ATTENTION_NETWORKS,
    FEATURE_NETWORKS,
    LinearHead,
    attention,
    attention_network,
    feature_network,
    lite0,
)
from zoomin.model.networks.attention import takes_any_size
from zoomin.model.zoom_in import ZoomIn


def convolutions(network: nn.Module) -> list[tuple[int, int, int, int, int, int]]:
    """Of every convolution in order: channels in, out, side, stride, padding, parameters."""
    return [
        (
            m.in_channels,
            m.out_channels,
            int(m.kernel_size[0]),
            int(m.stride[0]),
            int(m.padding[0]),
            sum(p.numel() for p in m.parameters()),
        )
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    ]


def kinds(network: nn.Module) -> list[str]:
    return [type(m).__name__ for m in network.modules() if not list(m.children())]


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", ["lenet", "lenet_relu"])
def test_table_5_attention(name: str) -> None:
    network = attention_network(name)
    expected = [(3, 8, 3, 1, 1, 224), (8, 8, 3, 1, 1, 584), (8, 1, 3, 1, 1, 73)]
    assert convolutions(network) == expected
    between = "Tanh" if name == "lenet" else "ReLU"
    assert kinds(network) == ["Conv2d", between, "Conv2d", between, "Conv2d"], "nothing after the last one"
    assert parameters(network) == 881


def test_table_5_features() -> None:
    network, dims = feature_network("lenet")
    expected = [(3, 32, 7, 1, 3, 32 * (3 * 49 + 1))] + [(32, 32, 3, 1, 1, 32 * (32 * 9 + 1))] * 3
    assert convolutions(network) == expected
    assert kinds(network) == ["Conv2d", "ReLU"] * 4
    assert (dims, parameters(network)) == (32, 32_480)


@pytest.mark.parametrize(("name", "padding"), [("lenet_authors", 2), ("lenet_released", 0)])
def test_released_features(name: str, padding: int) -> None:
    """The authors' code pads by 2; models that were saved as lenet_released were trained without."""
    network, dims = feature_network(name)
    assert convolutions(network) == [(3, 36, 5, 1, padding, 2736), (36, 48, 5, 1, padding, 43_248)]
    assert kinds(network) == ["Conv2d", "MaxPool2d", "ReLU"] * 2
    assert (dims, parameters(network)) == (48, 45_984)


@pytest.mark.parametrize("name", ["lenet_authors", "lenet_released"])
@pytest.mark.parametrize("side", [16, 23, 26, 27, 28, 33])
def test_released_features_are_those_of_the_authors_order(name: str, side: int) -> None:
    """They rectify before they pool, and convolve rows and columns that pooling drops: the same answer."""
    network, _ = feature_network(name)
    first, pool, relu, second, *_ = network
    views = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(side))
    answers, gradients = [], []
    for call in (network, lambda x: pool(relu(second(pool(relu(first(x)))))).mean((2, 3))):
        out = call(views)
        answers.append(out)
        gradients.append(torch.autograd.grad(out.square().sum(), list(network.parameters())))
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-6, atol=1e-6)
    for own, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-6)


def test_table_6_attention() -> None:
    network = attention_network("resnet16")
    expected = [(3, 8, 3, 1, 1, 224), (8, 16, 3, 1, 1, 1168), (16, 32, 3, 1, 1, 4640), (32, 1, 3, 1, 1, 289)]
    assert convolutions(network) == expected
    assert kinds(network) == ["Conv2d", "ReLU"] * 3 + ["Conv2d"]


def test_table_6_features() -> None:
    network, dims = feature_network("resnet16")
    found = convolutions(network)
    assert found[0] == (3, 32, 3, 1, 1, 896)
    square = [layer for layer in found[1:] if layer[2] == 3]
    assert [layer[3] for layer in square] == [1, 1, 2, 1, 2, 1, 2, 1], "strides of the residual blocks"
    assert {layer[:3] for layer in square} == {(32, 32, 3)}
    shortcuts = [layer for layer in found if layer[2] == 1]
    assert [layer[3] for layer in shortcuts] == [2, 2, 2]
    norms = [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [32] * 9
    assert dims == 32
    assert parameters(network) == 896 + 8 * 9216 + 3 * 1056 + 9 * 64


REFLECT = [name for name in ATTENTION_NETWORKS if name.endswith("_reflect")]
MAPPED = [name for name in ATTENTION_NETWORKS if name not in ("uniform", *REFLECT)]  # that has one position


@pytest.mark.parametrize("name", [*MAPPED, "timm:resnet10t"])
@pytest.mark.parametrize("size", [(24, 30), (50, 50), (1, 1)])
def test_attention_maps(name: str, size: tuple[int, int]) -> None:
    network = attention_network(name).eval()
    height, width = size
    stride = 8 if name.startswith("timm:") else 1
    expected = (2, -(-height // stride), -(-width // stride))
    assert network(torch.randn(2, 3, height, width)).shape == expected


@pytest.mark.parametrize("name", [*FEATURE_NETWORKS, "timm:resnet10t"])
def test_features_are_vectors_of_their_own_sub_tile(name: str) -> None:
    network, dims = feature_network(name)
    network.eval()
    views = torch.randn(4, 3, 27, 27)
    features = network(views)
    assert features.shape == (4, dims)
    torch.testing.assert_close(network(views[2:3]), features[2:3], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (50, 61), (7, 9)])
def test_lite0_is_that_of_timm_to_the_bit(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    theirs = [timm.create_model(lite0.NAME, features_only=True, out_indices=(2,))]
    theirs += [timm.create_model(lite0.NAME, num_classes=0)]
    views = torch.randn(3, 3, *size)
    for one, other in zip(theirs, [lite0.Lite0Trunk(), lite0.Lite0Encoder()], strict=True):
        own = other.state_dict()
        for name, value in one.state_dict().items():
            if value.dim() == 4 and value.numel() > 1000:
                assert float(own[name].std()) == pytest.approx(float(value.std()), rel=0.1)
        other.load_state_dict(one.state_dict())
        for train in (False, True):
            expected, found = one.train(train)(views), other.train(train)(views)
            expected, found = (x[-1] if isinstance(x, list) else x for x in (expected, found))
            assert torch.equal(expected, found)


@pytest.mark.parametrize("build", [attention_network, feature_network])
def test_unknown_names(build: object) -> None:
    assert callable(build)
    with pytest.raises(ConfigError, match=r"(?s)'vgg'.*lenet"):
        build("vgg")
    with pytest.raises(ConfigError, match=r"(?s)timm has no model 'resnet10x'"):
        build("timm:resnet10x")


def test_head_is_linear() -> None:
    head = LinearHead(5, 3)
    a, b = torch.randn(2, 5), torch.randn(2, 5)
    torch.testing.assert_close(head(0.3 * a + 0.7 * b), 0.3 * head(a) + 0.7 * head(b))


@pytest.mark.parametrize("name", MAPPED)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (5, 4), (61, 33)])
@pytest.mark.parametrize("strip", [1 << 16, 100, 1])
def test_attention_without_gradients_is_that_with_them(
    monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int], strip: int
) -> None:
    """Without gradients the last layer is a product of matrices, and large views are seen in strips."""
    torch.manual_seed(0)
    network = attention_network(name).to(memory_format=torch.channels_last)
    views = torch.randn(2, 3, *size).contiguous(memory_format=torch.channels_last)
    expected = network(views)
    assert expected.requires_grad
    monkeypatch.setattr(attention, "STRIP_PIXELS", strip)
    with torch.no_grad():
        torch.testing.assert_close(network(views), expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REFLECT)
@pytest.mark.parametrize("size", [(2, 2), (5, 4), (61, 33)])
@pytest.mark.parametrize("strip", [1 << 16, 100, 1])
def test_mirrored_views(
    monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int], strip: int
) -> None:
    """The same with gradients and without; of a view that repeats its mirror image, borders say nothing."""
    torch.manual_seed(0)
    network = attention_network(name)
    views = torch.randn(2, 3, *size)
    expected = network(views)
    assert expected.requires_grad and expected.shape == (2, *size)
    monkeypatch.setattr(attention, "STRIP_PIXELS", strip)
    with torch.no_grad():
        torch.testing.assert_close(network(views), expected.detach(), rtol=1e-5, atol=1e-6)
        even = network(torch.ones(1, 3, *size))
        assert float(even.max() - even.min()) < 1e-6
        marked = attention_network(name.removesuffix("_reflect"))(torch.ones(1, 3, *size))
        assert size == (2, 2) or float(marked.max() - marked.min()) > 1e-4


def test_views_too_small_to_be_mirrored_are_refused() -> None:
    config = ZoomInConfig(tile_size=8, sub_tile_size=5, tile_scale=0.125, tile_attention="lenet_reflect")
    with pytest.raises(ConfigError, match=r"tile_attention.*1 pixels.*larger tile_size"):
        ZoomIn(config)
    assert not takes_any_size("lenet_reflect") and takes_any_size("lenet")


def test_attention_in_double_precision_stays_so() -> None:
    torch.manual_seed(0)
    network = attention_network("lenet").double()
    views = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    expected = network(views).detach()
    with torch.no_grad():
        torch.testing.assert_close(network(views), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["lenet_relu", "resnet16"])
def test_attention_in_bfloat16_is_near(name: str) -> None:
    torch.manual_seed(0)
    network = attention_network(name).to(memory_format=torch.channels_last)
    views = torch.randn(2, 3, 41, 33).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = network(views)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(network(views), exact, rtol=0, atol=0.02 * float(exact.std()) + 0.01)


@pytest.mark.parametrize("name", sorted(ATTENTION_NETWORKS.built_in))
def test_the_map_of_positions_has_the_size_that_the_network_gives(name: str) -> None:
    """Which the model may know without a try; of uniform attention it is one position, whatever the view."""
    config = ZoomInConfig(tile_size=160, sub_tile_size=40, sub_tile_scale=1 / 16, position_attention=name)
    net = ZoomIn(config)
    given = net.position_attention(torch.zeros(1, 3, 10, 10)).shape[1:]
    assert net.map_size == tuple(given) == ((1, 1) if name == "uniform" else (10, 10))
