"""Files whose readers believe the lengths that stand in them."""

from __future__ import annotations

import os
from io import BufferedReader, FileIO
from pathlib import Path

__all__ = ["BoundedFile"]


class BoundedFile(BufferedReader):
    """A file of which no more is asked than it has: lengths in a damaged one may say anything.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        """Open it."""
        super().__init__(FileIO(path))
        self.length = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """At most so many bytes; those that are there."""
        if size is not None and size > 0:
            size = min(size, max(0, self.length - self.tell()))
        return super().read(size)
