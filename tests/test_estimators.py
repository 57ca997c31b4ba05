"""The expected feature and its gradient: all draws listed, then compared with sums and finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor

from problems import (
    finite_differences,
    inclusion,
    multinomial_draws,
    ordered_draws,
    systematic_draws,
    uniforms_of_counts,
    uniforms_of_order,
)
from zoomin.model import sampling
from zoomin.model.estimators import expected_feature, sample_weights, segment_sum

CELLS, DIMS, DRAWS = 4, 3, 2


class Problem:
    """Attention logits over a few cells, their features, and a direction to look along."""

    def __init__(self, seed: int, sharpness: float) -> None:
        g = torch.Generator().manual_seed(seed)
        self.logits = sharpness * torch.randn(CELLS, generator=g, dtype=torch.float64)
        self.features = torch.randn(CELLS, DIMS, generator=g, dtype=torch.float64)
        self.direction = torch.randn(DIMS, generator=g, dtype=torch.float64)
        self.p = self.logits.softmax(0).tolist()

    def value(self, logits: Tensor, features: Tensor) -> Tensor:
        """The expected feature along the direction, summed over the cells."""
        return (logits.softmax(0)[:, None] * features).sum(0) @ self.direction


PROBLEMS = [Problem(0, 1.0), Problem(1, 4.0), Problem(2, 20.0)]


def feed(monkeypatch: pytest.MonkeyPatch, streams: dict[int, list[float]]) -> None:
    monkeypatch.setattr(
        sampling,
        "uniforms",
        lambda keys, n, stream=0: torch.tensor([streams[stream]], dtype=torch.float64),
    )


def one_stage_draws(
    name: str, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Every draw of a design: probability, cells drawn, weights."""
    log_p = torch.tensor([problem.p], dtype=torch.float64).log()
    key, n = torch.zeros(1, dtype=torch.int64), torch.tensor([DRAWS])
    capacity = torch.full((1, CELLS), 100)
    if name == "multinomial":
        for count, chance in multinomial_draws(problem.p, DRAWS):
            feed(monkeypatch, {1: uniforms_of_counts(count, problem.p)})
            tiles = sampling.multinomial_tiles(log_p, DRAWS, capacity, key)
            cells = tiles.count[0].nonzero()[:, 0]
            yield chance, cells, tiles.kappa[0, cells]
    elif name == "ordered":
        for order, chance in ordered_draws(problem.p, DRAWS):
            feed(monkeypatch, {4: uniforms_of_order(order, problem.p)})
            draw = sampling.ordered_positions(log_p, n, key)
            yield chance, draw.index[0], draw.kappa[0]
    elif name == "systematic":
        for order, offset, chance in systematic_draws(inclusion(problem.p, DRAWS)):
            ranks = [order.index(k) / CELLS for k in range(CELLS)]
            feed(monkeypatch, {5: ranks, 6: [offset]})
            draw = sampling.systematic_positions(log_p, n, key)
            yield chance, draw.index[0], draw.kappa[0]
    else:
        draw = sampling.every_position(log_p, n, key)
        yield 1.0, draw.index[0], draw.kappa[0]


@pytest.mark.parametrize("problem", PROBLEMS, ids=["flat", "sharp", "saturated"])
@pytest.mark.parametrize("name", ["multinomial", "ordered", "systematic", "exact"])
def test_value_and_gradient_over_all_draws(
    name: str, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = problem.logits.clone().requires_grad_()
    features = problem.features.clone().requires_grad_()
    draws = list(one_stage_draws(name, problem, monkeypatch))
    assert sum(chance for chance, _, _ in draws) == pytest.approx(1, abs=1e-7)
    mean = torch.zeros(DIMS, dtype=torch.float64)
    for chance, cells, kappa in draws:
        estimate = torch.zeros(len(cells), dtype=torch.int64)
        log_a = logits.log_softmax(0)[cells]
        mean = mean + chance * expected_feature(features[cells], log_a, kappa, estimate, 1)[0]
    value = mean @ problem.direction
    value.backward()
    exact = problem.value(problem.logits, problem.features)
    assert value.item() == pytest.approx(exact.item(), abs=1e-6)
    by_logits = finite_differences(lambda x: problem.value(x, problem.features), problem.logits)
    by_features = finite_differences(lambda x: problem.value(problem.logits, x), problem.features)
    assert logits.grad is not None
    assert features.grad is not None
    torch.testing.assert_close(logits.grad, by_logits, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(features.grad, by_features, atol=1e-6, rtol=1e-5)


def two_stages(alpha: Tensor, beta: Tensor, features: Tensor, direction: Tensor) -> Tensor:
    """The sum over tiles and positions, from logits."""
    weight = alpha.softmax(0)[:, None] * beta.softmax(1)
    return (weight[:, :, None] * features).sum((0, 1)) @ direction


@pytest.mark.parametrize("seed", [0, 1])
def test_two_stages_over_all_draws(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's law: multinomial tiles, in each the ordered draw of as many positions."""
    g = torch.Generator().manual_seed(seed)
    tiles, positions, n = 3, 3, 2
    alpha = torch.randn(tiles, generator=g, dtype=torch.float64, requires_grad=True)
    beta = (2 * torch.randn(tiles, positions, generator=g, dtype=torch.float64)).requires_grad_()
    features = torch.randn(tiles, positions, DIMS, generator=g, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(DIMS, generator=g, dtype=torch.float64)
    key, capacity = torch.zeros(1, dtype=torch.int64), torch.full((1, tiles), positions)
    log_alpha, log_beta = alpha.log_softmax(0), beta.log_softmax(1)
    p = log_alpha.detach().exp().tolist()
    total = torch.zeros((), dtype=torch.float64)
    for count, chance in multinomial_draws(p, n):
        feed(monkeypatch, {1: uniforms_of_counts(count, p)})
        stage_1 = sampling.multinomial_tiles(log_alpha.detach()[None], n, capacity, key)
        drawn = [c for c in range(tiles) if count[c]]
        laws = {c: log_beta[c].detach().exp().tolist() for c in drawn}
        for orders in product(*[list(ordered_draws(laws[c], count[c])) for c in drawn]):
            value, probability = torch.zeros(DIMS, dtype=torch.float64), chance
            for c, (order, share) in zip(drawn, orders, strict=True):
                probability *= share
                feed(monkeypatch, {4: uniforms_of_order(order, laws[c])})
                stage_2 = sampling.ordered_positions(
                    log_beta[c].detach()[None], torch.tensor([count[c]]), key
                )
                k = stage_2.index[0]
                value = value + expected_feature(
                    features[c, k],
                    log_alpha[c] + log_beta[c, k],
                    stage_1.kappa[0, c] * stage_2.kappa[0],
                    torch.zeros(len(k), dtype=torch.int64),
                    1,
                ).squeeze(0)
            total = total + probability * value @ direction
    gradients = torch.autograd.grad(total, (alpha, beta, features))
    points = [t.detach() for t in (alpha, beta, features)]
    assert total.item() == pytest.approx(two_stages(*points, direction).item(), abs=1e-10)
    for i, gradient in enumerate(gradients):

        def along(x: Tensor, i: int = i) -> Tensor:
            return two_stages(*points[:i], x, *points[i + 1 :], direction)

        torch.testing.assert_close(gradient, finite_differences(along, points[i]), atol=1e-8, rtol=1e-6)


def test_weights_survive_saturation() -> None:
    logits = torch.tensor([200.0, 0.0, -200.0], requires_grad=True)
    log_a = logits.log_softmax(0)
    weights = sample_weights(log_a, torch.tensor([1.0, 0.0, 0.5]))
    assert weights.tolist() == [1.0, 0.0, 0.5]
    weights.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_kappa_is_a_constant() -> None:
    kappa = torch.rand(3, requires_grad=True)
    log_a = torch.randn(3, requires_grad=True)
    weights = sample_weights(log_a, kappa)
    (gradient,) = torch.autograd.grad(weights.sum(), log_a)
    torch.testing.assert_close(gradient, kappa.detach())
    with pytest.raises(RuntimeError):
        torch.autograd.grad(sample_weights(log_a.detach(), kappa).sum(), kappa)


def test_expected_feature_keeps_estimates_apart() -> None:
    features = torch.arange(8.0).reshape(4, 2)
    kappa = torch.tensor([0.5, 1.0, 0.5, 2.0])
    out = expected_feature(features, torch.zeros(4), kappa, torch.tensor([2, 0, 2, 0]), 4)
    assert out.tolist() == [[14.0, 17.0], [0.0, 0.0], [2.0, 3.0], [0.0, 0.0]]
    half = expected_feature(features.bfloat16(), torch.zeros(4), kappa, torch.tensor([2, 0, 2, 0]), 4)
    assert half.dtype == torch.float32


def test_segment_sum_against_a_loop() -> None:
    values, segment = torch.randn(20, 3, 2), torch.randint(5, (20,))
    expected = torch.zeros(6, 3, 2)
    for value, place in zip(values, segment, strict=True):
        expected[place] += value
    torch.testing.assert_close(segment_sum(values, segment, 6), expected)
    assert segment_sum(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), 2).tolist() == [[0, 0], [0, 0]]
