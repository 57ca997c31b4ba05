"""What the settings of every network share: classes, normalisation, plain values for JSON and YAML."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..errors import ConfigError, require
from .choices import TargetKind, check_target

__all__ = ["Settings"]


Own = TypeVar("Own", bound="Settings")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings without fields: children define them."""

    if TYPE_CHECKING:
        n_classes: int
        target: TargetKind
        value_mean: float
        value_std: float
        class_names: tuple[str, ...]
        channels: tuple[str, ...]
        mean: tuple[float, ...]
        std: tuple[float, ...]
        chunk_size: int
        checkpoint: Literal["auto", "always", "never"]

    def check_common(self) -> None:
        """Check the fields that every network has.

        Raises:
            ConfigError: naming the value that cannot work and a remedy.
        """
        check_target(self.target)
        one = self.target in ("value", "survival")
        least = 1 if one or self.target == "labels" else 2
        what = "number" if one else self.target
        require(
            self.n_classes >= least and not (one and self.n_classes > 1),
            "n_classes",
            f"{self.n_classes} for the target {self.target!r}",
            f"Give {'one' if one else f'at least {least}'} for {what}.",
        )
        require(self.value_std > 0, "value_std", self.value_std, "Give a positive number.")
        require(self.chunk_size >= 1, "chunk_size", self.chunk_size, "Give a whole number of at least 1.")
        require(
            len(self.mean) == len(self.std) == self.n_channels,
            "mean",
            f"{len(self.mean)} numbers, std {len(self.std)}, for {self.n_channels} channels",
            "Give one of each per channel.",
        )
        require(min(self.std) > 0, "std", self.std, "Give positive numbers.")
        require(
            not self.class_names or len(self.class_names) == self.n_classes,
            "class_names",
            f"{len(self.class_names)} names for {self.n_classes} classes",
            "Give one name per class, or none.",
        )
        require(
            self.checkpoint in ("auto", "always", "never"),
            "checkpoint",
            repr(self.checkpoint),
            "Choose auto, always or never.",
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: `class_names`, or their numbers."""
        return self.class_names or tuple(str(i) for i in range(self.n_classes))

    @property
    def n_channels(self) -> int:
        """Channels of a view: those that are named, or red, green and blue."""
        return len(self.channels) or 3

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain numbers, strings and lists, for JSON and YAML."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls: type[Own], values: dict[str, Any], where: str | None = None) -> Own:
        """The configuration from what `to_dict` gave.

        Raises:
            ConfigError: on a name that this version does not know, or a value that cannot work.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(
                f"unknown model settings {', '.join(unknown)}",
                where=where,
                remedy="The model was saved by another version of zoomin: upgrade, or remove these settings.",
            )
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**settings)
