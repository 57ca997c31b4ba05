"""Images stored on disk at one or more levels: what their readers share.

A reader tells the table of levels and decodes a window of one of them. Here the level is chosen (the coarsest
that is at least as fine as the view, so that nothing aliases), stored blocks that several boxes share are
decoded once, in pieces of bounded size, and the view is their area average; beyond the border lies the
background.
"""

from __future__ import annotations

import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from ..errors import ImageError
from ..geometry import Region
from .averaging import common_size
from .foreign import metadata_identity
from .fractional import Axis, average_crops, checked_boxes, finish, sums_of
from .georeference import Georeference
from .pictured import image_png, preview_scale
from .remote import remote_identity
from .timeouts import touch, unreachable
from .urls import path_text, url_of
from .windows import Window, count_blocks, pieces

__all__ = ["FileIdentity", "Level", "StoredImage", "identity_of", "undecoded"]

Bytes = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]  # bytes, but for images of channels
FileIdentity = tuple[str, int, int]

_GATHERED = 1 << 23  # source pixels of boxes held at a time; a larger box is read in bands
_AVERAGED = 1 << 20  # source pixels averaged at a time, in single precision
_BAND = 1024  # source rows of a band, at least one row of blocks
_PIECE = 1 << 21  # source pixels of a piece of a band
_PAUSE = 5.0  # seconds after which a file is checked before it is read
_SLACK = 1.01  # a level this much coarser than the view still serves: writers round sizes


@dataclass(frozen=True)
class Level:
    """One stored resolution.

    Attributes:
        width: pixels.
        height: pixels.
        pixel: height and width of one of its pixels, in level-0 pixels.
        block: height and width of a stored block, in its own pixels.
    """

    width: int
    height: int
    pixel: tuple[float, float]
    block: tuple[int, int]

    @classmethod
    def of(cls, size: tuple[int, int], full: tuple[int, int], block: tuple[int, int]) -> Level:
        """A level of the given height and width, of an image of the full ones.

        Writers shrink by whole factors and round the size down or up: where both sides allow a whole factor,
        that is what was meant; else the ratio of the sizes.

        Example:
            >>> Level.of((62, 75), (250, 300), (64, 64)).pixel
            (4.0, 4.0)
        """
        ratios = [whole / part for whole, part in zip(full, size, strict=True)]
        factor = round(max(ratios))
        for near in (factor, factor - 1, factor + 1):
            if near >= 1 and all(
                part in (whole // near, -(-whole // near)) for whole, part in zip(full, size, strict=True)
            ):
                ratios = [near, near]
                break
        block = max(1, min(block[0], size[0])), max(1, min(block[1], size[1]))
        return cls(size[1], size[0], (float(ratios[0]), float(ratios[1])), block)


def identity_of(path: Path) -> FileIdentity:
    """Resolved path, size and time of the last change: the key of whatever is cached of a file.

    Of a Zarr folder, size and time are those of its metadata; of a URL, what the server tells.

    Raises:
        ImageError: if the file is not there, or cannot be accessed.
    """
    if url_of(path) is not None:
        return remote_identity(path)
    try:
        found = path.stat()
    except OSError as error:
        raise unreachable(path, error) from error
    size, changed = metadata_identity(path) if path.is_dir() else (found.st_size, found.st_mtime_ns)
    return str(path.resolve()), size, changed


def undecoded(
    path: Path,
    level: int,
    window: Window,
    why: object,
    remedy: str = "The file is damaged there, or has moved: copy or download it again.",
) -> ImageError:
    """The error of a window that cannot be decoded.

    Args:
        path: the file.
        level: which of its levels.
        window: in pixels of the level.
        why: what the decoder says.
        remedy: what to do.
    """
    return ImageError(
        f"the pixels at level {level}, columns {window.x0} to {window.x1}, rows {window.y0} to "
        f"{window.y1} cannot be decoded ({why})",
        where=path,
        remedy=remedy,
    )


class StoredImage(ABC):
    """An image whose pixels stay on disk, at one level or several, finest first.

    Reading is safe from several threads. Pickling carries the path and the table of levels, never a handle or
    a pixel; files open on the first read of each process.

    Args:
        path: the file.
        levels: finest first.
        mpp: microns per level-0 pixel, None where unknown.
        background: colour beyond the border, and under what is transparent.
        georeference: where the image lies on a map, if that is known.
        part: which image of the file, where it holds several; "" for the first.

    Attributes:
        levels: the table of levels.
        identity: resolved path (and part), size and modification time of the file when it was opened.
        depth: samples per pixel of what `decode` gives; three colours.
        dtype: of these samples.
        under: sample of each beyond the border; by default the background.
    """

    depth: int = 3
    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(
        self,
        path: Path,
        levels: Sequence[Level],
        *,
        mpp: float | None,
        background: tuple[int, int, int] = (255, 255, 255),
        georeference: Georeference | None = None,
        part: str = "",
    ) -> None:
        """Keep the table; no pixel is read."""
        self.path = path
        self.levels = tuple(levels)
        self.mpp = mpp
        self.background = background
        self.under: tuple[float | int, ...] = background
        self.georeference = georeference
        self._part = part
        self.identity = self._identity()
        self._last_access = time.monotonic()
        self._decoded: dict[tuple[int, int], int] = {}  # one count per thread: none waits for another

    @property
    def name(self) -> str:
        """The path, or the URL."""
        return path_text(self.path)

    @property
    def height(self) -> int:
        """Level-0 pixels."""
        return self.levels[0].height

    @property
    def width(self) -> int:
        """Level-0 pixels."""
        return self.levels[0].width

    @property
    def decoded_pixels(self) -> int:
        """Pixels of the stored blocks that this object's reads touched in this process, repeats included."""
        process = os.getpid()
        return sum(count for (owner, _), count in list(self._decoded.items()) if owner == process)

    def read(self, regions: Sequence[Region], scale: float) -> UInt8[Tensor, "n 3 h w"]:
        """Read regions of one size at a scale, area-averaged (see `images.image.Image`).

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the regions are not of one size, or pixels cannot be decoded.
        """
        return self._read(regions, scale)

    def _read(self, regions: Sequence[Region], scale: float) -> Tensor:
        _, _, rows, columns = common_size(regions, scale)
        return self._views(np.array(regions, dtype=np.float64).reshape(-1, 4), rows, columns)

    def read_boxes(
        self, boxes: Float64[Tensor, "n 4"], rows: int, columns: int
    ) -> UInt8[Tensor, "n 3 rows columns"]:
        """Read boxes with fractional edges (see `array.ArrayImage.read_boxes`).

        Raises:
            ImageError: if a box is empty or not finite, or pixels cannot be decoded.
        """
        return self._read_boxes(boxes, rows, columns)

    def _read_boxes(self, boxes: Tensor, rows: int, columns: int) -> Tensor:
        return self._views(checked_boxes(boxes, rows, columns, self.name), rows, columns)

    def check_identity(self) -> None:
        """Make sure that the file is still the one whose levels are known.

        Raises:
            ImageError: if it is gone, does not respond, or has changed.
        """
        if self._identity() != self.identity:
            raise ImageError(
                "the file has changed since it was opened", where=self.path, remedy="Open it again."
            )

    def _identity(self) -> FileIdentity:
        path, size, changed = identity_of(self.path)
        return path + self._part, size, changed

    @abstractmethod
    def close(self) -> None:
        """Let go of the open files of this process; the next read opens them again."""

    @abstractmethod
    def decode(self, level: int, window: Window) -> Bytes:
        """The pixels of a window inside a level: (height, width, 3), what is transparent on the background.

        Raises:
            ImageError: if they cannot be decoded; later calls may succeed.
        """

    def __getstate__(self) -> dict[str, object]:
        """Pickle the description alone."""
        return {**self.__dict__, "_decoded": {}, "_last_access": -math.inf}

    def __repr__(self) -> str:
        """The kind, the path and the size."""
        return (
            f"{type(self).__name__}({self.name!r}, {self.width} x {self.height}, {len(self.levels)} levels)"
        )

    def _repr_png_(self) -> bytes | None:
        pixel = 1 / preview_scale(self)
        level = self.levels[self._level_for(pixel, pixel)]
        return image_png(self, level.height * level.width)

    def _views(self, boxes: npt.NDArray[np.float64], rows: int, columns: int) -> Tensor:
        views = np.empty((len(boxes), rows, columns, self.depth), dtype=self.dtype)
        if len(boxes):
            level = self._level_for(float((boxes[:, 3] / rows).min()), float((boxes[:, 2] / columns).min()))
            table = self.levels[level]
            y = Axis.of(boxes[:, 1], boxes[:, 3], rows, table.pixel[0], float(self.height))
            x = Axis.of(boxes[:, 0], boxes[:, 2], columns, table.pixel[1], float(self.width))
            if y.reach * x.reach > _GATHERED:
                for one in range(len(boxes)):
                    self._read_in_bands(
                        level, y.rows(slice(one, one + 1)), x.rows(slice(one, one + 1)), views[one]
                    )
            else:
                order = np.lexsort((x.first // table.block[1], y.first // table.block[0]))
                self._read_gathered(
                    level, Axis(y.edges[order], y.border), Axis(x.edges[order], x.border), views, order
                )
        return torch.from_numpy(views).permute(0, 3, 1, 2)

    def _level_for(self, height: float, width: float) -> int:
        """The coarsest level whose pixels are no larger than a view pixel of so many level-0 pixels."""
        fine = [i for i, level in enumerate(self.levels)
                if level.pixel[0] <= height * _SLACK and level.pixel[1] <= width * _SLACK]  # fmt: skip
        return max(fine, key=lambda i: self.levels[i].pixel[0] * self.levels[i].pixel[1], default=0)

    def _read_gathered(
        self, level: int, y: Axis, x: Axis, views: Samples, order: npt.NDArray[np.int64]
    ) -> None:
        """Boxes of bounded size: gather their pixels, then average many at once."""
        height, width = y.reach, x.reach
        whole = y.whole and x.whole
        together = max(1, _GATHERED // (height * width))
        for start in range(0, len(order), together):
            chunk = slice(start, start + together)
            if whole:
                self._gather(level, y.rows(chunk), x.rows(chunk), views, order[chunk])
                continue
            crops = np.empty((len(order[chunk]), height, width, self.depth), dtype=self.dtype)
            self._gather(level, y.rows(chunk), x.rows(chunk), crops, np.arange(len(crops)))
            few = max(1, _AVERAGED // (height * width))
            for first in range(0, len(crops), few):
                own = slice(start + first, min(start + first + few, start + len(crops)))
                averaged = average_crops(
                    crops[first : first + few], y.rows(own), x.rows(own), self.under, self.dtype
                )
                views[order[own]] = averaged

    def _gather(self, level: int, y: Axis, x: Axis, crops: Samples, own: npt.NDArray[np.int64]) -> None:
        """Fill the own crops of boxes with their source pixels, background where there are none."""
        table = self.levels[level]
        top, left = y.first, x.first
        inner_y, inner_x = y.inside[:, [0, -1]], x.inside[:, [0, -1]]
        windows = np.stack(
            [
                np.floor(inner_x[:, 0]),
                np.floor(inner_y[:, 0]),
                np.ceil(inner_x[:, 1]),
                np.ceil(inner_y[:, 1]),
            ],
            1,
        ).astype(np.int64)
        windows[(inner_x[:, 1] <= inner_x[:, 0]) | (inner_y[:, 1] <= inner_y[:, 0])] = 0
        covered = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
        for index in own[covered < crops.shape[1] * crops.shape[2]].tolist():
            crops[index] = np.tile(np.array(self.under, dtype=self.dtype), (crops.shape[2], 1))
        for piece in pieces(windows, table.block):
            pixels = self._decode_padded(level, piece.window)
            for index, part in piece.parts:
                here = pixels[part.y0 - piece.window.y0 : part.y1 - piece.window.y0,
                              part.x0 - piece.window.x0 : part.x1 - piece.window.x0]  # fmt: skip
                row, column = part.y0 - int(top[index]), part.x0 - int(left[index])
                crops[own[index], row : row + here.shape[0], column : column + here.shape[1]] = here

    def _read_in_bands(self, level: int, y: Axis, x: Axis, view: Samples) -> None:
        """One large box: bands of source rows, in pieces, each stored block once, in bounded memory.

        A view row that two bands share is carried from one to the next.
        """
        edges, rows = y.inside[0], view.shape[0]
        bottom = int(np.ceil(edges[-1]))
        carry, done = None, 0
        for start, stop in self._bands(level, int(edges[0]), bottom):
            beyond = int(np.searchsorted(edges[:-1], stop)) if stop < bottom else rows
            sums = np.zeros((1, beyond - done, view.shape[1], self.depth), dtype=np.float32)
            if carry is not None and sums.shape[1]:
                sums[0, 0] = carry
            self._add_band(level, (start, stop), np.clip(edges[done : beyond + 1], start, stop), x, sums[0])
            finished = rows if stop >= bottom else int(np.searchsorted(edges[1:], stop, side="right"))
            own = Axis(y.edges[:, done : finished + 1], y.border)
            view[done:finished] = finish(sums[:, : finished - done], own, x, self.under, self.dtype)[0]
            carry = sums[0, finished - done].copy() if finished < beyond else None
            done = finished
        if done < rows:  # nothing of the box is inside
            view[done:] = np.array(self.under, dtype=self.dtype)

    def _bands(self, level: int, top: int, bottom: int) -> list[tuple[int, int]]:
        """Source rows from top to bottom, cut where rows of blocks end."""
        if top >= bottom:
            return []
        table = self.levels[level]
        tall = max(1, min(_BAND, _PIECE // max(1, table.block[1])) // table.block[0]) * table.block[0]
        first = top // tall * tall
        return [(max(top, start), min(bottom, start + tall)) for start in range(first, bottom, tall)]

    def _add_band(
        self, level: int, band: tuple[int, int], y_edges: npt.NDArray[np.float64], x: Axis,
        sums: npt.NDArray[np.float32],
    ) -> None:  # fmt: skip
        """Add what a band of source rows contributes to the view rows between the edges."""
        table = self.levels[level]
        edges = x.inside[0]
        left, right = int(edges[0]), int(np.ceil(edges[-1]))
        if left >= right:
            return
        wide = max(1, _PIECE // max(1, band[1] - band[0]) // table.block[1]) * table.block[1]
        for start in range(left // wide * wide, right, wide):
            x0, x1 = max(left, start), min(right, start + wide)
            first = max(0, int(np.searchsorted(edges, x0, side="right")) - 1)
            last = int(np.searchsorted(edges, x1))
            own = np.clip(edges[first : last + 1], x0, x1)
            pixels = self._decode_padded(level, Window(x0, band[0], x1, band[1]))
            part = sums_of(pixels[None], y_edges[None] - band[0], own[None] - x0)
            sums[:, first : first + part.shape[2]] += part[0]

    def _decode_padded(self, level: int, window: Window) -> Samples:
        """A window that may exceed the stored pixels by what a writer rounded away: the last repeats."""
        table = self.levels[level]
        inner = Window(
            min(window.x0, table.width - 1),
            min(window.y0, table.height - 1),
            min(window.x1, table.width),
            min(window.y1, table.height),
        )
        worker = (os.getpid(), threading.get_ident())
        touched = count_blocks(inner, table.block) * table.block[0] * table.block[1]
        self._decoded[worker] = self._decoded.get(worker, 0) + touched
        if time.monotonic() - self._last_access > _PAUSE:
            touch(self.path)
        pixels = self.decode(level, inner)
        self._last_access = time.monotonic()
        if inner == window:
            return pixels
        rows = np.minimum(np.arange(window.y0, window.y1), table.height - 1) - inner.y0
        columns = np.minimum(np.arange(window.x0, window.x1), table.width - 1) - inner.x0
        padded: Samples = pixels[rows[:, None], columns]
        return padded
