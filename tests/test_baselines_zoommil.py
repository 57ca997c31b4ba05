from __future__ import annotations

import math

import pytest
import torch

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.zoommil import Choice, ZoomMIL, ZoomMILConfig, perturbed_top, top
from zoomin.errors import ConfigError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.model.sampling import derive_keys


def small(**settings) -> ZoomMIL:
    torch.manual_seed(0)
    base = {"view_size": 10, "scales": (0.25, 0.5, 1.0), "kept": 3, "width": 12, "hidden": 8}
    net = ZoomMIL(ZoomMILConfig(**{**base, "features": "lenet", "dropout": 0.0, "n_classes": 3, **settings}))
    with torch.no_grad():
        for layer in net.choosing:
            layer.w.weight *= 40
    return net


def dense(choice: Choice, places: int) -> torch.Tensor:
    """T of the first image."""
    table = torch.zeros(choice.kept, places)
    own = choice.image == 0
    return table.index_put((choice.chosen[own], choice.place[own]), choice.weight[own])


def cells(net: ZoomMIL, image, level: int) -> torch.Tensor:
    """Features of all cells of a level, in the order of the cells above them: (1st, 2nd, 3rd, dims)."""
    sides = net.config.sides
    boxes = [(0, 0, image.width, image.height)]
    for side in sides[: level + 1]:
        boxes = [
            (x, y, side, side)
            for x0, y0, w, h in boxes
            for y in range(y0, y0 + h, side)
            for x in range(x0, x0 + w, side)
        ]
    views = image.read([Region(*box) for box in boxes], net.config.scales[level]).float()
    return net.features((views - net.mean) / net.std)


def by_hand(net: ZoomMIL, image, key: int) -> torch.Tensor:
    """The whole model with matrices, as in the authors' code: mixtures by Kronecker products."""
    x1, x2, x3 = (cells(net, image, level) for level in range(3))
    keys, total = torch.tensor([key]), torch.zeros(net.config.width)
    x = x1
    for level in range(3):
        h = net.first[level](x)
        total = total + net.attention[level](h)[:, 0].softmax(0) @ h
        if level == 2:
            break
        p = net.choosing[level](h)[:, 0].softmax(0)[None]
        choice = net._choose(p, torch.ones_like(p, dtype=torch.bool), derive_keys(keys, level))
        mixing = dense(choice, p.shape[1])
        if level == 0:
            x = torch.kron(mixing, torch.eye(4)) @ x2
            x3 = torch.kron(mixing, torch.eye(16)) @ x3
        else:
            x = torch.kron(mixing, torch.eye(4)) @ x3
    return net.head(total)


@pytest.mark.parametrize("training", [False, True])
def test_all_levels_are_the_papers(training):
    """Value and gradient, with and without noise."""
    net = small(noise=0.05, noise_samples=20).train(training)
    pixels = torch.randint(256, (3, 80, 120), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    image = ArrayImage(pixels)
    found, wanted = net([image], keys=torch.tensor([5])).logits[0], by_hand(net, image, 5)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    weights = list(net.parameters())
    direction = torch.randn(3)
    got = torch.autograd.grad(found @ direction, weights, allow_unused=not training)
    expected = torch.autograd.grad(wanted @ direction, weights, allow_unused=not training)
    for one, other in zip(got, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_the_choice_between_two_has_the_known_mean_and_gradient():
    """P(first is higher) = Phi((p1 - p2) / (sigma sqrt 2)): a Gaussian integral, and its derivative."""
    p = torch.tensor([[0.55, 0.45]], requires_grad=True)
    choice = perturbed_top(p, torch.ones(1, 2, dtype=torch.bool), 1, 0.1, 40_000, torch.tensor([3]))
    share = dense(choice, 2)[0, 0]
    mean = share.item()
    scaled = torch.tensor(0.1 / (0.1 * math.sqrt(2)))
    normal = torch.distributions.Normal(0.0, 1.0)
    assert mean == pytest.approx(float(normal.cdf(scaled)), abs=0.01)
    slope = float(normal.log_prob(scaled).exp()) / (0.1 * math.sqrt(2))
    [gradient] = torch.autograd.grad(share, p)
    assert gradient[0].tolist() == pytest.approx([slope, -slope], abs=0.15)


def test_chosen_places_stand_in_their_order_and_exist():
    p = torch.tensor([[0.1, 0.4, 0.0, 0.5], [0.3, 0.2, 0.5, 0.0]])
    there = torch.tensor([[True, True, True, True], [True, False, True, False]])
    choice = top(p, there, 3)
    assert choice.image.tolist() == [0, 0, 0, 1, 1]
    assert choice.place.tolist() == [0, 1, 3, 0, 2]
    assert choice.chosen.tolist() == [0, 1, 2, 0, 1]
    noisy = perturbed_top(p, there, 3, 0.2, 50, torch.tensor([1, 2]))
    assert set(noisy.place[noisy.image == 1].tolist()) <= {0, 2}
    torch.testing.assert_close(dense(noisy, 4).sum(1), torch.ones(3))
    alone = perturbed_top(p[1:, :3], there[1:, :3], 3, 0.2, 50, torch.tensor([2]))
    assert torch.equal(alone.weight, noisy.weight[noisy.image == 1])


def test_only_what_has_a_share_is_read():
    net = small().eval()
    out = net(ragged(), keys=torch.arange(4))
    assert (out.views_read <= 3 * 4).all() and (out.views_read > 0).all()
    assert (out.pixels_read >= (out.views_read + 1) * 100).all()


def test_contract(tmp_path):
    check_contract(small(noise=0.05, noise_samples=10, dropout=0.25), tmp_path)


def test_learns():
    torch.manual_seed(0)
    config = ZoomMILConfig(
        view_size=8,
        scales=(0.5, 1.0),
        kept=2,
        width=16,
        hidden=16,
        noise=0.05,
        noise_samples=10,
        features="lenet",
    )
    assert learn(ZoomMIL(config), 14) > 0.85


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="scales is"):
        ZoomMILConfig(scales=(1.0, 0.5))
    with pytest.raises(ConfigError, match="multiple of the one before"):
        ZoomMILConfig(scales=(0.4, 1.0))
    with pytest.raises(ConfigError, match="noise is 0"):
        ZoomMILConfig(noise=0.0)
