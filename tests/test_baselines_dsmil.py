from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.dsmil import DSMIL, DSMILConfig
from zoomin.errors import ConfigError
from zoomin.images.batch import as_batch

LABELS = torch.tensor([0, 1, 1, 2])


def small(**settings) -> DSMIL:
    torch.manual_seed(0)
    return DSMIL(DSMILConfig(crop_size=20, query_width=8, n_classes=3, **settings))


def by_hand(net: DSMIL, image) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of both streams for one image, class by class, by equations 2 to 6."""
    h = net.bags(as_batch([image])).instances
    scores = h @ net.scores.weight.T + net.scores.bias
    bag = []
    for m in range(3):
        critical = h[scores[:, m].argmax()]
        product = net.query(h) @ net.query(critical) / 8**0.5
        bag.append(product.softmax(0) @ net.value(h))
    weight = net.head.weight.unflatten(
        1, (3, -1)
    )  # the authors' one-dimensional convolution over the classes
    return torch.einsum("cmd,md->c", weight, torch.stack(bag)) + net.head.bias, scores.amax(0)


@pytest.mark.parametrize("nonlinear, transform_values", [(True, False), (False, True)])
def test_both_streams_are_the_papers(nonlinear, transform_values):
    net = small(nonlinear=nonlinear, transform_values=transform_values)
    out = net(ragged(), labels=LABELS)
    wanted = [by_hand(net, image) for image in ragged()]
    torch.testing.assert_close(out.logits, torch.stack([w[0] for w in wanted]), rtol=1e-4, atol=1e-5)
    first = cross_entropy(torch.stack([w[1] for w in wanted]), LABELS)
    torch.testing.assert_close(out.penalty, first, rtol=1e-4, atol=1e-5)
    assert float(net(ragged()).penalty) == 0


@pytest.mark.parametrize("transform_values", [False, True])
def test_contract(tmp_path, transform_values):
    check_contract(small(transform_values=transform_values), tmp_path)


def test_learns():
    torch.manual_seed(0)
    assert learn(DSMIL(DSMILConfig(crop_size=16)), 25) > 0.85


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="query_width is 0"):
        DSMILConfig(query_width=0)
    with pytest.raises(ConfigError, match="dropout is 1"):
        DSMILConfig(dropout=1.0)
