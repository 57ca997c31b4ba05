"""The steps of learning on a frozen trunk; each can be switched off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import require

__all__ = ["TRUNK_BATCH", "FrozenConfig"]

TRUNK_BATCH = 8  # images per step of a trunk that is learned from pixels
_PASSES, _STEPS = 12, 3000  # the least of them


@dataclass(frozen=True)
class FrozenConfig:
    """How a model learns on what a frozen trunk sees of all sub-tiles; off by default, as in the paper."""

    enabled: bool = False
    """Learn a classifier on embeddings of a frozen trunk, instead of the whole network from pixels."""

    cache: str | None = None
    """Folder of the embeddings, which are computed once per trunk, scale and image; by default
    zoomin/features in the user's cache."""

    head: Literal["auto", "gated", "linear", "cells"] = "auto"
    """"gated" attention over the sub-tiles; "linear": logistic regression on their mean beside a view of
    the whole image, for images of few sub-tiles; "cells": gated attention over cells of about 80 pixels, in
    finer maps of the trunk beside its last features, for what is small; "auto": the one with the lower loss
    on images held out by inner cross-validation; linear only where images have fewer than `few_tiles`
    sub-tiles, cells only where they have at most `cell_tiles` and the others fall short of `trunk_below`."""

    few_tiles: int = 16
    """Median number of sub-tiles per image below which images count as having few: below 16, reading all of
    them costs little."""

    cell_tiles: int = 128
    """Sub-tiles of an image, the median, up to which "auto" tries cells: their numbers, twenty times as many
    as those of the sub-tiles, are held in memory for all images."""

    negative_class: str | None = "auto"
    """The class whose images hold nothing to find, whose tiles are all counter-examples; "auto": one named
    none, normal, negative or the like, else the first of two classes; null: every class has something."""

    teach: bool = True
    """Teach the tile attention where the gated attention looks, so that prediction reads N sub-tiles;
    without it, or where images have few sub-tiles, prediction reads all."""

    overview: bool = True
    """Where the tile attention is taught, a linear head on what its trunk makes of the whole overview stands
    beside gated attention, with the weight that fits images held out; this reads no additional pixels."""

    overview_strength: float = 0.001
    """Inverse L2 penalty (scikit-learn's C) of the overview's logistic regression; the
    smaller, the closer its weights are held to 0."""

    calibrate: bool = True
    """Scale and shift the logits to fit images that were held out and read as at prediction."""

    folds: int = 5
    """Folds of the inner cross-validation; groups stay whole. Fewer where a class has fewer images. With
    five, each trains on four fifths of the images."""

    copies: int = 5
    """Copies of gated attention in the model, whose logits are averaged. More copies vary less with the
    seed, and take proportionally longer; with 5, the standard deviation falls by about half."""

    fold_copies: int = 2
    """Copies of gated attention in each inner fold; fewer than `copies`, because there are `folds` times as
    many of them."""

    epochs: int = 25
    """Passes over the training images, a fixed number: an epoch chosen on few held-out images flatters the
    result. 25 was set before any test figure."""

    learning_rate: float = 1e-3
    """Learning rate of AdamW; 1e-3 is its usual value, and stable on standardised embeddings."""

    weight_decay: float = 1e-2
    """Weight decay of AdamW; 1e-2 is PyTorch's default."""

    batch_size: int = 16
    """Images per step; with 16, a hundred images make seven steps per epoch."""

    dropout: float = 0.25
    """Share of inputs and of hidden units dropped in each step, from 0 to below 1; 0.25 on both layers holds
    back networks that have more weights than images."""

    class_weights: Literal["balanced"] | None = "balanced"
    """"balanced": all classes weigh alike in the loss; null: all images."""

    components: int = 200
    """Maximum number of principal components of the embeddings that gated attention sees: fewer inputs
    overfit less where images are few."""

    linear_strength: float = 0.01
    """Inverse L2 penalty (scikit-learn's C) of the logistic regression on mean and overview: the smaller, the
    closer its weights are held to 0. Values around 0.01 differ within noise on colon cancer."""

    map_components: int = 1000
    """Maximum number of principal components that the tile attention learns from; 1000 are nearly all."""

    map_witnesses: tuple[int, ...] = (1, 3)
    """Tiles per image that are taken for what decided it. Of the numbers given, the one is used, with a
    penalty of `map_penalties`, by which the tiles that are read hold the most evidence, out of fold."""

    map_penalties: tuple[float, ...] = (10.0, 100.0, 1000.0, 10000.0)
    """Penalties of the ridge regression that teaches the tile attention; see `map_witnesses`."""

    sharpness: float = 0.5
    """Standard deviation of the taught logits over the tiles of an image: how uneven the tile attention is.
    0.5 weighs a tile two deviations above the mean 2.7 times as much; where N tiles of highest attention are
    read, it decides only how much more the best of them count."""

    trunk: Literal["pretrained", "learned", "auto"] = "pretrained"
    """"pretrained": it stays as it is; "learned": a small one is learned from pixels instead; "auto": learned
    too where there are `trunk_images` and the pretrained one falls short of `trunk_below`, and kept if the
    images of one inner fold are classified better. That takes hours, and one fold can mislead where images
    come in few groups: hence not the default."""

    trunk_images: int = 500
    """Fewest training images for which a trunk is learned from pixels; a trunk memorises fewer."""

    trunk_below: float = 0.95
    """AUROC on images held out in the inner folds below which the next head is tried: cells if the last
    features of the pretrained trunk fall short of it, a trunk learned from pixels if cells do too (see
    `head` and `trunk`). Above 0.95 there is little left to gain for the hours that they take."""

    trunk_epochs: int | None = None
    """Passes over the images in which a trunk is learned from pixels; null: 12, or as many more as make
    3,000 steps."""

    trunk_rate: float = 2e-3
    """Highest learning rate of AdamW for a trunk that is learned from pixels, reached at the end of its
    warm-up; 2e-3, twice AdamW's usual value, suits random weights that are warmed up and averaged."""

    trunk_tiles: int = 64
    """Maximum number of sub-tiles per image and step while a trunk is learned from pixels; of images with
    more, the taught tile attention draws some. 64 bound the memory and time of a step."""

    def __post_init__(self) -> None:
        """Check the values."""
        least = {"folds": 2, "copies": 1, "fold_copies": 1, "epochs": 1, "batch_size": 1, "few_tiles": 0}
        least |= {"cell_tiles": 0}
        least |= {"components": 1, "map_components": 1}
        least |= {"trunk_images": 2, "trunk_tiles": 1}
        for name, bound in least.items():
            require(
                getattr(self, name) >= bound, f"frozen.{name}", getattr(self, name), f"Give at least {bound}."
            )
        fewest = min(self.map_witnesses, default=0)
        require(fewest >= 1, "frozen.map_witnesses", self.map_witnesses, "Give one or more numbers from 1.")
        smallest = min(self.map_penalties, default=0.0)
        require(
            smallest > 0, "frozen.map_penalties", self.map_penalties, "Give one or more positive numbers."
        )
        for name in ("learning_rate", "linear_strength", "overview_strength", "sharpness", "trunk_rate"):
            require(getattr(self, name) > 0, f"frozen.{name}", getattr(self, name), "Give a positive number.")
        require(0 <= self.dropout < 1, "frozen.dropout", self.dropout, "Give a share from 0 to below 1.")
        require(
            self.weight_decay >= 0, "frozen.weight_decay", self.weight_decay, "Give 0 or a positive number."
        )
        passes = self.trunk_epochs
        require(passes is None or passes >= 1, "frozen.trunk_epochs", passes, "Give 1 or more, or null.")
        trunks = ("pretrained", "learned", "auto")
        require(self.trunk in trunks, "frozen.trunk", self.trunk, "Give pretrained, learned or auto.")
        require(0 <= self.trunk_below <= 1, "frozen.trunk_below", self.trunk_below, "Give an AUROC, 0 to 1.")
        heads = ("auto", "gated", "linear", "cells")
        require(self.head in heads, "frozen.head", self.head, "auto, gated, linear or cells.")

    def passes(self, images: int) -> int:
        """How often so many images are gone through while a trunk is learned from pixels.

        Example:
            >>> FrozenConfig().passes(500), FrozenConfig().passes(10_000)
            (48, 12)
        """
        return self.trunk_epochs or max(_PASSES, -(-_STEPS * TRUNK_BATCH // images))
