"""Any number of zoom stages: attention to boxes; some are drawn; in these to smaller ones; and so on.

The stages of a model are boxes of falling size, at last the tiles, then positions in them (the paper: tiles,
positions). Each step of the recursion attends inside what has been drawn and draws there. The weight kappa of
a path is the product of the kappas of its steps, and the log of its probability the sum of theirs: so the
estimate stays unbiased (estimators.py) whatever the number of stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..geometry import TileGrid
from .estimates import Estimates
from .estimators import segment_sum
from .output import StageAttention
from .sampling import Count, Design, complement_at, derive_keys, draw_positions, law_of

__all__ = [
    "Boxes",
    "Drawn",
    "Paths",
    "boxes_of",
    "draw_boxes",
    "draw_in_parts",
    "draw_in_tiles",
    "start_paths",
    "tile_attention",
]


@dataclass(frozen=True)
class Boxes:
    """The boxes of one stage in all images: blocks, or tiles.

    Attributes:
        grid: of them.
        kept: whether each may be attended to; others are background.
        capacity: positions that can be drawn in each.
        parent: what holds each: a box of the stage above, by place, or its image.
        cell: its place in what holds it, row-major.
        cells: most boxes in one of those.
        outer: how many of those there are.
    """

    grid: TileGrid
    kept: Bool[Tensor, " listed"]
    capacity: Int[Tensor, " listed"]
    parent: Int[Tensor, " listed"]
    cell: Int[Tensor, " listed"]
    cells: int
    outer: int

    def within(self, drawn: Int[Tensor, " drawn"]) -> tuple[Int[Tensor, " found"], Int[Tensor, " found"]]:
        """The boxes that can be attended to in some of those of the stage above.

        Args:
            drawn: places of those, or images.

        Returns:
            The place of each box, and the row of `drawn` that holds it.
        """
        row = self.parent.new_full((self.outer,), -1)
        row[drawn] = torch.arange(len(drawn), device=drawn.device)
        row = row[self.parent]
        found = ((row >= 0) & self.kept).nonzero()[:, 0]
        return found, row[found]

    def attention(
        self,
        found: Int[Tensor, " found"],
        row: Int[Tensor, " found"],
        logits: Float[Tensor, " found"],
        drawn: Int[Tensor, " drawn"],
    ) -> StageAttention:
        """One softmax per drawn box of the stage above, from the logits of what `within` found there.

        Args:
            found: places of the boxes.
            row: of each.
            logits: of each.
            drawn: places of those of the stage above, or images.
        """
        shape, where = (len(drawn), self.cells), (row, self.cell[found])
        image = drawn.new_zeros(len(drawn)).index_put((row,), self.grid.image[found])
        padded = logits.new_full(shape, -torch.inf).index_put(where, logits)
        place = found.new_zeros(shape).index_put(where, found)
        capacity = found.new_zeros(shape).index_put(where, self.capacity[found])
        log_p = padded.log_softmax(1)
        return StageAttention(self.grid, image, drawn, place, log_p, capacity * log_p.isfinite())


@dataclass(frozen=True)
class Paths:
    """What estimates have drawn so far: a row per drawn box of an estimate, first its whole image.

    Attributes:
        estimate: of each row.
        drawn: the distinct boxes, by place: images first.
        row: which of `drawn` each row drew.
        count: sub-tiles to draw in each, or in all alike.
        kappa: the constant weight of each, the product over the stages.
        log_p: log of the probability of each under its law, the sum over the stages.
        contrast: rows that draw from the complement laws; they come last.
        keys: seeds of what each draws next.
    """

    estimate: Int[Tensor, " rows"]
    drawn: Int[Tensor, " drawn"]
    row: Int[Tensor, " rows"]
    count: Count
    kappa: Float[Tensor, " rows"]
    log_p: Float[Tensor, " rows"]
    contrast: Bool[Tensor, " rows"]
    keys: Int[Tensor, " rows"]

    @property
    def counts(self) -> Int[Tensor, " rows"]:
        """Sub-tiles to draw in each."""
        return (
            self.row.new_tensor(self.count).expand(self.row.shape)
            if isinstance(self.count, int)
            else self.count[:, 0]
        )


def boxes_of(
    grid: TileGrid,
    kept: Bool[Tensor, " tiles"],
    capacity: Int[Tensor, " tiles"],
    sizes: Int[Tensor, "batch 2"],
    blocks: Sequence[int],
) -> list[Boxes]:
    """The boxes of every stage, the coarsest first; a block is attended to where any tile of it is.

    Args:
        grid: the tiles.
        kept: tiles that may be attended to.
        capacity: positions of each tile that can be drawn.
        sizes: height and width of the images.
        blocks: sides of the blocks of each stage above the tiles.
    """
    stages: list[Boxes] = []
    for own in [*(TileGrid.of(sizes, side) for side in blocks), grid]:
        parent, cell = own.inside(stages[-1].grid) if stages else (own.image, own.index)
        cells = (stages[-1].grid.tile_size // own.tile_size) ** 2 if stages else int(own.count.max())
        some, space = kept, capacity * kept
        if own is not grid:
            some = grid.any_inside(own, kept)
            space = segment_sum(space, grid.inside(own)[0], len(own.image))
        outer = len(stages[-1].kept) if stages else len(sizes)
        stages.append(Boxes(own, some, space, parent, cell, cells, outer))
    return stages


def start_paths(estimates: Estimates, n: int, batch: int, like: Tensor) -> Paths:
    """Every estimate at its whole image, with n sub-tiles to draw.

    Args:
        estimates: to draw.
        n: sub-tiles of each.
        batch: number of images.
        like: a tensor of the kind of number that attention has.
    """
    rows = len(estimates.image)
    every = torch.arange(batch, device=estimates.image.device)
    own = torch.arange(rows, device=every.device)
    one, zero = like.new_ones(rows), like.new_zeros(rows)
    return Paths(own, every, estimates.image, n, one, zero, estimates.contrast, estimates.keys)


def draw_boxes(law: Design, attended: StageAttention, paths: Paths) -> Paths:
    """One step down: boxes of what each path has drawn, by the law of its attention or by the complement.

    Args:
        law: the design.
        attended: attention in the boxes that the paths drew, one row per box.
        paths: so far.
    """
    log_p = law_of(paths.contrast, attended.log_p[paths.row])
    draw = law.tiles(log_p.detach(), paths.count, attended.capacity[paths.row], paths.keys)
    of, cell = draw.count.nonzero(as_tuple=True)
    drawn, row = torch.unique(attended.place[paths.row[of], cell], return_inverse=True)
    return Paths(
        estimate=paths.estimate[of],
        drawn=drawn,
        row=row,
        count=draw.count[of, cell][:, None],
        kappa=paths.kappa[of] * draw.kappa[of, cell],
        log_p=paths.log_p[of] + log_p[of, cell],
        contrast=paths.contrast[of],
        keys=derive_keys(paths.keys[of], cell),
    )


class Drawn(NamedTuple):
    """The sub-tiles drawn, one per row.

    Attributes:
        estimate: that drew it.
        tile: that holds it, a row of the attention maps.
        position: row-major in that map.
        kappa: its constant weight, the product over all stages.
        log_p: log of its probability under the law that it was drawn by, the sum over all stages.
    """

    estimate: Int[Tensor, " n"]
    tile: Int[Tensor, " n"]
    position: Int[Tensor, " n"]
    kappa: Float[Tensor, " n"]
    log_p: Float[Tensor, " n"]


def draw_in_tiles(law: Design, log_beta: Float[Tensor, "drawn positions"], paths: Paths) -> Drawn:
    """The last step: positions of the tiles that the paths drew.

    Args:
        law: the design.
        log_beta: log attention inside each of `paths.drawn`.
        paths: at their tiles.
    """
    return _draw_in(law, log_beta, paths)[1]


def draw_in_parts(law: Design, parts: Iterable[Float[Tensor, "some positions"]], paths: Paths) -> Drawn:
    """`draw_in_tiles` of maps that come some tiles at a time and need not stay: the same draws.

    Args:
        law: the design.
        parts: log attention inside the tiles that the paths drew, in their order.
        paths: at their tiles.
    """
    first, found = 0, list[tuple[Tensor, Drawn]]()
    for log_beta in parts:
        last = first + len(log_beta)
        rows = ((paths.row >= first) & (paths.row < last)).nonzero()[:, 0]
        own = replace(
            paths,
            estimate=paths.estimate[rows],
            row=paths.row[rows] - first,
            count=paths.counts[rows][:, None],
            kappa=paths.kappa[rows],
            log_p=paths.log_p[rows],
            contrast=paths.contrast[rows],
            keys=paths.keys[rows],
        )
        of, drawn = _draw_in(law, log_beta, own)
        found.append((rows[of], drawn._replace(tile=drawn.tile + first)))
        first = last
        del log_beta  # before the next are there
    order = torch.cat([of for of, _ in found]).argsort(stable=True)
    columns = zip(*(drawn for _, drawn in found), strict=True)
    return Drawn(*(torch.cat(column)[order] for column in columns))


def _draw_in(
    law: Design, log_beta: Float[Tensor, "drawn positions"], paths: Paths
) -> tuple[Int[Tensor, " n"], Drawn]:
    """What is drawn in tiles, and the row of the paths that drew each."""
    contrast, row = paths.contrast, paths.row
    draws = draw_positions(law, log_beta.detach(), row, contrast, paths.counts, paths.keys)
    of, i = draws.taken.nonzero(as_tuple=True)
    position, tile = draws.index[of, i], row[of]
    log_q = log_beta[tile, position]
    if contrast.any():
        cells = log_beta.isfinite().sum(1)[tile]
        log_q = torch.where(contrast[of], complement_at(log_q, cells), log_q)
    kappa = paths.kappa[of] * draws.kappa[of, i]
    return of, Drawn(paths.estimate[of], tile, position, kappa, paths.log_p[of] + log_q)


def tile_attention(
    stages: Sequence[Boxes], attended: Sequence[StageAttention]
) -> Float[Tensor, "batch tiles"]:
    """Log attention over all tiles of each image: the product along the path to each.

    What a block has that was not drawn is spread evenly over its tiles, so that it still sums to 1.

    Args:
        stages: their boxes.
        attended: attention of each stage.
    """
    if len(stages) == 1:
        return attended[0].log_p
    known: Tensor | None = None
    for own, found in zip(stages, attended, strict=True):
        there = found.log_p.isfinite()
        place, log_p = found.place[there], found.log_p[there]
        if known is None:
            known = log_p.new_full(own.parent.shape, -torch.inf).index_put((place,), log_p)
            continue
        kept = own.kept.nonzero()[:, 0]
        among = torch.bincount(own.parent[kept], minlength=len(known)).to(log_p.dtype)
        share = -among.clamp(min=1).log()[own.parent].index_put((place,), -log_p)
        known = torch.where(own.kept, known[own.parent] + share, -torch.inf)
    assert known is not None
    return stages[-1].grid.by_image(known, torch.arange(len(known), device=known.device))
