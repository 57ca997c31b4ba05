"""Whatever one image fails with costs it alone; what many fail with alike is a fault of the program."""

from __future__ import annotations

from ..errors import ImageError, UnexpectedError, ZoomInError
from .extras import missing

__all__ = ["Faults", "image_error"]


def image_error(error: Exception, name: object) -> ZoomInError:
    """Any error, as one about an image.

    Args:
        error: whatever was raised.
        name: of the image.

    Example:
        >>> print(image_error(KeyError("tag"), "a.ndpi"))
        a.ndpi: cannot be read (KeyError: 'tag'). Check the file; if similar files fail too, please report it.
    """
    if isinstance(error, ZoomInError):
        if error.where is not None:
            return error
        return ImageError(error.what, where=name, remedy=error.remedy)
    if isinstance(error, (OSError, MemoryError)):
        reason = str(error) or type(error).__name__
        return ImageError(f"cannot be read ({reason})", where=name, remedy="Check the file and its disk.")
    if (absent := missing(error, name, ImageError)) is not None:
        return absent
    found = UnexpectedError(
        f"cannot be read ({type(error).__name__}: {error})",
        where=name,
        remedy="Check the file; if similar files fail too, please report it.",
    )
    found.__cause__ = error
    return found


class Faults:
    """Tells faults of the program from those of images: by their number.

    Args:
        limit: unexpected errors, with no image between them that went well, from which on the program is to
            blame.
    """

    def __init__(self, limit: int = 20) -> None:
        """Nothing has failed."""
        self.limit = limit
        self._count = 0

    def note(self, error: Exception | None) -> None:
        """Count what became of an image: an error, or None where it went well.

        Raises:
            Exception: the unexpected error that is one too many, as it was raised.
        """
        if error is None:
            self._count = 0
        elif isinstance(error, UnexpectedError):
            self._count += 1
            if self._count >= self.limit:
                raise error.__cause__ or error
