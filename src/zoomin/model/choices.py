"""Values that settings may take, by name: settings are read and checked without PyTorch."""

from __future__ import annotations

from typing import Literal

from ..errors import ConfigError

__all__ = ["ENGINES", "SAMPLINGS", "RoiTarget", "check_engine", "check_sampling"]

SAMPLINGS = ("multinomial", "systematic", "exact", "top")  # what each does: `sampling.DESIGNS`
ENGINES = ("auto", "torch", "openvino")
RoiTarget = Literal["share", "literal"]


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
