"""One-stage attention sampling: "ATS" in the tables of Kong & Henao (CVPR 2022).

Katharopoulos & Fleuret, Processing Megapixel Images with Deep Attention-Sampling Models, ICML 2019.

    alpha  = softmax over the positions of the whole overview V(x, s)       a: one logit per position
    F      = sum over positions alpha f(sub-tile at full resolution)        estimated from N drawn sub-tiles
    logits = g(F)

The attention network sees the whole overview at once, so that its memory grows with the image: what the
second stage of Zoom-In spares. Positions are drawn without replacement and weighed by the order of the draw,
with the gradient that `estimators.py` proves; the entropy of the attention is rewarded. The defaults are for
colon cancer: s = 0.2, N = 10, sub-tiles of 27 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ..errors import require
from ..geometry import sub_tile_regions, view_size
from ..images.image import ImageBatch
from ..model.estimates import plan_estimates
from ..model.estimators import expected_feature, sample_weights
from ..model.losses import entropy
from ..model.networks import LinearHead, attention_network
from ..model.output import Looked, StageAttention, SubTiles
from ..model.sampling import design
from ..model.stages import draw_in_tiles, start_paths
from .baseline import Baseline, BaselineConfig, BaselineOutput, Drawing

__all__ = ["ATS", "ATSConfig", "ATSOutput"]


@dataclass(frozen=True)
class ATSConfig(BaselineConfig):
    """One-stage attention sampling."""

    name: Literal["ats"] = "ats"
    """The baseline: ats, one-stage attention sampling."""

    scale: float = 0.2
    """Scale in (0, 1] of the overview that the attention network sees whole; 0.2 is the publication's for
    colon cancer."""

    sub_tile_size: int = 27
    """Side of a sub-tile, in level-0 pixels; 27 is the publication's."""

    n_samples: int = 10
    """N, sub-tiles drawn per image; 10 is the publication's."""

    sampling: str = "multinomial"
    """Choose "multinomial" (the publication's: one after another, without replacement, weighed by their
    order), "systematic", "exact" or "top"."""

    attention: str = "lenet"
    """The attention network: "lenet", "lenet_relu", "resnet16", "timm:MODEL" or the name of a plug-in."""

    features: str = "lenet"
    """The feature network: "lenet", "lenet_released", "resnet16", "timm:MODEL" or the name of a plug-in."""

    normalize_features: bool = True
    """Scale every feature vector to unit length, as the publication does."""

    entropy_strength: float = 1e-5
    """Reward of the entropy of the attention, a mean over images; 1e-5 as Zoom-In's."""

    _counts: ClassVar[tuple[str, ...]] = ("sub_tile_size", "n_samples")
    _scales: ClassVar[tuple[str, ...]] = ("scale",)

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        design(self.sampling)
        require(self.entropy_strength >= 0, "entropy_strength", self.entropy_strength, "Give 0 or more.")


class ATS(Baseline[ATSConfig]):
    """Draw sub-tiles from one attention map over the whole image.

    Example:
        >>> net = ATS(ATSConfig(n_samples=4, sub_tile_size=15))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = ATSConfig
    explains = True

    def __init__(self, config: ATSConfig) -> None:
        """Build the networks."""
        super().__init__(config)
        self.attention = attention_network(
            config.attention, pretrained=config.pretrained, channels=config.n_channels
        )
        self.features, dims = self.build_features(config.features)
        self.head = LinearHead(dims, config.n_classes)
        self.stride = self._measure_stride()
        self.to(memory_format=torch.channels_last)

    def classify(self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None) -> ATSOutput:
        """Attend to the overviews, draw positions, encode their sub-tiles, classify the expected feature."""
        n = how.n_samples or self.config.n_samples
        law = design(how.sampling or self.config.sampling)
        overviews = self.attend(batch)
        estimates = plan_estimates(len(batch), self.device, None, how.keys, n, how.replicates, None)
        image, log_alpha = estimates.image, overviews.log_alpha
        paths = start_paths(estimates, n, len(batch), log_alpha)
        count = log_alpha.isfinite().sum(1).clamp(max=n)[image]

        # The recursion of Zoom-In without tiles: each image is looked into as a tile is.
        estimate, own, position, kappa, log_p = draw_in_tiles(
            law, log_alpha, replace(paths, count=count[:, None])
        )
        regions = overviews.sub_tiles(own, position, self.config.sub_tile_size)
        encoded = self.chunks.apply(self.features, batch, own, regions, self.config.sub_tile_size, 1.0)
        if self.config.normalize_features:
            encoded = functional.normalize(encoded, dim=1)
        features = expected_feature(encoded, log_p, kappa, estimate, len(image))
        replicated = features.unflatten(0, (how.replicates, len(batch)))
        feature = replicated.mean(0)
        taken = torch.bincount(own, minlength=len(batch))
        sub_tiles = SubTiles(
            image=own,
            tile=own,
            position=position,
            regions=regions,
            weight=sample_weights(log_p, kappa).detach() / how.replicates,
            features=encoded.detach(),
            replicate=estimates.replicate[estimate],
        )
        return ATSOutput(
            sub_tiles=sub_tiles,
            overviews=overviews,
            logits=self.head(feature),
            features=feature,
            replicates=replicated,
            pixels_read=taken * self.config.sub_tile_size**2 + overviews.pixels,
            views_read=taken,
            penalty=-self.config.entropy_strength * entropy(overviews.log_alpha).mean(),
        )

    def attend(self, batch: ImageBatch) -> Overviews:
        """The attention over every position of every whole overview; images of one size are seen together."""
        sizes, kind = torch.unique(batch.sizes, dim=0, return_inverse=True)
        flat: list[Tensor] = []
        maps: list[list[int]] = []
        pixels = torch.zeros_like(kind)
        for number, (height, width) in enumerate(sizes.tolist()):
            image = (kind == number).nonzero()[:, 0]
            region = torch.tensor([0, 0, width, height], device=batch.device).expand(len(image), 4)
            views = batch.read(image, region, self.config.scale)
            logits = self.chunks.through(self.attention, views)
            flat.append(logits.flatten(1).log_softmax(1))
            maps.append(list(logits.shape[1:]))
            pixels[image] = views.shape[2] * views.shape[3]
        positions = max(row.shape[1] for row in flat)
        padded = [functional.pad(row, (0, positions - row.shape[1]), value=-torch.inf) for row in flat]
        log_alpha = torch.cat(padded)[kind.argsort(stable=True).argsort()]
        return Overviews(log_alpha, batch.sizes, torch.tensor(maps, device=batch.device)[kind], pixels)

    def design_for(self, height: int, width: int, sampling: str, exact_budget: int) -> str:
        """What is asked for; "auto" enumerates images of few positions."""
        if sampling != "auto":
            return sampling
        rows, columns = (-(-view_size(n, self.config.scale) // self.stride) for n in (height, width))
        return "exact" if rows * columns <= exact_budget else "systematic"

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """The overview and the sub-tiles of a few replicates."""
        overview = view_size(height, self.config.scale) * view_size(width, self.config.scale)
        return overview + 8 * self.config.n_samples * self.config.sub_tile_size**2

    @property
    def n_samples(self) -> int:
        """N."""
        return self.config.n_samples

    def _measure_stride(self) -> int:
        """Pixels of a view, in a row, that share a position of the attention map."""
        was_training, side = self.attention.training, 64
        with torch.no_grad():
            rows = self.attention.eval()(torch.zeros(1, self.config.n_channels, side, side)).shape[1]
        self.attention.train(was_training)
        return int(side // rows)


@dataclass(frozen=True, kw_only=True)
class ATSOutput(BaselineOutput):
    """The answer for a batch of images, with the evidence for it.

    Attributes:
        sub_tiles: sub-tiles drawn, of all replicates; the tile of each is its whole image.
        overviews: the attention over each image.
        stages: none: the one attention map is `overviews`.
        context: none: the head sees sub-tiles alone.
    """

    sub_tiles: SubTiles
    overviews: Overviews
    stages: tuple[StageAttention, ...] = ()
    context: None = None

    def looked(self, image: int) -> Looked:
        """Where the network looked in one image, on the processor, without gradient."""
        height, width = self.overviews.sizes[image].tolist()
        rows, columns = self.overviews.maps[image].tolist()
        alpha = self.overviews.log_alpha[image, : rows * columns].detach().exp().float().cpu()
        return Looked(
            tile_size=float(max(height, width)),
            attention=torch.ones(1, 1),
            tiles=torch.tensor([[0.0, 0.0, width, height]], dtype=torch.float64),
            alpha=torch.ones(1),
            beta=alpha.reshape(1, rows, columns),
            tile=torch.zeros(int((self.sub_tiles.image == image).sum()), dtype=torch.int64),
            one_stage=True,
        )


@dataclass(frozen=True)
class Overviews:
    """The attention maps of a batch of images of any sizes.

    Attributes:
        log_alpha: log attention over the positions, row-major in each image's own map; -inf beyond it.
        sizes: height and width of each image, level-0 pixels.
        maps: rows and columns of each image's map.
        pixels: of each overview.
    """

    log_alpha: Float[Tensor, "batch positions"]
    sizes: Int[Tensor, "batch 2"]
    maps: Int[Tensor, "batch 2"]
    pixels: Int[Tensor, " batch"]

    def sub_tiles(
        self, image: Int[Tensor, " n"], position: Int[Tensor, " n"], side: int
    ) -> Int[Tensor, "n 4"]:
        """The sub-tiles of `side` level-0 pixels centred on positions of images."""
        regions = image.new_empty(len(image), 4)
        for shape in self.maps.unique(dim=0):
            own = (self.maps[image] == shape).all(1)
            height, width = self.sizes[image[own]].unbind(1)
            nothing = torch.zeros_like(height)
            whole = torch.stack([nothing, nothing, width, height], 1)
            rows, columns = shape.tolist()
            regions[own] = sub_tile_regions(whole, position[own], (rows, columns), side)
        return regions
