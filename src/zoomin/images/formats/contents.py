"""Files that hold several images: which one is meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from ...errors import PlanesError

__all__ = ["CLEARLY", "several_images"]

CLEARLY = 4  # times the pixels of any other image of the file: the one that is meant, without being named
_SHOWN = 8


@runtime_checkable
class _Shown(Protocol):
    @property
    def shown(self) -> str: ...


def several_images(what: str, images: Sequence[_Shown], path: Path) -> PlanesError:
    """The error that asks for one of the images of a file.

    Args:
        what: is wrong.
        images: of the file; `shown` tells each in a few words.
        path: of the file.
    """
    listed = ", ".join(one.shown for one in images[:_SHOWN]) + (", ..." if len(images) > _SHOWN else "")
    return PlanesError(
        f"{what}: {listed}",
        where=path,
        remedy="Choose one by its number: open_image(path, series=0), or the column series of the manifest.",
    )
