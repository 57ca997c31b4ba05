"""What multiple-instance learning shares: an image as a bag of crops that tile it, encoded end to end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..errors import BatchReadError, DataError, ImageError
from ..geometry import TileGrid, view_size
from ..images.image import ImageBatch
from ..model.feature_files import stored_dims, stored_features
from ..model.feature_stores import find_store, split_table
from .baseline import Baseline, BaselineConfig, BaselineOutput, Drawing, Rows

__all__ = ["MIL", "BagConfig", "Bags", "Pooled", "cut"]

STORED = "stored:"
BagSettings = TypeVar("BagSettings", bound="BagConfig")


@dataclass(frozen=True)
class BagConfig(BaselineConfig):
    """The crops of a bag, and their network."""

    crop_size: int = 27
    """Side of the crops that tile the image, in level-0 pixels; 27 as Zoom-In's sub-tiles, for comparison."""

    scale: float = 1.0
    """Scale in (0, 1] at which crops are read; 1 is full resolution."""

    features: str = "lenet_released"
    """Network f, which encodes crops: "lenet_released", "lenet", "resnet16", "timm:MODEL",
    "timm:MODEL@FILE" (weights from a file), the name of a plug-in; or "stored:FOLDER": no network, the
    features of the crops of each image are in files by `zoomin data features`, CLAM, TRIDENT, STAMP,
    slide2vec or LazySlide ("stored:FOLDER@TABLE" where its stores hold those of several networks)."""

    _counts: ClassVar[tuple[str, ...]] = ("crop_size",)
    _scales: ClassVar[tuple[str, ...]] = ("scale",)


@dataclass(frozen=True)
class Bags:
    """The encoded crops of a batch of images, as one flat ragged list.

    Attributes:
        instances: the feature of each crop, image by image, row by row.
        image: image of each crop, sorted.
        index: place of each crop in its bag.
        count: crops of each image.
    """

    instances: Float[Tensor, "n dims"]
    image: Int[Tensor, " n"]
    index: Int[Tensor, " n"]
    count: Int[Tensor, " batch"]

    @classmethod
    def of(cls, instances: Float[Tensor, "n dims"], image: Int[Tensor, " n"], batch: int) -> Bags:
        """The bags of a batch of images from crops that are listed image by image."""
        count = torch.bincount(image, minlength=batch)
        index = torch.arange(len(image), device=image.device) - (count.cumsum(0) - count)[image]
        return cls(instances, image, index, count)

    @property
    def inside(self) -> Bool[Tensor, "batch widest"]:
        """Which places of `padded` hold a crop."""
        return torch.arange(int(self.count.max()), device=self.count.device) < self.count[:, None]

    def padded(self, values: Float[Tensor, "n ..."], fill: float) -> Float[Tensor, "batch widest ..."]:
        """One row per image, `fill` beyond its crops; no copy where all images have as many."""
        shape = (len(self.count), int(self.count.max()), *values.shape[1:])
        if len(values) == shape[0] * shape[1]:
            return values.reshape(shape)
        return values.new_full(shape, fill).index_put((self.image, self.index), values)

    def softmax(self, logits: Float[Tensor, "n maps"]) -> Float[Tensor, "n maps"]:
        """Attention over each bag: every column sums to 1 over the crops of an image."""
        return self.padded(logits, -torch.inf).softmax(1)[self.image, self.index]

    def sum(self, weights: Float[Tensor, "n maps"], values: Tensor) -> Float[Tensor, "batch maps dims"]:
        """The sum of the crops' values under each column of weights."""
        kind = torch.promote_types(weights.dtype, values.dtype)  # autocast multiplies in half precision
        return (self.padded(weights, 0.0).mT @ self.padded(values, 0.0)).to(kind)


def cut(regions: Int[Tensor, "n 4"], side: int) -> Int[Tensor, "n crops 4"]:
    """The crops that tile each of some square regions, row by row.

    Args:
        regions: all of one size, a multiple of `side`, level-0 pixels.
        side: of the crops, level-0 pixels.

    Example:
        >>> cut(torch.tensor([[10, 20, 4, 4]]), 2)[0, :, :2].tolist()
        [[10, 20], [12, 20], [10, 22], [12, 22]]
    """
    across = int(regions[0, 2]) // side if len(regions) else 1
    place = torch.arange(across**2, device=regions.device)
    x = regions[:, :1] + place % across * side
    y = regions[:, 1:2] + place // across * side
    return torch.stack([x, y, torch.full_like(x, side), torch.full_like(x, side)], 2)


class Pooled(NamedTuple):
    """What becomes of a bag.

    Attributes:
        features: of each image, for the head.
        penalty: what the method adds to the cross-entropy.
    """

    features: Float[Tensor, "batch dims"]
    penalty: Float[Tensor, ""]


class MIL(Baseline[BagSettings], Generic[BagSettings]):
    """Encode all crops of an image, make one feature of them, classify it.

    A child builds its layers and its head for `dims` features per crop, and answers `pool`. Nothing is drawn:
    the work grows with the number of crops.
    """

    def __init__(self, config: BagSettings) -> None:
        """Build the network of the crops.

        Raises:
            ConfigError: if the network is unknown, cannot be loaded, or crops are too small for it.
            DataError: if the folder of stored features holds none.
        """
        super().__init__(config)
        self.features: nn.Module | None = None
        if self._folder is None:
            side = view_size(config.crop_size, config.scale)
            self.features, self.dims = self.build_features(config.features, side, "crop_size")
        else:
            self.dims = stored_dims(self._folder)

    @abstractmethod
    def pool(self, bags: Bags, labels: Int[Tensor, " batch"] | None) -> Pooled:
        """One feature per image from those of its crops.

        Args:
            bags: the encoded crops.
            labels: classes of the images, where the penalty may depend on them; None: no penalty.
        """

    def classify(
        self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Encode all crops, pool them, classify."""
        return self.answer(self.bags(batch), how.keys, labels)

    def answer(
        self, bags: Bags, keys: Int[Tensor, " batch"], labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Pool encoded crops and classify.

        Args:
            bags: the encoded crops.
            keys: seed of each image's draws, for methods that draw.
            labels: classes of the images, where the penalty may depend on them.
        """
        features, penalty = self.pool(bags, labels)
        return BaselineOutput(
            logits=self.head(features),
            features=features,
            replicates=features[None],
            pixels_read=bags.count * self._crop_pixels,
            views_read=bags.count,
            penalty=penalty,
        )

    def bags(self, batch: ImageBatch) -> Bags:
        """The encoded crops of every image.

        Raises:
            BatchReadError: naming the images whose stored features cannot be read.
        """
        if self.features is None:
            return self._stored(batch)
        side = self.config.crop_size
        grid = TileGrid.of(batch.sizes, side)
        rows = Rows("sub_tiles", side, self.config.scale, grid.regions[:, :2], grid.count)
        instances = self.encoded(self.features, batch, rows, self._crops)
        return Bags(instances, grid.image, grid.index, grid.count)

    def _crops(self, network: nn.Module, batch: ImageBatch) -> Float[Tensor, "n dims"]:
        """What the network makes of the crops that tile some images."""
        side, scale = self.config.crop_size, self.config.scale
        grid = TileGrid.of(batch.sizes, side)
        return self.chunks.apply(network, batch, grid.image, grid.regions, side, scale)

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """All crops; none where features are stored."""
        side = self.config.crop_size
        return -(-height // side) * -(-width // side) * self._crop_pixels

    def _stored(self, batch: ImageBatch) -> Bags:
        """The bags in the files of the images."""
        found: list[Tensor] = []
        failures: dict[int, ImageError] = {}
        for place, name in enumerate(batch.names):
            try:
                found.append(self._read(name))
            except ImageError as error:
                failures[place] = error
        if failures:
            raise BatchReadError.of(failures)
        count = torch.tensor([len(features) for features in found])
        image = torch.repeat_interleave(count).to(self.device)
        return Bags.of(torch.cat(found).to(self.device), image, len(batch))

    def _read(self, name: str) -> Float[Tensor, "n dims"]:
        return stored_features(self._folder or "", name, self.dims).features

    def check_stored(self, names: Sequence[str]) -> None:
        """Read the stored features of all images once, so that errors are reported before training.

        Args:
            names: of the images; files that are missing are left to the reading, which may do without some.

        Raises:
            DataError: naming the first file that cannot be used, or that two images share.
        """
        failures: list[ImageError] = []
        owner: dict[Path, str] = {}
        for name in names if self._folder is not None else ():
            try:
                store = find_store(split_table(self._folder or "")[0], name)
                if store is None:
                    continue
                if owner.setdefault(store, name) != name:
                    raise DataError(
                        f"the images {owner[store]} and {name} share this file of features",
                        where=store,
                        remedy="Give images names that differ in more than folder and suffix, or drop one.",
                    )
                self._read(name)
            except ImageError as error:
                failures.append(error)
        if failures:
            first = failures[0]
            more = f" (and {len(failures) - 1} more files cannot be used)" if len(failures) > 1 else ""
            raise DataError(first.what + more, where=first.where, remedy=first.remedy)

    @property
    def _folder(self) -> str | None:
        """Of stored features."""
        name = self.config.features
        return name.removeprefix(STORED) if name.startswith(STORED) else None

    @property
    def _crop_pixels(self) -> int:
        """Pixels of a view that are read; none where features are stored."""
        return 0 if self._folder else view_size(self.config.crop_size, self.config.scale) ** 2
