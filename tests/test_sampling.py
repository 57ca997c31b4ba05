"""Draws: every one listed and weighed, then simulated; random numbers; complement laws."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from scipy import stats
from torch import Tensor

from problems import (
    LAWS,
    inclusion,
    law,
    multinomial_draws,
    ordered_draws,
    systematic_draws,
    uniforms_of_counts,
    uniforms_of_order,
)
from zoomin.errors import ConfigError
from zoomin.model import sampling
from zoomin.model.sampling import (
    DESIGNS,
    complement,
    complement_at,
    derive_keys,
    design,
    draw_positions,
    law_of,
    uniforms,
)

RANDOM = [name for name, row in DESIGNS.items() if row.random]
ROWS = 20_000


def feed(monkeypatch: pytest.MonkeyPatch, streams: dict[int, Tensor]) -> None:
    """Let the draws use chosen numbers instead of random ones."""

    def chosen(keys: Tensor, n: int, stream: int = 0) -> Tensor:
        assert streams[stream].shape == (len(keys), n)
        return streams[stream]

    monkeypatch.setattr(sampling, "uniforms", chosen)


def rows_of(p: Tensor, rows: int) -> Tensor:
    return p.log().expand(rows, len(p)).contiguous()


def numbers(n: int, rows: int) -> Tensor:
    return torch.full((rows,), n)


def scatter(index: Tensor, taken: Tensor, values: Tensor, cells: int) -> Tensor:
    """Values of the taken cells at their places."""
    out = torch.zeros(len(index), cells, dtype=values.dtype)
    return out.scatter_add_(1, index, values * taken)


def within(sample: Tensor, expected: Tensor, sigmas: float = 5.0) -> None:
    """The mean of the rows is the expectation, within so many standard errors."""
    error = sample.std(0) / math.sqrt(len(sample))
    assert ((sample.mean(0) - expected).abs() <= sigmas * error + 1e-6).all()


# --------------------------------------------------------------------------- all draws, listed


@pytest.mark.parametrize("name", LAWS)
def test_ordered_weights_are_exact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = law(name)
    for n in range(1, len(p) + 1):
        orders, probabilities = zip(*ordered_draws(p.tolist(), n), strict=True)
        feed(
            monkeypatch,
            {4: torch.tensor([uniforms_of_order(o, p.tolist()) for o in orders], dtype=torch.float64)},
        )
        draw = sampling.ordered_positions(
            rows_of(p, len(orders)), numbers(n, len(orders)), torch.zeros(len(orders), dtype=torch.int64)
        )
        assert draw.index.tolist() == [list(order) for order in orders]
        assert draw.taken.all()
        chance = torch.tensor(probabilities, dtype=torch.float64)
        assert chance.sum().item() == pytest.approx(1, abs=1e-12)
        expected = (chance[:, None] * scatter(draw.index, draw.taken, draw.kappa, len(p))).sum(0)
        torch.testing.assert_close(expected, p, atol=1e-10, rtol=0)
        # The weights of a draw of the paper's estimator sum to 1: equal features are estimated without error.
        torch.testing.assert_close(draw.kappa.sum(1), torch.ones(len(orders)).double(), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("n", [1, 2, 4])
def test_multinomial_weights_are_exact(name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    p = law(name)
    counts, probabilities = zip(*multinomial_draws(p.tolist(), n), strict=True)
    feed(
        monkeypatch,
        {1: torch.tensor([uniforms_of_counts(c, p.tolist()) for c in counts], dtype=torch.float64)},
    )
    capacity = torch.full((len(counts), len(p)), 100)
    draw = sampling.multinomial_tiles(
        rows_of(p, len(counts)), n, capacity, torch.zeros(len(counts), dtype=torch.int64)
    )
    assert draw.count.tolist() == [list(count) for count in counts]
    expected = (torch.tensor(probabilities, dtype=torch.float64)[:, None] * draw.kappa).sum(0)
    torch.testing.assert_close(expected, p, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_systematic_tiles_are_exact(name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    p = law(name)
    orders, offsets, chances = zip(*systematic_draws([n * q for q in p.tolist()]), strict=True)
    rows = len(orders)
    ranks = torch.empty(rows, len(p), dtype=torch.float64)
    ranks.scatter_(1, torch.tensor(orders), (torch.arange(1, len(p) + 1) / 10).double().expand(rows, -1))
    feed(monkeypatch, {2: ranks, 3: torch.tensor(offsets, dtype=torch.float64)[:, None]})
    capacity = torch.full((rows, len(p)), 100)
    draw = sampling.systematic_tiles(rows_of(p, rows), n, capacity, torch.zeros(rows, dtype=torch.int64))
    chance = torch.tensor(chances, dtype=torch.float64)
    assert (draw.count.sum(1) == n).all()
    assert ((draw.count - n * p).abs() < 1).all()
    torch.testing.assert_close((chance[:, None] * draw.kappa).sum(0), p * chance.sum(), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["spread", "peaked", "two large"])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_systematic_tiles_are_exact_where_positions_are_few(
    name: str, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = law(name)
    orders, offsets, chances = zip(*systematic_draws(inclusion(p.tolist(), n)), strict=True)
    rows = len(orders)
    ranks = torch.empty(rows, len(p), dtype=torch.float64)
    ranks.scatter_(1, torch.tensor(orders), (torch.arange(1, len(p) + 1) / 10).double().expand(rows, -1))
    feed(monkeypatch, {2: ranks, 3: torch.tensor(offsets, dtype=torch.float64)[:, None]})
    one = torch.ones(rows, len(p), dtype=torch.int64)
    draw = sampling.systematic_tiles(rows_of(p, rows), n, one, torch.zeros(rows, dtype=torch.int64))
    chance = torch.tensor(chances, dtype=torch.float64)
    assert (draw.count.sum(1) == n).all()
    assert (draw.count <= 1).all()
    torch.testing.assert_close((chance[:, None] * draw.kappa).sum(0), p * chance.sum(), atol=1e-9, rtol=0)


def test_top_tiles_share_what_a_full_tile_leaves() -> None:
    p = law("peaked")
    capacity = torch.tensor([[2, 1, 1, 1, 3]])
    draw = sampling.top_tiles(rows_of(p, 1), 4, capacity, torch.zeros(1, dtype=torch.int64))
    assert draw.count.tolist() == [[2, 1, 1, 0, 0]]
    torch.testing.assert_close(draw.kappa[0, :3], p[:3] / p[:3].sum())


@pytest.mark.parametrize("name", LAWS)
def test_systematic_positions_are_exact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = law(name)
    for n in range(2, len(p) + 1):
        share = inclusion(p.tolist(), n)
        assert sum(share) == pytest.approx(n)
        orders, offsets, chances = zip(*systematic_draws(share), strict=True)
        rows = len(orders)
        ranks = torch.empty(rows, len(p), dtype=torch.float64)
        ranks.scatter_(1, torch.tensor(orders), (torch.arange(1, len(p) + 1) / 10).double().expand(rows, -1))
        feed(monkeypatch, {5: ranks, 6: torch.tensor(offsets, dtype=torch.float64)[:, None]})
        draw = sampling.systematic_positions(
            rows_of(p, rows), numbers(n, rows), torch.zeros(rows, dtype=torch.int64)
        )
        assert draw.taken.all()
        assert all(len(set(row)) == n for row in draw.index.tolist())
        chance = torch.tensor(chances, dtype=torch.float64)[:, None]
        drawn = (chance * scatter(draw.index, draw.taken, torch.ones_like(draw.kappa), len(p))).sum(0)
        expected = (chance * scatter(draw.index, draw.taken, draw.kappa, len(p))).sum(0)
        torch.testing.assert_close(
            drawn, torch.tensor(share, dtype=torch.float64) * chance.sum(), atol=1e-10, rtol=0
        )
        torch.testing.assert_close(expected, p * chance.sum(), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", LAWS)
def test_a_single_systematic_position_is_exact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = law(name)
    cells = p.nonzero()[:, 0]
    feed(monkeypatch, {6: (p.cumsum(0) - p / 2)[cells, None]})  # the middle of each cell's share
    draw = sampling.systematic_positions(rows_of(p, len(cells)), numbers(1, len(cells)), cells)
    assert draw.taken.all() and draw.index[:, 0].tolist() == cells.tolist()
    expected = (p[cells, None] * scatter(draw.index, draw.taken, draw.kappa, len(p))).sum(0)
    torch.testing.assert_close(expected, p, atol=1e-10, rtol=0)


def test_exact_and_top_by_hand() -> None:
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    capacity, key = torch.full((1, 4), 9), torch.zeros(1, dtype=torch.int64)
    every = DESIGNS["exact"].tiles(p.log(), 1, capacity, key)
    assert every.count.tolist() == [[9] * 4]
    torch.testing.assert_close(every.kappa, p)
    # Quotas of 5: 2.5, 1.5, 0.75, 0.25 -> whole parts 2, 1, 0, 0; the largest remainders are 0.75 and 0.5.
    top = DESIGNS["top"].tiles(p.log(), 5, capacity, key)
    assert top.count.tolist() == [[3, 1, 1, 0]]
    torch.testing.assert_close(top.kappa, torch.tensor([[0.5, 0.3, 0.15, 0.0]]) / 0.95)
    positions = DESIGNS["top"].positions(p.log(), torch.tensor([2]), key)
    assert positions.index.tolist() == [[0, 1]]
    torch.testing.assert_close(positions.kappa, torch.tensor([[0.5, 0.3]]) / 0.8)
    everywhere = DESIGNS["exact"].positions(p.log(), torch.tensor([2]), key)
    assert everywhere.taken.all()
    torch.testing.assert_close(everywhere.kappa, p)


@pytest.mark.parametrize("name", ["systematic", "top", "exact"])
def test_budget_that_covers_everything_enumerates(name: str) -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.4, 0.0]])
    capacity = torch.tensor([[4, 4, 2], [4, 4, 0]])
    draw = DESIGNS[name].tiles(p.log(), 10, capacity, torch.arange(2))
    assert draw.count.tolist() == capacity.tolist()
    torch.testing.assert_close(draw.kappa, p)


# --------------------------------------------------------------------------- simulated draws


def hard_laws() -> dict[str, Tensor]:
    spiked = torch.full((6,), 1e-7 / 5).double()
    spiked[2] = 1 - 1e-7
    masked = torch.tensor([0.5, 0.0, 0.3, 0.0, 0.15, 0.05]).double()
    many = torch.softmax(torch.randn(40, generator=torch.Generator().manual_seed(3)).double() * 2, 0)
    return {"spiked": spiked, "masked": masked, "many": many, "spread": law("spread")}


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("problem", hard_laws())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positions_are_unbiased(name: str, problem: str, dtype: torch.dtype) -> None:
    p = hard_laws()[problem]
    n = 3
    log_p = rows_of(p, ROWS).to(dtype)
    draw = DESIGNS[name].positions(log_p, numbers(n, ROWS), torch.arange(ROWS))
    assert draw.taken.shape == (ROWS, n)
    assert draw.taken.all()
    assert (draw.index.sort(1).values.diff(dim=1) > 0).all(), "without replacement"
    assert (p[draw.index] > 0).all(), "only possible cells"
    assert (draw.kappa >= 0).all()
    within(scatter(draw.index, draw.taken, draw.kappa, len(p)).double(), p)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("problem", hard_laws())
@pytest.mark.parametrize("n", [1, 5, 30])
def test_tiles_are_unbiased(name: str, problem: str, n: int) -> None:
    p = hard_laws()[problem]
    capacity = torch.full((ROWS, len(p)), 100)
    draw = DESIGNS[name].tiles(rows_of(p, ROWS).float(), n, capacity, torch.arange(ROWS))
    assert (draw.count.sum(1) == n).all()
    assert (draw.count[:, p == 0] == 0).all()
    torch.testing.assert_close(draw.kappa, (draw.count / n).float())
    within(draw.kappa.double(), p)
    if name == "systematic":
        assert ((draw.count - n * p).abs() < 1 + 1e-5).all()


def test_first_draw_follows_the_law() -> None:
    for p in (law("peaked"), law("spread"), hard_laws()["many"]):
        draw = sampling.ordered_positions(rows_of(p, ROWS).float(), numbers(3, ROWS), torch.arange(ROWS))
        seen = torch.bincount(draw.index[:, 0], minlength=len(p))
        assert stats.chisquare(seen, ROWS * p / p.sum()).pvalue > 1e-5


def test_second_draw_follows_the_law() -> None:
    p = law("two large")
    draw = sampling.ordered_positions(rows_of(p, ROWS), numbers(2, ROWS), torch.arange(ROWS))
    pairs = list(ordered_draws(p.tolist(), 2))
    seen = [int(((draw.index == torch.tensor(order)).all(1)).sum()) for order, _ in pairs]
    assert stats.chisquare(seen, [ROWS * chance for _, chance in pairs]).pvalue > 1e-5


@pytest.mark.parametrize("name", RANDOM)
def test_rows_may_want_different_numbers(name: str) -> None:
    p = law("spread")
    wanted = torch.tensor([1, 2, 3, 5]).repeat(ROWS // 4)
    draw = DESIGNS[name].positions(rows_of(p, ROWS), wanted, torch.arange(ROWS))
    assert (draw.taken.sum(1) == wanted).all()
    kappa = scatter(draw.index, draw.taken, draw.kappa, len(p))
    for n in (1, 2, 3):
        within(kappa[wanted == n], p)
    torch.testing.assert_close(kappa[wanted == 5], p.expand(ROWS // 4, -1))


@pytest.mark.parametrize("name", ["multinomial", "systematic", "top"])
def test_fewer_possible_cells_than_wanted(name: str) -> None:
    p = torch.tensor([[0.6, 0.0, 0.4, 0.0], [0.25, 0.25, 0.25, 0.25]])
    draw = DESIGNS[name].positions(p.log(), torch.tensor([3, 3]), torch.arange(2))
    assert (p.gather(1, draw.index)[draw.taken] > 0).all(), "an impossible cell was drawn"
    first = scatter(draw.index, draw.taken, draw.kappa.nan_to_num(99), 4)[0]
    torch.testing.assert_close(first, p[0])


@pytest.mark.parametrize("name", DESIGNS)
def test_one_cell_only(name: str) -> None:
    log_p, key = torch.zeros(2, 1), torch.arange(2)
    tiles = DESIGNS[name].tiles(log_p, 3, torch.full((2, 1), 2), key)
    assert tiles.count.tolist() == [[2], [2]]
    assert tiles.kappa.tolist() == [[1.0], [1.0]]
    positions = DESIGNS[name].positions(log_p, torch.tensor([1, 1]), key)
    assert positions.index.tolist() == [[0], [0]]
    assert positions.taken.all()
    assert positions.kappa.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("name", DESIGNS)
def test_no_rows_no_draws(name: str) -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    draw = DESIGNS[name].positions(torch.zeros(0, 4), nothing, nothing)
    assert draw.index.shape[0] == 0


@pytest.mark.parametrize("name", DESIGNS)
def test_draws_depend_on_the_key_alone(name: str) -> None:
    p = hard_laws()["many"]
    keys, capacity = torch.randint(2**62, (64,)), torch.full((64, 40), 7)
    whole = DESIGNS[name].tiles(rows_of(p, 64), 9, capacity, keys)
    mixed = torch.randperm(64)[:20]
    part = DESIGNS[name].tiles(rows_of(p, 20), 9, capacity[:20], keys[mixed])
    assert torch.equal(whole.count[mixed], part.count)
    padded = torch.cat([rows_of(p, 64), torch.full((64, 5), -torch.inf)], 1)
    wide = DESIGNS[name].tiles(
        padded, 9, torch.cat([capacity, torch.zeros(64, 5, dtype=torch.int64)], 1), keys
    )
    assert torch.equal(wide.count[:, :40], whole.count), "cells that are no cells change nothing"
    draws = DESIGNS[name].positions(rows_of(p, 64), numbers(4, 64), keys)
    again = DESIGNS[name].positions(rows_of(p, 20), numbers(4, 20), keys[mixed])
    assert torch.equal(draws.index[mixed], again.index)
    assert torch.equal(draws.kappa[mixed], again.kappa)


def test_more_even_designs_vary_less() -> None:
    """The table of docs/method.md, section 2: the variance of the estimate shrinks from design to design."""
    g = torch.Generator().manual_seed(0)
    features = torch.randn(8, 5, generator=g).double()
    keys, n = torch.arange(ROWS), numbers(3, ROWS)
    for sharpness in (0.7, 3.0):
        p = torch.softmax(sharpness * torch.randn(8, generator=g).double(), 0)
        log_p, capacity = rows_of(p, ROWS), torch.full((ROWS, 8), 100)
        replaced = DESIGNS["multinomial"].tiles(log_p, 3, capacity, keys).kappa
        variance = [(replaced @ features).var(0).mean()]
        for name in ("multinomial", "systematic"):
            draw = DESIGNS[name].positions(log_p, n, keys)
            variance.append((scatter(draw.index, draw.taken, draw.kappa, 8) @ features).var(0).mean())
        assert variance[2] < 0.95 * variance[1] < 0.95 * 0.95 * variance[0]


def test_unknown_design() -> None:
    with pytest.raises(ConfigError, match=r"unknown sampling .best.*systematic"):
        design("best")


# --------------------------------------------------------------------------- random numbers


def test_uniforms_are_uniform() -> None:
    for keys in (torch.arange(2000), torch.arange(2000) * 2**40, torch.randint(2**62, (2000,))):
        u = uniforms(keys, 50)
        assert u.dtype == torch.float64
        assert ((u > 0) & (u < 1)).all()
        assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-5
        assert u.mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(1 / 12 / u.numel()))
        assert u.var().item() == pytest.approx(1 / 12, abs=0.002)
        for column in (0, 49):
            assert stats.kstest(u[:, column].numpy(), "uniform").pvalue > 1e-5
        assert stats.kstest(u[0].numpy(), "uniform").pvalue > 1e-5


def test_uniforms_are_not_correlated() -> None:
    keys = torch.arange(4000)
    u = uniforms(keys, 20, stream=4) - 0.5

    def correlation(a: Tensor, b: Tensor) -> float:
        return float((a * b).mean() * 12 * math.sqrt(a.numel()))  # in standard errors

    assert abs(correlation(u[1:], u[:-1])) < 5, "neighbouring keys"
    assert abs(correlation(u[:, 1:], u[:, :-1])) < 5, "neighbouring numbers"
    for stream in (1, 2, 3, 5, 6):
        assert abs(correlation(u, uniforms(keys, 20, stream) - 0.5)) < 5, "streams"
    for value in (0, 1, -2):
        assert abs(correlation(u, uniforms(derive_keys(keys, value), 20, 4) - 0.5)) < 5, "derived keys"
    assert abs(correlation(u[1:, :-1], u[:-1, 1:])) < 5, "a shifted copy"


def test_uniforms_depend_on_the_key_alone() -> None:
    keys = torch.randint(2**62, (100,))
    order = torch.randperm(100)
    u = uniforms(keys, 7, stream=3)
    assert torch.equal(uniforms(keys[order], 7, 3), u[order])
    assert torch.equal(uniforms(keys[5:6], 7, 3), u[5:6])
    assert torch.equal(uniforms(keys, 3, 3), u[:, :3])
    assert not torch.equal(uniforms(keys, 7, 4), u)


def test_derived_keys_differ() -> None:
    keys = torch.arange(1000)
    derived = torch.cat([derive_keys(keys, value) for value in (-2, 0, 1, 2)] + [keys])
    assert derived.unique().numel() == derived.numel()
    assert torch.equal(derive_keys(keys, keys)[7:8], derive_keys(keys[7:8], 7))


# --------------------------------------------------------------------------- complement laws


def test_complement_is_the_paper_s() -> None:
    for p in (law("spread"), law("peaked"), law("uniform")):
        torch.testing.assert_close(complement(p.log()[None]).exp()[0], (1 - p) / (len(p) - 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complement_of_hard_laws(dtype: torch.dtype) -> None:
    inf = torch.inf
    logits = torch.tensor(
        [[0, 0, 0, 0], [200, 0, 0, 0], [3, -inf, 1, -inf], [50, -inf, -50, 0], [5, -inf, -inf, -inf]],
        dtype=dtype,
        requires_grad=True,
    )
    log_p = logits.log_softmax(1)
    log_q = complement(log_p)
    torch.testing.assert_close(log_q.exp().sum(1), torch.ones(5, dtype=dtype))
    assert (log_q.isneginf() == log_p.isneginf()).all(), "masked cells stay impossible"
    assert torch.equal(log_q[4], log_p[4]), "one cell has no complement"
    log_q[log_q.isfinite()].sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_complement_gradient() -> None:
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: complement(x.log_softmax(1)), (logits,))


def test_complement_twice_moves_towards_uniform() -> None:
    p = law("peaked")[None]
    once = complement(p.log()).exp()
    twice = complement(once.log()).exp()
    assert ((twice - 0.2).abs() <= (once - 0.2).abs() + 1e-12).all()
    for a, b in product(range(5), range(5)):
        assert (p[0, a] < p[0, b]) == (once[0, a] > once[0, b])


@pytest.mark.parametrize("name", ["multinomial", "systematic"])
def test_long_rows_are_drawn_in_chunks_alike(name, monkeypatch):
    log_p = torch.randn(7, 40, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    n, keys = torch.tensor([1, 3, 2, 5, 40, 1, 2]), torch.arange(7)
    whole = DESIGNS[name].positions(log_p, n, keys)
    monkeypatch.setattr("zoomin.model.sampling._CHUNK", 100)
    monkeypatch.setattr("zoomin.model.sampling._SORTED", 100)
    parts = DESIGNS[name].positions(log_p, n, keys)
    assert torch.equal(whole.index, parts.index) and torch.equal(whole.taken, parts.taken)
    assert torch.equal(whole.kappa, parts.kappa)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("copied", [1, 50, 1 << 22])
def test_rows_that_share_maps_are_drawn_as_rows_of_their_own(
    monkeypatch: pytest.MonkeyPatch, name: str, copied: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 23, generator=generator).log_softmax(1)
    row = torch.tensor([0, 2, 2, 3, 1, 0, 2])
    contrast = torch.tensor([False] * 5 + [True] * 2)
    n, keys = torch.tensor([1, 3, 1, 2, 1, 2, 1]), torch.arange(7)
    expected = design(name).positions(law_of(contrast, maps[row]), n, keys)
    monkeypatch.setattr(sampling, "_COPIED", copied)
    draw = draw_positions(design(name), maps, row, contrast, n, keys)
    assert torch.equal(draw.taken, expected.taken)
    assert torch.equal(draw.index[draw.taken], expected.index[draw.taken])
    assert torch.equal(draw.kappa[draw.taken], expected.kappa[draw.taken])


def test_the_complement_of_some_cells_is_that_of_the_row() -> None:
    log_p = torch.tensor([[0.5, 0.3, 0.2, 0.0], [1.0, 0.0, 0.0, 0.0]]).log()
    cells = log_p.isfinite().sum(1)
    row, cell = torch.tensor([0, 0, 1]), torch.tensor([2, 0, 0])
    assert torch.equal(complement_at(log_p[row, cell], cells[row]), complement(log_p)[row, cell])
