"""What a Zoom-In network is made of: every number and name that a saved model needs to be rebuilt."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from ..errors import ConfigError, require
from ..images.foreground import Foreground, foreground_from_dict
from ..images.physical import microns
from .choices import TargetKind, check_sampling
from .settings import Settings

__all__ = ["BlockStage", "ZoomInConfig"]


@dataclass(frozen=True)
class BlockStage:
    """A zoom stage above the tiles: attention over blocks of tiles, of which some are drawn.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    size: int
    """Side of a block, level-0 pixels: a whole multiple of the size of the next stage; in the last stage of
    blocks, of `tile_size`."""

    scale: float
    """Scale in (0, 1] at which the attention network sees the blocks. Below `tile_scale`: that is what the
    stage saves."""

    attention: str = "lenet"
    """Its attention network, with weights of its own; the same choices as for `tile_attention`."""

    def __post_init__(self) -> None:
        """Check the values."""
        require(self.size >= 1, "blocks.size", self.size, "Give a whole number of at least 1.")
        require(0 < self.scale <= 1, "blocks.scale", self.scale, "Give a scale above 0 and at most 1.")


@dataclass(frozen=True)
class ZoomInConfig(Settings):
    """Configuration of a Zoom-In network; the defaults are the paper's for colon cancer.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    n_classes: int = 2
    """Number of classes, or of what else the target has a logit for; class 0 is the negative class of the
    contrastive loss. `zoomin train` takes it from the data."""

    tile_size: int = 250
    """Side of a tile, what stage 1 draws, in level-0 pixels. Large enough for an object and its
    surroundings; 250 is the paper's for colon cancer."""

    sub_tile_size: int = 27
    """Side of a sub-tile, what stage 2 draws and the feature network sees at full resolution, in level-0
    pixels: the object and a margin. 27 is the paper's, the size of a nucleus at 20x."""

    tile_scale: float = 0.1
    """s1, the scale in (0, 1] at which the tile attention sees every tile. The smaller, the cheaper, but
    the object must leave a trace. 0.1 is the paper's."""

    sub_tile_scale: float = 0.2
    """s2, the scale in (0, 1] at which the position attention sees the drawn tiles. 0.2 is the paper's."""

    n_samples: int = 10
    """N, sub-tiles drawn per image. More reduce the variance of training and take proportionally longer; 10
    is the paper's."""

    sampling: str = "multinomial"
    """How tiles and sub-tiles are drawn: "multinomial" (the paper's, and unbiased), "systematic" (unbiased,
    less variance), "exact" (every sub-tile, for small images) or "top" (the heaviest, biased)."""

    tile_attention: str = "lenet"
    """Network a, the tile attention: "lenet" (the paper's for colon cancer), "lenet_relu", "resnet16", each
    also with "_reflect" behind (a view is mirrored at its border, which the paper's zeros mark),
    "timm:MODEL", "pyramid:MODEL" (three strides of the view enlarged by two, one linear layer), "uniform"
    (every tile alike), or the name of a plug-in."""

    position_attention: str = "lenet"
    """Network b, the position attention inside tiles; the same choices as for `tile_attention`. "uniform": a
    tile has one sub-tile, in its middle."""

    features: str = "lenet"
    """Network f, which encodes sub-tiles: "lenet" (the paper's for colon cancer), "lenet_authors" (of the
    authors' code), "lenet_released" (the same without padding, and faster), "resnet16", "small_resnet"
    (small enough to learn from pixels on a CPU), "timm:MODEL", "timm:MODEL@FILE" (weights from a file),
    "cells:MODEL" (mean and maximum of the maps of strides 8 and 16 in cells of about 80 pixels, of the
    sub-tile enlarged by two, beside its last features; gates weigh the cells), or the name of a plug-in."""

    pretrained: bool = False
    """Load the pretrained weights of `timm:MODEL` networks. Off, because it may download; the weights of
    timm:tf_efficientnet_lite0 come with a Python package."""

    blocks: tuple[BlockStage, ...] = ()
    """Zoom stages above the tiles, the coarsest first, for the largest images: tiles are then read at
    `tile_scale` in the drawn blocks alone. Empty: the paper's two stages."""

    normalize_features: bool = True
    """Scale every feature vector to unit length, as the paper does."""

    gate_copies: int = 0
    """Copies of gated attention behind f: a sub-tile's weight joins that of the attention that drew it, and
    the logits of the copies are averaged. 0: none, as in the paper; `frozen.copies` sets it."""

    gate_components: int = 200
    """Length of the vector to which the features of f are projected (principal components) before gated
    attention; `frozen.components` sets it. 200: fewer inputs overfit less where images are few."""

    gate_width: int = 64
    """Hidden units of each copy of gated attention; 64 are few enough for some hundred images."""

    gate_overview: bool = False
    """The head behind the gates also sees the mean and the maximum, over the tiles, of the features that the
    trunk of a pyramid tile attention computes anyway. `frozen.overview` sets it."""

    context_side: int = 0
    """Longest side, pixels, of a view of the whole image that f sees too; its features stand beside the
    expected one. 0: none, as in the paper."""

    prediction_sampling: str | None = None
    """What the sampling "auto" means at prediction: the design that the head is calibrated for. null: "exact"
    for images of few sub-tiles, else "systematic"."""

    channels: tuple[str, ...] = ()
    """Channels that the network sees, by name or number from 1; empty: red, green and blue. `zoomin train`
    takes them from `data.channels`."""

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Mean of red, green and blue in [0, 1], subtracted from views. 0.5 centres them; for a pretrained
    network, use the values it was trained with. Of `channels`: of their samples in the training images."""

    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    """Standard deviation of red, green and blue, by which views are divided. 0.25 scales natural images to
    about 1. Of `channels`: likewise."""

    mpp: float | str | None = None
    """Microns per pixel of the working frame: every image is brought to it, and all "level-0 pixels" here
    are pixels of that size. null: each image keeps its own pixels. "0.5m" is in metres, for satellite
    images."""

    tile_mpp: float | str | None = None
    """Microns per pixel at which the tile attention sees tiles, instead of `tile_scale`; needs `mpp`."""

    sub_tile_mpp: float | str | None = None
    """Microns per pixel at which the position attention sees tiles, instead of `sub_tile_scale`; needs
    `mpp`."""

    foreground: Foreground = field(default_factory=Foreground)
    """Which tiles are read, by default all; the others, such as the glass of a slide, get no attention."""

    chunk_size: int = 2048
    """Maximum number of views per network call; bounds memory, does not change results. 2048 small views
    keep a CPU busy."""

    checkpoint: Literal["auto", "always", "never"] = "auto"
    """Recompute activations in the backward pass, which bounds the memory of training to one chunk and costs
    about a third of its time: "always", "never", or "auto", where the views of a stage have more than four
    million pixels."""

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

    def __post_init__(self) -> None:
        """Check the values, and take the scales from `tile_mpp` and `sub_tile_mpp` where these are given."""
        check_sampling(self.sampling)
        if self.mpp is not None:
            object.__setattr__(self, "mpp", microns(self.mpp, "mpp"))
        for name in ("tile", "sub_tile"):
            self._take_scale(f"{name}_mpp", f"{name}_scale")
        for name in ("tile_size", "sub_tile_size", "n_samples"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "Give a whole number of at least 1.")
        for name in ("tile_scale", "sub_tile_scale"):
            require(
                0 < getattr(self, name) <= 1, name, getattr(self, name), "Give a scale above 0 and at most 1."
            )
        require(
            self.sub_tile_size <= self.tile_size,
            "sub_tile_size",
            f"{self.sub_tile_size}, larger than the tile ({self.tile_size})",
            "Sub-tiles lie inside tiles: give a smaller sub_tile_size or a larger tile_size.",
        )
        self._check_blocks()
        for name in ("gate_copies", "context_side"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "Give 0 or more.")
        require(
            not (self.gate_copies and self.context_side),
            "context_side",
            f"{self.context_side} with {self.gate_copies} copies of gated attention",
            "Set one of the two to 0.",
        )
        require(
            not self.gate_overview or (self.gate_copies > 0 and self.tile_attention.startswith("pyramid:")),
            "gate_overview",
            f"on with {self.gate_copies} copies of gates and tile attention {self.tile_attention!r}",
            "Set it to false, or give gate_copies and a tile attention pyramid:MODEL.",
        )
        if self.prediction_sampling is not None:
            check_sampling(self.prediction_sampling)
        self.check_common()

    def _check_blocks(self) -> None:
        sides = [*(block.size for block in self.blocks), self.tile_size]
        for outer, inner in pairwise(sides):
            require(
                outer > inner and outer % inner == 0,
                "blocks",
                f"a block of {outer} pixels above boxes of {inner}",
                f"Give a whole multiple, such as {4 * inner}; the coarsest stage comes first.",
            )
        require(
            not (self.blocks and self.gate_overview),
            "gate_overview",
            f"on with {len(self.blocks)} stages of blocks, which read a part of the tiles",
            "Set it to false, or leave blocks out.",
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
            f"Give mpp too, the microns per pixel of sub-tiles, or {scale} instead of {name}.",
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
    def first_stage(self) -> tuple[float, int]:
        """The scale that whole images are read at, and the side of the boxes of that stage."""
        return next(((b.scale, b.size) for b in self.blocks), (self.tile_scale, self.tile_size))

    @property
    def resolution(self) -> float | None:
        """Microns per pixel of the working frame, None where each image keeps its own pixels."""
        return None if self.mpp is None else float(self.mpp)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str | None = None) -> ZoomInConfig:
        """The configuration from what `to_dict` gave."""
        if isinstance(found := values.get("foreground"), dict):
            values = {**values, "foreground": foreground_from_dict(found, where)}
        if blocks := values.get("blocks"):
            values = {**values, "blocks": tuple(_block_from(block, where) for block in blocks)}
        return super().from_dict(values, where)


def _block_from(values: BlockStage | dict[str, Any], where: str | None) -> BlockStage:
    if isinstance(values, BlockStage):
        return values
    try:
        return BlockStage(**values)
    except TypeError as error:
        remedy = "Each takes size, scale and attention; a model of a newer zoomin needs an upgrade."
        raise ConfigError(f"blocks: {values!r} is not a stage", where=where, remedy=remedy) from error
