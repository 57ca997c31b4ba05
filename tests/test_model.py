"""The network against sums over everything, and its promises: any size, any batch, any order, one answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from problems import exact_features, gradients_of, picture, small_network
from zoomin.errors import ConfigError
from zoomin.images.array import ArrayImage
from zoomin.images.batch import ResidentImages
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.model.output import ZoomInOutput
from zoomin.model.sampling import DESIGNS

RANDOM = [name for name, row in DESIGNS.items() if row.random]
SIZES = [(16, 48), (20, 40), (12, 44), (33, 17), (9, 7), (1, 1), (16, 16)]  # 1 to 6 tiles


def images(sizes: Sequence[tuple[int, int]] = SIZES) -> list[ArrayImage]:
    return [ArrayImage(picture(h, w, seed), name=f"{h} x {w}") for seed, (h, w) in enumerate(sizes)]


def keys_of(n: int) -> Tensor:
    return torch.arange(n) * 977 + 5


def same(a: ZoomInOutput, b: ZoomInOutput, of_a: Sequence[int], of_b: Sequence[int]) -> None:
    """Two outputs say the same of the given images: drawn sub-tiles equal, numbers equal to rounding."""
    for i, j in zip(of_a, of_b, strict=True):
        torch.testing.assert_close(a.logits[i], b.logits[j], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a.features[i], b.features[j], atol=1e-5, rtol=1e-5)
        drawn_a, drawn_b = a.sub_tiles.image == i, b.sub_tiles.image == j
        assert torch.equal(a.sub_tiles.regions[drawn_a], b.sub_tiles.regions[drawn_b])
        assert torch.equal(a.sub_tiles.position[drawn_a], b.sub_tiles.position[drawn_b])


# --------------------------------------------------------------------------- the sum and its estimates


@pytest.mark.parametrize("settings", [{}, {"normalize_features": False}, {"position_attention": "resnet16"}])
def test_exact_is_the_sum_over_everything(settings: dict[str, object]) -> None:
    net = small_network(**settings)
    out = net(images(), sampling="exact")
    with torch.no_grad():
        for i, image in enumerate(images()):
            expected = exact_features(net, image)
            torch.testing.assert_close(out.features[i], expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(out.logits[i], net.head(expected), atol=1e-5, rtol=1e-4)


def test_exact_complement_is_the_sum_over_everything() -> None:
    net = small_network()
    chosen = torch.tensor([True, False, True, True, True, True, True])
    out = net(images(), sampling="exact", contrast=chosen)
    assert out.contrast_image.tolist() == [0, 2, 3, 4, 5, 6]
    with torch.no_grad():
        for row, i in enumerate(out.contrast_image.tolist()):
            expected = exact_features(net, images()[i], complement=True)
            torch.testing.assert_close(out.contrast_features[row], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(out.contrast_logits, net.head(out.contrast_features))
    plain = net(images(), sampling="exact")
    torch.testing.assert_close(out.features, plain.features, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("sampling", ["exact", "systematic", "top", "multinomial"])
def test_budget_that_covers_every_cell_is_exact(sampling: str) -> None:
    """The multinomial law may leave tiles out whatever N; in one tile it is exact too."""
    net = small_network()
    sizes = SIZES[4:] if sampling == "multinomial" else SIZES
    exact = net(images(sizes), sampling="exact")
    out = net(images(sizes), sampling=sampling, n_samples=200, keys=keys_of(len(sizes)))
    torch.testing.assert_close(out.features, exact.features, atol=1e-6, rtol=1e-5)
    assert len(out.sub_tiles.image) == len(exact.sub_tiles.image)
    wanted = torch.tensor([True] * len(sizes))
    contrast = net(images(sizes), sampling=sampling, n_samples=200, contrast=wanted)
    expected = net(images(sizes), sampling="exact", contrast=wanted)
    torch.testing.assert_close(contrast.contrast_features, expected.contrast_features, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("sampling", RANDOM)
def test_replicates_are_unbiased(sampling: str) -> None:
    net = small_network()
    some, rounds = images([(16, 48), (20, 40), (9, 7)]), 1500
    with torch.inference_mode():
        out = net(some, sampling=sampling, replicates=rounds, keys=keys_of(3))
        exact = net(some, sampling="exact").features
    error = out.replicates.std(0) / math.sqrt(rounds)
    assert out.replicates.shape == (rounds, 3, 32)
    assert ((out.features - exact).abs() <= 5 * error + 1e-5).all()
    assert (error[:2].norm(dim=1) < 0.05 * exact[:2].norm(dim=1)).all(), "the comparison is sharp"
    torch.testing.assert_close(out.features, out.replicates.mean(0))
    assert out.replicates[:, 0].unique(dim=0).shape[0] > 100, "replicates are drawn apart"


@pytest.mark.parametrize("sampling", RANDOM)
def test_mean_gradient_is_the_exact_gradient(sampling: str) -> None:
    """Of a linear functional of the features, for every parameter of a, b and f, and both passes."""
    net = small_network()
    image = images()[2]
    resident = ResidentImages([image])
    exact = net([image], sampling="exact")
    common = exact.sub_tiles.features.mean(0)
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    direction = direction - (direction @ common) / (common @ common) * common  # what tells sub-tiles apart
    expected = [
        gradients_of(net, exact_features(net, image, complement=c) @ direction) for c in (False, True)
    ]
    mean = [{k: torch.zeros_like(g) for k, g in expected[0].items()} for _ in range(2)]
    batch, rounds = 1000, 2
    features = []
    for start in range(0, rounds * batch, batch):
        out = net(
            resident.select([0] * batch),
            keys=torch.arange(start, start + batch),
            sampling=sampling,
            contrast=torch.ones(batch, dtype=torch.bool),
        )
        features.append(torch.stack([out.features, out.contrast_features]).detach())
        for side, estimate in enumerate((out.features, out.contrast_features)):
            for name, gradient in gradients_of(net, (estimate @ direction).mean()).items():
                mean[side][name] += gradient / rounds
    for side in range(2):
        for name, gradient in expected[side].items():
            if name in ("tile_attention.4.bias", "position_attention.4.bias"):  # a softmax does not feel it
                assert gradient.abs() < 1e-6
                assert mean[side][name].abs() < 1e-5
                continue
            cosine = torch.cosine_similarity(mean[side][name].flatten(), gradient.flatten(), 0)
            assert cosine >= 0.999, (side, name, float(cosine))
            assert mean[side][name].norm() == pytest.approx(gradient.norm().item(), rel=0.1)
        draws = torch.cat([pair[side] for pair in features])
        sum_of_all = exact_features(net, image, complement=side == 1).detach()
        error = draws.std(0) / math.sqrt(len(draws))
        assert ((draws.mean(0) - sum_of_all).abs() <= 5 * error + 1e-6).all()


# --------------------------------------------------------------------------- same seed, same answer


@pytest.mark.parametrize("sampling", DESIGNS)
def test_same_keys_same_answer_in_any_batch(sampling: str) -> None:
    net, keys = small_network().eval(), keys_of(len(SIZES))
    whole = net(images(), keys=keys, sampling=sampling)
    for part in ([3], [0, 1], [5, 4, 2], [6, 5, 4, 3, 2, 1, 0]):
        out = net([images()[i] for i in part], keys=keys[part], sampling=sampling)
        same(whole, out, part, range(len(part)))
        resident = ResidentImages(images()).select(part)
        same(whole, net(resident, keys=keys[part], sampling=sampling), part, range(len(part)))


def test_contrast_and_replicates_leave_the_first_draw_alone() -> None:
    net, keys = small_network(), keys_of(len(SIZES))
    plain = net(images(), keys=keys)
    contrasted = net(images(), keys=keys, contrast=torch.ones(len(SIZES), dtype=torch.bool))
    same(plain, contrasted, range(len(SIZES)), range(len(SIZES)))
    replicated = net(images(), keys=keys, replicates=3)
    torch.testing.assert_close(replicated.replicates[0], plain.features, atol=1e-5, rtol=1e-5)


def test_chunks_change_nothing() -> None:
    keys = keys_of(len(SIZES))
    whole = small_network()(images(), keys=keys)
    pieces = small_network(chunk_size=3)(images(), keys=keys)
    same(whole, pieces, range(len(SIZES)), range(len(SIZES)))


def test_generators_seed_the_draws(generator: torch.Generator) -> None:
    net, some = small_network(), images()[:3]
    first, second = net(some, generator=generator), net(some, generator=generator)
    again = net(some, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first.sub_tiles.regions, again.sub_tiles.regions)
    assert torch.equal(first.logits, again.logits)
    assert not torch.equal(first.features, second.features)
    torch.manual_seed(7)
    a = net(some).features
    torch.manual_seed(7)
    assert torch.equal(a, net(some).features)


def test_an_image_twice_in_a_batch_is_drawn_twice() -> None:
    net, image = small_network(), images()[0]
    out = net([image, image, image], keys=torch.tensor([1, 2, 1]))
    assert torch.equal(out.features[0], out.features[2])
    assert not torch.equal(out.features[0], out.features[1])


# --------------------------------------------------------------------------- what comes out


def test_output_tells_what_was_drawn() -> None:
    net, n = small_network(), len(SIZES)
    out = net(images(), keys=keys_of(n), n_samples=4, contrast=torch.ones(n, dtype=torch.bool))
    count = torch.bincount(out.sub_tiles.image, minlength=n)
    assert count[0] == 4
    assert (count[:4] >= 3).all(), "fewer only where a tile is cut off by the border"
    assert count.max() <= 4
    assert count[5] == 1, "an image of one pixel has one position"
    torch.testing.assert_close(out.attention.alpha.sum(1), torch.ones(n))
    torch.testing.assert_close(out.tiles.maps.sum((1, 2)), torch.ones(len(out.tiles.index)))
    assert out.attention.map(1).shape == (2, 3)
    assert out.attention.map(5).tolist() == [[1.0]]
    assert (out.tiles.image[out.sub_tiles.tile] == out.sub_tiles.image).all()
    log_alpha = out.attention.log_alpha[out.tiles.image, out.tiles.index]
    torch.testing.assert_close(out.tiles.log_alpha, log_alpha)
    pairs = torch.stack([out.tiles.image, out.tiles.index], 1)
    assert len(pairs.unique(dim=0)) == len(pairs), "a tile is attended to once"
    centre = out.sub_tiles.regions[:, :2] + 1
    corner = out.tiles.regions[out.sub_tiles.tile]
    assert ((centre >= corner[:, :2]) & (centre < corner[:, :2] + corner[:, 2:])).all()
    sizes = torch.tensor(SIZES)[out.sub_tiles.image].flip(1)
    assert (centre <= sizes.clamp(min=3)).all(), "centres inside the image, or of the first position"
    again = (out.sub_tiles.weight[:, None] * out.sub_tiles.features).new_zeros(n, 32)
    again.index_add_(0, out.sub_tiles.image, out.sub_tiles.weight[:, None] * out.sub_tiles.features)
    torch.testing.assert_close(again, out.features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        out.sub_tiles.features.norm(dim=1), torch.ones(len(count[out.sub_tiles.image]))
    )


def test_weights_of_replicates_add_up_to_the_features() -> None:
    net = small_network()
    out = net(images()[:2], keys=keys_of(2), replicates=5)
    again = torch.zeros(2, 32)
    again.index_add_(0, out.sub_tiles.image, out.sub_tiles.weight[:, None] * out.sub_tiles.features)
    torch.testing.assert_close(again, out.features, atol=1e-5, rtol=1e-5)
    assert out.sub_tiles.replicate.unique().tolist() == [0, 1, 2, 3, 4]


def test_images_as_tensors() -> None:
    net, keys = small_network(), keys_of(2)
    pixels = torch.stack([picture(20, 40, 0), picture(20, 40, 1)])
    by_bytes = net(pixels, keys=keys)
    by_floats = net(pixels.float() / 255, keys=keys)
    by_images = net([ArrayImage(p) for p in pixels], keys=keys)
    same(by_bytes, by_floats, [0, 1], [0, 1])
    same(by_bytes, by_images, [0, 1], [0, 1])


def test_training_step_reaches_every_parameter() -> None:
    net = small_network(n_classes=4)
    out = net(images(), keys=keys_of(len(SIZES)), contrast=torch.ones(len(SIZES), dtype=torch.bool))
    assert out.logits.shape == (len(SIZES), 4)
    labels = torch.arange(len(SIZES)) % 4
    loss = torch.nn.functional.cross_entropy(out.logits, labels) + out.contrast_logits.logsumexp(1).mean()
    loss.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if name not in ("tile_attention.4.bias", "position_attention.4.bias"):
            assert parameter.grad.abs().sum() > 0, name


def test_saturated_attention_trains() -> None:
    """Attention of exactly 1 on one cell: values and gradients stay finite in both passes."""
    net = small_network()
    with torch.no_grad():
        net.tile_attention[-1].weight *= 1e4
        net.position_attention[-1].weight *= 1e4
    for sampling in DESIGNS:
        net.zero_grad()
        out = net(images()[:4], keys=keys_of(4), sampling=sampling, contrast=torch.ones(4, dtype=torch.bool))
        (out.logits.sum() + out.contrast_logits.sum()).backward()
        assert out.features.isfinite().all()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all(), (sampling, name)


@pytest.mark.parametrize(
    "settings",
    [
        {"features": "lenet_released", "sub_tile_size": 16},
        {"features": "resnet16", "tile_attention": "resnet16", "position_attention": "resnet16"},
        {"tile_attention": "lenet_relu", "position_attention": "lenet_relu"},
        {"features": "timm:resnet10t", "sub_tile_size": 16},
        {
            "tile_attention": "timm:resnet10t",
            "position_attention": "timm:resnet10t",
            "tile_size": 64,
            "tile_scale": 0.5,
            "sub_tile_scale": 0.5,
        },
    ],
)
def test_every_network_trains(settings: dict[str, object]) -> None:
    net = small_network(**settings)
    out = net(images(), keys=keys_of(len(SIZES)))
    assert out.logits.shape == (len(SIZES), 2)
    out.logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    net.eval()
    with torch.no_grad():
        exact = net(images()[:2], sampling="exact").features[1]
        torch.testing.assert_close(exact, exact_features(net, images()[1]), atol=1e-5, rtol=1e-4)


def test_mixed_precision_is_close() -> None:
    net = small_network()
    exact = net(images(), sampling="exact")
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(images(), sampling="exact")
    assert mixed.features.dtype == torch.float32
    torch.testing.assert_close(mixed.features, exact.features, atol=0.05, rtol=0.05)
    mixed.logits.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


# --------------------------------------------------------------------------- what cannot work


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_samples": 0}, "n_samples is 0"),
        ({"tile_size": 20, "sub_tile_size": 27}, "larger than the tile"),
        ({"tile_size": 0}, "tile_size is 0"),
        ({"sampling": "best"}, "unknown sampling"),
        ({"tile_scale": 0.0}, "tile_scale is 0.0"),
        ({"sub_tile_scale": 1.5}, "sub_tile_scale is 1.5"),
        ({"n_classes": 1}, "n_classes is 1"),
        ({"std": (0.0, 1.0, 1.0)}, "std is"),
        ({"class_names": ("a",)}, "1 names for 2 classes"),
        ({"features": "vgg"}, "unknown feature network"),
        ({"tile_attention": "vgg"}, "unknown attention network.*If another package brings it"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ZoomIn(ZoomInConfig(**settings))  # type: ignore[arg-type]


def test_calls_that_cannot_work() -> None:
    net = small_network()
    with pytest.raises(ConfigError, match="n_samples is 0"):
        net(images(), n_samples=0)
    with pytest.raises(ConfigError, match="replicates is 0"):
        net(images(), replicates=0)
    with pytest.raises(ConfigError, match="unknown sampling"):
        net(images(), sampling="best")
    with pytest.raises(ConfigError):
        net([])


def test_config_round_trip_and_unknown_settings() -> None:
    config = ZoomInConfig(class_names=("no", "yes"), sampling="systematic", mean=(0.1, 0.2, 0.3))
    assert ZoomInConfig.from_dict(config.to_dict()) == config
    assert config.classes == ("no", "yes")
    assert ZoomInConfig(n_classes=3).classes == ("0", "1", "2")
    with pytest.raises(ConfigError, match=r"a\.json: unknown model settings colour, size"):
        ZoomInConfig.from_dict({"size": 3, "colour": 1}, where="a.json")
