from __future__ import annotations

import pytest
import torch

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.ats import ATS, ATSConfig
from zoomin.errors import ConfigError
from zoomin.geometry import Region

SMALL = ATSConfig(scale=0.1, sub_tile_size=7, n_samples=4, n_classes=3, entropy_strength=0.1)


def small(seed: int = 0) -> ATS:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ATS(SMALL)
    with torch.no_grad():
        last = [m for m in net.attention.modules() if isinstance(m, torch.nn.Conv2d)][-1]
        last.weight *= 20
    return net


def exact_feature(net: ATS, image) -> torch.Tensor:
    """F, position by position, from the definition."""
    c = net.config
    view = image.read([Region(0, 0, image.width, image.height)], c.scale).float()
    logits = net.attention((view - net.mean) / net.std)[0]
    alpha = logits.flatten().softmax(0).reshape(logits.shape)
    rows, columns = logits.shape
    total = torch.zeros(32)
    for i in range(rows):
        for j in range(columns):
            y = int((i + 0.5) * image.height / rows - c.sub_tile_size / 2 + 0.5 + 100) - 100
            x = int((j + 0.5) * image.width / columns - c.sub_tile_size / 2 + 0.5 + 100) - 100
            crop = image.read([Region(x, y, c.sub_tile_size, c.sub_tile_size)], 1.0).float()
            feature = net.features((crop - net.mean) / net.std)[0]
            total = total + alpha[i, j] * feature / feature.norm()
    return total


def test_contract(tmp_path):
    check_contract(small(), tmp_path)


def test_exact_is_the_sum_over_all_positions():
    net = small()
    out = net(ragged(), sampling="exact")
    for feature, image in zip(out.features, ragged(), strict=True):
        torch.testing.assert_close(feature, exact_feature(net, image), rtol=1e-4, atol=1e-5)
    assert out.views_read.tolist() == [6 * 4, 4 * 9, 6 * 4, 3 * 4]


@pytest.mark.parametrize("sampling", ["multinomial", "systematic"])
def test_estimate_and_gradient_are_unbiased(sampling):
    """The mean over many draws, of the feature and of its gradient, against the enumeration."""
    net, image = small(), ragged()[3]
    direction = torch.randn(32, generator=torch.Generator().manual_seed(2))
    exact = net([image], sampling="exact")
    weights = [*net.attention.parameters(), *net.features.parameters()]
    truth = torch.autograd.grad(exact.features[0] @ direction, weights)
    drawn = net([image], sampling=sampling, replicates=400, n_samples=3, keys=torch.tensor([5]))
    values = drawn.replicates[:, 0]
    error = values.std(0) / len(values) ** 0.5
    assert ((values.mean(0) - exact.features[0]).abs() < 4.5 * error + 1e-4).all()
    found = torch.autograd.grad(drawn.features[0] @ direction, weights)
    flat_truth, flat_found = (torch.cat([g.flatten() for g in gs]) for gs in (truth, found))
    cosine = torch.nn.functional.cosine_similarity(flat_truth, flat_found, dim=0)
    assert cosine > 0.97
    assert 0.9 < flat_found.norm() / flat_truth.norm() < 1.1


def test_entropy_is_rewarded():
    net = small()
    out = net(ragged())
    assert -0.1 * torch.tensor(36.0).log() < out.penalty < 0


def test_small_images_are_enumerated_by_auto():
    net = small()
    assert net.design_for(60, 44, "auto", 24) == "exact"
    assert net.design_for(60, 44, "auto", 23) == "systematic"
    assert net.design_for(60, 44, "top", 23) == "top"


def test_learns():
    torch.manual_seed(0)
    net = ATS(ATSConfig(scale=0.25, sub_tile_size=17, n_samples=4, features="lenet_released"))
    assert learn(net, 25, 1e-2) > 0.85


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="unknown sampling"):
        ATSConfig(sampling="bottom")
    with pytest.raises(ConfigError, match="scale is 0"):
        ATSConfig(scale=0.0)
    with pytest.raises(ConfigError, match="n_samples is 0"):
        small()(ragged(), n_samples=0)
