"""ZoomMIL: attention at each resolution, and a differentiable choice of where to zoom in.

Thandiackal et al., Differentiable Zooming for Multiple Instance Learning on Whole-Slide Images, ECCV 2022
(arXiv 2204.12454); the choice is that of Cordonnier et al., Differentiable Patch Selection for Image
Recognition, CVPR 2021, by perturbed optimisers (Berthet et al., NeurIPS 2020).

    level 1: x   = f of all cells of the image at the lowest scale
    level l: h   = ReLU(W_l x);  m_l = sum of h under gated attention
             p   = softmax of a second gated attention;  T = mean over noise z of top-k(p + sigma z)
             x   = (T kron I) f of the cells below, at the next scale
    logits = g(sum over levels of m_l)

T has a row for each of k places, in the order of the cells, and mixes the cells that some noise chose; each
cell below a place is the same mixture of those below its cells. Its gradient is the perturbed optimiser's,

    dT/dp = mean over z of top-k(p + sigma z) z' / sigma,

written as one linear form with constant choices, w_z = 1 + z . (p - stop(p)) / sigma, hence without a
backward by hand. Only cells with a share in T are read and encoded; in evaluation the k cells of highest p,
without noise.
The publication works on stored features of ResNet-50 at 1.25x, 2.5x and 10x; here f learns too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..errors import require
from ..geometry import TileGrid, view_size
from ..images.image import ImageBatch
from ..model.estimators import segment_sum
from ..model.networks import LinearHead
from ..model.sampling import derive_keys, uniforms
from .abmil import BagAttention
from .bags import cut
from .baseline import Baseline, BaselineConfig, BaselineOutput, Drawing

__all__ = ["Choice", "Mixtures", "ZoomMIL", "ZoomMILConfig", "perturbed_top", "top"]


@dataclass(frozen=True)
class ZoomMILConfig(BaselineConfig):
    """Attention at several resolutions with a differentiable choice between them."""

    name: Literal["zoommil"] = "zoommil"
    """The baseline: zoommil."""

    view_size: int = 27
    """Side of every view, in pixels; a cell covers view_size / scale level-0 pixels. 27 as Zoom-In's
    sub-tiles."""

    scales: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Scales of the levels, from low to high; each cell must divide into whole cells of the next level."""

    kept: int = 12
    """k, cells that are read again at the next level; more cost proportionally more."""

    noise: float = 0.002
    """Sigma, the standard deviation of the noise on the probabilities by which cells are chosen, while
    training: small, as probabilities over many cells are; with less, the choice has hardly a gradient."""

    noise_samples: int = 100
    """Draws of that noise per image, while training; more make the gradient less noisy."""

    width: int = 512
    """Width of the features after the first layer of each level; 512, half of a ResNet-50's 1,024, as in the
    publication."""

    hidden: int = 256
    """Width of the gated attention."""

    dropout: float = 0.25
    """Share of values dropped after the first layers and in the attention, while training."""

    features: str = "lenet_released"
    """Network f: "lenet_released", "lenet", "resnet16", "timm:MODEL" or the name of a plug-in."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        for name in ("view_size", "kept", "noise_samples", "width", "hidden"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "Give a whole number of at least 1.")
        require(self.noise > 0, "noise", self.noise, "Give a positive number.")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "Give a number from 0 to below 1.")
        in_order = len(self.scales) > 0 and 0 < min(self.scales) and max(self.scales) <= 1
        remedy = "Give scales above 0, at most 1, from low to high, each a multiple of the one before."
        require(in_order, "scales", self.scales, remedy)
        nested = all(low > high and low % high == 0 for low, high in pairwise(self.sides))
        require(nested, "scales", self.scales, remedy)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the cells of each level, level-0 pixels."""
        return tuple(round(self.view_size / scale) for scale in self.scales)


class ZoomMIL(Baseline[ZoomMILConfig]):
    """Zoom in where attention chooses, differentiably.

    Example:
        >>> net = ZoomMIL(ZoomMILConfig(view_size=16, kept=3, width=16, hidden=8))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = ZoomMILConfig

    def __init__(self, config: ZoomMILConfig) -> None:
        """Build the networks.

        Raises:
            ConfigError: if the network is unknown, cannot be loaded, or views are too small for it.
        """
        super().__init__(config)
        self.features, dims = self.build_features(config.features, config.view_size, "view_size")
        width, levels = config.width, len(config.scales)

        def first() -> nn.Module:
            return nn.Sequential(nn.Linear(dims, width), nn.ReLU(), nn.Dropout(config.dropout))

        def attention() -> nn.Module:
            return BagAttention(width, config.hidden, True, dropout=config.dropout)

        self.first = nn.ModuleList(first() for _ in range(levels))
        self.attention = nn.ModuleList(attention() for _ in range(levels))
        self.choosing = nn.ModuleList(attention() for _ in range(levels - 1))
        self.head = LinearHead(width, config.n_classes)
        self.to(memory_format=torch.channels_last)

    def classify(
        self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Attend to each level, choose where the next one is read, classify the sum."""
        grid = TileGrid.of(batch.sizes, self.config.sides[0])
        below = Mixtures.of(grid)
        parts, views = [], []
        for level, scale in enumerate(self.config.scales):
            x, read = self._mixed_features(batch, below, scale)
            h = self.first[level](x)
            absent = ~below.there
            weights = _softmax(self.attention[level](h), absent)
            parts.append((weights[:, :, None] * h).sum(1))
            views.append(read)
            if level < len(self.choosing):
                p = _softmax(self.choosing[level](h), absent)
                choice = self._choose(p, below.there, derive_keys(how.keys, level))
                below = below.below(choice, self.config.sides[level + 1], batch.sizes)
        features = torch.stack(parts).sum(0)
        return BaselineOutput(
            logits=self.head(features),
            features=features,
            replicates=features[None],
            pixels_read=torch.stack(views).sum(0) * self.config.view_size**2,
            views_read=views[-1],
            penalty=self.nothing(),
        )

    def _mixed_features(
        self, batch: ImageBatch, below: Mixtures, scale: float
    ) -> tuple[Float[Tensor, "batch places dims"], Int[Tensor, " batch"]]:
        """The mixed features of every place, and the cells of each image that were encoded for them."""
        cells = torch.cat([below.image[:, None], below.regions], 1)
        distinct, which = torch.unique(cells, dim=0, return_inverse=True)
        side = int(distinct[0, 3])
        encoded = self.chunks.apply(self.features, batch, distinct[:, 0], distinct[:, 1:], side, scale)
        return below.mix(encoded[which]), torch.bincount(distinct[:, 0], minlength=len(batch))

    def _choose(
        self,
        p: Float[Tensor, "batch places"],
        there: Bool[Tensor, "batch places"],
        keys: Int[Tensor, " batch"],
    ) -> Choice:
        if not self.training:
            return top(p, there, self.config.kept)
        return perturbed_top(p, there, self.config.kept, self.config.noise, self.config.noise_samples, keys)

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """All cells of the first level, those below the chosen ones at the others."""
        sides = self.config.sides
        cells = -(-height // sides[0]) * -(-width // sides[0])
        cells += sum(self.config.kept * (low // high) ** 2 for low, high in pairwise(sides))
        return cells * view_size(sides[0], self.config.scales[0]) ** 2


class Choice(NamedTuple):
    """A sparse T: the share of a place of this level in each of the k chosen.

    Attributes:
        image: of each share.
        chosen: which of the k.
        place: of this level.
        weight: the share, with its gradient.
        kept: k.
    """

    image: Int[Tensor, " shares"]
    chosen: Int[Tensor, " shares"]
    place: Int[Tensor, " shares"]
    weight: Float[Tensor, " shares"]
    kept: int


@dataclass(frozen=True)
class Mixtures:
    """The places of a level of a batch of images, each a mixture of cells.

    Attributes:
        image: of each share of a cell in a place.
        place: in its image.
        regions: the cell, level-0 pixels.
        weight: of the cell in the place.
        batch: number of images.
        places: most places of an image.
    """

    image: Int[Tensor, " shares"]
    place: Int[Tensor, " shares"]
    regions: Int[Tensor, "shares 4"]
    weight: Float[Tensor, " shares"]
    batch: int
    places: int

    @classmethod
    def of(cls, grid: TileGrid) -> Mixtures:
        """Every place is one tile of the grid."""
        weight = torch.ones(len(grid.image), device=grid.image.device)
        most = int(grid.count.max())
        return cls(grid.image, grid.index, grid.regions, weight, len(grid.rows), most)

    @property
    def there(self) -> Bool[Tensor, "batch places"]:
        """Which places have a cell."""
        return self._members.view(self.batch, self.places) > 0

    def mix(self, values: Float[Tensor, "shares dims"]) -> Float[Tensor, "batch places dims"]:
        """The sum of the cells' values in every place; 0 where there is none."""
        mixed = segment_sum(self.weight[:, None] * values, self._segment, self.batch * self.places)
        places: Tensor = mixed.unflatten(0, (self.batch, self.places))
        return places

    def below(self, choice: Choice, side: int, sizes: Int[Tensor, "batch 2"]) -> Mixtures:
        """The places of the next level: those below each of the chosen, mixed as these are.

        Args:
            choice: of places of this level.
            side: of the cells of the next level, level-0 pixels.
            sizes: height and width of the images; cells beyond the border are left out.
        """
        wanted = choice.image * self.places + choice.place
        members = self._members[wanted]
        share = torch.repeat_interleave(members)
        nth = torch.arange(len(share), device=share.device) - (members.cumsum(0) - members)[share]
        first = self._members.cumsum(0) - self._members
        cell = self._segment.argsort(stable=True)[first[wanted[share]] + nth]
        regions = cut(self.regions[cell], side)
        across = regions.shape[1]
        image = choice.image[share][:, None].expand(-1, across).flatten()
        place = choice.chosen[share][:, None] * across + torch.arange(across, device=share.device)
        weight = (choice.weight[share] * self.weight[cell])[:, None].expand(-1, across).flatten()
        regions = regions.flatten(0, 1)
        inside = (regions[:, :2].flip(1) < sizes[image]).all(1)
        return Mixtures(
            image[inside],
            place.flatten()[inside],
            regions[inside],
            weight[inside],
            self.batch,
            choice.kept * across,
        )

    @property
    def _segment(self) -> Int[Tensor, " shares"]:
        return self.image * self.places + self.place

    @property
    def _members(self) -> Int[Tensor, " all_places"]:
        return torch.bincount(self._segment, minlength=self.batch * self.places)


def top(p: Float[Tensor, "batch places"], there: Bool[Tensor, "batch places"], k: int) -> Choice:
    """The k places of highest p that there are, in their order, with weight 1."""
    chosen = _highest(p.detach()[:, None], there, k)
    image, _, nth = (chosen < p.shape[1]).nonzero(as_tuple=True)
    return Choice(image, nth, chosen[image, 0, nth], p.new_ones(len(image)), chosen.shape[2])


def perturbed_top(
    p: Float[Tensor, "batch places"],
    there: Bool[Tensor, "batch places"],
    k: int,
    sigma: float,
    samples: int,
    keys: Int[Tensor, " batch"],
) -> Choice:
    """The mean of `top` over Gaussian noise, with its gradient.

    Args:
        p: what is compared.
        there: places that can be chosen.
        k: how many are.
        sigma: standard deviation of the noise.
        samples: of the noise.
        keys: seed of each image's noise.
    """
    batch, places = p.shape
    sample = torch.arange(samples, device=p.device).repeat(batch)
    each = derive_keys(keys.repeat_interleave(samples), sample)
    u = uniforms(each, places, stream=14).view(batch, samples, places)
    z = (math.sqrt(2) * torch.erfinv(2 * u - 1)).to(p) * there[:, None]
    chosen = _highest(p.detach()[:, None] + sigma * z, there, k)
    weight = (1 + ((p - p.detach())[:, None] * z).sum(2) / sigma) / samples
    image, draw, nth = (chosen < places).nonzero(as_tuple=True)
    share = (image * chosen.shape[2] + nth) * places + chosen[image, draw, nth]
    distinct, which = share.unique(return_inverse=True)
    summed = segment_sum(weight[image, draw], which, len(distinct))
    row = distinct // places
    return Choice(row // chosen.shape[2], row % chosen.shape[2], distinct % places, summed, chosen.shape[2])


def _highest(
    values: Float[Tensor, "batch samples places"], there: Bool[Tensor, "batch places"], k: int
) -> Int[Tensor, "batch samples k"]:
    """The k places of highest value in their order; the number of places where there are fewer."""
    absent, places = ~there[:, None], values.shape[2]
    found = values.masked_fill(absent, -torch.inf).topk(min(k, places), dim=2).indices
    missing = absent.expand_as(values).gather(2, found)
    return found.masked_fill(missing, places).sort(dim=2).values


def _softmax(
    logits: Float[Tensor, "batch places 1"], absent: Bool[Tensor, "batch places"]
) -> Float[Tensor, "batch places"]:
    return logits.squeeze(2).masked_fill(absent, -torch.inf).softmax(1)
