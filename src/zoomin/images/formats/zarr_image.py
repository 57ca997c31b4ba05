"""OME-Zarr by zarr-python: each read decodes the chunks that it touches; of shards, those chunks alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ChannelsError, ImageError
from ..cache import HANDLES
from ..physical import check_mpp
from ..pixels import Bytes, Pixels, to_bytes
from ..stored import FileIdentity, StoredImage, check_unchanged, identity_of, undecoded
from ..urls import url_of
from ..windows import Window
from .bands import TYPES
from .channels import NAME_THEM, check_numbers
from .raster import check_blocks
from .zarr_contents import ZarrContents, zarr_contents
from .zarr_store import ZARR_DAMAGE, open_node

__all__ = ["ZarrImage", "ZarrSamples", "open_zarr", "open_zarr_channels"]

_RGB = ("red", "green", "blue")
_CHUNKS = "Write it in smaller chunks, such as 256 x 256 (sharded, if there are many files)."


class ZarrSamples:
    """The samples of an image of an OME-Zarr (see `channels.Samples`).

    Args:
        path: a folder, a ZIP archive, or a URL.
        contents: what was found in it.
    """

    reader = "zarr"
    georeference = None
    missing: tuple[float | None, ...] = ()

    def __init__(self, path: Path, contents: ZarrContents) -> None:
        """Nothing is read."""
        self.path = path
        self.contents = contents
        self.levels = contents.levels
        self.names = contents.names
        self.dtype = contents.dtype
        self.mpp_source = contents.mpp_source
        self.identity = self.current_identity()

    def read(self, level: int, window: Window, channels: Sequence[int]) -> Pixels:
        """The samples of some channels, as they are stored; the fill value where chunks are not."""
        arrays = HANDLES.get_or_make(self._key, self._open)
        try:
            found = _read(arrays[level], self.contents, window, channels)
            return found.astype(self.dtype, copy=False)  # whatever the order of the bytes
        except ZARR_DAMAGE as error:
            HANDLES.drop(self._key, arrays)
            remedy = "A chunk is damaged or cannot be reached: copy or download it again."
            raise undecoded(self.path, level, window, error or type(error).__name__, remedy) from error

    def close(self) -> None:
        """Let go of the arrays; the next read opens them again."""
        HANDLES.drop(self._key)

    def current_identity(self) -> FileIdentity:
        """Path, image and plane, and what changes when the Zarr is written anew.

        Raises:
            ImageError: if it is gone.
        """
        part = f"#{self.contents.arrays[0]}{self.contents.plane}"
        if url_of(self.path) is not None:
            return f"{self.path}{part}", 0, 0
        path, size, changed = identity_of(self.path)
        return path + part, size, changed

    @property
    def _key(self) -> tuple[object, ...]:
        return "zarr", self.identity

    def _open(self) -> list[Any]:
        check_unchanged(self.current_identity(), self.identity, self.path)
        return [open_node(self.path, place) for place in self.contents.arrays]


class ZarrImage(StoredImage):
    """An image of an OME-Zarr in grey or in colours (see `stored.StoredImage`).

    Attributes:
        samples: of the file.
        colour: the channels of grey, or of red, green and blue, counted from 0.
    """

    reader = "zarr"

    def __init__(self, samples: ZarrSamples, colour: tuple[int, ...], *, mpp: float | None) -> None:
        """Describe an image; `open_zarr` inspects the file."""
        self.samples = samples
        self.colour = colour
        super().__init__(samples.path, samples.levels, mpp=mpp)

    @property
    def contents(self) -> ZarrContents:
        """What was found in the file."""
        return self.samples.contents

    def decode(self, level: int, window: Window) -> Bytes:
        """The pixels of a window of a level; where a sample is not a number, the background."""
        samples = self.samples.read(level, window, self.colour)
        if np.issubdtype(samples.dtype, np.floating) and not np.isfinite(samples).all():
            missing = ~np.isfinite(samples).all(axis=2)
            samples[missing] = 0
            pixels = _spread(to_bytes(samples, self.path))
            pixels[missing] = self.background
            return pixels
        return _spread(to_bytes(samples, self.path))

    def close(self) -> None:
        """Let go of the arrays; the next read opens them again."""
        self.samples.close()

    def _identity(self) -> FileIdentity:
        return self.samples.current_identity()


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
    return ZarrImage(ZarrSamples(path, contents), colour, mpp=contents.mpp if mpp is None else mpp)


def open_zarr_channels(
    path: Path, mpp: float | None, series: int | str | None
) -> tuple[ZarrSamples, float | None]:
    """The samples of an OME-Zarr of any channels, and its microns per pixel; as `open_zarr`.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: naming what makes it unreadable, and the remedy.
    """
    check_mpp(mpp, path)
    contents = zarr_contents(path, series, mpp_needed=mpp is None)
    check_blocks(contents.levels[0], path, _CHUNKS)
    check_numbers(contents.dtype, path)
    return ZarrSamples(path, contents), contents.mpp if mpp is None else mpp


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
    raise ChannelsError(
        f"{contents.channels} channels ({', '.join(contents.names[:12])}) that are not red, green and blue",
        where=path,
        remedy=NAME_THEM,
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
