from __future__ import annotations

import pytest
import torch

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.abmil import ABMIL, ABMILConfig, BagAttention
from zoomin.errors import ConfigError
from zoomin.geometry import Region


@pytest.mark.parametrize("gated", [False, True])
def test_attention_is_the_papers(gated):
    """Equations 8 and 9, written out; 128 x (dims + 1) parameters for V and for U, 129 for w."""
    attention = BagAttention(48, 128, gated)
    h = torch.randn(5, 48)
    v, w = attention.v, attention.w
    inner = torch.tanh(h @ v.weight.T + v.bias)
    if gated:
        inner = inner * torch.sigmoid(h @ attention.u.weight.T + attention.u.bias)
    torch.testing.assert_close(attention(h)[:, 0], inner @ w.weight[0] + w.bias)
    assert sum(p.numel() for p in attention.parameters()) == (1 + gated) * 128 * 49 + 129


def test_a_bag_is_all_crops_of_the_image():
    net = ABMIL(ABMILConfig(crop_size=20))
    image = ragged()[0]  # 60 x 44
    crops = image.read([Region(x, y, 20, 20) for y in (0, 20, 40) for x in (0, 20, 40)], 1.0).float()
    h = net.features((crops - net.mean) / net.std)
    expected = net.attention(h)[:, 0].softmax(0) @ h
    out = net(ragged())
    torch.testing.assert_close(out.features[0], expected, rtol=1e-4, atol=1e-5)
    assert out.views_read.tolist() == [9, 10, 9, 4]
    assert out.pixels_read.tolist() == [9 * 400, 10 * 400, 9 * 400, 4 * 400]


@pytest.mark.parametrize("gated", [False, True])
def test_contract(tmp_path, gated):
    torch.manual_seed(0)
    check_contract(ABMIL(ABMILConfig(crop_size=20, gated=gated, n_classes=3)), tmp_path)


def test_on_features_of_a_frozen_trunk(tmp_path):
    """Standardised by what training saw, a first layer, dropout in training alone; an answer is its own."""
    torch.manual_seed(0)
    config = ABMILConfig(crop_size=20, gated=True, hidden=64, width=64, dropout=0.25, standardize=True)
    net = ABMIL(config)
    check_contract(net, tmp_path)
    assert float(net.first[0].running_mean.abs().sum()) > 0
    assert net.head.in_features == 64


def test_learns():
    torch.manual_seed(0)
    assert learn(ABMIL(ABMILConfig(crop_size=16)), 20, 1e-2) > 0.85


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="hidden is 0"):
        ABMILConfig(hidden=0)
    with pytest.raises(ConfigError, match="views of 10 pixels are too small"):
        ABMIL(ABMILConfig(crop_size=10))
    with pytest.raises(ConfigError, match="width is -1"):
        ABMILConfig(width=-1)
    with pytest.raises(ConfigError, match="dropout is 1"):
        ABMILConfig(dropout=1.0)
    with pytest.raises(ConfigError, match="scale is 2"):
        ABMILConfig(scale=2.0)
