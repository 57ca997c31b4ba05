"""The evidence behind the answer to one image: what was read, with which weight, what each piece said.

The head is linear, so the logits are the sum of the sub-tiles' contributions plus the bias, exactly and for
every way of sampling. Nothing here is inferred after the fact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

from ..geometry import Region
from ..images.georeference import Georeference
from ..model.estimators import segment_sum
from .density import attention_density
from .files import load_fields, save_explanation
from .geojson import explanation_geojson
from .panel import panel_figure
from .places import Places, speaks_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..annotations.annotation import Annotation

__all__ = ["Explanation", "Provenance", "Source"]


@dataclass(frozen=True)
class Source:
    """Where the pixels came from.

    Attributes:
        identity: resolved path, size in bytes and time of the last change in nanoseconds of the file; None
            for images that are no file.
        mpp: microns per level-0 pixel, None where unknown.
        bounds: the scanned part of a slide's canvas, level-0 pixels, where the file tells it.
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
            found = Path(self.identity[0]).stat()
        except OSError:
            return "gone"
        return None if (found.st_size, found.st_mtime_ns) == self.identity[1:] else "changed"


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
class Explanation:
    """The evidence for the answer to one image. Boxes are in level-0 pixels of the image's file.

    Boxes are whole numbers where the network reads level-0 pixels, fractions where it reads at another MPP.

    Attributes:
        image: name of the image.
        size: its height and width, level-0 pixels.
        classes: names of the classes.
        logits: of each class; `bias` plus the sum of `contribution`.
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
        standard_error: of the predicted class's probability, owed to drawing sub-tiles; 0 for exact and top,
            NaN where a single replicate cannot tell.
        truth: the true class, None where unknown.
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
    standard_error: float = math.nan
    truth: str | None = None
    source: Source = field(default_factory=Source)
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def probabilities(self) -> Float[Tensor, " classes"]:
        """Softmax of the logits."""
        return self.logits.softmax(0)

    @property
    def label(self) -> str:
        """The class of highest probability: the prediction."""
        return self.classes[int(self.logits.argmax())]

    def places(self) -> Places:
        """The distinct sub-tiles, heaviest first."""
        distinct, place, times = torch.unique(self.sub_tiles, dim=0, return_inverse=True, return_counts=True)
        weight = segment_sum(self.weight, place, len(distinct))
        contribution = segment_sum(self.contribution, place, len(distinct))
        one = torch.zeros(len(distinct), dtype=torch.int64).index_put((place,), torch.arange(len(place)))
        tile = self.tile[one]
        beta = self.beta.flatten(1)[tile, self.position[one]]
        order = weight.argsort(descending=True, stable=True)
        columns = (distinct, weight, contribution, tile, self.alpha[tile], beta, times)
        return Places(*(column[order] for column in columns))

    def top_tiles(self) -> Int[Tensor, " drawn"]:
        """The drawn tiles, as rows of `tiles`, that of highest attention first."""
        return self.alpha.argsort(descending=True, stable=True)

    def evidence(self, label: str | None = None) -> Float[Tensor, " n"]:
        """What each sub-tile says for a class, the predicted one by default: positive speaks for it.

        The contribution to its logit minus the mean over classes, which softmax does not see.

        Raises:
            ConfigError: if there is no such class.
        """
        return speaks_for(self.contribution, self.classes, self.label if label is None else label)

    def heat_map(
        self, height: int, width: int, step: tuple[float, float] | None = None
    ) -> Float[Tensor, "height width"]:
        """Attention as a picture of the whole image, relative to looking everywhere alike (1).

        Tile attention times position attention where a tile was drawn; elsewhere tile attention, spread
        evenly. Every pixel of the picture is an average over its box.

        Args:
            height: rows of the picture.
            width: columns of the picture.
            step: height and width of its pixels, level-0 pixels; by default the picture covers the image.
        """
        cells = self.attention, self.tiles, self.beta
        return attention_density(self.size, self.tile_size, *cells, (height, width), step)

    def to_geojson(
        self,
        *,
        top: int = 100,
        coordinates: str = "auto",
        bounds_offset: bool = False,
        attention_cells: bool = False,
    ) -> dict[str, Any]:
        """Drawn tiles and the heaviest sub-tiles as a GeoJSON FeatureCollection.

        Args:
            top: most sub-tiles; 0 for all.
            coordinates: "pixels": level-0 pixels; "map": of the image's coordinate reference system; "wgs84":
                degrees, as RFC 7946 has it; "auto": map coordinates where the image has them, else pixels.
            bounds_offset: count pixels from the corner of the slide's scanned part.
            attention_cells: also every position of the drawn tiles whose attention is above the mean.

        Raises:
            ConfigError: if the coordinates cannot be had.
        """
        return explanation_geojson(
            self,
            top=top,
            coordinates=coordinates,
            bounds_offset=bounds_offset,
            attention_cells=attention_cells,
        )

    def figure(self, roi: Annotation | None = None) -> Figure:
        """The panel of the paper's figure 6: overview, ROI, attention, top tiles, top sub-tiles.

        Args:
            roi: the annotated truth of this image, if there is one.
        """
        return panel_figure(self, roi)

    def save(self, folder: str | Path) -> Path:
        """Write explanation.json, arrays.npz and pictures into a folder (docs/explain.md has the format).

        Returns:
            The path of explanation.json.
        """
        return save_explanation(self, folder)

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """The explanation that `save` wrote.

        Args:
            path: its folder, or its explanation.json.

        Raises:
            DataError: if a file is missing, damaged, or written by a newer version.
        """
        values = load_fields(path)
        source, provenance = values.pop("source"), values.pop("provenance")
        return cls(**values, source=Source(**source), provenance=Provenance(**provenance))
