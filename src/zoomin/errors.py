"""Errors that say what is wrong, where, and what to do about it."""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ImageError",
    "ZoomInError",
]


class ZoomInError(Exception):
    """Any error that a user of zoomin can mend.

    Args:
        what: what is wrong, one sentence without a full stop.
        where: the file, column, option or image concerned.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str | None = None) -> None:
        """Compose the message `where: what. remedy`."""
        self.what = what
        self.where = None if where is None else str(where)
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        """One line: `where: what. remedy`."""
        place = f"{self.where}: " if self.where else ""
        mend = f" {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}.{mend}"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with its three parts, so that errors cross process borders whole."""
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(kind: type[ZoomInError], what: str, where: str | None, remedy: str | None) -> ZoomInError:
    return kind(what, where=where, remedy=remedy)


class ConfigError(ZoomInError):
    """A configuration that cannot work, or that does not fit the data or the checkpoint."""


class ImageError(ZoomInError):
    """An image that cannot be opened or read."""


class DataError(ZoomInError):
    """A manifest, folder or split that cannot be used."""


class CheckpointError(ZoomInError):
    """A saved model that is missing, damaged, or of another configuration."""
