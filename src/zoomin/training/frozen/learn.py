"""From images and labels to a Zoom-In model: gated attention, taught tile attention, calibration.

    embeddings of all sub-tiles          a frozen trunk, once, on disk; of their cells where they fall short
    copies of gated attention            each inner fold out: attention x evidence of images not learned from
    tile attention a                     a ridge on the small view of the tile, taught by them
    copies of gated attention again      with log alpha of tile attention that has not seen the image
    scale and shift of the logits        fitted to images held out, read with N and the law of prediction

Nothing here sees an image that is not among the rows to learn from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ...data.datamodule import ZoomInDataModule
from ...errors import ConfigError
from ...model.config import ZoomInConfig
from ...model.networks import LinearHead, Reference, has_cells, pool_overview
from ...model.sampling import derive_keys, design
from ...model.targets import Target, target_of
from ...model.zoom_in import ZoomIn
from ..calibration import Calibration, calibrated, held_out_scores
from ..frozen_config import FrozenConfig
from .copies import Bags, FittedCopies, bags_of, fit_copies
from .embeddings import Cells, Embedded, Embedder, on_cells
from .gated_net import EXACT, gated_net
from .inner_folds import Folds, inner_folds
from .likeness import compared_out_of_fold
from .linear import Affine, linear_model, principal
from .teach import teach

__all__ = ["Learned", "learn", "make_embedder"]

_WHOLE = 0.5  # factor of the sub-tile's components beside its cells': results/frozen_trunk/cells.md


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        net: a complete model.
        report: what was chosen and how images held out in the inner folds were classified, for metrics.json.
        logits: of the images learned from, by copies that have not learned from them; not calibrated.
    """

    net: ZoomIn
    report: dict[str, Any]
    logits: Float[Tensor, "images classes"]


@dataclass(frozen=True)
class _Head:
    """A classifier and how it does on images held out.

    Attributes:
        logits: of the training images, by copies that have not learned from them, read as at prediction.
        calibration: fitted to them.
        net: builds the model.
        seen: what its linear layer sees of the training images, where explanations start.
        reference: what new images are compared with; None where images are too few.
    """

    logits: Float[Tensor, "images classes"]
    calibration: Calibration
    net: Callable[[], ZoomIn]
    seen: Callable[[], Float[Tensor, "images inputs"]]
    reference: Callable[[], Reference | None]


def learn(
    config: ZoomInConfig,
    frozen: FrozenConfig,
    data: ZoomInDataModule,
    rows: Int[Tensor, " rows"],
    seed: int,
    *,
    negative: int | None = 0,
    embedder: Embedder | None = None,
) -> Learned:
    """Learn from some images.

    Args:
        config: of the model; which head and which tile attention it has is decided here.
        frozen: the steps.
        data: the images.
        rows: of the manifest, those to learn from.
        seed: of the inner folds and of the copies.
        negative: the class whose images hold nothing to find; None where there is none.
        embedder: what has embedded them already, such as for another fold.

    Raises:
        ConfigError: if the model cannot be learned so.
        DataError: if a class has too few images.
        ImageError: if pixels cannot be read.
    """
    embedder = embedder or make_embedder(config, frozen, data)
    embedded, labels = embedder.of(rows), data.labels[rows]
    folds = inner_folds(data, rows, frozen.folds, seed)
    job = _Job(config, frozen, embedded, labels, folds, seed, negative, lambda: embedder.finer.cells_of(rows))
    heads = {kind: getattr(job, kind)() for kind in job.candidates()}
    if job.falls_short(heads):
        heads["cells"] = job.cells()
    chosen = min(heads, key=lambda kind: heads[kind].calibration.loss)
    net = heads[chosen].net()
    net.head.keep_mean(heads[chosen].seen())
    net.head.reference = heads[chosen].reference()
    report = {"head": chosen, "tiles": job.tiles, "reads": job.reads(chosen), "inner_folds": frozen.folds}
    groups = [record.group for record in data.manifest.subset(rows)]
    report["held_out"] = {
        kind: held_out_scores(head.logits, labels, head.calibration, job.target, groups)
        for kind, head in heads.items()
    }
    return Learned(net.eval(), report, heads[chosen].logits)


def make_embedder(
    config: ZoomInConfig,
    frozen: FrozenConfig,
    data: ZoomInDataModule,
    progress: bool = False,
) -> Embedder:
    """What embeds the images for `learn`.

    Raises:
        ConfigError: if the model has no pretrained trunk, tiles of several sub-tiles, or stages of blocks.
    """
    if not config.features.startswith("timm:"):
        raise ConfigError(
            f"{config.features!r} has no pretrained trunk to learn on",
            where="model.features",
            remedy="Give timm:MODEL, such as timm:tf_efficientnet_lite0, or set frozen.enabled to false.",
        )
    if config.blocks:
        raise ConfigError(
            "stages above the tiles are not taught: learning on frozen features embeds every tile",
            where="model.blocks",
            remedy="Leave blocks out, or set frozen.enabled to false.",
        )
    if config.position_attention != "uniform":
        raise ConfigError(
            f"position attention {config.position_attention!r} is not taught",
            where="model.position_attention",
            remedy="Give uniform, with sub_tile_size near tile_size, or set frozen.enabled to false.",
        )
    bare = replace(config, gate_copies=0, gate_overview=False, normalize_features=False)
    if frozen.head == "cells":
        bare = on_cells(bare)
    return Embedder(ZoomIn(bare), data, frozen.cache, progress)


@dataclass(frozen=True)
class _Job:
    """The images to learn from, as the trunks see them."""

    config: ZoomInConfig
    frozen: FrozenConfig
    embedded: list[Embedded]
    labels: Shaped[Tensor, "images ..."]
    folds: Folds
    seed: int
    negative: int | None
    finer: Callable[[], list[Cells]]  # what the cells of the sub-tiles of each image show

    @cached_property
    def target(self) -> Target:
        """What is learned."""
        return target_of(self.config)

    @property
    def tiles(self) -> int:
        """Sub-tiles of an image, the median."""
        return int(torch.tensor([len(one.sub_tiles) for one in self.embedded]).median())

    @property
    def is_few(self) -> bool:
        return self.tiles < self.frozen.few_tiles

    @property
    def is_taught(self) -> bool:
        """Whether the tile attention is taught, so that some tiles are read and not all."""
        return self.frozen.teach and not self.is_few and self.embedded[0].tiles is not None

    def candidates(self) -> list[str]:
        """The heads to choose from."""
        if self.frozen.head != "auto":
            return [self.frozen.head]
        return ["gated", "linear"] if self.is_few and self.config.context_side else ["gated"]

    def falls_short(self, heads: dict[str, _Head]) -> bool:
        """Whether the last features of the trunk fall short, so that its finer maps are worth their time."""
        maps = self.config.pretrained and has_cells(self.config.features)
        can = maps and self.tiles <= self.frozen.cell_tiles and self.target.kind == "classes"
        if self.frozen.head != "auto" or not can:
            return False
        best = min(heads.values(), key=lambda head: head.calibration.loss)
        auroc = self.target.point_scores(self.target.answers(best.logits), self.labels)["auroc"]
        return auroc is not None and auroc < self.frozen.trunk_below

    def reads(self, head: str) -> dict[str, Any]:
        """How an image is read at prediction."""
        if head != "linear" and self.is_taught:
            return {"sampling": self.config.sampling, "n_samples": self.config.n_samples}
        return {"sampling": "exact", "n_samples": self.tiles}

    def gated(self) -> _Head:
        """Gated attention over sub-tiles."""
        project = self._principal([one.sub_tiles for one in self.embedded])
        return self._attention(
            [project(one.sub_tiles)[:, None] for one in self.embedded], project, self.config
        )

    def cells(self) -> _Head:
        """Gated attention over the small cells of sub-tiles, each beside the sub-tile that it is in."""
        finer = self.finer()
        own = self._principal([one.maps.flatten(0, 1) for one in finer])
        whole = self._principal([one.whole for one in finer]).scaled(_WHOLE)
        seen = [
            torch.cat([own(maps), whole(last)[:, None].expand(-1, maps.shape[1], -1)], 2)
            for maps, last in finer
        ]
        return self._attention(seen, own.beside(whole), on_cells(self.config))

    def _principal(self, seen: list[Tensor]) -> Affine:
        return principal(torch.cat(seen), self.frozen.components)

    def _attention(self, seen: list[Tensor], project: Affine, config: ZoomInConfig) -> _Head:
        """Gated attention, with tile attention that is taught where there are many tiles.

        Args:
            seen: of each image, components of the cells of each sub-tile (tiles, cells, components).
            project: from what the trunk says of a cell to them.
            config: of the model whose features they are.
        """
        cells = seen[0].shape[1]
        bags = bags_of([one.flatten(0, 1) for one in seen])
        score = None
        if self.is_taught:
            score, log_attention = self._taught(bags, cells)
            of_cells = [log_alpha.repeat_interleave(cells) for log_alpha in log_attention]
            bags = bags_of([one.flatten(0, 1) for one in seen], of_cells)
        everything = torch.arange(len(self.labels))
        last = [everything] * self.frozen.copies
        fitted = self._fit(bags, [*self._fold_rows(), *last], self.seed + 1)
        read = self._read(bags, cells)
        logits = self._held(fitted.logits(read))
        with_overview = score is not None and self.frozen.overview
        overview, beside, overviews = self._overview() if with_overview else (None, None, [])
        calibration = self._calibrate(logits, beside)
        if beside is not None:
            logits = logits + calibration.beside * beside
        features = cache(lambda: fitted.features(read))
        return _Head(
            logits,
            calibration,
            lambda: gated_net(config, project, score, fitted, self.frozen.copies, calibration, overview),
            lambda: torch.cat([*features()[-self.frozen.copies :], *overviews], 1),
            lambda: self._reference(features()),
        )

    def _reference(self, features: Tensor) -> Reference | None:
        """By the copies of the folds, in order, and those of the model behind them."""
        *apart, known = features.split(
            [*[self.frozen.fold_copies] * len(self.folds.held), self.frozen.copies]
        )
        return compared_out_of_fold(known, apart, self.folds)

    def _overview(self) -> tuple[Affine, Tensor, list[Tensor]]:
        """A linear model of the overview of an image, logits of images held out, and what it sees of all."""
        x = torch.stack([pool_overview(one.tiles) for one in self.embedded if one.tiles is not None])
        return *self._linear(x, self.frozen.overview_strength), [x]

    def _linear(self, x: Tensor, strength: float) -> tuple[Affine, Tensor]:
        """A linear model of all images, and logits of images held out by those of the inner folds."""
        logits = torch.zeros(len(x), self.config.n_classes)
        for train, held in zip(self.folds.train, self.folds.held, strict=True):
            logits[held] = linear_model(x[train], self.labels[train], self.target, strength)(x[held])
        return linear_model(x, self.labels, self.target, strength), logits

    def linear(self) -> _Head:
        """A linear model of the mean of the sub-tiles beside the view of the whole image."""
        means = torch.stack([one.sub_tiles.mean(0) for one in self.embedded])
        contexts = [one.context for one in self.embedded if one.context is not None]
        if len(contexts) < len(means):
            raise ConfigError(
                "the linear head sees a view of the whole image, and there is none",
                where="model.context_side",
                remedy="Set it, for example to 448.",
            )
        x = torch.cat([means, torch.stack(contexts)], 1)
        whole, logits = self._linear(x, self.frozen.linear_strength)
        calibration = self._calibrate(logits)

        def net() -> ZoomIn:
            config = replace(
                self.config, gate_copies=0, gate_overview=False, tile_attention="uniform", **EXACT
            )
            net = ZoomIn(config)
            assert isinstance(net.head, LinearHead)
            with torch.no_grad():
                net.head.weight.copy_(calibration.scale * whole.weight.T)
                net.head.bias.copy_(calibration.scale * whole.bias + calibration.shift)
            return net

        own = means[None]  # of these sub-tiles alone, which no label has changed: the same in every fold
        return _Head(
            logits,
            calibration,
            net,
            lambda: x,
            lambda: compared_out_of_fold(own, [own] * len(self.folds.held), self.folds),
        )

    def _taught(self, bags: Bags, cells: int) -> tuple[Affine, list[Tensor]]:
        """The score of tiles, and that of each image's tiles by a score which has not learned from it.

        The number of witnesses and the penalty are those by which, out of fold, most evidence is read.
        """
        fitted = self._fit(bags, self._fold_rows(), self.seed)
        of_tiles = fitted.evidence(bags, self.target).unflatten(2, (-1, cells)).sum(3)
        evidence = self.target.witnesses(self._held(of_tiles), self.labels)
        scores = [row[: len(one.sub_tiles)] for row, one in zip(evidence, self.embedded, strict=True)]
        everything, best = torch.arange(len(self.labels)), (-1.0, 0, 0.0)
        chosen: list[Tensor] = []
        for witnesses in self.frozen.map_witnesses:
            for penalty, found in zip(
                self.frozen.map_penalties, self._out_of_fold(scores, witnesses), strict=True
            ):
                share = self._share_read(found, scores)
                if share > best[0]:
                    best, chosen = (share, witnesses, penalty), found
        _, witnesses, penalty = best
        return self._teach(scores, everything, witnesses, (penalty,))[0], chosen

    def _out_of_fold(self, scores: list[Tensor], witnesses: int) -> list[list[Tensor]]:
        """Scores of the tiles of each image by what has not learned from it, for each penalty."""
        penalties = self.frozen.map_penalties
        found = [[torch.zeros(0)] * len(self.labels) for _ in penalties]
        for train, held in zip(self.folds.train, self.folds.held, strict=True):
            for own, score in zip(found, self._teach(scores, train, witnesses, penalties), strict=True):
                for place in held.tolist():
                    own[place] = self._score(score, place)
        return found

    def _share_read(self, found: list[Tensor], scores: list[Tensor]) -> float:
        """The share of the evidence for their class that lies in the tiles read, a mean over images."""
        shares = []
        empty = self.target.empty(self.labels, self.negative).tolist()
        for own, score, is_empty in zip(found, scores, empty, strict=True):
            evidence = score.clamp(min=0)
            if not is_empty and float(evidence.sum()) > 0:
                read = own.topk(min(self.config.n_samples, len(own))).indices
                shares.append(float(evidence[read].sum() / evidence.sum()))
        return sum(shares) / max(1, len(shares))

    def _teach(
        self, scores: list[Tensor], rows: Tensor, witnesses: int, penalties: Sequence[float]
    ) -> list[Affine]:
        embedded = [self.embedded[row] for row in rows.tolist()]
        own = [scores[row] for row in rows.tolist()]
        empty = self.target.empty(self.labels[rows], self.negative)
        return teach(embedded, own, empty, self.frozen, witnesses, penalties)

    def _score(self, score: Affine, place: int) -> Tensor:
        tiles = self.embedded[place].tiles
        assert tiles is not None
        return score(tiles)[:, 0]

    def _fold_rows(self) -> list[Tensor]:
        return [rows for rows in self.folds.train for _ in range(self.frozen.fold_copies)]

    def _fit(self, bags: Bags, rows: list[Tensor], seed: int) -> FittedCopies:
        return fit_copies(bags, self.labels, rows, self.target, self.frozen, seed)

    def _held(self, of_copies: Tensor) -> Tensor:
        """Of what copies say of all images, the mean of those that have not learned from each."""
        out = torch.zeros_like(of_copies[0])
        for fold, held in enumerate(self.folds.held):
            first = fold * self.frozen.fold_copies
            out[held] = of_copies[first : first + self.frozen.fold_copies, held].mean(0)
        return out

    def _read(self, bags: Bags, cells: int) -> Bags:
        """The sub-tiles that prediction would read, with their weights in the expected feature."""
        if not self.is_taught:
            return bags
        law, there = design(self.config.sampling), bags.mask[:, ::cells]
        log_alpha = bags.log_attention[:, ::cells].masked_fill(~there, -torch.inf).log_softmax(1)
        keys = derive_keys(torch.full((len(log_alpha),), self.seed), torch.arange(len(log_alpha)))
        kappa = law.tiles(log_alpha, self.config.n_samples, there.long(), keys).kappa
        kappa = kappa.repeat_interleave(cells, 1)
        return Bags(bags.x, kappa > 0, kappa.clamp(min=1e-30).log())

    def _calibrate(self, logits: Tensor, beside: Tensor | None = None) -> Calibration:
        found = calibrated(logits, self.labels, self.target, beside)
        if self.frozen.calibrate:
            return found
        return Calibration(1.0, torch.zeros(logits.shape[1]), found.loss, found.beside)
