"""How to open, sample and run images: settings of inference, read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypedDict

from ..errors import ConfigError, require_all
from ..images.physical import microns
from ..images.timeouts import READ_TIMEOUT, check_timeout
from ..model.choices import check_engine, check_sampling

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
    engine: str
    abstain_below: float | None
    abstain_unlike: bool


@dataclass(frozen=True)
class InferenceConfig:
    """How to open, sample and run images."""

    sampling: str = "auto"
    """Choose "auto", "exact", "systematic", "multinomial" or "top". "auto" enumerates ("exact") images of at
    most `exact_budget` sub-tiles and draws ("systematic") in the others."""

    n_samples: int | None = None
    """N, sub-tiles per image and replicate; null: the model's."""

    replicates: int = 8
    """Independent estimates whose features are averaged; 8 give a standard error too. Exact and top use
    exactly one."""

    seed: int = 0
    """Seed of the draws: the same seed gives the same answers."""

    exact_budget: int = 512
    """Sub-tiles (tiles times positions) up to which "auto" enumerates; beyond that, drawing is faster."""

    batch_size: int = 8
    """Maximum number of images per network call. Memory grows with it: 8 suit images of all sizes."""

    threads: int = 4
    """Images opened in parallel, ahead of the network. 4 hide the latency of most disks; network storage
    gains from more."""

    prefetch: int = 1
    """Batches whose overviews are read from disk while the network works on another; 0: none. 1 is enough
    where reading is faster than computing."""

    read_timeout: float | None = READ_TIMEOUT
    """Seconds after which opening an image, or a single read, is given up; null: never. 120 outlast a slow
    network drive, and are soon enough for a dead one."""

    mpp: float | str | None = None
    """Microns per level-0 pixel of files whose manifest does not give it, instead of a missing or wrong
    tag; "0.6m" is in metres."""

    precision: str = "32-true"
    """Choose "32-true"; or "bf16-mixed", networks in bfloat16: faster on GPUs and on CPUs with AMX, rounded
    to three digits."""

    engine: str = "auto"
    """What computes the networks on a CPU: "torch"; "openvino" (`pip install zoomin-net[fast]`), three times
    as fast with large trunks, equal but for rounding; "auto", OpenVINO for large networks where installed."""

    abstain_below: float | None = None
    """Answer "abstained" where the probability of the class or grade is below this; null: always answer."""

    abstain_unlike: bool = False
    """Answer "abstained" where an image is unlike the training images (`ood_p_value` of at most 0.05)."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: naming the one that cannot be.
        """
        check_sampling(self.sampling, "auto")
        check_engine(self.engine)
        if self.mpp is not None:
            microns(self.mpp)
        needs = {
            "n_samples": (self.n_samples is None or self.n_samples >= 1, "at least 1"),
            "replicates": (self.replicates >= 1, "at least 1"),
            "batch_size": (self.batch_size is None or self.batch_size >= 1, "at least 1"),
            "threads": (self.threads >= 1, "at least 1"),
            "precision": (self.precision in ("32-true", "bf16-mixed"), "32-true or bf16-mixed"),
            "prefetch": (self.prefetch >= 0, "at least 0"),
            "seed": (0 <= self.seed < 2**63, "a number from 0 to 2^63 - 1"),
            "abstain_below": (
                self.abstain_below is None or 0 < self.abstain_below <= 1,
                "a probability above 0 and at most 1, or null",
            ),
        }
        require_all(self, needs)
        check_timeout(self.read_timeout)

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
                remedy=f"Known are {', '.join(known)}.",
            )
        return replace(config or cls(), **changes)
