"""When no answer is given: where it is not sure enough, or the image is unlike the training images."""

from __future__ import annotations

from collections.abc import Sequence

from ..classifiers import Classifier
from ..errors import ConfigError
from ..model.choices import UNLIKE_WORDS, is_unlike
from ..model.targets import Target, target_of
from .config import InferenceConfig

__all__ = ["check_abstaining", "why_abstained"]


def check_abstaining(model: Classifier, config: InferenceConfig) -> None:
    """Refuse to abstain for reasons that this model cannot tell.

    Raises:
        ConfigError: naming the setting.
    """
    kind = target_of(model.config)
    if config.abstain_below is not None and not kind.picks_one:
        what = "each label has a probability of its own" if kind.has_probabilities else "it has none"
        raise ConfigError(
            f"the target {kind.kind} has no one probability to compare: {what}",
            where="abstain_below",
            remedy="Leave it out; --abstain_unlike true works for every target.",
        )
    if config.abstain_unlike and model.head.reference is None:
        raise ConfigError(
            "this model cannot tell whether an image is unlike its training images",
            where="abstain_unlike",
            remedy="Leave it out, or train with validation images (metrics.json says how many it takes).",
        )


def why_abstained(
    config: InferenceConfig, target: Target, answer: Sequence[float], p_value: float | None = None
) -> str:
    """The reason why an answer is not given, "" where it is.

    Example:
        >>> from zoomin.model.targets import target_named
        >>> two = target_named("classes", ["cat", "dog"])
        >>> why_abstained(InferenceConfig(abstain_below=0.8), two, [0.3, 0.7], 0.5)
        'probability 0.700 is below 0.8'
        >>> why_abstained(InferenceConfig(abstain_below=0.6), two, [0.3, 0.7], 0.01)
        ''
    """
    if config.abstain_unlike and is_unlike(p_value):
        return UNLIKE_WORDS
    if config.abstain_below is not None:
        sure = answer[target.names.index(target.decide(answer))]
        if sure < config.abstain_below:
            return f"probability {sure:.3f} is below {config.abstain_below:g}"
    return ""
