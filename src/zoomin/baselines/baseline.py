"""What all baselines share: settings, the answer, and a face that the training and inference know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import require
from ..images.batch import as_batch
from ..images.foreground import Foreground
from ..images.image import Image, ImageBatch
from ..model.choices import TargetKind
from ..model.network import Network, check_side, random_keys
from ..model.networks import feature_network
from ..model.settings import Settings

__all__ = [
    "Baseline",
    "BaselineConfig",
    "BaselineOutput",
    "Drawing",
    "Encode",
    "Known",
    "Rows",
    "random_keys",
]

Config = TypeVar("Config", bound="BaselineConfig")


@dataclass(frozen=True)
class BaselineConfig(Settings):
    """Settings that every baseline has.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    n_classes: int = 2
    """Number of classes. `zoomin train` takes it from the data."""

    class_names: tuple[str, ...] = ()
    """Names of the classes in order, class 0 first; empty: class numbers. `zoomin train` takes them from the
    data."""

    target: TargetKind = "classes"
    """What the network answers: one of its classes, any of several labels, a value, a grade, or survival.
    `zoomin train` takes it from the data."""

    value_mean: float = 0.0
    """Mean of the value over the training images; `zoomin train` takes it from the data."""

    value_std: float = 1.0
    """Standard deviation of the value over the training images, likewise."""

    pretrained: bool = False
    """Load the pretrained weights of `timm:MODEL` networks. Off, because it may download; the weights of
    timm:tf_efficientnet_lite0 come with a Python package."""

    channels: tuple[str, ...] = ()
    """Channels that the network sees, by name or number from 1; empty: red, green and blue. `zoomin train`
    takes them from `data.channels`."""

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Mean of red, green and blue in [0, 1], subtracted from views. 0.5 centres them; for a pretrained
    network, use the values it was trained with. Of `channels`: of their samples in the training images."""

    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    """Standard deviation of red, green and blue, by which views are divided. 0.25 scales natural images to
    about 1. Of `channels`: likewise."""

    chunk_size: int = 2048
    """Maximum number of views per network call; bounds memory, does not change results. 2048 small views
    keep a CPU busy."""

    checkpoint: Literal["auto", "always", "never"] = "auto"
    """Recompute activations in the backward pass, which bounds the memory of training to one chunk and costs
    about a third of its time: "always", "never", or "auto", where the views of a stage have more than four
    million pixels."""

    _counts: ClassVar[tuple[str, ...]] = ()  # settings that are at least 1
    _scales: ClassVar[tuple[str, ...]] = ()  # above 0, at most 1
    _shares: ClassVar[tuple[str, ...]] = ()  # from 0 to below 1

    def __post_init__(self) -> None:
        """Check the values."""
        self.check_common()
        for name in self._counts:
            require(getattr(self, name) >= 1, name, getattr(self, name), "Give a whole number of at least 1.")
        for name in self._scales:
            scale = getattr(self, name)
            require(0 < scale <= 1, name, scale, "Give a scale above 0 and at most 1.")
        for name in self._shares:
            share = getattr(self, name)
            require(0 <= share < 1, name, share, "Give a number from 0 to below 1.")

    @property
    def resolution(self) -> float | None:
        """None: baselines see every image's own pixels."""
        return None

    @property
    def foreground(self) -> Foreground:
        """Everything: baselines see the whole image."""
        return Foreground()


@dataclass(frozen=True)
class BaselineOutput:
    """The answer of a baseline for a batch of images.

    Attributes:
        logits: of each class.
        features: what the head classified.
        replicates: the features of each replicate; one where nothing is drawn at random.
        pixels_read: pixels of all views that were read of each image, at their scales.
        views_read: views at the finest scale that were encoded of each image.
        penalty: what the method adds to the cross-entropy, already weighted; 0 where it adds nothing.
        no_foreground: none; baselines look for no foreground.
    """

    logits: Float[Tensor, "batch classes"]
    features: Float[Tensor, "batch dims"]
    replicates: Float[Tensor, "replicates batch dims"]
    pixels_read: Int[Tensor, " batch"]
    views_read: Int[Tensor, " batch"]
    penalty: Float[Tensor, ""]
    no_foreground: tuple[int, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """How a method that draws shall draw.

    Attributes:
        keys: seed of each image's draws.
        n_samples: N; None: the configuration's.
        sampling: the design; None: the configuration's.
        replicates: independent estimates.
    """

    keys: Int[Tensor, " batch"]
    n_samples: int | None = None
    sampling: str | None = None
    replicates: int = 1


Encode = Callable[[nn.Module, ImageBatch], Float[Tensor, "n dims"]]  # rows of images, by a network


class Rows(NamedTuple):
    """What the rows are of that a network makes of a batch of images.

    Attributes:
        kind: "sub_tiles", the crops that tile an image; or "whole".
        side: of the crops, level-0 pixels; of a view of a whole image, its own.
        scale: at which they are read.
        places: x and y of each, level-0 pixels, image by image.
        numbers: of rows, of each image.
    """

    kind: str
    side: int
    scale: float
    places: Int[Tensor, "n 2"]
    numbers: Int[Tensor, " batch"]


class Known(Protocol):
    """Answers with what a frozen network made of images before, and lets it make what it has not seen."""

    def __call__(self, batch: ImageBatch, rows: Rows, encode: Encode) -> Float[Tensor, "n dims"]:
        """The rows of a batch.

        Args:
            batch: the images.
            rows: what they are of.
            encode: makes them.
        """
        ...


class Baseline(Network, ABC, Generic[Config]):
    """A baseline: images of any size to logits, trained, evaluated and saved as Zoom-In is.

    A child sets `config_class` and its networks, and answers `classify`. What is drawn at random is drawn
    from the keys of the images.
    """

    config_class: ClassVar[type[BaselineConfig]]
    config: Config
    any_target: ClassVar[bool] = True  # False where the method itself is about classes
    explains = zooms = False
    known: Known | None = None  # set where `features` is frozen

    def __init__(self, config: Config) -> None:
        """Keep the configuration; the child builds its networks.

        Raises:
            ConfigError: if a network is unknown, its weights cannot be loaded, or views are too small for it.
        """
        super().__init__(config)
        self.config = config

    def build_features(self, name: str, side: int | None = None, setting: str = "") -> tuple[nn.Module, int]:
        """A feature network for images of these settings, and the length of its features.

        Args:
            name: of the network.
            side: pixels of the views that it encodes; None: not checked.
            setting: that `side` comes from.

        Raises:
            ConfigError: if the network is unknown, its weights cannot be loaded, or its views are too small.
        """
        config = self.config
        network, dims = feature_network(name, pretrained=config.pretrained, channels=config.n_channels)
        if side is not None:
            check_side(network, name, side, setting, config.n_channels)
        return network, dims

    def encoded(
        self, network: nn.Module, batch: ImageBatch, rows: Rows, encode: Encode
    ) -> Float[Tensor, "n dims"]:
        """What the network makes of images; what is known is not made again."""
        return encode(network, batch) if self.known is None else self.known(batch, rows, encode)

    def forward(
        self,
        images: Sequence[Image] | Tensor | ImageBatch,
        *,
        generator: torch.Generator | None = None,
        keys: Int[Tensor, " batch"] | None = None,
        n_samples: int | None = None,
        sampling: str | None = None,
        replicates: int = 1,
        labels: Int[Tensor, " batch"] | None = None,
        keep_maps: bool = True,
    ) -> BaselineOutput:
        """Classify a batch of images.

        The arguments are those of `ZoomIn.forward`, of which methods that draw nothing need the images alone;
        and `labels`, the classes of the images, for methods whose penalty depends on them.
        """
        for name, value in (("n_samples", n_samples), ("replicates", replicates)):
            require(value is None or value >= 1, name, value, "Give at least 1.")
        batch = as_batch(images, self.device)
        if keys is None:
            keys = random_keys(len(batch), generator, self.device)
        how = Drawing(keys.to(self.device), n_samples, sampling, replicates)
        return self.classify(batch, how, labels)

    @abstractmethod
    def classify(
        self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None
    ) -> BaselineOutput:
        """Read the images and classify them.

        Args:
            batch: on the device of the networks.
            how: keys and numbers of what is drawn.
            labels: classes of the images, where the penalty may depend on them.
        """

    def design_for(self, height: int, width: int, sampling: str, exact_budget: int) -> str:
        """The sampling design for an image of this size; "exact" where the method draws nothing.

        Args:
            height: level-0 pixels.
            width: level-0 pixels.
            sampling: what is asked for: a design, or "auto".
            exact_budget: most views that "auto" enumerates.
        """
        return "exact"

    @abstractmethod
    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """About how many pixels of views an image of this size brings into a batch.

        Args:
            height: level-0 pixels.
            width: level-0 pixels.
            drawn: sub-tiles drawn in all replicates, where the method draws any.
        """

    @property
    def n_samples(self) -> int:
        """Views drawn in an image; 0 where the method draws nothing."""
        return 0

    def read_ahead(self, images: ImageBatch) -> None:
        """Nothing: baselines read as they go."""

    def nothing(self) -> Float[Tensor, ""]:
        """A penalty of 0."""
        return self.head.weight.new_zeros(())
