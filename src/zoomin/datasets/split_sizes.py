"""The settings of every data set whose images are drawn: how many of each split, and the seed."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.manifest import SPLITS
from ..errors import require_all

__all__ = ["SplitSizes"]


@dataclass(frozen=True)
class SplitSizes:
    """How many images to draw; children say what, and set their own defaults.

    Raises:
        ConfigError: naming the setting that is out of range.
    """

    n_train: int = 40
    """Training images, half of them positive."""

    n_val: int = 10
    """Validation images, half of them positive."""

    n_test: int = 20
    """Test images, half of them positive."""

    seed: int = 0
    """The same seed draws the same images."""

    def check(self, needs: dict[str, tuple[bool, str]]) -> None:
        """Refuse the first setting that is out of range.

        Args:
            needs: those of the child, as `require_all` takes them.

        Raises:
            ConfigError: naming the setting and what it must be.
        """
        own = {name: (getattr(self, name) >= 0, "at least 0") for name in SplitSizes.__dataclass_fields__}
        require_all(self, own | needs)

    @property
    def counts(self) -> dict[str, int]:
        """Images of each split."""
        return dict(zip(SPLITS, (self.n_train, self.n_val, self.n_test), strict=True))

    @property
    def places(self) -> list[tuple[str, int]]:
        """Split and number of each image; odd numbers are positive."""
        return [(split, number) for split, count in self.counts.items() for number in range(count)]
