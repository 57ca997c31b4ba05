"""Feature networks f: from a sub-tile to a vector."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from ...errors import ConfigError
from ...runtime.plugins import IF_PLUGGED_IN, Registry
from .cells import CELLS_PREFIX, CellTrunk
from .first_layer import adapt_first_layer
from .own import feature_dims, refuse_own
from .small import SmallResNet
from .trunks import TIMM_PREFIX, timm_encoder

__all__ = [
    "FEATURE_NETWORKS",
    "LeNet",
    "LeNetAuthors",
    "LeNetReleased",
    "ResBlock",
    "ResNet16",
    "feature_network",
]


class _Pooled(nn.Sequential):
    """A stack of layers and global average pooling: (n, 3, h, w) to (n, dims)."""

    dims: int

    def forward(self, sub_tiles: Float[Tensor, "n c h w"]) -> Float[Tensor, "n dims"]:
        """Features of sub-tiles."""
        for layer in self:
            sub_tiles = layer(sub_tiles)
        return sub_tiles.mean((2, 3))


class LeNet(_Pooled):
    """Supplement, table 5: conv 7 x 7, three conv 3 x 3, 32 channels each, ReLU, global average pooling."""

    dims = 32

    def __init__(self) -> None:
        """Build the stack."""
        layers: list[nn.Module] = [nn.Conv2d(3, 32, 7, padding=3), nn.ReLU(inplace=True)]
        for _ in range(3):
            layers += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class LeNetReleased(_Pooled):
    """Two conv 5 x 5 with max-pooling, 36 and 48 channels, without padding.

    The network of the authors' released code but for the padding: `LeNetAuthors` has that too. The name is
    kept because saved models have it.
    """

    dims = 48

    def __init__(self, padding: int = 0) -> None:
        """Build the stack."""
        super().__init__(
            nn.Conv2d(3, 36, 5, padding=padding),
            nn.MaxPool2d(2),  # before the rectifier: the same values and gradients from a quarter of the work
            nn.ReLU(inplace=True),
            nn.Conv2d(36, 48, 5, padding=padding),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
        )
        self._padded = padding > 0

    def forward(self, sub_tiles: Float[Tensor, "n c h w"]) -> Float[Tensor, "n dims"]:
        """Features of sub-tiles, without the last rows and columns where pooling would drop them."""
        if not self._padded:
            height, width = (_reach(side) for side in sub_tiles.shape[-2:])
            sub_tiles = sub_tiles[..., :height, :width]
        return super().forward(sub_tiles)


def _reach(side: int) -> int:
    """Pixels of a side that the features depend on: two convolutions 5 x 5 and two poolings, unpadded.

    Example:
        >>> _reach(27), _reach(24), _reach(28), _reach(9)
        (24, 24, 28, 9)
    """
    kept = ((side - 4) // 2 - 4) // 2
    return 2 * (2 * kept + 4) + 4 if kept > 0 else side


class LeNetAuthors(LeNetReleased):
    """What the authors' released code trains on colon cancer: the same, padded by 2."""

    def __init__(self) -> None:
        """Build the stack."""
        super().__init__(padding=2)


class ResBlock(nn.Module):
    """The pre-activation residual block of two 3 x 3 convolutions (He et al., ECCV 2016).

    Input: (n, channels, h, w). Output: (n, channels, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, channels: int, stride: int) -> None:
        """Build the block; a 1 x 1 convolution is the shortcut where the stride is not 1."""
        super().__init__()
        self.norm_1 = nn.BatchNorm2d(channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels, channels, 1, stride=stride)

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n channels u v"]:
        """The block's output."""
        active = self.relu(self.norm_1(x))
        inner = self.conv_2(self.relu(self.norm_2(self.conv_1(active))))
        out: Tensor = self.shortcut(x) + inner
        return out


class ResNet16(_Pooled):
    """Supplement, table 6: conv 3 x 3, residual blocks of strides 1, 2, 2, 2, 32 channels, pooling."""

    dims = 32

    def __init__(self) -> None:
        """Build the stack."""
        super().__init__(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            *[ResBlock(32, stride) for stride in (1, 2, 2, 2)],
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
        )


FEATURE_NETWORKS: Registry[Callable[[], nn.Module]] = Registry(
    "zoomin.networks",
    {
        "lenet": LeNet,
        "lenet_authors": LeNetAuthors,
        "lenet_released": LeNetReleased,
        "resnet16": ResNet16,
        "small_resnet": SmallResNet,
    },
    callable,
    "a function that builds a network",
    prefix="features.",
)


def feature_network(
    name: str, *, pretrained: bool = False, side: int = 64, channels: int = 3
) -> tuple[nn.Module, int]:
    """A feature network by name, and its number of features: of `FEATURE_NETWORKS`, or timm:, cells:MODEL.

    Args:
        name: of the network.
        pretrained: load the pretrained weights of `timm` networks.
        side: of the views that it will see, pixels: a plug-in is tried on them.
        channels: of the views; the first layer is adapted to them.

    Raises:
        ConfigError: if there is no network of that name, it is a plug-in that does not work, or it cannot
            take so many channels.
    """
    network, dims = _of_colours(name, pretrained, side)
    adapt_first_layer(network, channels, name, pretrained=pretrained)
    return network, dims


def _of_colours(name: str, pretrained: bool, side: int) -> tuple[nn.Module, int]:
    """A feature network for red, green and blue, and its number of features."""
    refuse_own(name, "features")
    if name.startswith(TIMM_PREFIX):
        return timm_encoder(name.removeprefix(TIMM_PREFIX), pretrained)
    if name.startswith(CELLS_PREFIX):
        cells = CellTrunk(name.removeprefix(CELLS_PREFIX), pretrained, side)
        return cells, cells.dims
    if name not in FEATURE_NETWORKS:
        raise ConfigError(
            f"unknown feature network {name!r}",
            remedy=f"Choose one of {', '.join(FEATURE_NETWORKS)}, timm:MODEL or cells:MODEL. {IF_PLUGGED_IN}",
        )
    network = FEATURE_NETWORKS[name]()
    if isinstance(network, _Pooled | SmallResNet):
        return network, network.dims
    return network, feature_dims(network, name, side)
