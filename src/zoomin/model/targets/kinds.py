"""The kinds of target by name: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from ..choices import check_target
from .classes import Classes, Grades
from .labels import Labels
from .numbers import Survival, Value
from .target import Target

__all__ = ["TARGETS", "score_names", "target_named", "target_of"]

TARGETS: dict[str, type[Target]] = {kind.kind: kind for kind in (Classes, Labels, Value, Grades, Survival)}


@runtime_checkable
class Targeted(Protocol):
    """What is asked of settings: what the network answers."""

    @property
    def target(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def value_mean(self) -> float: ...
    @property
    def value_std(self) -> float: ...


def target_named(kind: str, names: Sequence[str], mean: float = 0.0, std: float = 1.0) -> Target:
    """The target of a kind.

    Args:
        kind: classes, labels, value, grade or survival.
        names: of the logits.
        mean: of a value, in the training images.
        std: likewise.

    Raises:
        ConfigError: if there is no such kind.

    Example:
        >>> target_named("labels", ["open", "short"]).columns
        ['prob_open', 'prob_short']
    """
    check_target(kind)
    if kind == Value.kind:
        return Value(tuple(names), mean, std)
    return TARGETS[kind](tuple(names))


def target_of(config: Targeted) -> Target:
    """What a network of these settings answers."""
    return target_named(config.target, config.classes, config.value_mean, config.value_std)


def score_names(found: Collection[str]) -> Mapping[str, str]:
    """The scores of the kind of target whose metrics these are, with what they are called.

    Args:
        found: names of metrics, among them all scores of a kind; else they are taken for those of classes.

    Example:
        >>> score_names({"n_images", "concordance", "concordance_interval"})
        {'concordance': 'concordance'}
    """
    kinds = (kind for kind in TARGETS.values() if set(kind.scores) <= set(found))
    return next(kinds, Classes).scores
