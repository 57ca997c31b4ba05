"""The images that a viewer was started with, opened when first requested."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...images.cache import Cache
from ...model.targets import agree

if TYPE_CHECKING:
    from ...annotations.annotation import Annotation
    from ...explanation import Explanation
    from ...images.image import Image

__all__ = ["Collection", "ShownImage"]

_OPEN_IMAGES = 8
_LOADED_EXPLANATIONS = 4


@dataclass(frozen=True)
class ShownImage:
    """An image to show, and what is known of it without opening it.

    Attributes:
        path: of the image.
        mpp: microns per pixel instead of the file's own.
        label: its true class, None where unknown.
        prediction: the predicted class, None where it was not predicted.
        probability: of the predicted class.
        explanation: file or folder of its saved explanation, None where there is none.
        annotation: file of its ROI, or None.
        mask: mask image of its ROI, or None.
        names: of the classes or labels, where it is explained.
        names_something: whether the prediction names classes or labels, and is not a number.
        abstained: whether the prediction is not given as an answer.
    """

    path: Path
    mpp: float | None = None
    label: str | None = None
    prediction: str | None = None
    probability: float | None = None
    explanation: Path | None = None
    annotation: Path | None = None
    mask: Path | None = None
    names: tuple[str, ...] = ()
    names_something: bool = True
    abstained: bool = False

    @property
    def right(self) -> bool | None:
        """Whether the prediction is right; None where that is unknown, or none is given."""
        if self.label is None or self.prediction is None or self.abstained or not self.names_something:
            return None
        return agree(self.label, self.prediction)


class Collection:
    """Images to show, by their index. A few images and explanations stay open, the others are opened again.

    Args:
        run: folder of the run, for messages.
        shown: the images to show.
        doubt: about all explanations, to be shown with each; "" where there is none.
    """

    def __init__(self, run: Path, shown: Sequence[ShownImage], doubt: str = "") -> None:
        """Open nothing yet."""
        self.run, self.doubt = run, doubt
        self.shown = tuple(shown)
        files = [run.resolve(), *(path for one in self.shown for path in _files_of(one))]
        folders = {f"{path.parent}{os.sep}" for path in files if path.parent != Path(path.anchor)}
        self._folders = sorted(folders, key=len, reverse=True)
        self._images: Cache[Image] = Cache(_OPEN_IMAGES)
        self._explanations: Cache[Explanation] = Cache(_LOADED_EXPLANATIONS)
        self._annotations: Cache[Annotation | None] = Cache(_OPEN_IMAGES)

    def without_folders(self, text: str) -> str:
        """A text without the places of the files on this computer: their names are left."""
        for folder in self._folders:
            text = text.replace(folder, "")
        return text

    def image(self, index: int) -> Image:
        """The image of an entry.

        Raises:
            ImageError: if it is missing or cannot be opened.
        """
        from ...images.open_image import open_shown

        entry = self.shown[index]
        return self._images.get_or_make(index, lambda: open_shown(entry.path, mpp=entry.mpp))

    def explanation(self, index: int) -> Explanation | None:
        """The explanation of an entry; None where there is none.

        Raises:
            ZoomInError: if it cannot be loaded.
        """
        from ...explanation import Explanation

        path = self.shown[index].explanation
        return None if path is None else self._explanations.get_or_make(index, lambda: Explanation.load(path))

    def annotation(self, index: int) -> Annotation | None:
        """The ROI of an entry; None where there is none.

        Raises:
            ZoomInError: if the image or the annotation cannot be read.
        """
        from ...annotations.open_annotation import annotation_of

        entry = self.shown[index]
        if entry.annotation is None and entry.mask is None:
            return None

        def make() -> Annotation | None:
            return annotation_of(entry, self.image(index))

        return self._annotations.get_or_make(index, make)

    def has_roi(self, index: int) -> bool:
        """Whether an entry names an annotation."""
        return self.shown[index].annotation is not None or self.shown[index].mask is not None


def _files_of(entry: ShownImage) -> Iterator[Path]:
    """The files of an entry that lie in some folder, as named and as found."""
    for path in (entry.path, entry.explanation, entry.annotation, entry.mask):
        if path is not None:
            yield from (found for found in (path, path.absolute()) if found.is_absolute())
