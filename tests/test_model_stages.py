"""Three stages and more: the recursion over all draws, the network against sums over everything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from problems import (
    exact_features,
    finite_differences,
    gradients_of,
    inclusion,
    multinomial_draws,
    ordered_draws,
    picture,
    small_network,
    systematic_draws,
    uniforms_of_counts,
    uniforms_of_order,
)
from zoomin.errors import ConfigError
from zoomin.geometry import TileGrid
from zoomin.images.array import ArrayImage
from zoomin.images.batch import ResidentImages, StreamedImages
from zoomin.model import BlockStage, ZoomIn, ZoomInConfig, chunks, sampling
from zoomin.model.estimates import Estimates
from zoomin.model.estimators import expected_feature
from zoomin.model.sampling import DESIGNS, design
from zoomin.model.stages import Boxes, Paths, boxes_of, draw_boxes, draw_in_tiles, start_paths

RANDOM = [name for name, row in DESIGNS.items() if row.random]
POSITIONS, DIMS, N = 3, 2, 2
THREE = {"blocks": (BlockStage(32, 0.25, "lenet_relu"),)}
FOUR = {"blocks": (BlockStage(96, 0.125), BlockStage(32, 0.25))}
SIZES = [(16, 48), (40, 36), (9, 7)]


def images() -> list[ArrayImage]:
    return [ArrayImage(picture(h, w, seed), name=f"{h} x {w}") for seed, (h, w) in enumerate(SIZES)]


# --------------------------------------------------------------------------- all draws of three stages


class Problem:
    """Two blocks of two tiles each, three positions in each tile: logits, features, a direction."""

    def __init__(self, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)

        def numbers(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        self.points = numbers(2), numbers(4), 2 * numbers(4, POSITIONS), numbers(4, POSITIONS, DIMS)
        self.direction = numbers(DIMS)
        sizes = torch.tensor([[2, 8]])  # tiles of 2 pixels, blocks of 4: the lower half of each is not there
        grid = TileGrid.of(sizes, 2)
        every = torch.ones(4, dtype=torch.bool)
        self.boxes = boxes_of(grid, every, torch.full((4,), POSITIONS), sizes, [4])

    def value(
        self, blocks: Tensor, tiles: Tensor, positions: Tensor, features: Tensor, opposite: bool
    ) -> Tensor:
        """The expected feature along the direction, from logits, term by term."""

        def law(logits: Tensor) -> Tensor:
            p = logits.softmax(0)
            return (1 - p) / (len(p) - 1) if opposite else p

        total = torch.zeros((), dtype=torch.float64)
        for block, p in enumerate(law(blocks)):
            for tile, q in zip(
                (2 * block, 2 * block + 1), law(tiles[2 * block : 2 * block + 2]), strict=True
            ):
                for k, beta in enumerate(law(positions[tile])):
                    total = total + p * q * beta * (features[tile, k] @ self.direction)
        return total


def lawful(log_p: Tensor, opposite: bool) -> list[float]:
    """The law of a row: attention or its complement, over the cells that exist."""
    p = log_p.detach().exp()
    p = p[p > 0]
    return ((1 - p) / (len(p) - 1) if opposite else p).tolist()


def box_draws(name: str, p: list[float], n: int) -> Iterator[tuple[float, dict[int, list[float]]]]:
    """Every draw of boxes: probability, and the random numbers that lead to it, by stream."""
    if name == "multinomial":
        for count, chance in multinomial_draws(p, n):
            yield chance, {1: uniforms_of_counts(count, p)}
    else:
        for order, offset, chance in systematic_draws([n * q for q in p]):
            yield chance, {2: [order.index(k) / 10 for k in range(len(p))] + [0.8, 0.9], 3: [offset]}


def position_draws(name: str, p: list[float], n: int) -> Iterator[tuple[float, dict[int, list[float]]]]:
    """Every draw of positions, likewise."""
    single = 4 if name == "multinomial" else 6
    if n == 1:
        for k, chance in enumerate(p):
            yield chance, {single: uniforms_of_counts(tuple(int(k == j) for j in range(len(p))), p)}
    elif name == "multinomial":
        for order, chance in ordered_draws(p, n):
            yield chance, {4: uniforms_of_order(order, p)}
    else:
        for order, offset, chance in systematic_draws(inclusion(p, n)):
            yield chance, {5: [order.index(k) / 10 for k in range(len(p))], 6: [offset]}


def feed(monkeypatch: pytest.MonkeyPatch, keys: Tensor, rows: list[dict[int, list[float]]]) -> None:
    """Let each row of a draw, known by its key, use its own numbers."""
    own = dict(zip(keys.tolist(), rows, strict=True))

    def chosen(asked: Tensor, n: int, stream: int = 0) -> Tensor:
        found = [own[key][stream] for key in asked.tolist()]
        return torch.tensor([(row + [0.5] * n)[:n] for row in found], dtype=torch.float64)

    monkeypatch.setattr(sampling, "uniforms", chosen)


def every_draw(
    name: str, problem: Problem, inputs: tuple[Tensor, ...], opposite: bool, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[float, Tensor]]:
    """Every draw of all three stages: probability and estimate."""
    blocks, tiles, positions, features = inputs
    law, logits = design(name), (blocks, tiles)

    def down(paths: Paths, stage: int, chance: float) -> Iterator[tuple[float, Tensor]]:
        counts = paths.counts.tolist()
        if stage == 2:
            log_beta = positions.log_softmax(1)[paths.drawn]
            laws = [lawful(log_beta[row], opposite) for row in paths.row]
            choices = [list(position_draws(name, p, n)) for p, n in zip(laws, counts, strict=True)]
            for rows in product(*choices):
                feed(monkeypatch, paths.keys, [numbers for _, numbers in rows])
                d = draw_in_tiles(law, log_beta, paths)
                taken = features[paths.drawn[d.tile], d.position]
                yield (
                    chance * math.prod(share for share, _ in rows),
                    expected_feature(taken, d.log_p, d.kappa, d.estimate, 1)[0],
                )
            return
        own: Boxes = problem.boxes[stage]
        found, row = own.within(paths.drawn)
        attended = own.attention(found, row, logits[stage][found], paths.drawn)
        laws = [lawful(attended.log_p[row], opposite) for row in paths.row]
        choices = [list(box_draws(name, p, n)) for p, n in zip(laws, counts, strict=True)]
        for rows in product(*choices):
            feed(monkeypatch, paths.keys, [numbers for _, numbers in rows])
            yield from down(
                draw_boxes(law, attended, paths), stage + 1, chance * math.prod(p for p, _ in rows)
            )

    one = torch.zeros(1, dtype=torch.int64)
    estimates = Estimates(image=one, replicate=one, contrast=torch.tensor([opposite]), keys=one)
    yield from down(start_paths(estimates, N, 1, blocks), 0, 1.0)


@pytest.mark.parametrize("opposite", [False, True])
@pytest.mark.parametrize("name", RANDOM)
def test_three_stages_over_all_draws(name: str, opposite: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradient: blocks and tiles with replacement, positions without; and all systematic."""
    problem = Problem(seed=3)
    inputs = tuple(point.clone().requires_grad_() for point in problem.points)
    draws = list(every_draw(name, problem, inputs, opposite, monkeypatch))
    assert sum(chance for chance, _ in draws) == pytest.approx(1, abs=1e-7)
    total = torch.stack([chance * feature for chance, feature in draws]).sum(0) @ problem.direction
    assert total.item() == pytest.approx(problem.value(*problem.points, opposite).item(), abs=1e-7)
    for place, gradient in enumerate(torch.autograd.grad(total, inputs)):

        def along(x: Tensor, place: int = place) -> Tensor:
            points = problem.points
            return problem.value(*points[:place], x, *points[place + 1 :], opposite)

        expected = finite_differences(along, problem.points[place])
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


# --------------------------------------------------------------------------- the network


@pytest.mark.parametrize("settings", [THREE, FOUR], ids=["three", "four"])
@pytest.mark.parametrize("complement", [False, True])
def test_exact_is_the_sum_over_everything(settings: dict[str, Any], complement: bool) -> None:
    net = small_network(**settings)
    out = net(images(), sampling="exact", contrast=torch.ones(len(SIZES), dtype=torch.bool))
    found = out.contrast_features if complement else out.features
    with torch.no_grad():
        for i, image in enumerate(images()):
            expected = exact_features(net, image, complement=complement)
            torch.testing.assert_close(found[i], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(out.attention.alpha.sum(1), torch.ones(len(SIZES)))


@pytest.mark.parametrize("sampling", ["systematic", "top"])
def test_budget_that_covers_every_cell_is_exact(sampling: str) -> None:
    net = small_network(**THREE)
    exact, out = net(images(), sampling="exact"), net(images(), sampling=sampling, n_samples=500)
    torch.testing.assert_close(out.features, exact.features, atol=1e-6, rtol=1e-5)
    assert len(out.sub_tiles.image) == len(exact.sub_tiles.image)


@pytest.mark.parametrize("sampling", RANDOM)
def test_replicates_are_unbiased(sampling: str) -> None:
    net, rounds = small_network(**THREE), 400
    with torch.inference_mode():
        out = net(images(), sampling=sampling, replicates=rounds, keys=torch.arange(len(SIZES)))
        exact = net(images(), sampling="exact").features
    error = out.replicates.std(0) / math.sqrt(rounds)
    assert ((out.features - exact).abs() <= 5 * error + 1e-5).all()
    assert (error[:2].norm(dim=1) < 0.1 * exact[:2].norm(dim=1)).all(), "the comparison is sharp"


def test_exact_gradient_is_that_of_the_sum_over_everything() -> None:
    net, image = small_network(**THREE), images()[1]
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    found = gradients_of(net, net([image], sampling="exact").features[0] @ direction)
    for name, gradient in gradients_of(net, exact_features(net, image) @ direction).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("sampling", DESIGNS)
def test_same_keys_same_answer_in_any_batch(sampling: str) -> None:
    net, keys = small_network(**FOUR), torch.tensor([5, 6, 7])
    whole = net(images(), sampling=sampling, keys=keys)
    for i, image in enumerate(images()):
        alone = net([image], sampling=sampling, keys=keys[i : i + 1])
        torch.testing.assert_close(alone.logits[0], whole.logits[i], atol=1e-5, rtol=1e-5)
        own = whole.sub_tiles.image == i
        assert torch.equal(alone.sub_tiles.regions, whole.sub_tiles.regions[own])


@pytest.mark.parametrize("sampling", DESIGNS)
def test_maps_need_not_be_kept(sampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws and answers, bit for bit, though the maps of a few tiles at a time are there."""
    net = small_network(**THREE, n_samples=7)
    asked = dict(sampling=sampling, keys=torch.arange(3), replicates=1 + 2 * (sampling in RANDOM))
    contrast = torch.tensor([True, False, True])
    with torch.no_grad():
        whole = net(images(), contrast=contrast, **asked)
        monkeypatch.setattr(chunks, "READ_PIXELS", 1)
        monkeypatch.setattr(chunks, "CPU_CHUNK", 2)
        again = net(images(), contrast=contrast, **asked)
        parts = net(images(), contrast=contrast, keep_maps=False, **asked)
    assert whole.tiles.log_beta.shape[1] > parts.tiles.log_beta.shape[1] == 0
    assert torch.equal(whole.tiles.index, parts.tiles.index)
    for name in ("image", "tile", "position", "regions", "replicate"):
        assert torch.equal(getattr(whole.sub_tiles, name), getattr(parts.sub_tiles, name)), name
    assert torch.equal(again.sub_tiles.weight, parts.sub_tiles.weight)
    assert torch.equal(again.logits, parts.logits)
    assert torch.equal(again.contrast_logits, parts.contrast_logits)


def test_only_drawn_blocks_are_read_finely() -> None:
    """The record of the stages: what was drawn, what was attended to in it, and how many pixels that was."""
    net = small_network(**THREE, n_samples=1)
    out = net([ArrayImage(picture(96, 128))], keys=torch.tensor([3]), sampling="top")
    first, second = out.stages
    assert first.log_p.shape == (1, 12)
    assert second.log_p.isfinite().sum().item() == 4
    assert second.grid.regions[second.boxes()[2]][:, :2].amax().item() <= 96 + 16
    block, tile = first.grid.regions[second.inside[0]], out.tiles.regions[0]
    assert (block[:2] <= tile[:2]).all()
    assert (tile[:2] + 16 <= block[:2] + 32).all()
    views = [12 * 8**2, 4 * 4**2, 3**2, 3**2]
    assert out.pixels_read.tolist() == [sum(views)]
    assert net.pixels_of(96, 128, 1) == sum(views)
    alpha = out.attention.alpha[0]
    assert alpha.sum().item() == pytest.approx(1, abs=1e-6)
    spread = out.attention.map(0)
    for row, column in product(range(0, 6, 2), range(0, 8, 2)):
        of_block = first.log_p.exp()[0, row // 2 * 4 + column // 2]
        torch.testing.assert_close(spread[row : row + 2, column : column + 2].sum(), of_block)
    torch.testing.assert_close(out.tiles.log_alpha.exp(), alpha[out.tiles.index])


class Listed:
    """A mask that names the tiles."""

    def __init__(self, kept: list[int]) -> None:
        self.kept = kept

    def tiles(self, regions: Tensor) -> Tensor:
        return torch.zeros(len(regions), dtype=torch.bool).index_fill(0, torch.tensor(self.kept), True)


@pytest.mark.parametrize("sampling", DESIGNS)
def test_background_is_never_drawn_and_its_blocks_are_never_read(sampling: str) -> None:
    """Two of twelve blocks hold foreground: six of the 48 tiles. The same from memory and as a stream."""
    net, image, kept = small_network(**THREE), ArrayImage(picture(96, 128)), [0, 1, 9, 21, 28, 29]
    streamed = StreamedImages([image], masks=[Listed(kept)])
    net.read_ahead(streamed)
    keys = torch.tensor([3])
    out = net(streamed, keys=keys, sampling=sampling)
    first, second = out.stages
    assert first.boxes()[2].tolist() == [0, 6]
    assert set(out.tiles.index.tolist()) <= set(kept)
    assert set(second.boxes()[2].tolist()) <= set(kept)
    alpha = out.attention.alpha[0]
    assert alpha.sum().item() == pytest.approx(1, abs=1e-6)
    assert set(alpha.nonzero()[:, 0].tolist()) == set(kept)
    resident = net(ResidentImages([image], masks=[Listed(kept)]), keys=keys, sampling=sampling)
    torch.testing.assert_close(out.logits, resident.logits, atol=1e-5, rtol=1e-5)


def test_every_network_of_three_stages_learns() -> None:
    net = small_network(**THREE)
    out = net(images(), contrast=torch.ones(len(SIZES), dtype=torch.bool), keys=torch.arange(len(SIZES)))
    (out.logits.square().sum() + out.contrast_logits.square().sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("attention.4.bias") and name != "block_attention.0.4.bias":
            assert parameter.grad.abs().sum() > 0, name


def test_a_saved_model_has_its_stages(tmp_path: Any) -> None:
    net = small_network(**FOUR)
    net.save_pretrained(tmp_path)
    again = ZoomIn.from_pretrained(tmp_path)
    assert again.config == net.config
    keys = torch.arange(len(SIZES))
    torch.testing.assert_close(again(images(), keys=keys).logits, net(images(), keys=keys).logits)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": (BlockStage(300, 0.1),)}, "whole multiple"),
        ({"blocks": (BlockStage(250, 0.1),)}, "whole multiple"),
        ({"blocks": (BlockStage(500, 0.1), BlockStage(1000, 0.1))}, "coarsest stage comes first"),
        ({"blocks": (BlockStage(500, 0.1, "lent"),)}, "unknown attention network"),
        (
            {
                "blocks": (BlockStage(500, 0.1),),
                "gate_copies": 2,
                "gate_overview": True,
                "tile_attention": "pyramid:tf_efficientnet_lite0",
            },
            "stages of blocks",
        ),
    ],
)
def test_stages_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ZoomIn(ZoomInConfig(**settings))


def test_block_values_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match=r"blocks\.scale"):
        BlockStage(500, 0.0)
    with pytest.raises(ConfigError, match=r"blocks\.size"):
        BlockStage(0, 0.1)
    with pytest.raises(ConfigError, match="not a stage"):
        ZoomInConfig.from_dict({"blocks": [{"side": 500}]})
