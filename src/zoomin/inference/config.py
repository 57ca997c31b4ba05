"""How to open, sample and run images: settings of inference, read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypedDict

from ..errors import ConfigError
from ..images.physical import microns
from ..images.timeouts import READ_TIMEOUT, check_timeout
from ..model.choices import check_sampling

__all__ = ["InferenceConfig", "InferenceSettings"]


class InferenceSettings(TypedDict, total=False):
    """Fields of `InferenceConfig` as keyword arguments."""

    sampling: str
    n_samples: int | None
    replicates: int
    seed: int
    exact_budget: int
    batch_size: int
    threads: int
    prefetch: int
    read_timeout: float | None
    mpp: float | str | None
    precision: str


@dataclass(frozen=True)
class InferenceConfig:
    """How to open, sample and run images.

    Attributes:
        sampling: "auto", "exact", "systematic", "multinomial" or "top". "auto" enumerates ("exact") images
            of at most `exact_budget` sub-tiles and draws ("systematic") in the others.
        n_samples: N, sub-tiles per image and replicate; by default the model's.
        replicates: independent estimates whose features are averaged; exact and top need and take one.
        seed: of the draws.
        exact_budget: most sub-tiles (tiles times positions) that "auto" enumerates.
        batch_size: most images that the network sees at once.
        threads: images that are opened ahead of the network, at once.
        prefetch: batches whose overviews are read from disk while the network is at work on another; 0: none.
        read_timeout: seconds after which opening an image, or a single read, is given up; none: never.
        mpp: microns per level-0 pixel of files of which no manifest tells it, in place of a missing or wrong
            tag; "0.6m" are metres.
        precision: "32-true", or "bf16-mixed" for networks in bfloat16: faster where the processor has
            instructions for it (GPUs; CPUs with AMX), rounded to three digits.
    """

    sampling: str = "auto"
    n_samples: int | None = None
    replicates: int = 8
    seed: int = 0
    exact_budget: int = 512
    batch_size: int = 8
    threads: int = 4
    prefetch: int = 1
    read_timeout: float | None = READ_TIMEOUT
    mpp: float | str | None = None
    precision: str = "32-true"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: naming the one that cannot be.
        """
        check_sampling(self.sampling, "auto")
        if self.mpp is not None:
            microns(self.mpp)
        for name in ("n_samples", "replicates", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}", where=name, remedy="Give at least 1.")
        if self.precision not in ("32-true", "bf16-mixed"):
            raise ConfigError(
                f"unknown precision {self.precision!r}",
                where="precision",
                remedy="Choose 32-true or bf16-mixed.",
            )
        if self.prefetch < 0:
            raise ConfigError(f"prefetch is {self.prefetch}", where="prefetch", remedy="Give 0 or more.")
        check_timeout(self.read_timeout)
        if not 0 <= self.seed < 2**63:
            raise ConfigError(
                f"seed is {self.seed}", where="seed", remedy="Give a number from 0 to 2^63 - 1."
            )

    @classmethod
    def of(cls, config: InferenceConfig | None, changes: InferenceSettings) -> InferenceConfig:
        """A configuration, the defaults where there is none, with some settings changed.

        Raises:
            ConfigError: listing the settings, if one does not exist; if a value is out of range.

        Example:
            >>> InferenceConfig.of(InferenceConfig(seed=3), {"sampling": "top"}).seed
            3
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(changes) - set(known)):
            raise ConfigError(
                f"unknown settings of inference: {', '.join(unknown)}",
                remedy=f"There are {', '.join(known)}.",
            )
        return replace(config or cls(), **changes)
