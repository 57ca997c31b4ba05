"""Small problems that own their exact solution: laws whose draws can be listed, networks that can be summed.

Everything here is written from docs/method.md in plain Python, without the code under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise, permutations, product
from typing import Any

import torch
from torch import Tensor

from zoomin.geometry import Region
from zoomin.images.image import Image
from zoomin.model import ZoomIn, ZoomInConfig

LAWS = {
    "uniform": [0.25, 0.25, 0.25, 0.25],
    "spread": [0.1, 0.35, 0.05, 0.3, 0.2],
    "peaked": [0.9, 0.04, 0.03, 0.02, 0.01],
    "two large": [0.55, 0.4, 0.02, 0.02, 0.01],
    "one": [1.0],
}


def law(name: str) -> Tensor:
    """Probabilities in double precision."""
    return torch.tensor(LAWS[name], dtype=torch.float64)


# --------------------------------------------------------------------------- draws, all of them


def ordered_draws(p: list[float], n: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every ordered draw of n cells without replacement, with its probability."""
    for order in permutations(range(len(p)), n):
        probability, left = 1.0, 1.0
        for k in order:
            probability *= p[k] / left
            left -= p[k]
        yield order, probability


def multinomial_draws(p: list[float], n: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every vector of counts that sum to n, with its probability."""
    for count in product(range(n + 1), repeat=len(p)):
        if sum(count) == n:
            ways = math.factorial(n) / math.prod(math.factorial(c) for c in count)
            yield count, ways * math.prod(q**c for q, c in zip(p, count, strict=True))


def systematic_draws(sizes: list[float]) -> Iterator[tuple[tuple[int, ...], float, float]]:
    """Every outcome of a systematic draw: order of the cells, offset, probability.

    A cell is counted as often as a whole number falls between the running totals before and after it, the
    offset added. That changes only where a running total plus the offset is whole: one offset in the middle
    of each interval between such points stands for the interval, whose length is its probability.
    """
    ways = math.factorial(len(sizes))
    for order in permutations(range(len(sizes))):
        total, breaks = 0.0, {0.0, 1.0}
        for k in order:
            total += sizes[k]
            breaks.add(min(max(math.ceil(total) - total, 0.0), 1.0))
        points = sorted(breaks)
        for low, high in pairwise(points):
            if high - low > 1e-9:
                yield order, (low + high) / 2, (high - low) / ways


def inclusion(p: list[float], n: int) -> list[float]:
    """min(1, t p) with t found by bisection so that the sum is n."""
    low, high = 0.0, 1e18
    for _ in range(400):
        middle = (low + high) / 2 if high - low < 1 else math.sqrt(max(low, 1e-3) * high)
        if sum(min(1.0, middle * q) for q in p) < n:
            low = middle
        else:
            high = middle
    return [min(1.0, high * q) for q in p]


def uniforms_of_order(order: tuple[int, ...], p: list[float]) -> list[float]:
    """Numbers in (0, 1) whose Gumbel noise ranks log p + noise in the given order, the other cells last.

    A single draw takes one number instead, which falls into the cell of the cumulative law.
    """
    if len(order) == 1:
        return uniforms_of_counts(tuple(int(k == order[0]) for k in range(len(p))), p)
    place = {k: i for i, k in enumerate(order)}
    scores = [-0.5 * place.get(k, len(p)) for k in range(len(p))]
    return [math.exp(-math.exp(-(s - math.log(q)))) for s, q in zip(scores, p, strict=True)]


def uniforms_of_counts(count: tuple[int, ...], p: list[float]) -> list[float]:
    """Numbers in (0, 1) that fall count[k] times into cell k of the cumulative law."""
    out = []
    for k, c in enumerate(count):
        out += [sum(p[:k]) + p[k] * (i + 0.5) / c for i in range(c)]
    return out


# --------------------------------------------------------------------------- finite differences


def finite_differences(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences of a scalar function."""
    gradient = torch.zeros_like(at)
    for i in range(at.numel()):
        move = torch.zeros_like(at)
        move.view(-1)[i] = step
        gradient.view(-1)[i] = (function(at + move) - function(at - move)) / (2 * step)
    return gradient


# --------------------------------------------------------------------------- the network, summed


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """A uint8 image with structure at every scale: smooth waves and noise."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    phase = torch.rand(3, 1, 1, generator=g) * 6
    waves = torch.sin(y / 5 + phase) + torch.cos(x / 7 + 2 * phase)
    noise = torch.randn(3, height, width, generator=g)
    return ((waves + noise) * 32 + 128).clamp(0, 255).to(torch.uint8)


def exact_features(net: ZoomIn, image: Image, *, complement: bool = False) -> Tensor:
    """F = sum over tiles, sum over positions, alpha beta f (docs/method.md, section 1), term by term.

    With `complement`, alpha and beta are replaced by (1 - alpha) / (|C| - 1) and (1 - beta) / (|C'| - 1); a
    law of a single cell stays as it is.
    """
    c = net.config
    mean, std = (torch.tensor(v).view(3, 1, 1) * 255 for v in (c.mean, c.std))

    def view(x: int, y: int, side: int, scale: float) -> Tensor:
        pixels = image.read([Region(x, y, side, side)], scale)[0]
        return ((pixels.float() - mean) / std)[None]

    def opposite(p: Tensor) -> Tensor:
        return (1 - p) / (len(p) - 1) if complement and len(p) > 1 else p

    stages = [(a, b.size, b.scale) for a, b in zip(net.block_attention, c.blocks, strict=True)]
    stages.append((net.tile_attention, c.tile_size, c.tile_scale))

    def tiles(x: int, y: int, right: int, bottom: int, stage: int) -> Iterator[tuple[tuple[int, int], Any]]:
        """The tiles inside a box, with the product of the attention along the path to each."""
        if stage == len(stages):
            yield (x, y), 1.0
            return
        attention, side, scale = stages[stage]
        corners = [(x1, y1) for y1 in range(y, bottom, side) for x1 in range(x, right, side)]
        logits = [attention(view(x1, y1, side, scale)).mean() for x1, y1 in corners]
        for (x1, y1), p in zip(corners, opposite(torch.softmax(torch.stack(logits), 0)), strict=True):
            ends = min(x1 + side, image.width), min(y1 + side, image.height)
            for corner, weight in tiles(x1, y1, *ends, stage + 1):
                yield corner, p * weight

    total: Tensor | None = None
    for (x, y), weight in tiles(0, 0, image.width, image.height, 0):
        attention = net.position_attention(view(x, y, c.tile_size, c.sub_tile_scale))[0]
        rows, columns = attention.shape
        cells = []
        for i in range(rows):
            for j in range(columns):
                centre_y, centre_x = y + (i + 0.5) * c.tile_size / rows, x + (j + 0.5) * c.tile_size / columns
                inside = (centre_y < image.height or i == 0) and (centre_x < image.width or j == 0)
                if inside:
                    cells.append((i, j, centre_y, centre_x))
        beta = opposite(torch.softmax(torch.stack([attention[i, j] for i, j, _, _ in cells]), 0))
        for share, (_, _, centre_y, centre_x) in zip(beta, cells, strict=True):
            top = math.floor(centre_y - c.sub_tile_size / 2 + 0.5)
            left = math.floor(centre_x - c.sub_tile_size / 2 + 0.5)
            feature = net.features(view(left, top, c.sub_tile_size, 1.0))[0]
            if c.normalize_features:
                feature = feature / feature.norm()
            term = weight * share * feature
            total = term if total is None else total + term
    assert total is not None
    return total


def small_network(seed: int = 0, **settings: Any) -> ZoomIn:
    """A network of tiles of 16, maps of 3 x 3 positions, sub-tiles of 3, whose attention is not uniform."""
    values: dict[str, Any] = {
        "tile_size": 16,
        "sub_tile_size": 3,
        "tile_scale": 0.25,
        "sub_tile_scale": 0.1875,
        "n_samples": 6,
        **settings,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ZoomIn(ZoomInConfig(**values))
    with torch.no_grad():
        above = [(network, 60.0) for network in net.block_attention]
        for network, sharpness in (*above, (net.tile_attention, 60.0), (net.position_attention, 15.0)):
            last = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)][-1]
            last.weight *= sharpness
    return net


def gradients_of(net: ZoomIn, value: Tensor) -> dict[str, Tensor]:
    """Gradient of a scalar with respect to every parameter of a, b and f."""
    named = [(k, p) for k, p in net.named_parameters() if not k.startswith("head.")]
    gradients = torch.autograd.grad(value, [p for _, p in named], retain_graph=True)
    return {k: g for (k, _), g in zip(named, gradients, strict=True)}
