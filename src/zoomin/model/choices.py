"""Values that settings may take, by name: settings are read and checked without PyTorch."""

from __future__ import annotations

from typing import Literal, get_args

from ..errors import ConfigError

__all__ = [
    "ENGINES",
    "KINDS",
    "POOLINGS",
    "SAMPLINGS",
    "UNLIKE",
    "UNLIKE_WORDS",
    "RoiTarget",
    "TargetKind",
    "check_engine",
    "check_sampling",
    "check_target",
    "expected_unlike",
    "is_unlike",
]

POOLINGS = ("mean", "max", "noisy_or")  # what each does: `targets.pooling`
SAMPLINGS = ("multinomial", "systematic", "exact", "top")  # what each does: `sampling.DESIGNS`
UNLIKE = 0.05  # an image with at most this p-value is unlike the training images: see `networks.reference`
UNLIKE_WORDS = "unlike the training images"
ENGINES = ("auto", "torch", "openvino")
RoiTarget = Literal["share", "literal"]
TargetKind = Literal["classes", "labels", "value", "grade", "survival"]  # what each is: `targets`
KINDS: tuple[TargetKind, ...] = get_args(TargetKind)


def is_unlike(p_value: float | None) -> bool:
    """Whether a p-value says that an image is unlike the training images."""
    return p_value is not None and p_value <= UNLIKE


def expected_unlike(count: int) -> str:
    """How many of some images like those of training have such a p-value, in words.

    Example:
        >>> expected_unlike(8), expected_unlike(60)
        ('fewer than one', 'about 3')
    """
    return "fewer than one" if UNLIKE * count < 1 else f"about {UNLIKE * count:.0f}"


def check_sampling(name: str, *also: str) -> None:
    """Refuse a sampling design that does not exist.

    Args:
        name: of a design.
        also: other values that the setting may have.

    Raises:
        ConfigError: listing the designs.
    """
    known = (*also, *SAMPLINGS)
    if name not in known:
        raise ConfigError(
            f"unknown sampling {name!r}", where="sampling", remedy=f"Choose one of {', '.join(known)}."
        )


def check_engine(name: str) -> None:
    """Refuse an engine that does not exist.

    Args:
        name: of an engine.

    Raises:
        ConfigError: listing the engines.
    """
    if name not in ENGINES:
        raise ConfigError(
            f"unknown engine {name!r}", where="engine", remedy=f"Choose one of {', '.join(ENGINES)}."
        )


def check_target(kind: str) -> None:
    """Refuse a kind of target that does not exist.

    Args:
        kind: its name.

    Raises:
        ConfigError: listing the kinds.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"unknown kind of target {kind!r}", where="target", remedy=f"Choose one of {', '.join(KINDS)}."
        )
