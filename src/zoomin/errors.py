"""Errors that say what is wrong, where, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_URL = re.compile(r"^([a-z][a-z0-9]+):/(?=[^/])")  # of a Path, which drops a slash

__all__ = [
    "BatchReadError",
    "ChannelsError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ImageError",
    "PeerError",
    "PlanesError",
    "ScatteredSlideError",
    "UnexpectedError",
    "WriteError",
    "ZoomInError",
    "require",
    "require_all",
]


class ZoomInError(Exception):
    """Any error that a user of zoomin can fix.

    Args:
        what: what is wrong, one sentence without a full stop.
        where: the file, column, option or image concerned.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str | None = None) -> None:
        """Compose the message `where: what. remedy`."""
        self.what = what
        self.where = None if where is None else _URL.sub(r"\1://", str(where))
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        """One line: `where: what. remedy`; a question has its own mark."""
        place = f"{self.where}: " if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{'' if self.what.endswith('?') else '.'}{remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with its three parts, so that errors cross process borders whole."""
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(kind: type[ZoomInError], what: str, where: str | None, remedy: str | None) -> ZoomInError:
    return kind(what, where=where, remedy=remedy)


class ConfigError(ZoomInError):
    """A configuration that cannot work, or that does not fit the data or the checkpoint."""


class ImageError(ZoomInError):
    """An image that cannot be opened or read."""


class ChannelsError(ImageError):
    """An image whose channels are not red, green and blue, so that those to use have to be named."""


class PlanesError(ImageError):
    """A file of several images or planes, of which the one to use has to be named."""


class UnexpectedError(ImageError):
    """What a reader or the program failed with on one image, of a kind that nobody foresaw."""


class BatchReadError(ImageError):
    """Images of a batch that cannot be read, beside others that can.

    Attributes:
        failures: what is wrong with each, by its place in the batch.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        remedy: str | None = None,
        failures: Mapping[int, ImageError] | None = None,
    ) -> None:
        """Compose the message of the first."""
        self.failures = dict(failures or {})
        super().__init__(what, where=where, remedy=remedy)

    @classmethod
    def of(cls, failures: Mapping[int, ImageError]) -> BatchReadError:
        """The failures, at least one, as one error with the message of the first."""
        first = failures[min(failures)]
        more = f" (and {len(failures) - 1} more images of the batch)" if len(failures) > 1 else ""
        return cls(first.what + more, where=first.where, remedy=first.remedy, failures=failures)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the failures."""
        return _rebuild_batch, (self.what, self.where, self.remedy, self.failures)


def _rebuild_batch(
    what: str, where: str | None, remedy: str | None, failures: Mapping[int, ImageError]
) -> BatchReadError:
    return BatchReadError(what, where=where, remedy=remedy, failures=failures)


class DataError(ZoomInError):
    """A manifest, folder or split that cannot be used."""


class ScatteredSlideError(DataError):
    """Files of one slide, or links to it, in the folders of two classes or splits."""


class CheckpointError(ZoomInError):
    """A saved model that is missing, damaged, or of another configuration."""


class WriteError(ZoomInError):
    """A file that cannot be written."""


class PeerError(ZoomInError):
    """Another of the processes that train together has failed, or has ended."""


def require(condition: bool, name: str, value: object, remedy: str) -> None:
    """Refuse the value of a setting.

    Args:
        condition: what must be true.
        name: of the setting.
        value: that it has.
        remedy: what to give instead.

    Raises:
        ConfigError: naming the setting and the remedy, if the condition is false.
    """
    if not condition:
        raise ConfigError(f"{name} is {value}", remedy=remedy)


def require_all(config: object, needs: Mapping[str, tuple[bool, str]], section: str = "") -> None:
    """Refuse the first setting of a configuration that is out of range.

    Args:
        config: has the settings as attributes.
        needs: by name of the setting, what must be true, and how to say it.
        section: of the recipe that the settings are in, such as "data.".

    Raises:
        ConfigError: naming the setting and what it must be.
    """
    for name, (condition, need) in needs.items():
        if not condition:
            what = f"{section}{name} is {getattr(config, name)!r}"
            raise ConfigError(what, remedy=f"It must be {need}.")
