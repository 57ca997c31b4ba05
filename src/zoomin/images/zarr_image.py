"""OME-Zarr by zarr-python: each read decodes the chunks that it touches; of shards, those chunks alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError
from .bands import TYPES
from .cache import HANDLES
from .physical import check_mpp
from .pixels import Bytes, Pixels, to_bytes
from .raster import check_blocks
from .stored import FileIdentity, StoredImage
from .urls import url_of
from .windows import Window
from .zarr_contents import ZarrContents, zarr_contents
from .zarr_store import ZARR_DAMAGE, metadata_identity, open_node

__all__ = ["ZarrImage", "open_zarr"]

_RGB = ("red", "green", "blue")
_CHUNKS = "Write it in smaller chunks, such as 256 x 256 (sharded, if there are many files)."


class ZarrImage(StoredImage):
    """An image of an OME-Zarr (see `stored.StoredImage`).

    Attributes:
        contents: what was found in the file.
        colour: the channels of grey, or of red, green and blue, counted from 0.
    """

    def __init__(
        self, path: Path, contents: ZarrContents, colour: tuple[int, ...], *, mpp: float | None
    ) -> None:
        """Describe an image; `open_zarr` looks into the file."""
        part = f"#{contents.arrays[0]}{contents.plane}"
        super().__init__(path, contents.levels, mpp=mpp, part=part)
        self.contents = contents
        self.colour = colour

    def decode(self, level: int, window: Window) -> Bytes:
        """The pixels of a window of a level; chunks that are not stored have the fill value.

        Raises:
            ImageError: if they cannot be decoded.
        """
        samples = self.samples(level, window, self.colour)
        if np.issubdtype(samples.dtype, np.floating) and not np.isfinite(samples).all():
            missing = ~np.isfinite(samples).all(axis=2)
            samples[missing] = 0
            pixels = _spread(to_bytes(samples, self.path))
            pixels[missing] = self.background
            return pixels
        return _spread(to_bytes(samples, self.path))

    def samples(self, level: int, window: Window, channels: Sequence[int]) -> Pixels:
        """The samples of some channels, as they are stored: (height, width, channels).

        Raises:
            ImageError: if they cannot be decoded.
        """
        arrays = HANDLES.get_or_make(self._key, self._open)
        try:
            return _read(arrays[level], self.contents, window, channels)
        except ZARR_DAMAGE as error:
            HANDLES.drop(self._key, arrays)
            raise ImageError(
                f"the pixels at level {level}, columns {window.x0} to {window.x1}, rows {window.y0} to "
                f"{window.y1} cannot be decoded ({error or type(error).__name__})",
                where=self.path,
                remedy="A chunk is damaged or cannot be reached: copy or download it again.",
            ) from error

    def close(self) -> None:
        """Let go of the arrays; the next read opens them again."""
        HANDLES.drop(self._key)

    @property
    def _key(self) -> tuple[object, ...]:
        return "zarr", self.identity

    def _identity(self) -> FileIdentity:
        if url_of(self.path) is not None:
            return f"{self.path}{self._part}", 0, 0
        path, size, changed = super()._identity()
        return (path, *metadata_identity(self.path)) if self.path.is_dir() else (path, size, changed)

    def _open(self) -> list[Any]:
        self.check_identity()
        return [open_node(self.path, place) for place in self.contents.arrays]


def open_zarr(path: Path, *, mpp: float | None = None, series: int | str | None = None) -> ZarrImage:
    """Open an OME-Zarr of NGFF 0.1 to 0.5: a folder, a ZIP archive of one, or a URL.

    Args:
        path: of the group of the image, or of a `bioformats2raw` collection of images.
        mpp: microns per pixel, instead of what the file says.
        series: which image and which plane: see `zarr_contents`.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: naming what makes it unreadable, and the remedy.
    """
    check_mpp(mpp, path)
    contents = zarr_contents(path, series, mpp_needed=mpp is None)
    check_blocks(contents.levels[0], path, _CHUNKS)
    if contents.dtype not in TYPES:
        raise ImageError(
            f"pixels of type {contents.dtype}",
            where=path,
            remedy="Write it with 8 or 16 unsigned bits, or as floating point from 0 to 1.",
        )
    colour = _colour(contents, path)
    return ZarrImage(path, contents, colour, mpp=contents.mpp if mpp is None else mpp)


def _colour(contents: ZarrContents, path: Path) -> tuple[int, ...]:
    """The channels that are seen as grey, or as red, green and blue."""
    if contents.channels == 1:
        return (0,)
    if set(_RGB) <= set(contents.primaries):
        places = tuple(contents.primaries.index(name) for name in _RGB)
        if contents.channels == 3:
            return places
    if contents.channels == 3 and not any(contents.primaries) and contents.names == ("1", "2", "3"):
        return 0, 1, 2
    raise ImageError(
        f"{contents.channels} channels ({', '.join(contents.names[:12])}) that are not red, green and blue",
        where=path,
        remedy="Name those to use.",
    )


def _read(array: Any, contents: ZarrContents, window: Window, channels: Sequence[int]) -> Pixels:  # noqa: ANN401
    """Samples (height, width, channels) of an array with any order of axes."""
    plane = dict(contents.plane)
    box = {"y": slice(window.y0, window.y1), "x": slice(window.x0, window.x1)}
    if "c" not in contents.axes:
        return np.asarray(_ordered(_part(array, contents, plane, box, None), contents)[..., None])
    together = array.chunks[contents.axes.index("c")] > 1 or list(channels) == list(
        range(channels[0], channels[0] + len(channels))
    )
    if together:  # channels share chunks, or stand beside each other: one read
        low, high = min(channels), max(channels) + 1
        found = _ordered(_part(array, contents, plane, box, slice(low, high)), contents)
        return np.ascontiguousarray(found[..., [channel - low for channel in channels]])
    parts = [_ordered(_part(array, contents, plane, box, slice(c, c + 1)), contents) for c in channels]
    return np.concatenate(parts, axis=-1)


def _part(
    array: Any,  # noqa: ANN401 (a zarr.Array)
    contents: ZarrContents,
    plane: dict[str, int],
    box: dict[str, slice],
    channels: slice | None,
) -> Pixels:
    index = [channels if axis == "c" else box.get(axis, plane.get(axis)) for axis in contents.axes]
    return np.asarray(array[tuple(index)])


def _ordered(part: Pixels, contents: ZarrContents) -> Pixels:
    """With the axes y, x and, where there is one, c."""
    kept = [axis for axis in contents.axes if axis in "cyx"]
    return part.transpose([kept.index(axis) for axis in ("y", "x", "c") if axis in kept])


def _spread(pixels: Bytes) -> Bytes:
    """Grey as red, green and blue."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
