"""A reader for files that a package with OpenSlide's interface opens, to be named by an entry point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .formats.adapted import AdaptedSlide, SlideReader, open_adapted
from .open_image import Reader

__all__ = ["slide_reader"]


def slide_reader(
    by: SlideReader, suffixes: tuple[str, ...], takes: Callable[[Path, bytes], bool] | None = None
) -> Reader:
    """A row for the entry point `zoomin.readers`.

    Args:
        by: the package, such as `SlideReader("kfbslide", "kfbslide:KfbSlide")`.
        suffixes: of its files, lower case, with the dot.
        takes: whether a file is one of its, by path and first bytes; by default those of the suffixes are.

    Example:
        >>> reader = slide_reader(SlideReader("kfbslide", "kfbslide:KfbSlide"), (".kfb",))
        >>> reader.reads(Path("a.KFB"), b""), reader.reads(Path("a.svs"), b"")
        (True, False)
    """

    def reads(path: Path, head: bytes) -> bool:
        return path.suffix.lower() in suffixes if takes is None else takes(path, head)

    def opened(path: Path, *, mpp: float | None) -> AdaptedSlide:
        return open_adapted(path, by, mpp=mpp)

    return Reader(f"slides by {by.name}", reads, opened, suffixes)
