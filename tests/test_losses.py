"""The terms of the objective, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from zoomin.model.losses import classification_loss, contrastive_loss, entropy, entropy_loss


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, -0.5]])
    labels = torch.tensor([0, 0, 1])
    each = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(1)), math.log(1 + math.exp(1))]
    assert classification_loss(logits, labels).item() == pytest.approx(sum(each) / 3)
    weights = torch.tensor([1.0, 3.0])
    weighted = (each[0] + each[1] + 3 * each[2]) / 5
    assert classification_loss(logits, labels, weights).item() == pytest.approx(weighted)


def test_contrastive_pulls_to_the_negative_class() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, 1.0]], requires_grad=True)
    loss = contrastive_loss(logits, batch_size=4)
    assert loss.item() == pytest.approx((math.log(1 + math.exp(2)) + math.log(2)) / 4)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0] < 0).all(), "a step against the gradient makes class 0 more likely"
    assert (logits.grad[:, 1] > 0).all()


def test_contrastive_without_positives_is_zero() -> None:
    logits = torch.zeros(0, 2, requires_grad=True)
    assert contrastive_loss(logits, batch_size=3).item() == 0


def test_entropy_of_known_laws() -> None:
    p = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0], [0.5, 0.25, 0.25, 0.0]])
    expected = [math.log(4), 0.0, 1.5 * math.log(2)]
    torch.testing.assert_close(entropy(p.log()), torch.tensor(expected))


def test_entropy_gradient_is_finite_and_right() -> None:
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: entropy(x.log_softmax(1)), (logits,))
    hard = torch.tensor([[300.0, 0.0, -torch.inf]], requires_grad=True)
    entropy(hard.log_softmax(1)).sum().backward()
    assert hard.grad is not None
    assert hard.grad.isfinite().all()


def test_entropy_loss_against_a_loop() -> None:
    log_alpha = torch.randn(3, 4).log_softmax(1)
    log_alpha = torch.cat([log_alpha, torch.full((3, 1), -torch.inf)], 1)
    log_beta, image = torch.randn(5, 6).log_softmax(1), torch.tensor([0, 0, 2, 1, 2])
    expected = 0.0
    for i in range(3):
        rows = [log_alpha[i, :4], *log_beta[image == i]]
        expected += 0.1 * sum(float((row.exp() * row).sum()) for row in rows) / 3
    assert entropy_loss(log_alpha, log_beta, image, 0.1).item() == pytest.approx(expected, rel=1e-5)


def test_entropy_loss_rewards_spread_attention() -> None:
    spread, sharp = torch.zeros(1, 4).log_softmax(1), torch.tensor([[9.0, 0, 0, 0]]).log_softmax(1)
    none = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    assert entropy_loss(spread, *none, 1.0) < entropy_loss(sharp, *none, 1.0)
    assert entropy_loss(sharp, *none, 0.0).item() == 0
