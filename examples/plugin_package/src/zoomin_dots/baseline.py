"""A baseline: the mean colour of the whole image, classified by one layer. `--model.name brightness`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from zoomin.baselines import Baseline, BaselineConfig, BaselineOutput
from zoomin.baselines.baseline import Drawing
from zoomin.images.image import ImageBatch
from zoomin.model.networks import LinearHead

__all__ = ["Brightness", "BrightnessConfig"]


@dataclass(frozen=True)
class BrightnessConfig(BaselineConfig):
    """Settings of the mean colour."""

    name: Literal["brightness"] = "brightness"
    """The baseline: brightness."""

    scale: float = 0.25
    """Scale in (0, 1] at which an image is read; a mean needs no detail."""


class Brightness(Baseline[BrightnessConfig]):
    """Classify an image by its mean colour."""

    config_class = BrightnessConfig

    def __init__(self, config: BrightnessConfig) -> None:
        """Build the head."""
        super().__init__(config)
        self.head = LinearHead(3, config.n_classes)

    def classify(
        self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Read each image whole; nothing is drawn, so `how` changes nothing."""
        features, pixels = [], []
        for number, (height, width) in enumerate(batch.sizes.tolist()):
            box = torch.tensor([[0, 0, width, height]], device=self.device)
            view = batch.read(torch.tensor([number], device=self.device), box, self.config.scale)
            features.append((view.float() / 255).mean((2, 3)))
            pixels.append(view.shape[2] * view.shape[3])
        mean, read = torch.cat(features), torch.tensor(pixels, device=self.device)
        return BaselineOutput(self.head(mean), mean, mean[None], read, torch.ones_like(read), self.nothing())

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """The pixels of the one view."""
        return round(height * width * self.config.scale**2)
