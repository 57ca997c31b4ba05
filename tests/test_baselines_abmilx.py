from __future__ import annotations

import pytest
import torch

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.abmilx import ABMILX, ABMILXConfig, AttentionPlus, LocalAttention
from zoomin.errors import ConfigError
from zoomin.images.batch import as_batch

SMALL = {"crop_size": 20, "width": 16, "heads": 4}


def test_attention_is_the_authors():
    """Local attention and attention plus, written out for one bag; padding takes no part."""
    torch.manual_seed(0)
    local, plus, z = LocalAttention(4), AttentionPlus(4), torch.randn(1, 2, 5, 4)
    inside = torch.tensor([[True, True, True, False, False]])
    logits = local(z)
    smooth = plus(z, logits, inside)
    for head in range(2):
        h = z[0, head, :3]
        a = torch.nn.functional.gelu(h @ local.inner.weight.T) @ local.out.weight[0]
        torch.testing.assert_close(logits[0, head, :3, 0], a)
        query, key = (plus.norm(h) @ plus.to_query_key.weight.T).chunk(2, dim=1)
        likeness = (query @ key.T / 2).softmax(1)
        expected = a + likeness @ (a * plus.scale.weight[0, 0])
        torch.testing.assert_close(smooth[0, head, :3, 0], expected)


def test_layers_are_the_authors():
    """Two norms, layers without bias, V and w shared by the heads, projection, MLP of four widths."""
    net = ABMILX(ABMILXConfig(crop_size=20, features="lenet_released", width=512, heads=8))
    counts = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in net.named_children()
        if name != "features"
    }
    assert counts == {
        "first": 48 + 48 * 512,
        "local": 64 * 64 + 64,
        "plus": 2 * 64 + 2 * 64 * 64 + 1,
        "project": 512 * 512,
        "mlp": 2 * 4 * 512 * 512 + 5 * 512,
        "norm": 512,
        "head": 2 * 512 + 2,
    }


@pytest.mark.parametrize("changes", [{}, {"norm": False, "attention_plus": False}, {"mlp": False}])
def test_contract(tmp_path, changes):
    torch.manual_seed(0)
    check_contract(ABMILX(ABMILXConfig(n_classes=3, **SMALL, **changes)), tmp_path)


def test_training_draws_crops_of_two_scales():
    """Six of each image, a third of them twice as wide; the key decides which; prediction reads all."""
    torch.manual_seed(0)
    config = ABMILXConfig(**SMALL, dropout=0.0, drawn=6, coarse=2, coarse_part=0.34)
    net = ABMILX(config).train()
    out, same, other = (net(ragged(), keys=torch.arange(4) + start) for start in (0, 0, 100))
    assert out.views_read.tolist() == [6, 6, 6, 5]  # the last image has 4 fine crops and 1 coarse one
    torch.testing.assert_close(out.logits, same.logits)
    assert not torch.allclose(out.logits, other.logits)
    alone = net(ragged()[1:2], keys=torch.tensor([1]))
    torch.testing.assert_close(alone.logits, out.logits[1:2], rtol=1e-4, atol=1e-5)
    assert net.eval()(ragged()).views_read.tolist() == [9, 10, 9, 4]


def test_of_features_that_are_there_some_are_drawn():
    net = ABMILX(ABMILXConfig(**SMALL, dropout=0.0, drawn=6)).train()
    bags = net.bags(as_batch(ragged()))
    assert net.answer(bags, torch.arange(4), None).views_read.tolist() == [6, 6, 6, 4]
    assert net.eval().answer(bags, torch.arange(4), None).views_read.tolist() == [9, 10, 9, 4]


def test_learns():
    torch.manual_seed(0)
    assert learn(ABMILX(ABMILXConfig(crop_size=16, width=32, heads=4)), 25, 3e-3) > 0.85


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"width": 10}, "multiple of heads, 8"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"drawn": -1}, "drawn is -1"),
        ({"coarse": 2}, "all crops are read"),
        ({"drawn": 4, "coarse_part": 2.0}, "coarse_part is 2.0"),
    ],
)
def test_what_cannot_work_is_refused(wrong, complaint):
    with pytest.raises(ConfigError, match=complaint):
        ABMILXConfig(**wrong)
