"""Draw tiles and positions from attention maps.

A draw returns which cells were taken and `kappa`: the constant weight that the cell's feature carries in the
estimate of the expected feature (estimators.py). Writing a for the attention of a cell, kappa = u a with
E[u 1{drawn}] = 1, so that the expectation of the estimate is exact. `DESIGNS` is the table of designs.

Randomness is counter-based: a uniform number is a hash of a key and a counter. An image's draws depend on
its key alone, hence not on the batch it comes in, on the number of workers, or on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from .choices import check_sampling
from .random_numbers import ascending, derive_keys, uniforms

__all__ = [
    "DESIGNS",
    "Count",
    "Design",
    "PositionDraw",
    "TileDraw",
    "complement",
    "complement_at",
    "derive_keys",
    "design",
    "draw_positions",
    "law_of",
    "uniforms",
]

_CHUNK = 1 << 18  # random numbers of long rows drawn at a time: they stay in a processor's cache
_SORTED = 1 << 21  # and sorted at a time: a dozen numbers of 8 bytes for each of them
_COPIED = 1 << 20  # positions of shared attention maps copied to their rows at a time

# --------------------------------------------------------------------------- what a draw returns

Count = int | Int[Tensor, "s 1"]  # sub-tiles to draw: of every row, or of each


@dataclass(frozen=True)
class TileDraw:
    """Tiles drawn, one estimate per row.

    Attributes:
        count: sub-tiles to draw in each tile; 0: the tile is not drawn.
        kappa: weight of each tile's feature.
    """

    count: Int[Tensor, "estimates tiles"]
    kappa: Float[Tensor, "estimates tiles"]


@dataclass(frozen=True)
class PositionDraw:
    """Positions drawn, one drawn tile per row, in the order of the draw.

    Attributes:
        index: row-major position in the attention map.
        taken: False where the row has fewer draws than the widest row.
        kappa: weight of each position's feature.
    """

    index: Int[Tensor, "rows draws"]
    taken: Bool[Tensor, "rows draws"]
    kappa: Float[Tensor, "rows draws"]


@dataclass(frozen=True)
class Design:
    """One way to draw: `tiles(log_p, n, capacity, keys)` and `positions(log_p, n, keys)`.

    Attributes:
        tiles: all stages but the last, `n` sub-tiles over the tiles (or blocks) of each row, of which tile c
            has `capacity[c]` positions.
        positions: the last stage, `n[r]` of the positions of each row.
        random: False where the draw is the same whatever the keys.
    """

    tiles: Callable[
        [Float[Tensor, "s t"], Count, Int[Tensor, "s t"], Int[Tensor, " s"]],
        TileDraw,
    ]
    positions: Callable[[Float[Tensor, "r p"], Int[Tensor, " r"], Int[Tensor, " r"]], PositionDraw]
    random: bool


# --------------------------------------------------------------------------- stage 1: tiles


def multinomial_tiles(
    log_p: Float[Tensor, "s t"], n: Count, capacity: Int[Tensor, "s t"], keys: Int[Tensor, " s"]
) -> TileDraw:
    """Counts (n_c) ~ Multinomial(n, p), kappa = n_c / n (paper, section 2.2)."""
    cumulative = _double(log_p).exp().cumsum(1)
    place = uniforms(keys, _widest(n), stream=1) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, place.to(cumulative.dtype), right=True)
    drawn = drawn.minimum(_last_possible(log_p))
    one = torch.ones_like(drawn) * (torch.arange(_widest(n), device=drawn.device) < n)
    count = torch.zeros_like(capacity).scatter_add_(1, drawn, one)
    # No more draws in a tile than it has positions: its feature is then exact.
    return TileDraw(count.minimum(capacity), count.to(log_p.dtype) / n)


def systematic_tiles(
    log_p: Float[Tensor, "s t"], n: Count, capacity: Int[Tensor, "s t"], keys: Int[Tensor, " s"]
) -> TileDraw:
    """Systematic allocation in random order: E[n_c] = q_c and |n_c - q_c| < 1; kappa = p_c n_c / q_c.

    The quota q_c is n p_c, and kappa n_c / n, unless a tile has fewer positions than that: it then gets all
    of them, and the others share the rest. A budget that covers every position of an image enumerates it.
    """
    p = _double(log_p).softmax(1)
    quota = _quota(p, n, capacity)
    order = ascending(uniforms(keys, p.shape[1], stream=2))
    cumulative = quota.gather(1, order).cumsum(1)
    cumulative[:, -1:] = n
    filled = (cumulative + uniforms(keys, 1, stream=3).to(p.dtype)).floor().long().clamp(max=n)
    count = torch.zeros_like(capacity).scatter_(
        1, order, filled.diff(dim=1, prepend=torch.zeros_like(filled[:, :1]))
    )
    share = torch.where(quota > 0, p / quota, 0.0).to(log_p.dtype)
    draw = TileDraw(count.minimum(capacity), count.to(log_p.dtype) * share)
    return _enumerate_where_covered(draw, n, capacity, log_p)


def top_tiles(
    log_p: Float[Tensor, "s t"], n: Count, capacity: Int[Tensor, "s t"], keys: Int[Tensor, " s"]
) -> TileDraw:
    """Largest-remainder allocation of n, deterministic; kappa = p over the sum of the drawn tiles' p.

    No tile is allotted more than its positions: the others share what is left.
    """
    p = _double(log_p).softmax(1)
    quota = _quota(p, n, capacity)
    base = quota.floor()
    left = n - base.sum(1, keepdim=True)
    remainder = torch.where(base < capacity, quota - base + 1e-9 * p, -1.0)  # of equal ones the more likely
    rank = remainder.argsort(dim=1, descending=True, stable=True).argsort(1)
    count = (base + (rank < left)).long()
    p = log_p.exp() * (count > 0)
    draw = TileDraw(count.minimum(capacity), p / p.sum(1, keepdim=True))
    return _enumerate_where_covered(draw, n, capacity, log_p)


def every_tile(
    log_p: Float[Tensor, "s t"], n: Count, capacity: Int[Tensor, "s t"], keys: Int[Tensor, " s"]
) -> TileDraw:
    """Every tile with every position; kappa = p."""
    return TileDraw(capacity, log_p.exp())


def _quota(p: Float[Tensor, "s t"], n: Count, capacity: Int[Tensor, "s t"]) -> Float[Tensor, "s t"]:
    """min(capacity, t p) with t such that each row sums to n, or to all its capacity where that is less."""
    full = torch.where(p > 0, capacity / p, torch.inf)  # the t at which a tile has all its positions
    order = full.argsort(1)
    taken, mass = capacity.gather(1, order), p.gather(1, order)
    before = taken.cumsum(1) - taken  # of the tiles that are full before this one
    rest = mass.flip(1).cumsum(1).flip(1).clamp(min=torch.finfo(p.dtype).tiny)
    t = (n - before) / rest
    fits = (t <= full.gather(1, order) * (1 + 1e-12)) & (before <= n)
    first = torch.where(fits.any(1), fits.to(torch.int8).argmax(1), 0)[:, None]
    most = torch.where(fits.any(1, keepdim=True), t.gather(1, first), torch.inf)
    return torch.where(p > 0, torch.minimum(capacity.to(p.dtype), most * p), 0.0)


def _enumerate_where_covered(draw: TileDraw, n: Count, capacity: Tensor, log_p: Tensor) -> TileDraw:
    """Take everything where `n` is at least the number of positions of the whole image."""
    covered = capacity.sum(1, keepdim=True) <= n
    return TileDraw(torch.where(covered, capacity, draw.count), torch.where(covered, log_p.exp(), draw.kappa))


# --------------------------------------------------------------------------- stage 2: positions


def ordered_positions(
    log_p: Float[Tensor, "r p"], n: Int[Tensor, " r"], keys: Int[Tensor, " r"]
) -> PositionDraw:
    """Draw without replacement, weigh by the order of the draw (paper, section 2.2, equation 6).

    The top n of log p + Gumbel noise are draws without replacement proportional to p. With m_i the mass not
    drawn before the i-th draw, kappa_i = m_i / n + p_i (n - i) / n; a row that takes every position is
    exact, kappa = p.
    """
    width, few = _widest(n), max(1, _CHUNK // max(1, log_p.shape[1]))
    index = torch.zeros(len(n), width, dtype=torch.int64, device=n.device)
    complete = torch.zeros_like(n, dtype=torch.bool)[:, None]
    one, more = (n == 1).nonzero()[:, 0], (n > 1).nonzero()[:, 0]
    if one.numel():
        index[one, 0] = _single(log_p[one], keys[one], stream=4)
    if more.numel():
        several = log_p[more]
        chunks = zip(several.split(few), keys[more].split(few), strict=True)
        index[more] = torch.cat([_first_drawn(*chunk, width) for chunk in chunks])
        complete[more] = _complete(several, n[more])
    p = log_p.gather(1, index).exp()
    order = torch.arange(1, index.shape[1] + 1, device=n.device)
    left = (1 - (p.cumsum(1) - p)).clamp(min=0)
    kappa = (left + p * (n[:, None] - order)) / n[:, None]
    kappa = torch.where(complete, p, kappa)
    taken = (order <= n[:, None]) & log_p.gather(1, index).isfinite()
    return PositionDraw(index, taken, kappa)


def _first_drawn(log_p: Float[Tensor, "r p"], keys: Int[Tensor, " r"], n: int) -> Int[Tensor, "r n"]:
    """The n cells of each row that come first in draws without replacement, in their order."""
    gumbel = uniforms(keys, log_p.shape[1], stream=4).log_().neg_().log_().neg_()
    return (log_p + gumbel).topk(n, dim=1).indices


def _single(log_p: Float[Tensor, "r p"], keys: Int[Tensor, " r"], stream: int) -> Int[Tensor, " r"]:
    """One cell of each row with probability p, of one random number per row: there is no order to find."""
    few, drawn = max(1, _CHUNK // max(1, log_p.shape[1])), []
    for part, key in zip(log_p.split(few), keys.split(few), strict=True):
        cumulative = _double(part).exp().cumsum(1)
        place = uniforms(key, 1, stream).to(cumulative.dtype) * cumulative[:, -1:]
        last = torch.searchsorted(cumulative, cumulative[:, -1:].contiguous())  # of p > 0
        found = torch.searchsorted(cumulative, place, right=True)
        drawn.append(found.minimum(last)[:, 0])
    return torch.cat(drawn)


def systematic_positions(
    log_p: Float[Tensor, "r p"], n: Int[Tensor, " r"], keys: Int[Tensor, " r"]
) -> PositionDraw:
    """A fixed-size systematic sample with inclusion probability min(1, t p), in random order.

    t is such that the inclusion probabilities sum to n; kappa = p / inclusion probability (Horvitz &
    Thompson 1952; Madow 1949).
    """
    width, few = _widest(n), max(1, _SORTED // max(1, log_p.shape[1]))
    chunks = zip(log_p.split(few), n.split(few), keys.split(few), strict=True)
    parts = [_systematic(*chunk, width) for chunk in chunks]
    index, taken, kappa = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return PositionDraw(index, taken, kappa)


def _systematic(
    log_p: Float[Tensor, "r p"], n: Int[Tensor, " r"], keys: Int[Tensor, " r"], width: int
) -> tuple[Int[Tensor, "r width"], Bool[Tensor, "r width"], Float[Tensor, "r width"]]:
    """Index, whether taken, and kappa of `width` positions per row.

    A single draw needs no order, hence no sorting: it has probability p, and kappa = 1.
    """
    index = torch.zeros(len(n), width, dtype=torch.int64, device=n.device)
    taken, kappa = torch.zeros_like(index, dtype=torch.bool), torch.zeros_like(index, dtype=log_p.dtype)
    one, more = (n == 1).nonzero()[:, 0], (n > 1).nonzero()[:, 0]
    if one.numel():
        index[one, 0], taken[one, 0], kappa[one, 0] = _single(log_p[one], keys[one], stream=6), True, 1.0
    if more.numel():
        index[more], taken[more], kappa[more] = _in_random_order(log_p[more], n[more], keys[more], width)
    return index, taken, kappa


def _in_random_order(
    log_p: Float[Tensor, "r p"], n: Int[Tensor, " r"], keys: Int[Tensor, " r"], width: int
) -> tuple[Int[Tensor, "r width"], Bool[Tensor, "r width"], Float[Tensor, "r width"]]:
    """Index, whether taken, and kappa of `width` positions per row, by a systematic sample."""
    p = _double(log_p).exp()
    inclusion = _inclusion(p, n)
    inclusion = torch.where(_complete(log_p, n), (p > 0) | log_p.isfinite(), inclusion)
    order = ascending(uniforms(keys, p.shape[1], stream=5))
    cumulative = inclusion.gather(1, order).cumsum(1)
    # Rounding must not lose the last draw: the sum is n exactly.
    cumulative = cumulative * (n[:, None] / cumulative[:, -1:])
    passed = (cumulative + uniforms(keys, 1, stream=6).to(p.dtype) + 1e-12).floor()
    drawn = passed.diff(dim=1, prepend=torch.zeros_like(passed[:, :1])) > 0
    rank = torch.arange(drawn.shape[1], 0, -1, device=n.device)  # no ties: the same order in any batch
    place = torch.where(drawn, rank, 0).topk(width, dim=1)
    index = order.gather(1, place.indices)
    kappa = (p.gather(1, index) / inclusion.gather(1, index)).nan_to_num(0.0)
    return index, place.values > 0, kappa.to(log_p.dtype)


def top_positions(log_p: Float[Tensor, "r p"], n: Int[Tensor, " r"], keys: Int[Tensor, " r"]) -> PositionDraw:
    """The n positions of highest attention, weights renormalised to sum to 1; deterministic, biased."""
    index = log_p.topk(_widest(n), dim=1).indices
    taken = (torch.arange(index.shape[1], device=n.device) < n[:, None]) & log_p.gather(1, index).isfinite()
    p = log_p.gather(1, index).exp() * taken
    return PositionDraw(index, taken, p / p.sum(1, keepdim=True))


def every_position(
    log_p: Float[Tensor, "r p"], n: Int[Tensor, " r"], keys: Int[Tensor, " r"]
) -> PositionDraw:
    """Every position; kappa = p."""
    index = torch.arange(log_p.shape[1], device=n.device).expand_as(log_p)
    return PositionDraw(index, log_p.isfinite(), log_p.exp())


def _inclusion(p: Float[Tensor, "r p"], n: Int[Tensor, " r"]) -> Float[Tensor, "r p"]:
    """min(1, t p) with t such that each row sums to n, by trying every number of capped cells at once.

    Fewer than n cells can be capped, so only the n largest are sorted.
    """
    largest = p.topk(min(_widest(n), p.shape[1]), dim=1).values
    capped = torch.arange(largest.shape[1], device=p.device)
    rest = p.sum(1, keepdim=True) - (largest.cumsum(1) - largest)  # mass of the cells that are not capped
    t = (n[:, None] - capped) / rest.clamp(min=torch.finfo(p.dtype).tiny)
    fits = (t * largest <= 1 + 1e-12) & (capped < n[:, None])
    first = (~fits).to(torch.int8).cumprod(1).sum(1).minimum(n.clamp(max=largest.shape[1]) - 1).clamp(min=0)
    return (t.gather(1, first[:, None]) * p).clamp(max=1)


def _complete(log_p: Float[Tensor, "r p"], n: Int[Tensor, " r"]) -> Bool[Tensor, "r 1"]:
    return ((log_p > -torch.inf).sum(1) <= n)[:, None]


def _widest(n: int | Int[Tensor, "..."]) -> int:
    return n if isinstance(n, int) else int(n.max()) if n.numel() else 0


def _last_possible(log_p: Float[Tensor, "s t"]) -> Int[Tensor, "s 1"]:
    """The last cell of each row that can be drawn: where a rounded-up uniform number must end."""
    return log_p.shape[1] - 1 - log_p.isfinite().flip(1).to(torch.int8).argmax(1, keepdim=True)


def _double(log_p: Tensor) -> Tensor:
    return log_p if log_p.device.type == "mps" else log_p.double()


# --------------------------------------------------------------------------- the table of designs

DESIGNS: dict[str, Design] = {
    "multinomial": Design(multinomial_tiles, ordered_positions, random=True),  # the paper's
    "systematic": Design(systematic_tiles, systematic_positions, random=True),
    "exact": Design(every_tile, every_position, random=False),
    "top": Design(top_tiles, top_positions, random=False),
}


def design(name: str) -> Design:
    """The design of a name.

    Raises:
        ConfigError: if there is none of that name; the message lists them.
    """
    check_sampling(name)
    return DESIGNS[name]


def draw_positions(
    law: Design,
    log_beta: Float[Tensor, "drawn p"],
    row: Int[Tensor, " r"],
    contrast: Bool[Tensor, " r"],
    n: Int[Tensor, " r"],
    keys: Int[Tensor, " r"],
) -> PositionDraw:
    """Draw in maps that rows share, such as those of replicates; never is there a map for every row at once.

    Args:
        law: the design.
        log_beta: log attention of each drawn tile.
        row: the tile of each row.
        contrast: rows that draw from the complement law; they come last.
        n: draws of each row.
        keys: seed of each row.
    """
    few = max(1, _COPIED // max(1, log_beta.shape[1]))
    width, parts = _widest(n), []
    for own, other, count, key in zip(*(x.split(few) for x in (row, contrast, n, keys)), strict=True):
        draw = law.positions(law_of(other, log_beta[own]), count, key)
        parts.append((draw.index, draw.taken, draw.kappa))
    if len(parts) == 1:
        return PositionDraw(*parts[0])
    padded = [[functional.pad(x, (0, max(0, width - x.shape[1]))) for x in part] for part in parts]
    return PositionDraw(*(torch.cat(column) for column in zip(*padded, strict=True)))


def law_of(
    contrast: Bool[Tensor, " rows"], log_p: Float[Tensor, "rows cells"]
) -> Float[Tensor, "rows cells"]:
    """The law that each row draws from: attention, or its complement (equation 11) in the last rows."""
    direct = int((~contrast).sum())
    return torch.cat([log_p[:direct], complement(log_p[direct:])]) if direct < len(log_p) else log_p


def complement(log_p: Float[Tensor, "rows cells"]) -> Float[Tensor, "rows cells"]:
    """The complement law log[(1 - p) / (cells - 1)] that the contrastive loss draws from (paper, eq. 11).

    Cells of probability 0 by a mask (log p = -inf) stay impossible. A row of one possible cell has no
    complement and is returned as it is.

    Example:
        >>> complement(torch.tensor([[0.5, 0.3, 0.2]]).log()).exp()
        tensor([[0.2500, 0.3500, 0.4000]])
    """
    return complement_at(log_p, log_p.isfinite().sum(1, keepdim=True))


def complement_at(log_p: Float[Tensor, "*shape"], cells: Int[Tensor, "*broad"]) -> Float[Tensor, "*shape"]:
    """The complement law of some cells, whose rows have so many possible ones (see `complement`)."""
    possible = log_p.isfinite()
    tiny = torch.finfo(log_p.dtype).eps
    safe = torch.where(possible, log_p, -1.0).clamp(max=-tiny)
    log_q = torch.log(-torch.expm1(safe)) - (cells - 1).clamp(min=1).to(log_p.dtype).log()
    return torch.where(cells > 1, torch.where(possible, log_q, -torch.inf), log_p)
