from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from baseline_examples import check_contract, learn, ragged
from zoomin.baselines.clam import CLAM, CLAMConfig, smooth_svm
from zoomin.errors import ConfigError
from zoomin.images.batch import as_batch

SMALL = CLAMConfig(crop_size=20, width=12, hidden=8, instances=2, dropout=0.0, n_classes=3)
LABELS = torch.tensor([0, 1, 1, 2])


def small(**settings) -> CLAM:
    torch.manual_seed(0)
    net = CLAM(CLAMConfig.from_dict({**SMALL.to_dict(), **settings}))
    with torch.no_grad():
        net.attention.w.weight *= 10
    return net


def by_hand(net: CLAM, image, label: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and instance loss of one image, class by class, from the publication's text."""
    c, bag = net.config, net.bags(as_batch([image]))
    h = net.first(bag.instances)
    u, v, w = net.attention.u, net.attention.v, net.attention.w
    scores = (torch.tanh(v(h)) * torch.sigmoid(u(h))) @ w.weight.T + w.bias
    logits, loss = [], torch.zeros(())
    for m in range(c.n_classes):
        score = scores[:, m if c.branches == "multi" else 0]
        pooled = score.softmax(0) @ h
        logits.append(net.head.weight[m] @ pooled + net.head.bias[m])
        order = score.argsort(descending=True)
        top, low = order[: c.instances], order.flip(0)[: c.instances]
        weight, bias = net.judges.weight[2 * m : 2 * m + 2], net.judges.bias[2 * m : 2 * m + 2]
        if m == label:
            chosen = torch.cat([top, low])
            target = torch.tensor([1] * len(top) + [0] * len(low))
        elif c.exclusive:
            chosen, target = top, torch.zeros(len(top), dtype=torch.int64)
        else:
            continue
        outcomes = h[chosen] @ weight.T + bias
        criterion = (
            cross_entropy if c.instance_loss == "cross_entropy" else lambda s, t: smooth_svm(s, t).mean()
        )
        loss = loss + criterion(outcomes, target) / (c.n_classes if c.exclusive else 1)
    return torch.stack(logits), loss


@pytest.mark.parametrize("branches, exclusive", [("single", False), ("multi", False), ("multi", True)])
@pytest.mark.parametrize("instance_loss", ["svm", "cross_entropy"])
def test_logits_and_loss_are_the_papers(branches, exclusive, instance_loss):
    net = small(branches=branches, exclusive=exclusive, instance_loss=instance_loss, instances=3)
    out = net(ragged(), labels=LABELS)
    wanted = [by_hand(net, image, int(label)) for image, label in zip(ragged(), LABELS, strict=True)]
    torch.testing.assert_close(out.logits, torch.stack([w[0] for w in wanted]), rtol=1e-4, atol=1e-5)
    loss = torch.stack([w[1] for w in wanted]).mean()
    torch.testing.assert_close(out.penalty, 0.3 / 0.7 * loss, rtol=1e-4, atol=1e-5)


def test_a_bag_of_few_crops_gives_what_it_has():
    net = small(instances=8)  # the last image has four crops
    out = net(ragged()[3:], labels=LABELS[3:])
    torch.testing.assert_close(out.penalty, 0.3 / 0.7 * by_hand(net, ragged()[3], 2)[1])


def test_smooth_svm_is_a_soft_margin():
    """Beyond the margin the loss vanishes, below it it grows as the hard one, and it is never below that."""
    scores = torch.tensor([[9.0, -9.0], [-9.0, 9.0], [0.0, 0.0], [2.0, 1.5]])
    target = torch.zeros(4, dtype=torch.int64)
    loss = smooth_svm(scores, target)
    hard = (scores[:, 1] - scores[:, 0] + 1).clamp(min=0)
    torch.testing.assert_close(loss[:2], hard[:2], atol=1e-3, rtol=0)
    assert ((hard <= loss) & (loss <= hard + 0.6932)).all()
    torch.testing.assert_close(smooth_svm(scores, target, tau=0.01), hard, atol=1e-2, rtol=0)


def test_no_penalty_without_labels():
    assert float(small()(ragged()).penalty) == 0
    net = small(instance_loss="none")
    assert net.judges is None and float(net(ragged(), labels=LABELS).penalty) == 0


def test_attention_learns_from_the_bag_alone():
    """The choice of crops is not smooth: the instance loss gives the attention no gradient."""
    net = small()
    net(ragged(), labels=LABELS).penalty.backward()
    assert net.attention.w.weight.grad is None and net.first[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("branches", ["single", "multi"])
def test_contract(tmp_path, branches):
    check_contract(small(branches=branches, dropout=0.25), tmp_path)


def test_learns():
    torch.manual_seed(0)
    assert learn(CLAM(CLAMConfig(crop_size=16, width=32, hidden=16, instances=1, exclusive=True)), 25) > 0.85


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="instances is 0"):
        CLAMConfig(instances=0)
    with pytest.raises(ConfigError, match="bag_weight is 0"):
        CLAMConfig(bag_weight=0.0)
