"""What all competitors share: settings, the answer, and a face that the training and inference know."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import ConfigError, require
from ..images.batch import as_batch
from ..images.image import Image, ImageBatch
from ..model.chunks import Chunks
from ..model.networks import LinearHead
from ..model.sampling import derive_keys
from ..model.storage import load_pretrained, save_pretrained

__all__ = ["Baseline", "BaselineConfig", "BaselineOutput", "Drawing", "check_side", "random_keys"]

Settings = TypeVar("Settings", bound="BaselineConfig")
Config = TypeVar("Config", bound="BaselineConfig")
Kind = TypeVar("Kind", bound="Baseline[Any]")


@dataclass(frozen=True)
class BaselineConfig:
    """Settings that every competitor has.

    Attributes:
        n_classes: number of classes.
        class_names: names of the classes in order; empty: their numbers.
        pretrained: load the pretrained weights of `timm` networks.
        mean: of red, green and blue in [0, 1], subtracted from views.
        std: likewise, views are divided by it.
        chunk_size: most views that one network call sees at once, which bounds memory.
        checkpoint: compute activations again in the backward pass: "always", "never", or "auto", where the
            views have more than four million pixels together.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    n_classes: int = 2
    class_names: tuple[str, ...] = ()
    pretrained: bool = False
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    chunk_size: int = 2048
    checkpoint: Literal["auto", "always", "never"] = "auto"

    def __post_init__(self) -> None:
        """Check the values."""
        require(self.n_classes >= 2, "n_classes", self.n_classes, "A classifier needs at least 2 classes.")
        require(self.chunk_size >= 1, "chunk_size", self.chunk_size, "Give a whole number of at least 1.")
        require(min(self.std) > 0, "std", self.std, "Give positive numbers.")
        require(
            not self.class_names or len(self.class_names) == self.n_classes,
            "class_names",
            f"{len(self.class_names)} names for {self.n_classes} classes",
            "Give one name a class, or none.",
        )
        require(
            self.checkpoint in ("auto", "always", "never"),
            "checkpoint",
            repr(self.checkpoint),
            "Choose auto, always or never.",
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: `class_names`, or their numbers."""
        return self.class_names or tuple(str(i) for i in range(self.n_classes))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain numbers, strings and lists, for JSON and YAML."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls: type[Settings], values: dict[str, Any], where: str | None = None) -> Settings:
        """The configuration from what `to_dict` gave.

        Raises:
            ConfigError: on a name that this version does not know, or a value that cannot work.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(
                f"unknown model settings {', '.join(unknown)}",
                where=where,
                remedy="The model was saved by another version of zoomin: upgrade, or remove these settings.",
            )
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**settings)


@dataclass(frozen=True)
class BaselineOutput:
    """The answer of a competitor for a batch of images.

    Attributes:
        logits: of each class.
        features: what the head classified.
        replicates: the features of each replicate; one where nothing is drawn at random.
        pixels_read: pixels of all views that were read of each image, at their scales.
        views_read: views at the finest scale that were encoded of each image.
        penalty: what the method adds to the cross-entropy, already weighted; 0 where it adds nothing.
    """

    logits: Float[Tensor, "batch classes"]
    features: Float[Tensor, "batch dims"]
    replicates: Float[Tensor, "replicates batch dims"]
    pixels_read: Int[Tensor, " batch"]
    views_read: Int[Tensor, " batch"]
    penalty: Float[Tensor, ""]


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


class Baseline(nn.Module, ABC, Generic[Config]):
    """A competitor: images of any size to logits, trained, judged and saved as Zoom-In is.

    A child sets `config_class` and its networks, and answers `look`. What is drawn at random is drawn from
    the keys of the images.
    """

    config_class: ClassVar[type[BaselineConfig]]
    config: Config
    head: LinearHead
    mean: Tensor
    std: Tensor

    def __init__(self, config: Config) -> None:
        """Keep the configuration; the child builds its networks."""
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1) * 255, persistent=False)

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
    ) -> BaselineOutput:
        """Classify a batch of images.

        Args:
            images: images, a (B, 3, H, W) tensor (uint8, or float in [0, 1]), or a batch that reads.
            generator: seeds the draws of this call; without `keys` and generator, torch's global one does.
            keys: seed of each image's draws; an image with the same key is drawn the same in any batch.
            n_samples: N, for methods that draw; the configuration's by default.
            sampling: the design, for methods that draw; the configuration's by default.
            replicates: independent estimates whose features are averaged, for methods that draw.
            labels: classes of the images, for methods whose penalty depends on them.

        Raises:
            ConfigError: if the sampling is unknown, N or `replicates` is not positive.
            ImageError: if pixels cannot be read.
        """
        for name, value in (("n_samples", n_samples), ("replicates", replicates)):
            require(value is None or value >= 1, name, value, "Give at least 1.")
        batch = as_batch(images, self.device)
        if keys is None:
            keys = random_keys(len(batch), generator, self.device)
        how = Drawing(keys.to(self.device), n_samples, sampling, replicates)
        return self.look(batch, how, labels)

    @abstractmethod
    def look(self, batch: ImageBatch, how: Drawing, labels: Int[Tensor, " batch"] | None) -> BaselineOutput:
        """Read the images and classify them.

        Args:
            batch: on the device of the networks.
            how: keys and numbers of what is drawn.
            labels: classes of the images, where the penalty may depend on them.
        """

    def design_for(self, height: int, width: int, sampling: str, exact_budget: int) -> str:
        """How an image of this size is looked at; "exact" where the method draws nothing.

        Args:
            height: level-0 pixels.
            width: level-0 pixels.
            sampling: what is asked for: a design, or "auto".
            exact_budget: most views that "auto" enumerates.
        """
        return "exact"

    @abstractmethod
    def pixels_of(self, height: int, width: int) -> int:
        """About how many pixels of views an image of this size brings into a batch.

        Args:
            height: level-0 pixels.
            width: level-0 pixels.
        """

    @property
    def n_samples(self) -> int:
        """Views drawn in an image; 0 where the method draws nothing."""
        return 0

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `model.safetensors` and `config.json` into a folder."""
        return save_pretrained(self, self.config, folder)

    @classmethod
    def from_pretrained(cls: type[Kind], folder: str | Path, device: str | torch.device = "cpu") -> Kind:
        """The model that `save_pretrained` wrote, in evaluation mode.

        Raises:
            CheckpointError: if a file is missing or damaged, or does not fit the configuration.
            ConfigError: if the folder holds another kind of model.
        """
        return load_pretrained(cls, folder, device, cls.config_class.from_dict)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.head.weight.device

    @property
    def chunks(self) -> Chunks:
        """How views reach the networks."""
        return Chunks(self.config.chunk_size, self.config.checkpoint, self.mean, self.std)

    def nothing(self) -> Float[Tensor, ""]:
        """A penalty of 0."""
        return self.head.weight.new_zeros(())


def random_keys(
    batch: int, generator: torch.Generator | None, device: torch.device | str
) -> Int[Tensor, " batch"]:
    """A key an image from a generator, torch's global one by default."""
    source = torch.default_generator if generator is None else generator
    seed = torch.randint(2**62, (1,), generator=source, device=source.device).to(device)
    return derive_keys(seed.expand(batch), torch.arange(batch, device=device))


def check_side(network: nn.Module, name: str, side: int, setting: str) -> None:
    """Refuse views that a network shrinks to nothing, before any image is opened.

    Args:
        network: of features.
        name: of the network.
        side: of the views, pixels.
        setting: to blame.

    Raises:
        ConfigError: naming the setting.
    """
    was_training, probe = network.training, min(side, 64)
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, probe, probe))
    except RuntimeError as error:
        raise ConfigError(
            f"views of {side} pixels are too small for the network {name!r}",
            where=setting,
            remedy=f"Give a larger {setting}, or another network.",
        ) from error
    network.train(was_training)
