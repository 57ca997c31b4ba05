"""What a TIFF holds: the image, its lower levels, and the pictures beside it (label, macro, thumbnail).

TIFF only numbers its directories. Writers mark lower levels and labels alike as "reduced", or not at all, and
de-identified slides have lost the words that distinguished them. So a directory is a level only if it has the
image's aspect, shows the same content and shows it in the same place. Leaving a level out is never wrong,
only slower; taking a label for one is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from ...errors import ChannelsError, ImageError, PlanesError
from .contents import CLEARLY, several_images
from .ome_files import check_companion, renamed
from .tiff_likeness import shows

__all__ = ["Associated", "Contents", "check_sizes", "contents_of"]

_REDUCED, _MASK, _MACRO = 1, 4, 9  # bits, and Aperio's number, of the tag NewSubfileType
_NAMES = ("label", "macro", "thumbnail", "overview", "barcode")
_TRUSTED = (33550, 33922, 34264, 34735)  # on a map: overviews are GDAL's


class Associated(NamedTuple):
    """A picture beside the image.

    Attributes:
        name: label, macro, thumbnail, or what the file calls it.
        width: pixels.
        height: pixels.
        series: how to choose it: `open_image(path, series=...)`.
    """

    name: str
    width: int
    height: int
    series: int


@dataclass(frozen=True)
class Contents:
    """What a TIFF holds.

    Attributes:
        levels: pages of tifffile, finest first.
        associated: pictures beside the image.
        series: number of the image that was chosen.
        count: images and pictures together, levels not counted.
        masked: whether a mask of valid pixels is stored.
    """

    levels: tuple[Any, ...]
    associated: tuple[Associated, ...]
    series: int = 0
    count: int = 1
    masked: bool = False


class _Picture(NamedTuple):
    """A candidate for the image: its page, what it is called, whether it is marked as not the image."""

    page: Any
    name: str
    number: int
    marked: bool
    below: tuple[Any, ...] = ()  # pages that the file declares as its lower levels

    @property
    def area(self) -> int:
        return int(self.page.imagewidth * self.page.imagelength)

    @property
    def shown(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"{self.number}{name} ({self.page.imagewidth} x {self.page.imagelength})"


def contents_of(file: Any, path: Path, series: int | str | None = None) -> Contents:  # noqa: ANN401
    """Tell image, levels and other pictures of an open TIFF apart.

    Args:
        file: tifffile's.
        path: named in errors.
        series: which image to take, by its number or name; None for the one that is clearly the main one.

    Raises:
        ImageError: if it holds no image, none of that name, several of like size, or planes that are no
            colours.
    """
    pictures, masked = _pictures(file, path)
    for picture in pictures:
        for page in (picture.page, *picture.below):
            _with_words(page)
    main = _chosen(pictures, path, series) if series is not None else _main(pictures)
    _check_planes(file, main, path, chosen=series is not None)
    if series is None:
        _check_rivals(pictures, main, path)
    trusted = any(tag in main.page.tags for tag in _TRUSTED) or _by_gdal(file)
    others = [picture for picture in pictures if picture.number != main.number]
    levels, beside = [main.page], []
    candidates = [(page, None) for page in main.below] + [(other.page, other) for other in others]
    for page, other in sorted(candidates, key=lambda one: (-one[0].imagewidth, not one[0].is_tiled)):
        marked = other is None or other.marked
        fits = (other is None or not _named(other)) and _aspect(page, main.page)
        if fits and _is_smaller(page, levels[-1]):
            if (trusted and marked) or shows(page, levels[-1], main.page, path, marked=marked):
                levels.append(page)
                continue
        if other is not None:
            beside.append(_associated(other, main, levels))
    beside.sort(key=lambda one: one.series)
    return Contents(tuple(levels), tuple(beside), main.number, 1 + len(beside), masked)


def _pictures(file: Any, path: Path) -> tuple[list[_Picture], bool]:  # noqa: ANN401
    """All images of a file, masks aside, and whether there is a mask."""
    if not file.pages:
        raise ImageError("the TIFF holds no image", where=path, remedy="Export it again.")
    check_sizes(file, path)
    if file.is_ome and file.series and file.series[0].kind == "ome":
        found = []
        for index, one in enumerate(file.series):
            page = one.levels[0].keyframe
            if page.parent is not file:
                raise ImageError(
                    f"part of an image of several files: its pixels are in {page.parent.filename}",
                    where=path,
                    remedy="Open that file, and keep the files together.",
                )
            below = tuple(level.keyframe for level in one.levels[1:])
            found.append(_Picture(page, str(one.name or ""), index, _reduced(page), below))
        return found, False
    check_companion(file, path)
    pages = [file.pages[index] for index in range(len(file.pages))]
    pages = [page if hasattr(page, "subfiletype") else page.aspage() for page in pages]
    masked = any(page.subfiletype & _MASK for page in pages)
    pages = [page for page in pages if not page.subfiletype & _MASK]
    if not pages:
        raise ImageError("the TIFF holds only a mask, no image", where=path, remedy="Export it again.")
    return [
        _Picture(page, _name_of(page), index, _reduced(page), tuple(page.pages or ()) if page.subifds else ())
        for index, page in enumerate(pages)
    ], masked


def check_sizes(file: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse sides below one pixel, at which tifffile would count pages without end.

    Raises:
        ImageError: if there are such.
    """
    for index in range(len(file.pages)):
        sides = file.pages[index].shape
        if min(sides, default=1) < 1:
            raise ImageError(
                f"damaged: directory {index} declares an image of {' x '.join(map(str, sides))} pixels",
                where=path,
                remedy="Copy or export the file again.",
            )


def _with_words(page: Any) -> None:  # noqa: ANN401
    """Give tags their words where tifffile left numbers: a missing Compression is 1, none."""
    for name, words in (("compression", tifffile.COMPRESSION), ("photometric", tifffile.PHOTOMETRIC)):
        value = getattr(page.keyframe, name)
        if not hasattr(value, "name") and value in [word.value for word in words]:
            setattr(page.keyframe, name, words(value))


def _reduced(page: Any) -> bool:  # noqa: ANN401
    return bool(page.subfiletype & _REDUCED)


def _name_of(page: Any) -> str:  # noqa: ANN401
    """The name that a directory's own description gives it."""
    text = str(page.description or "")[:2000].lower()
    words = re.split(r"[^a-z]+", text)
    named = next((name for name in _NAMES if name in words), "")
    return named or ("macro" if page.subfiletype == _MACRO else "")


def _named(picture: _Picture) -> bool:
    return any(name in picture.name.lower() for name in _NAMES)


def _candidates(pictures: Sequence[_Picture]) -> list[_Picture]:
    """Those that may be the image, as far as names and marks show."""
    candidates = [one for one in pictures if not _named(one) and not one.marked]
    return candidates or [one for one in pictures if not _named(one)] or list(pictures)


def _main(pictures: Sequence[_Picture]) -> _Picture:
    return max(_candidates(pictures), key=lambda one: (one.area, -one.number))


def _check_rivals(pictures: Sequence[_Picture], main: _Picture, path: Path) -> None:
    """Refuse to guess between images of like size."""
    rivals = [one for one in _candidates(pictures) if one is not main and one.area * CLEARLY > main.area]
    if rivals:
        raise several_images(f"the TIFF holds {len(rivals) + 1} images of like size", pictures, path)


def _chosen(pictures: Sequence[_Picture], path: Path, series: int | str) -> _Picture:
    wanted = str(series).strip()
    for one in pictures:
        if wanted in (str(one.number), one.name) or (one.name and wanted.lower() == one.name.lower()):
            return one
    raise several_images(f"the TIFF holds no image {wanted!r}", pictures, path)


def _check_planes(file: Any, main: _Picture, path: Path, *, chosen: bool) -> None:  # noqa: ANN401
    """Refuse stacks, time series and channels: the image is one plane of grey or of colours."""
    offset = main.page.offset
    for one in file.series:
        level = one.levels[0]
        if level.keyframe.offset != offset and not any(
            p is not None and p.offset == offset for p in level.pages
        ):
            continue
        planes = {
            axis: n for axis, n in zip(level.axes, level.shape, strict=True) if axis not in "YXS" and n > 1
        }
        if not planes:
            return
        count = int(np.prod(list(planes.values())))
        if chosen and one.kind != "ome" and len(file.pages) >= count:
            return  # each has its own directory, and one was named
        kind = "channels" if set(planes) == {"C"} else "pages"
        remedy = "Save the one to use, or red, green and blue, as a separate image."
        if set(planes) == {"C"}:
            remedy = (
                "Name those to use: data.channels, such as '[DAPI, 2]', when training, open_image(path, "
                "channels=['DAPI', 2]) in Python."
            )
        if one.kind != "ome" and len(file.pages) >= count:
            remedy = f"Choose a page: series=0 to {count - 1} (an argument of open_image, a manifest column)."
        stored = all(page is not None for page in level.pages) and not renamed(file)  # others: zeros
        if set(planes) == {"C"} and count in (3, 4) and stored:
            remedy = (
                "Name those to use: data.channels, or open_image(path, channels=[1, 2]). If they are red, "
                "green and blue, store them pixel by pixel: tifffile.imwrite(OUT, "
                'tifffile.imread(IN)[:3].transpose(1, 2, 0), photometric="rgb", tile=(256, 256)).'
            )
        error = ChannelsError if set(planes) == {"C"} else PlanesError
        raise error(
            f"the TIFF holds {count} {kind} of one size (axes {level.axes})", where=path, remedy=remedy
        )


def _by_gdal(file: Any) -> bool:  # noqa: ANN401
    """Whether GDAL laid the file out as cloud-optimised: its overviews are the image's."""
    file.filehandle.seek(0)
    return b"GDAL_STRUCTURAL_METADATA_SIZE" in file.filehandle.read(64)


def _is_smaller(page: Any, finer: Any) -> bool:  # noqa: ANN401
    return bool(page.imagewidth < finer.imagewidth and page.imagelength < finer.imagelength)


def _aspect(page: Any, main: Any) -> bool:  # noqa: ANN401
    """Whether one factor, each side rounded up or down, makes the page from the image."""
    low, high = 1.0, float("inf")
    for whole, part in ((main.imagewidth, page.imagewidth), (main.imagelength, page.imagelength)):
        low = max(low, whole / (part + 1))
        high = min(high, whole / (part - 1) if part > 1 else float("inf"))
    return low < high


def _associated(other: _Picture, main: _Picture, levels: Sequence[Any]) -> Associated:
    page = other.page
    twin = any(level.shape == page.shape for level in levels)
    name = other.name or ("thumbnail" if twin else f"image {other.number}")
    return Associated(name, int(page.imagewidth), int(page.imagelength), other.number)
