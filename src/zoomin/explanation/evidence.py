"""The record of how one image was answered: what was read, with which weight, what each piece contributes.

The head is linear, so the logits are the sum of the sub-tiles' contributions plus the bias, exactly and for
every way of sampling. Nothing here is inferred after the fact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

from ..errors import ImageError
from ..geometry import Region
from ..images.georeference import Georeference
from ..images.stored import identity_of
from ..model.estimators import segment_sum
from ..model.targets import Target, target_named
from .blocks import BlockEvidence
from .density import attention_density
from .places import Account, Places, shown_order, speaks_for

__all__ = ["STAGES", "Evidence", "Provenance", "Source", "Stage"]

Stage = Literal["both", "tiles", "positions"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Source:
    """Where the pixels came from.

    Attributes:
        identity: resolved path, size in bytes and time of the last change in nanoseconds of the file; None
            for images that are not files.
        mpp: microns per level-0 pixel, None where unknown.
        bounds: the scanned part of a slide's canvas, level-0 pixels, where the file gives it.
        georeference: where the image lies on a map, if that is known.
    """

    identity: tuple[str, int, int] | None = None
    mpp: float | None = None
    bounds: Region | None = None
    georeference: Georeference | None = None

    def changed(self) -> str | None:
        """What has become of the file since: "gone", "changed", or None where it is as it was."""
        if self.identity is None:
            return None
        try:
            found = identity_of(Path(self.identity[0]))
        except ImageError:
            return "gone"
        return None if found[1:] == self.identity[1:] else "changed"


@dataclass(frozen=True)
class Provenance:
    """Which model looked, and how.

    Attributes:
        model: fingerprint of its weights and configuration.
        sampling: the design that was used.
        n_samples: sub-tiles that one replicate was asked for; for exact, those that there are.
        replicates: estimates that were averaged.
        seed: of the draws.
    """

    model: str = ""
    sampling: str = ""
    n_samples: int = 0
    replicates: int = 1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Evidence:
    """The evidence for the answer to one image. Boxes are in level-0 pixels of the image's file.

    Boxes are whole numbers where the network reads level-0 pixels, fractions where it reads at another MPP.

    Attributes:
        image: name of the image.
        size: its height and width, level-0 pixels.
        classes: names of the classes.
        logits: of each class; `bias` plus the sum of `contribution`; `baseline`, `overview_added` and the
            sum of `added` together.
        bias: of the head, and what a view of the whole image adds, where the model has one.
        overview: the whole image as a thumbnail.
        tile_size: side of a tile, level-0 pixels.
        attention: attention over the tiles; sums to 1.
        tiles: x, y, width, height of the tiles drawn.
        alpha: attention of each drawn tile.
        beta: attention map inside each drawn tile; each sums to 1.
        sub_tiles: x, y, width, height of the sub-tiles drawn, of all replicates.
        weight: weight of each sub-tile in the feature of the image.
        contribution: what each sub-tile adds to the logit of each class.
        tile: the tile of each sub-tile, a row of `tiles`.
        position: its position, row-major, in that tile's attention map.
        replicate: the replicate that drew it.
        crops: pixels of the heaviest places, in the order of `places()`.
        tile_crops: pixels of the tiles of highest attention, in the order of `top_tiles()`.
        order: of the distinct sub-tiles, counted by x, y, width and height: that of `places()`; None for by
            weight alone, as earlier versions had it.
        tile_order: of the rows of `tiles`: that of `top_tiles()`; None for by attention alone.
        mean_logits: logits of the mean feature of the training images; None where the model does not know it.
        usual: what the mean feature would add to the logit of each class with the weight of each sub-tile;
            None where it is not known, as in earlier versions.
        overview_added: what the view of the whole image adds to the logits, against the mean of the training
            images; None where the head sees no such view, or that mean is not known.
        is_overview_first: of models that do not know the mean: whether the account starts from what the view
            of the whole image says; None where that is not known, as in earlier versions.
        context: pixels of the heaviest places with their surroundings, three times as wide, in the order of
            `places()`.
        standard_error: of the answer, such as the predicted class's probability, owed to drawing sub-tiles; 0
            for exact and top, NaN with a single replicate.
        ood_p_value: how like the training images it is: the share of images like them that lie as far from
            them; None where the model does not know.
        abstained: why no answer is given, "" where one is.
        truth: the true class, None where unknown.
        target: what the logits mean; None: classes.
        blocks: the zoom stages above the tiles, the coarsest first; none by default. The attention of blocks
            that were not drawn is spread evenly over their tiles, in `attention`.
        one_stage: whether there are no tiles: one attention map covers the whole image, which stands as the
            one tile drawn.
        source: where the pixels came from.
        provenance: which model looked, and how.
    """

    image: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    logits: Float[Tensor, " classes"]
    bias: Float[Tensor, " classes"]
    overview: UInt8[Tensor, "3 h w"]
    tile_size: float
    attention: Float[Tensor, "rows columns"]
    tiles: Float64[Tensor, "drawn 4"]
    alpha: Float[Tensor, " drawn"]
    beta: Float[Tensor, "drawn u v"]
    sub_tiles: Float64[Tensor, "n 4"]
    weight: Float[Tensor, " n"]
    contribution: Float[Tensor, "n classes"]
    tile: Int[Tensor, " n"]
    position: Int[Tensor, " n"]
    replicate: Int[Tensor, " n"]
    crops: UInt8[Tensor, "crops 3 side side"]
    tile_crops: UInt8[Tensor, "tile_crops 3 tile_side tile_side"]
    order: Int[Tensor, " places"] | None = None
    tile_order: Int[Tensor, " drawn"] | None = None
    mean_logits: Float[Tensor, " classes"] | None = None
    usual: Float[Tensor, "n classes"] | None = None
    overview_added: Float[Tensor, " classes"] | None = None
    is_overview_first: bool | None = None
    context: UInt8[Tensor, "around 3 around_height around_width"] | None = None
    standard_error: float = math.nan
    ood_p_value: float | None = None
    abstained: str = ""
    truth: str | None = None
    target: Target | None = None
    blocks: tuple[BlockEvidence, ...] = ()
    one_stage: bool = False
    source: Source = field(default_factory=Source)
    provenance: Provenance = field(default_factory=Provenance)

    @cached_property
    def kind(self) -> Target:
        """What the logits mean."""
        return self.target or target_named("classes", self.classes)

    @property
    def probabilities(self) -> Float[Tensor, " classes"]:
        """What the logits answer: the probability of each class, or a number in its own unit."""
        return self.kind.answers(self.logits)

    @property
    def prediction(self) -> str:
        """The answer in a word."""
        return self.kind.decide(self.probabilities.tolist())

    @property
    def label(self) -> str:
        """What the evidence is for: the class predicted, the most probable label, the one number."""
        return self.kind.explained_name(self.probabilities.tolist())

    def answer_text(self, logits: Float[Tensor, " classes"] | None = None) -> str:
        """The answer for `label` that some logits give, by default the image's, as text: "88 %"."""
        answer = self.kind.answers(self.logits if logits is None else logits)
        return self.kind.answer_text(answer.tolist(), self.label)

    @property
    def baseline(self) -> Float[Tensor, " classes"]:
        """The logits before anything is read: those of the mean training feature, else the bias."""
        return self.bias if self.mean_logits is None else self.mean_logits

    @cached_property
    def added(self) -> Float[Tensor, "n classes"]:
        """What each sub-tile adds: with the baseline and what the overview adds, they sum to the logits."""
        if self.usual is not None:
            return self.contribution - self.usual
        share = self.weight / self.weight.sum()
        known = self.baseline if self.overview_added is None else self.baseline + self.overview_added
        return self.contribution - share[:, None] * (known - self.bias)

    def account(self, label: str | None = None) -> Account:
        """How the evidence for a class, by default the predicted one, comes about.

        Evidence for a class is a logit minus the mean over the classes, which softmax does not see; for a
        label its logit; of a number what it adds to it.
        """
        label = self.label if label is None else label
        nothing = torch.zeros_like(self.logits) if self.overview_added is None else self.overview_added
        sums = torch.stack([self.baseline, nothing, self.logits])
        start, overview, end = speaks_for(sums, self.kind, label).tolist()
        return Account(start, overview, speaks_for(self.places().added, self.kind, label), end)

    def places(self) -> Places:
        """The distinct sub-tiles in `order`, heaviest first; they are found once."""
        return self._places

    @cached_property
    def _places(self) -> Places:
        places = self._distinct_places()
        order = places.weight.argsort(descending=True, stable=True) if self.order is None else self.order
        return Places(*(column[order] for column in places))

    def shown_orders(self) -> tuple[Int[Tensor, " places"], Int[Tensor, " drawn"]]:
        """The most informative orders of the distinct sub-tiles and the drawn tiles: see `shown_order`.

        The evidence of a tile is that of its sub-tiles together.
        """
        places = self._distinct_places()
        of_tiles = segment_sum(places.evidence, places.tile, len(self.tiles))
        return shown_order(places.weight, places.evidence), shown_order(self.alpha, of_tiles)

    def _distinct_places(self) -> Places:
        """The distinct sub-tiles by x, y, width and height."""
        distinct, place, times = torch.unique(self.sub_tiles, dim=0, return_inverse=True, return_counts=True)
        weight = segment_sum(self.weight, place, len(distinct))
        contribution = segment_sum(self.contribution, place, len(distinct))
        added = segment_sum(self.added, place, len(distinct))
        one = torch.zeros(len(distinct), dtype=torch.int64).index_put((place,), torch.arange(len(place)))
        tile = self.tile[one]
        beta = self.beta.flatten(1)[tile, self.position[one]]
        evidence = speaks_for(added, self.kind, self.label)
        return Places(distinct, weight, contribution, tile, self.alpha[tile], beta, times, added, evidence)

    def top_tiles(self) -> Int[Tensor, " drawn"]:
        """The drawn tiles, as rows of `tiles`, in `tile_order`: that of highest attention first."""
        if self.tile_order is not None:
            return self.tile_order
        return self.alpha.argsort(descending=True, stable=True)

    def evidence(self, label: str | None = None) -> Float[Tensor, " n"]:
        """What each sub-tile says for a class, the predicted one by default: positive speaks for it.

        What it adds to that logit minus the mean over classes, which softmax does not see; see `account`.

        Raises:
            ConfigError: if there is no such class.
        """
        return speaks_for(self.added, self.kind, self.label if label is None else label)

    def heat_map(
        self,
        height: int,
        width: int,
        step: tuple[float, float] | None = None,
        *,
        origin: tuple[float, float] = (0.0, 0.0),
        stage: Stage = "both",
    ) -> Float[Tensor, "height width"]:
        """Attention as a picture, relative to uniform attention (1): of the whole image, or of any region.

        Every pixel of the picture is an average over its box.

        Args:
            height: rows of the picture.
            width: columns of the picture.
            step: height and width of its pixels, level-0 pixels; by default the picture covers the image.
            origin: y and x of its corner, level-0 pixels.
            stage: "tiles": stage 1; "positions": stage 2, in the drawn tiles alone; "both": their product in
                the drawn tiles, elsewhere stage 1, spread evenly.
        """
        step = step or (self.size[0] / height, self.size[1] / width)
        alpha, tiles, beta = self._relative_maps[stage]
        return attention_density(self.tile_size, alpha, tiles, beta, (height, width), step, origin)

    @cached_property
    def _relative_maps(self) -> dict[Stage, tuple[Tensor, Tensor, Tensor]]:
        """Of each stage: a value per tile, the tiles with a map of their own, and these maps."""
        attention = self.attention * self.attention.numel()
        beta = self.beta * self.beta[0].numel() if len(self.beta) else self.beta
        column, row = (self.tiles[:, :2] / self.tile_size).round().long().unbind(1)
        rest = attention.index_put((row, column), attention.new_zeros(()))
        return {
            "tiles": (attention, self.tiles[:0], beta[:0]),
            "positions": (torch.zeros_like(attention), self.tiles, beta),
            "both": (rest, self.tiles, beta * attention[row, column][:, None, None]),
        }
