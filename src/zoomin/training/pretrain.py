"""Pre-training with pixel annotations: a, b and f as classifiers of crops (supplement L).

Each learns at its own scale. A crop is positive if any pixel of it is ROI. The attention networks answer
with the average of their logits, the feature network through a linear layer that is thrown away. Half of
the crops are positive; these lie around points that are drawn evenly from the ROI of an image, the others
anywhere without ROI, half of them in images that have some. Images without annotation take part only where
their label says that there is no ROI.

Crops may also lie where the network itself would read: tiles of the grid, and sub-tiles with the point in
their middle. Of an object nearly as large as a sub-tile, crops anywhere show a corner more often than all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from ..annotations.reader import RoiReader
from ..annotations.rescaled import BoxAnnotation
from ..data.datamodule import ZoomInDataModule
from ..errors import ConfigError, DataError
from ..images.augment import AugmentationDraw, AugmentedBatch, turn
from ..model.zoom_in import ZoomIn
from ..progress import progress_bar
from .config import PretrainConfig

__all__ = ["Crops", "pretrain", "roi_points"]

Place = Literal["anywhere", "grid", "middle"]
_FINE = 16  # cells per side in which points of the ROI are searched for
_TRIES = 24  # crops drawn before an image counts as one without space for a negative crop
_RECORDS = 20  # rows of the record of a part


class Crops(NamedTuple):
    """Squares to classify.

    Attributes:
        row: of the manifest, one per crop.
        regions: x, y, width, height, level-0 pixels.
        labels: 1 where any pixel is ROI, else 0.
    """

    row: Int[Tensor, " n"]
    regions: Int[Tensor, "n 4"]
    labels: Float[Tensor, " n"]


def pretrain(
    net: ZoomIn,
    data: ZoomInDataModule,
    config: PretrainConfig,
    seed: int = 0,
    *,
    progress: bool = False,
) -> list[dict[str, float | str]]:
    """Train a, b and f of a network, in place, on crops of the training images; trunks that are frozen too.

    Args:
        net: the network, on the device where it is to be trained.
        data: the images; they are brought to that device.
        config: how; with no steps nothing is done.
        seed: of the crops, of their augmentation and of the throw-away layer.
        progress: show a progress bar.

    Returns:
        About twenty rows per network: part, step, mean loss and accuracy of the steps since the row before.

    Raises:
        ConfigError: if there is no image with ROI to learn from or no space without, or the loss diverges.
        DataError: if an annotation cannot be read.
    """
    if not config.steps:
        return []
    data.prepare(net.device)
    source = _CropSource(data, seed)
    records: list[dict[str, float | str]] = []
    was_training, frozen = net.training, [p for p in net.parameters() if not p.requires_grad]
    net.train()
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        for part in config.parts:
            with progress_bar(f"Pre-training {part}", config.steps, shown=progress) as bar:
                records += _train_part(net, part, source, config, bar.advance)
    finally:
        net.train(was_training)
        for parameter in frozen:
            parameter.requires_grad_(False)
    return records


def _train_part(
    net: ZoomIn, part: str, source: _CropSource, config: PretrainConfig, on_step: Callable[[], None]
) -> list[dict[str, float | str]]:
    side, scale, network, parameters = _classifier(net, part, source.generator)
    adam = torch.optim.Adam(parameters, lr=config.learning_rate)
    rate = None
    if config.schedule == "cosine":
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    place: Place = "anywhere"
    if config.crops == "as_read":
        place = "middle" if part == "features" else "grid"
    records: list[dict[str, float | str]] = []
    every, since = max(1, config.steps // _RECORDS), torch.zeros(3)
    for step in range(1, config.steps + 1):
        crops = source.draw(config.batch_size, side, place)
        labels = crops.labels.to(net.device)
        views = (source.read(crops, scale).to(net.mean.dtype) - net.mean) / net.std
        logits = network(views.contiguous(memory_format=torch.channels_last)).float()
        loss = binary_cross_entropy_with_logits(logits, labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if rate is not None:
            rate.step()
        since += torch.tensor(
            [float(loss.detach()), float(((logits > 0) == (labels > 0)).float().mean()), 1.0]
        )
        if step % every == 0 or step == config.steps:
            mean = since / since[2]
            if not bool(mean.isfinite().all()):
                raise ConfigError(
                    f"pre-training of {part} diverged at step {step}",
                    where="pretrain.learning_rate",
                    remedy="Lower pretrain.learning_rate.",
                )
            records.append({"part": part, "step": step, "loss": float(mean[0]), "accuracy": float(mean[1])})
            since = torch.zeros(3)
        on_step()
    return records


def _classifier(
    net: ZoomIn, part: str, generator: torch.Generator
) -> tuple[int, float, Callable[[Tensor], Tensor], list[nn.Parameter]]:
    """Side of a crop, scale of its view, a network from views to one logit each, what of it is trained."""
    config = net.config
    if part != "features":
        attention: nn.Module = getattr(net, part)
        scale = config.tile_scale if part == "tile_attention" else config.sub_tile_scale
        return config.tile_size, scale, lambda v: attention(v).mean((1, 2)), list(attention.parameters())
    dims = net.head.weight.shape[1]
    weight = nn.Parameter((torch.randn(dims, generator=generator) / dims**0.5).to(net.device))
    bias = nn.Parameter(torch.zeros((), device=net.device))

    def logit(views: Tensor) -> Tensor:
        features = net.features(views)
        return (normalize(features, dim=1) if config.normalize_features else features) @ weight + bias

    return config.sub_tile_size, 1.0, logit, [*net.features.parameters(), weight, bias]


class _CropSource:
    """Draws crops of the training images with their labels; reads them, changed at random like all images."""

    def __init__(self, data: ZoomInDataModule, seed: int) -> None:
        self._data = data
        self._roi = RoiReader(data.manifest.records, data.file_frame)
        self._rng = np.random.default_rng([seed, 7])
        self.generator = torch.Generator().manual_seed(seed)
        self._size: dict[int, tuple[int, int]] = {}
        rows = data.splits["train"]
        for row, size in zip(rows.tolist(), data.store.select(rows).sizes.tolist(), strict=True):
            self._size[row] = (size[0], size[1])
        known = [row for row in self._size if self._roi.has(row)]
        self._with = [row for row in known if not getattr(self._open(row), "empty", False)]
        clean = [row for row in self._size if row not in known and int(data.labels[row]) == 0]
        self._without = [row for row in known if row not in set(self._with)] + clean
        if not self._with:
            raise ConfigError(
                "no training image has annotated ROI to learn from",
                where="pretrain.steps",
                remedy="Fill the column annotation or mask of the manifest, or set it to 0.",
            )

    def draw(self, n: int, side: int, place: Place = "anywhere") -> Crops:
        """Crops of one size, half of them positive."""
        positive = n // 2
        found = list(self._positives(positive, side, place)) + list(
            self._negatives(n - positive, side, place)
        )
        labels = torch.cat([torch.ones(positive), torch.zeros(n - positive)])
        rows, x, y = (torch.tensor(values) for values in zip(*found, strict=True))
        square = torch.full_like(x, side)
        return Crops(rows, torch.stack([x, y, square, square], 1), labels)

    def read(self, crops: Crops, scale: float) -> Tensor:
        """The views of crops, in random orientations and colours where images are augmented."""
        images = self._data.store.select(crops.row)
        place = torch.arange(len(crops.row), device=images.device)
        regions = crops.regions.to(images.device)
        augmentation = self._data.config.augmentation
        if not augmentation.active:
            return images.read(place, regions, scale)
        drawn = AugmentationDraw.sample(augmentation, len(crops.row), self.generator)
        upright = replace(drawn, orientation=torch.zeros_like(drawn.orientation))
        views = AugmentedBatch(images, upright).read(place, regions, scale)
        return turn(views, drawn.orientation.to(views.device))

    def _positives(self, n: int, side: int, place: Place) -> Iterator[tuple[int, int, int]]:
        for row in self._rng.choice(self._with, n).tolist():
            height, width = self._size[row]
            ((x, y),) = roi_points(self._open(row), 1, self._rng)
            yield row, self._around(x, side, width, place), self._around(y, side, height, place)

    def _around(self, point: float, side: int, length: int, place: Place) -> int:
        """Where a crop that holds a point begins; anywhere: inside the image if it fits."""
        if place == "grid":
            return int(point) // side * side
        if place == "middle":
            return int(np.floor(point)) - side // 2
        begin = int(np.floor(point)) - int(self._rng.integers(side))
        return min(max(begin, 0), max(length - side, 0))

    def _negatives(self, n: int, side: int, place: Place) -> Iterator[tuple[int, int, int]]:
        for number in range(n):
            pool = self._with if number % 2 or not self._without else self._without
            found = self._negative(int(self._rng.choice(pool)), side, place)
            others = (
                self._negative(r, side, place)
                for r in self._rng.permutation([*self._without, *self._with]).tolist()
            )
            found = found or next(filter(None, others), None)
            if found is None:
                raise ConfigError(
                    f"no crop of {side} pixels without ROI found in any training image",
                    where="pretrain.parts",
                    remedy="Leave out the networks whose tiles are too large to be without ROI.",
                )
            yield found

    def _negative(self, row: int, side: int, place: Place) -> tuple[int, int, int] | None:
        """A crop of an image without ROI, None where none is found."""
        height, width = self._size[row]
        x, y = self._begins(side, width, place), self._begins(side, height, place)
        chosen = 0
        if row in self._with:
            boxes = np.stack([x, y, np.full_like(x, side), np.full_like(x, side)], 1).astype(np.float64)
            free = np.flatnonzero(self._open(row).read_boxes(boxes, 1, 1)[:, 0, 0].numpy() == 0)
            if not len(free):
                return None
            chosen = int(free[0])
        return row, int(x[chosen]), int(y[chosen])

    def _begins(self, side: int, length: int, place: Place) -> NDArray[np.int64]:
        """Where crops without ROI might begin."""
        if place == "grid":
            return self._rng.integers(-(-length // side), size=_TRIES) * side
        if place == "middle":
            return self._rng.integers(length, size=_TRIES) - side // 2
        return self._rng.integers(max(length - side, 0) + 1, size=_TRIES)

    def _open(self, row: int) -> BoxAnnotation:
        opened = self._roi.open(row, *self._size[row])
        if opened is None:
            raise DataError("no annotation", where=self._data.manifest.records[row].place)
        return opened


def roi_points(annotation: BoxAnnotation, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points drawn evenly from the ROI, however small it is: a search through finer and finer cells.

    Args:
        annotation: with some ROI.
        n: how many points.
        rng: source of the draws.

    Returns:
        (n, 2), columns x, y, level-0 pixels; in cells of at most a pixel that hold ROI.

    Raises:
        DataError: if there is no ROI.
    """
    box = np.tile(np.array([0.0, 0.0, annotation.width, annotation.height]), (n, 1))
    while box[0, 2:].max() > 1:
        share = annotation.read_boxes(box, _FINE, _FINE).double().numpy().reshape(n, -1)
        total = share.cumsum(axis=1)
        if (total[:, -1] <= 0).any():
            raise DataError("no ROI to draw from", remedy="Leave the image out.")
        cell = (total <= rng.random((n, 1)) * total[:, -1:]).sum(axis=1).clip(max=_FINE**2 - 1)
        box[:, 2:] /= _FINE
        box[:, 0] += cell % _FINE * box[:, 2]
        box[:, 1] += cell // _FINE * box[:, 3]
    return box[:, :2] + box[:, 2:] / 2
