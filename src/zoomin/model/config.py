"""What a Zoom-In network is made of: every number and name that a saved model needs to be rebuilt."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import ConfigError, require
from ..images.foreground import Foreground, foreground_from_dict
from ..images.physical import microns
from .sampling import design

__all__ = ["ZoomInConfig"]


@dataclass(frozen=True)
class ZoomInConfig:
    """Configuration of a Zoom-In network; the defaults are the paper's for colon cancer.

    Attributes:
        n_classes: number of classes; class 0 is the negative class of the contrastive loss.
        tile_size: side of a tile, level-0 pixels.
        sub_tile_size: side of a sub-tile, level-0 pixels.
        tile_scale: s1, the scale at which the tile attention sees every tile.
        sub_tile_scale: s2, the scale at which the position attention sees a drawn tile.
        n_samples: N, sub-tiles drawn in an image.
        sampling: "multinomial" (the paper's), "systematic", "exact" or "top".
        tile_attention: network a: "lenet", "lenet_relu", "resnet16", "timm:MODEL", "pyramid:MODEL" (three
            strides of the view enlarged by two, one linear layer), or "uniform" (every tile alike).
        position_attention: network b, likewise; "uniform": a tile has one sub-tile, in its middle.
        features: network f: "lenet", "lenet_released", "resnet16" or "timm:MODEL".
        pretrained: load the pretrained weights of `timm` networks.
        normalize_features: scale every feature to unit length.
        gate_copies: copies of gated attention behind f, whose weight of a sub-tile joins that of the drawn
            attention and whose logits are averaged; 0: none, the paper's.
        gate_components: numbers that f is projected to before its gates.
        gate_width: features of a copy.
        context_side: longest side of a view of the whole image that f sees too, its features beside the
            expected one; 0: none, the paper's.
        prediction_sampling: sampling that "auto" means when the trained model predicts; None: "exact" where
            the image has few sub-tiles, else "systematic".
        mean: of red, green and blue in [0, 1], subtracted from views.
        std: likewise, views are divided by it.
        mpp: microns per pixel of the working frame: every image is brought to it, and all "level-0 pixels"
            here are pixels of that size. None: each image's own pixels. "0.5m" are metres (satellite images).
        tile_mpp: microns per pixel of the tile attention's views, in place of `tile_scale`; needs `mpp`.
        sub_tile_mpp: likewise of the position attention's, in place of `sub_tile_scale`.
        foreground: which tiles are looked at; the others, such as the glass of a slide, get no attention.
        chunk_size: most views that one network call sees at once, which bounds memory.
        checkpoint: compute activations again in the backward pass, which bounds the memory of training to one
            chunk and costs about a third of its time: "always", "never", or "auto", where the views of a
            stage have more than four million pixels.
        class_names: names of the classes in order; empty: their numbers.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    n_classes: int = 2
    tile_size: int = 250
    sub_tile_size: int = 27
    tile_scale: float = 0.1
    sub_tile_scale: float = 0.2
    n_samples: int = 10
    sampling: str = "multinomial"
    tile_attention: str = "lenet"
    position_attention: str = "lenet"
    features: str = "lenet"
    pretrained: bool = False
    normalize_features: bool = True
    gate_copies: int = 0
    gate_components: int = 200
    gate_width: int = 64
    context_side: int = 0
    prediction_sampling: str | None = None
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    mpp: float | str | None = None
    tile_mpp: float | str | None = None
    sub_tile_mpp: float | str | None = None
    foreground: Foreground = field(default_factory=Foreground)
    chunk_size: int = 2048
    checkpoint: Literal["auto", "always", "never"] = "auto"
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the values, and take the scales from `tile_mpp` and `sub_tile_mpp` where these are given."""
        design(self.sampling)
        if self.mpp is not None:
            object.__setattr__(self, "mpp", microns(self.mpp, "mpp"))
        for name in ("tile", "sub_tile"):
            self._take_scale(f"{name}_mpp", f"{name}_scale")
        for name in ("tile_size", "sub_tile_size", "n_samples", "chunk_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "Give a whole number of at least 1.")
        for name in ("tile_scale", "sub_tile_scale"):
            require(
                0 < getattr(self, name) <= 1, name, getattr(self, name), "Give a scale above 0 and at most 1."
            )
        for name in ("gate_copies", "context_side"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "Give 0 or more.")
        require(
            not (self.gate_copies and self.context_side),
            "context_side",
            f"{self.context_side} with {self.gate_copies} copies of gated attention",
            "Set one of the two to 0.",
        )
        if self.prediction_sampling is not None:
            design(self.prediction_sampling)
        require(
            self.checkpoint in ("auto", "always", "never"),
            "checkpoint",
            repr(self.checkpoint),
            "Choose auto, always or never.",
        )
        require(self.n_classes >= 2, "n_classes", self.n_classes, "A classifier needs at least 2 classes.")
        require(
            self.sub_tile_size <= self.tile_size,
            "sub_tile_size",
            f"{self.sub_tile_size}, larger than the tile ({self.tile_size})",
            "Sub-tiles lie inside tiles: give a smaller sub_tile_size or a larger tile_size.",
        )
        require(min(self.std) > 0, "std", self.std, "Give positive numbers.")
        require(
            not self.class_names or len(self.class_names) == self.n_classes,
            "class_names",
            f"{len(self.class_names)} names for {self.n_classes} classes",
            "Give one name a class, or none.",
        )

    def _take_scale(self, name: str, scale: str) -> None:
        """Set a scale from its microns per pixel."""
        value = getattr(self, name)
        if value is None:
            return
        coarse = microns(value, name)
        require(
            self.resolution is not None,
            name,
            f"{value} without the resolution that it is relative to",
            f"Give mpp too, the microns per pixel of sub-tiles, or {scale} in place of {name}.",
        )
        found = (self.resolution or 1.0) / coarse
        given = getattr(self, scale)
        default = type(self).__dataclass_fields__[scale].default
        require(
            given == default or math.isclose(given, found, rel_tol=1e-9),
            name,
            f"{value}, a scale of {found:g}, and {scale} is {given:g}",
            f"Give one of the two: leave {scale} out (its default is {default}), or set {name} to null.",
        )
        object.__setattr__(self, name, coarse)
        object.__setattr__(self, scale, found)

    @property
    def resolution(self) -> float | None:
        """Microns per pixel of the working frame, None where each image keeps its own pixels."""
        return None if self.mpp is None else float(self.mpp)

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
    def from_dict(cls, values: dict[str, Any], where: str | None = None) -> ZoomInConfig:
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
        if isinstance(found := settings.get("foreground"), dict):
            settings["foreground"] = foreground_from_dict(found, where)
        return cls(**settings)
