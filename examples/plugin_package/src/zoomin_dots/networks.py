"""Two small networks: `--model.features dots --model.tile_attention dots`."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["DotAttention", "DotFeatures"]


class DotFeatures(nn.Module):
    """From sub-tiles to features; `dims`, their number, is measured by zoomin."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()
        )

    def forward(self, sub_tiles: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 8"]:
        """Features of sub-tiles."""
        features: Tensor = self.layers(sub_tiles)
        return features


class DotAttention(nn.Conv2d):
    """From views to a logit at every position: one convolution, no nonlinearity after it."""

    def __init__(self) -> None:
        """Build the layer."""
        super().__init__(3, 1, 5, padding=2)

    def forward(self, views: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n h w"]:
        """Logits of every position."""
        return super().forward(views).squeeze(1)
