"""Distinct places that were read, and what they say for a class."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Float64, Int
from torch import Tensor

from ..errors import ConfigError
from ..model.targets import Target

__all__ = ["Account", "Places", "is_even", "shown_order", "speaks_for"]

_EVEN = 1.1  # times the smallest: weights up to there distinguish no place from another


class Places(NamedTuple):
    """Distinct places that were zoomed into, heaviest first; those of even weight, strongest evidence first.

    Attributes:
        regions: x, y, width, height, level-0 pixels.
        weight: their share of the feature; a place drawn several times counts with the sum.
        contribution: what each adds to the logit of each class.
        tile: its tile, a row of `Explanation.tiles`.
        alpha: attention of its tile.
        beta: attention of its position inside the tile.
        times: how often it was drawn.
        added: what each adds to the logit of each class, counted from the baseline.
        evidence: what it says for the predicted class, see `speaks_for`.
    """

    regions: Float64[Tensor, "places 4"]
    weight: Float[Tensor, " places"]
    contribution: Float[Tensor, "places classes"]
    tile: Int[Tensor, " places"]
    alpha: Float[Tensor, " places"]
    beta: Float[Tensor, " places"]
    times: Int[Tensor, " places"]
    added: Float[Tensor, "places classes"]
    evidence: Float[Tensor, " places"]


class Account(NamedTuple):
    """How the evidence for a class comes about; start, overview and the places sum to the end.

    Attributes:
        start: that of the baseline, with nothing seen.
        overview: what the view of the whole image adds; 0 where the head sees none, or the start contains it.
        added: what each of `places()` adds.
        end: that of the answer.
    """

    start: float
    overview: float
    added: Float[Tensor, " places"]
    end: float


def speaks_for(contribution: Float[Tensor, "n classes"], target: Target, label: str) -> Float[Tensor, " n"]:
    """What contributions say for a class: those to its logit minus the mean over classes.

    Of another target: see `Target.evidence`.

    Raises:
        ConfigError: if there is no such class.
    """
    if label not in target.names:
        known = ", ".join(target.names)
        raise ConfigError(f"unknown class {label!r}", where="label", remedy=f"Choose one of {known}.")
    return target.evidence(contribution)[:, target.names.index(label)]


def is_even(weight: Float[Tensor, " n"]) -> bool:
    """Whether weights are so alike that they mean nothing, as those of uniform attention are."""
    return bool(len(weight) > 1 and weight.min() > 0 and weight.max() <= _EVEN * weight.min())


def shown_order(weight: Float[Tensor, " n"], evidence: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The heaviest first, equal ones by the strength of their evidence; even ones by that alone."""
    strongest = evidence.abs().argsort(descending=True, stable=True)
    if is_even(weight):
        return strongest
    return strongest[weight[strongest].argsort(descending=True, stable=True)]
