from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.mrmil import MRMIL, MRMILConfig
from zoomin.errors import ConfigError
from zoomin.geometry import Region

LABELS = torch.tensor([0, 1, 1, 2])


def small(**settings) -> MRMIL:
    torch.manual_seed(0)
    base = {"tile_size": 32, "low_scale": 0.5, "crop_size": 16, "kept": 2, "hidden": 8, "n_classes": 3}
    net = MRMIL(MRMILConfig(**{**base, **settings}))
    with torch.no_grad():
        net.low_attention.w.weight *= 20
    return net


def by_hand(net: MRMIL, image) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Logits of both resolutions and the number of crops, for one image."""

    def weighed(network, attention, boxes, scale):
        h = network((image.read(boxes, scale).float() - net.mean) / net.std)
        score = attention.w(torch.tanh(attention.v(h)))[:, 0]
        return score, score.softmax(0) @ h

    def squares(x0, y0, x1, y1, side):
        return [Region(x, y, side, side) for y in range(y0, y1, side) for x in range(x0, x1, side)]

    tiles = squares(0, 0, image.width, image.height, 32)
    score, low = weighed(net.low_features, net.low_attention, tiles, 0.5)
    crops = []
    for number in score.argsort(descending=True)[: net.config.kept].tolist():
        x, y = tiles[number].x, tiles[number].y
        crops += squares(x, y, min(x + 32, image.width), min(y + 32, image.height), 16)
    _, high = weighed(net.features, net.attention, crops, 1.0)
    return net.head(high), net.low_head(low), len(crops)


def test_both_resolutions_are_the_papers():
    net = small().eval()
    out = net(ragged(), labels=LABELS)
    wanted = [by_hand(net, image) for image in ragged()]
    torch.testing.assert_close(out.logits, torch.stack([w[0] for w in wanted]), rtol=1e-4, atol=1e-5)
    low = cross_entropy(torch.stack([w[1] for w in wanted]), LABELS)
    torch.testing.assert_close(out.penalty, low, rtol=1e-4, atol=1e-5)
    assert out.views_read.tolist() == [w[2] for w in wanted]
    assert out.pixels_read.tolist() == [
        (n + crops) * 256 for n, crops in zip([4, 6, 4, 4], [w[2] for w in wanted], strict=True)
    ]


def test_some_instances_are_left_out_while_training():
    net = small(instance_dropout=0.5)
    first, again = (net.train()(ragged(), keys=torch.arange(4)).logits for _ in range(2))
    other = net(ragged(), keys=torch.arange(4) + 9).logits
    assert torch.equal(first, again) and not torch.equal(first, other)
    net = small(instance_dropout=0.999)  # all but one
    assert net.train()(ragged(), keys=torch.arange(4)).logits.isfinite().all()


def test_contract(tmp_path):
    check_contract(small(gated=True), tmp_path)


def test_learns():
    torch.manual_seed(0)
    config = MRMILConfig(tile_size=16, low_scale=1.0, crop_size=16, kept=2, instance_dropout=0.0)
    assert learn(MRMIL(config), 25) > 0.85


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="multiple of crop_size"):
        MRMILConfig(tile_size=100, crop_size=27)
    with pytest.raises(ConfigError, match="kept is 0"):
        MRMILConfig(kept=0)
    with pytest.raises(ConfigError, match="low_scale is 0"):
        MRMILConfig(low_scale=0.0)
