"""Which random changes training images undergo; `augment.py` makes them."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """Which random changes to make; none by default."""

    flips: bool = False
    """Mirror left to right, upside down, or both, each half of the time."""

    quarter_turns: bool = False
    """Turn by 0, 90, 180 or 270 degrees. With `flips`, all eight orientations are equally likely."""

    brightness: float = 0.0
    """Multiply all values by 1 - `brightness` to 1 + `brightness`; 0: off."""

    contrast: float = 0.0
    """Multiply the distance from mid-grey by 1 - `contrast` to 1 + `contrast`; 0: off."""

    stain: float = 0.0
    """For stained tissue: multiply the amounts of haematoxylin, eosin and DAB by 1 - `stain` to 1 + `stain`
    and add -`stain` to `stain` optical density (Tellez et al. 2018; 0.05 is light, 0.2 strong); 0: off."""

    shift: int = 0
    """Move the image by up to so many pixels in each direction: what goes over the border is lost, what comes
    in is background. A few are enough against a network that knows the grid; 0: off."""

    def __post_init__(self) -> None:
        """Check the strengths."""
        for name in ("brightness", "contrast", "stain"):
            strength = getattr(self, name)
            if not 0 <= strength < 1:
                raise ConfigError(
                    f"the strength {strength} is out of range",
                    where=f"augmentation.{name}",
                    remedy="Give 0 (off) to less than 1.",
                )

        if self.shift < 0:
            raise ConfigError(
                f"{self.shift} pixels are out of range",
                where="augmentation.shift",
                remedy="Give 0 (off) or more.",
            )

    @property
    def active(self) -> bool:
        """Whether anything changes."""
        return self != Augmentation()
