"""Whether a directory of a TIFF shows what a finer one shows, in the same places: see `tiff_contents`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ImageError
from ..pixels import Pixels
from ..urls import url_of
from ..windows import Window
from .bands import bands_of_page
from .tiff_segments import block_of, read_window

__all__ = ["shows"]

_SIDE = 16  # pixels of a level compared in one place
_FEW_PIXELS = 1 << 21  # of a level that is searched for distinctive content
_MARK = 24.0  # of 255, by which the mean of a square stands out, also over the noise of a sensor
_FAINT = 6.0  # of 255: differences of means that compression and other filters make
_ALIKE = ("samplesperpixel", "dtype", "photometric")  # of a level and the image: they are read alike
_MOST_PIXELS = 1 << 27  # of the stored blocks that are compared
_MARGIN = 4  # pixels of a level by which a square is moved to see where it fits best
_OTHER = 0.75  # of the variance of two squares: so far apart are those that have little in common
_MOVED = 0.8  # of the squared difference here: less of it elsewhere says that the content was moved
_LOSS = 16.0  # squares of grey values that compression changes


def shows(
    page: Any,  # noqa: ANN401 (tifffile is not typed)
    finer: Any,  # noqa: ANN401
    main: Any,  # noqa: ANN401
    path: Path,
    *,
    marked: bool,
    raw: bool = False,
) -> bool:
    """Whether a page shows what a finer level shows, in the same places.

    Args:
        page: the candidate for a level.
        finer: a level.
        main: the image.
        path: named in errors.
        marked: whether the file says that it is a level: the answer where no pixel can be compared.
        raw: whether the first samples are compared, relative to the largest, and not colours.
    """
    same = all(getattr(page, name) == getattr(main, name) for name in _ALIKE)
    if not same or not any(page.databytecounts):
        return False
    try:
        own, other = _Reader(page, path, raw), _Reader(finer, path, raw)
    except (ImageError, *_UNREADABLE):
        return False
    fy, fx = finer.imagelength / page.imagelength, finer.imagewidth / page.imagewidth
    side = max(1, min(_SIDE, min(page.imagelength, page.imagewidth) // 3))
    pairs, marks, texture = [], [], _Texture(side)
    for (y, x), is_mark in _places(own, side):
        wide = Window(int(x * fx), int(y * fy), round((x + side) * fx), round((y + side) * fy))
        try:
            around = own.read(
                Window(max(0, x - _MARGIN), max(0, y - _MARGIN), x + side + _MARGIN, y + side + _MARGIN)
            )
            box, fine = around[min(y, _MARGIN) :, min(x, _MARGIN) :][:side, :side], other.read(wide)
        except (ImageError, *_UNREADABLE):
            continue  # a damaged block shows nothing
        pairs.append((_mean(box), _mean(fine)))
        marks.append(is_mark)
        texture.add(around, fine)
    if not pairs:
        return marked  # damaged all over: reading it will say so
    means = np.array(pairs)
    unit = 255 / max(float(np.abs(means).max()), 1e-12) if raw else 1.0
    means = means * unit
    differences = np.abs(means[:, 0] - means[:, 1]).max(axis=1)
    close = differences.max() <= 32 + 256 / side and differences.mean() <= 16 + 64 / side
    return bool(close and _has_marks(means, np.array(marks))) and texture.fits(unit)


def _mean(pixels: Pixels) -> npt.NDArray[np.float64]:
    means: npt.NDArray[np.float64] = pixels.astype(np.float64).mean(axis=(0, 1))
    return means


class _Texture:
    """What squares of a candidate show, pixel by pixel, beside those of the finer level, shrunk.

    Means of squares do not tell texture that is turned, mirrored, moved or of another place.
    """

    def __init__(self, side: int) -> None:
        """For squares of `side` pixels of the candidate."""
        self._side = side
        self._apart: list[npt.NDArray[np.float64]] = []  # mean square where moved by so much, of each square
        self._own: list[float] = []  # variance of both

    def add(self, around: Pixels, fine: Pixels) -> None:
        """One square: the candidate's with a margin, and the finer level's pixels of it."""
        side = self._side
        if around.shape[:2] != (side + 2 * _MARGIN, side + 2 * _MARGIN) or min(fine.shape[:2]) < side:
            return  # at the border
        shrunk = _even(_shrunk(fine.astype(np.float64), side))
        windows = np.lib.stride_tricks.sliding_window_view(
            around.astype(np.float64), (side, side), axis=(0, 1)
        )
        moved = windows - windows.mean(axis=(-2, -1), keepdims=True)  # (rows, columns, samples, side, side)
        self._apart.append(((moved - np.moveaxis(shrunk, -1, 0)) ** 2).mean(axis=(-3, -2, -1)))
        self._own.append(float(np.var(shrunk) + np.var(moved[_MARGIN, _MARGIN])))

    def fits(self, unit: float) -> bool:
        """Whether both show the same, and no better where moved; samples times `unit` are from 0 to 255."""
        apart, own = np.array(self._apart) * unit**2, np.array(self._own) * unit**2
        if not (len(own) and np.isfinite(apart).all()):
            return True
        near = (slice(None), *(slice(_MARGIN - 1, _MARGIN + 2),) * 2)  # programs round sizes differently
        here = apart[near].min(axis=(1, 2))
        apart[near] = np.inf
        elsewhere = apart.min(axis=(1, 2))
        moved = (elsewhere < _MOVED * here) & (elsewhere < here - _LOSS)
        return bool(here.mean() <= _OTHER * own.mean() + _LOSS and 4 * moved.sum() <= (own > 2 * _LOSS).sum())


def _even(pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    even: npt.NDArray[np.float64] = pixels - pixels.mean(axis=(0, 1))
    return even


def _shrunk(pixels: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """The means of the boxes of a grid of side x side."""
    rows, columns = (np.linspace(0, size, side + 1).round().astype(int) for size in pixels.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(pixels, rows[:-1], axis=0), columns[:-1], axis=1)
    counts = np.outer(np.diff(rows), np.diff(columns))
    means: npt.NDArray[np.float64] = sums / counts[..., None]
    return means


def _has_marks(means: npt.NDArray[np.float64], marks: npt.NDArray[np.bool_]) -> bool:
    """Whether what stands out in the candidate stands out in the finer level: labels are as white as glass.

    Args:
        means: (places, two, channels): of the candidate and of the finer level.
        marks: which places stand out.
    """
    if marks.all() or not marks.any():
        return True
    off = means[marks] - np.median(means[~marks], axis=0)
    strongest = np.abs(off[:, 0]).argmax(axis=1)
    own, other = np.take_along_axis(off, strongest[:, None, None], axis=2)[..., 0].T
    return bool((np.abs(own - other) <= np.abs(own) / 2 + _FAINT).all())


_UNREADABLE = (ValueError, OSError, RuntimeError, IndexError, KeyError, TypeError, AttributeError)


def _spread(length: int, side: int, count: int) -> list[int]:
    """Where squares begin that are spread over a length, the first and the last at its ends."""
    return [int(place) for place in np.linspace(0, length - side, count)]


def _places(own: _Reader, side: int) -> list[tuple[tuple[int, int], bool]]:
    """Upper left corners (y, x) of squares to compare: a grid, and what stands out most, which is told."""
    height, width = own.page.imagelength, own.page.imagewidth
    ys, xs = (_spread(length, side, 5)[1:-1] for length in (height, width))
    places = [((y, x), False) for y in ys for x in xs]
    is_remote = url_of(own.path) is not None  # where every block costs time
    if height * width > _FEW_PIXELS / (2 if is_remote else 1):
        return places
    rows, columns = height // side, width // side
    try:
        pixels = own.read(Window(0, 0, columns * side, rows * side)).astype(np.float32)
    except (ImageError, *_UNREADABLE):
        return places
    means = pixels.reshape(rows, side, columns, side, -1).mean(axis=(1, 3))
    off = np.abs(means - np.median(means, axis=(0, 1))).max(axis=2)
    if off.max() < _MARK and not is_remote:  # nothing is in it: is there nothing in the image?
        ys, xs = (_spread(length, side, 16) for length in (height, width))
        return [((y, x), False) for y in ys for x in xs]
    for place in np.argsort(off, axis=None)[-3:]:
        row, column = divmod(int(place), columns)
        places.append(((row * side, column * side), bool(off[row, column] >= _MARK)))
    return places


class _Reader:
    """Colours of parts of a page; the last decoded rows of blocks are kept, for images of one strip."""

    def __init__(self, page: Any, path: Path, raw: bool) -> None:  # noqa: ANN401
        self.page, self.path = page, path
        self._bands = None if raw else bands_of_page(page, path)
        self._kept: dict[Window, Pixels] = {}

    def read(self, window: Window) -> Pixels:
        window = Window(
            min(window.x0, self.page.imagewidth - 1),
            min(window.y0, self.page.imagelength - 1),
            min(max(window.x1, window.x0 + 1), self.page.imagewidth),
            min(max(window.y1, window.y0 + 1), self.page.imagelength),
        )
        height, width = block_of(self.page)
        blocks = Window(
            window.x0 // width * width,
            window.y0 // height * height,
            min(-(-window.x1 // width) * width, self.page.imagewidth),
            min(-(-window.y1 // height) * height, self.page.imagelength),
        )
        if (blocks.x1 - blocks.x0) * (blocks.y1 - blocks.y0) > _MOST_PIXELS:
            raise ValueError(f"stored in blocks of {width} x {height} pixels, too large to read a part")
        if blocks not in self._kept:
            samples = read_window(self.page, blocks, self._fetch)
            white = (255, 255, 255)
            known = (
                samples[..., :1] if self._bands is None else self._bands.paint_all(samples, white, self.path)
            )
            self._kept = {blocks: known}
        x, y = window.x0 - blocks.x0, window.y0 - blocks.y0
        return self._kept[blocks][y : y + window.y1 - window.y0, x : x + window.x1 - window.x0]

    def _fetch(self, offset: int, count: int) -> bytes:
        handle = self.page.parent.filehandle
        handle.seek(offset)
        data: bytes = handle.read(count)
        return data
