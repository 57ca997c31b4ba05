"""A plain convolutional network on the whole image, shrunk until it fits: the first thing anyone tries.

Every image is read at the scale that makes its longest side `side` pixels, at most at full resolution, in the
middle of a square of `side` x `side`. With `lenet` this is the CNN that the papers compare with on colon
cancer (Katharopoulos & Fleuret, ICML 2019, section 4; Kong & Henao, CVPR 2022, section 4.1: the feature
network f on the whole image); with `timm:efficientnet_b0` and side 896 the EfficientNet-B0 of Kong & Henao's
section 4.4 (Tan & Le, ICML 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from ..images.image import ImageBatch
from ..model.networks import LinearHead
from .baseline import Baseline, BaselineConfig, BaselineOutput, Drawing, Rows

__all__ = ["CNN", "CNNConfig"]


@dataclass(frozen=True)
class CNNConfig(BaselineConfig):
    """A convolutional network on the whole image."""

    name: Literal["cnn"] = "cnn"
    """The baseline: cnn, a network on the whole image."""

    side: int = 512
    """Side of the square into which the image is shrunk, in pixels. Larger ones show smaller objects, and
    cost its square."""

    features: str = "lenet"
    """The network: "lenet", "lenet_released", "resnet16", "timm:MODEL" or the name of a plug-in."""

    _counts: ClassVar[tuple[str, ...]] = ("side",)


class CNN(Baseline[CNNConfig]):
    """A convolutional network, global average pooling, and a linear layer, on whole images.

    Example:
        >>> net = CNN(CNNConfig(side=32))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = CNNConfig

    def __init__(self, config: CNNConfig) -> None:
        """Build the network."""
        super().__init__(config)
        self.features, dims = self.build_features(config.features, config.side, "side")
        self.head = LinearHead(dims, config.n_classes)
        self.to(memory_format=torch.channels_last)

    def classify(
        self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Classify shrunk images."""
        one = torch.ones(len(batch), dtype=torch.int64, device=self.device)
        rows = Rows("whole", self.config.side, 1.0, batch.sizes.new_zeros(len(batch), 2), one)
        features = self.encoded(self.features, batch, rows, self._whole)
        return BaselineOutput(
            logits=self.head(features),
            features=features,
            replicates=features[None],
            pixels_read=one * self.config.side**2,
            views_read=one,
            penalty=self.nothing(),
        )

    def _whole(self, network: nn.Module, batch: ImageBatch) -> Float[Tensor, "batch dims"]:
        """What the network makes of shrunk images."""
        return self.chunks.through(network, read_whole(batch, self.config.side))

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """The square that the image is shrunk into."""
        return self.config.side**2


def read_whole(batch: ImageBatch, side: int) -> Shaped[Tensor, "batch channels side side"]:
    """Every image whole, in the middle of a square of `side` pixels, at the largest scale that fits it.

    Images of the same longest side are read together.
    """
    longest = batch.sizes.amax(1).clamp(min=side)
    views: Tensor | None = None
    for length in longest.unique().tolist():
        image = (longest == length).nonzero()[:, 0]
        offset = (length - batch.sizes[image]) // 2
        square = torch.full_like(image, length)
        regions = torch.stack([-offset[:, 1], -offset[:, 0], square, square], 1)
        some: Tensor = batch.read(image, regions, side / length)
        views = some.new_empty(len(batch), *some.shape[1:]) if views is None else views
        views[image] = some
    assert views is not None
    return views.contiguous(memory_format=torch.channels_last)
