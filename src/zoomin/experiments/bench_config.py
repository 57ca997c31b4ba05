"""What `zoomin bench` measures; without PyTorch, so that its help is quick."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import require

__all__ = ["PARTS", "PRECISIONS", "BenchConfig", "Part", "Precision"]

Part = Literal["train", "predict", "scale"]
Precision = Literal["float32", "bfloat16"]
PARTS: tuple[Part, ...] = get_args(Part)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class BenchConfig:
    """Which comparisons, and on what.

    Attributes:
        repeats: pairs of runs per training step; prediction and scaling take fewer.
        device: "cpu", "cuda" or "cuda:1".
        threads: of the processor.
        out: JSON file for the numbers; None: none.
        parts: some of `PARTS`.
        features: networks f.
        precisions: some of `PRECISIONS`.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    repeats: int = 20
    device: str = "cpu"
    threads: int = 2
    out: str | None = None
    parts: Collection[Part] = PARTS
    features: Collection[str] = ("lenet", "lenet_released")
    precisions: Collection[Precision] = PRECISIONS

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("repeats", "threads"):
            value = getattr(self, name)
            require(value >= 1, f"--{name}", value, "Give at least 1.")
