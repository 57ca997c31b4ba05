"""Images of any number of channels: samples as they are stored, for a network, and false colour for the eye.

A multispectral or multiplex image is opened for some of its channels, by name or number. Its views are the
samples themselves in single precision, area-averaged, (n, channels, h, w): nothing is scaled to bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from ...errors import ImageError
from ...geometry import Region
from ..georeference import Georeference
from ..image import Image, reader_of
from ..pixels import Bytes, Pixels
from ..resampled import ResampledImage
from ..stored import FileIdentity, Level, StoredImage
from ..windows import Window

__all__ = [
    "NAME_THEM",
    "ChannelImage",
    "Samples",
    "Statistics",
    "channel_statistics",
    "check_numbers",
    "places_of",
    "shown",
]

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

NAME_THEM = (
    "Name those to use, in training by data.channels, such as '[6, 2]' or '[DAPI, CD8]', in Python by "
    "open_image(path, channels=[...])."
)
_SIDE, _PLACES = 64, 5  # of the windows that statistics are taken of, and how many along each axis
_SPREAD = 2.0  # standard deviations on either side of the mean that the eye is shown
_OVERVIEW = 256  # pixels along the longest side, where the range of the samples has to be looked for


@runtime_checkable
class Samples(Protocol):
    """A file whose channels can be read one by one."""

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def levels(self) -> tuple[Level, ...]: ...  # noqa: D102
    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def mpp_source(self) -> str: ...  # noqa: D102
    @property
    def missing(self) -> tuple[float | None, ...]: ...  # noqa: D102
    @property
    def georeference(self) -> Georeference | None: ...  # noqa: D102
    @property
    def identity(self) -> FileIdentity: ...  # noqa: D102

    def read(self, level: int, window: Window, channels: Sequence[int]) -> Pixels:
        """The samples of a window, (height, width, channels), as they are stored."""
        ...

    def close(self) -> None:
        """Let go of open files."""
        ...


class ChannelImage(StoredImage):
    """Some channels of a file; views are samples, float32. Samples that are missing are 0.

    Args:
        samples: the file.
        channels: names, or numbers from 1, in the order that the network sees.
        mpp: microns per level-0 pixel.
        statistics: mean and standard deviation of each channel in the training images, which decide the
            range that the eye is shown; by default that of the type or of the image.

    Raises:
        ImageError: if the file lacks a channel.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        samples: Samples,
        channels: Sequence[str | int],
        *,
        mpp: float | None,
        statistics: Statistics | None = None,
    ) -> None:
        """Choose channels; no pixel is read."""
        self.samples = samples
        self.chosen = places_of(channels, samples.names, samples.path)
        self.channels = tuple(samples.names[place] for place in self.chosen)
        self.depth = len(self.chosen)
        self._range = None if statistics is None else _range_of(statistics)
        super().__init__(samples.path, samples.levels, mpp=mpp, georeference=samples.georeference)
        self.under = (0.0,) * self.depth
        self.background = (0, 0, 0)

    def read(self, regions: Sequence[Region], scale: float) -> Float32[Tensor, "n channels h w"]:
        """Read regions of one size at a scale, area-averaged (see `stored.StoredImage`)."""
        return self._read(regions, scale)

    def read_boxes(
        self, boxes: Float64[Tensor, "n 4"], rows: int, columns: int
    ) -> Float32[Tensor, "n channels rows columns"]:
        """Read boxes with fractional edges (see `stored.StoredImage`)."""
        return self._read_boxes(boxes, rows, columns)

    def decode(self, level: int, window: Window) -> Any:  # noqa: ANN401 (samples, not bytes)
        """The samples of a window of a level, (height, width, channels)."""
        values = np.array(self.samples.read(level, window, self.chosen), dtype=np.float32)
        gone = ~np.isfinite(values)
        for place, channel in enumerate(self.chosen if self.samples.missing else ()):
            value = self.samples.missing[channel]
            if value is not None:
                gone[..., place] |= values[..., place] == np.float32(value)
        values[gone] = 0.0
        return values

    @property
    def reader(self) -> str:
        """What decodes the file."""
        return reader_of(self.samples)

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        self.samples.close()

    @property
    def shown(self) -> _ShownImage:
        """The image in false colour: its first three channels as red, green and blue; one as grey.

        Each channel's range is two standard deviations on either side of the mean of the training images;
        without a model, that of bytes, and else from the 1st to the 99th percentile of the image.
        """
        return _ShownImage(self)

    def range(self) -> npt.NDArray[np.float32]:
        """The sample that is shown as black, and as full colour, of each channel: (channels, 2)."""
        if self._range is None and self.samples.dtype == "uint8":
            self._range = ((0.0, 255.0),) * self.depth
        if self._range is None:
            scale = min(1.0, _OVERVIEW / max(self.height, self.width))
            whole = self.read([Region(0, 0, self.width, self.height)], scale)[0].flatten(1).numpy()
            ends = np.percentile(whole, (1, 99), axis=1).T
            self._range = tuple((float(low), float(high)) for low, high in ends)
        return np.array(self._range, dtype=np.float32)

    def _identity(self) -> FileIdentity:
        path, size, changed = self.samples.identity
        return f"{path}#{','.join(map(str, self.chosen))}", size, changed


class _ShownImage(StoredImage):
    """What a person is shown of a `ChannelImage`."""

    def __init__(self, image: ChannelImage) -> None:
        self.image = image
        super().__init__(
            image.path, image.levels, mpp=image.mpp, background=(0, 0, 0), georeference=image.georeference
        )

    def decode(self, level: int, window: Window) -> Bytes:
        values = self.image.decode(level, window)
        ends = self.image.range()
        width = np.maximum(ends[:, 1] - ends[:, 0], np.float32(1e-12))
        scaled = np.clip((values - ends[:, 0]) / width, 0, 1) * np.float32(255) + np.float32(0.5)
        seen = scaled.astype(np.uint8)[..., :3]
        if seen.shape[2] == 1:
            return np.repeat(seen, 3, axis=2)
        if seen.shape[2] == 2:
            return np.concatenate([seen, np.zeros_like(seen[..., :1])], axis=2)
        return np.ascontiguousarray(seen)

    def close(self) -> None:
        self.image.close()

    def _identity(self) -> FileIdentity:
        path, size, changed = self.image.identity
        return f"{path}#shown", size, changed


def shown(image: Image) -> Image:
    """An image as a person is shown it: red, green and blue; most images as they are."""
    if isinstance(image, ChannelImage):
        return image.shown
    if isinstance(image, ResampledImage) and isinstance(image.source, ChannelImage):
        assert image.mpp is not None
        return ResampledImage(image.source.shown, image.mpp)
    return image


def places_of(channels: Sequence[str | int], names: Sequence[str], path: Path) -> tuple[int, ...]:
    """Where the channels that are asked for stand in a file, counted from 0.

    Raises:
        ImageError: if one is not there, or its name is that of several.

    Example:
        >>> places_of(["CD8", 1], ["DAPI", "CD8"], Path("a.tif"))
        (1, 0)
    """
    found = []
    for wanted in map(str, channels):
        here = [place for place, name in enumerate(names) if name.lower() == wanted.strip().lower()]
        if not here and wanted.strip().isdigit() and 1 <= int(wanted) <= len(names):
            here = [int(wanted) - 1]
        if len(here) != 1:
            listed = ", ".join(f"{n} {name}" if name != str(n) else name for n, name in enumerate(names, 1))
            raise ImageError(
                f"no channel {wanted!r}" if not here else f"several channels {wanted!r}",
                where=path,
                remedy=f"It has {len(names)}: {listed}. Name them, or number them from 1 "
                "(data.channels; a model needs those that it was trained with).",
            )
        found.append(here[0])
    return tuple(found)


def check_numbers(dtype: str, path: Path) -> None:
    """Refuse samples that are not numbers.

    Raises:
        ImageError: naming the type.
    """
    if np.dtype(dtype).kind not in "buif":
        raise ImageError(
            f"samples of type {dtype}", where=path, remedy="Write it as whole or floating-point numbers."
        )


def channel_statistics(images: Iterable[ChannelImage | ResampledImage]) -> Statistics:
    """Mean and standard deviation of each channel over images, each of which counts the same.

    They are taken of 25 windows of 64 x 64 pixels of each, on a grid, at full resolution; of small images,
    of all pixels.

    Raises:
        ImageError: if pixels cannot be read.
    """
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for image in images:
        values = torch.cat([image.read([box], 1.0).double() for box in _places(image)]).transpose(0, 1)
        flat = values.flatten(1).numpy()
        count, total, squares = count + 1, total + flat.mean(1), squares + (flat**2).mean(1)
    mean = total / max(1, count)
    std = np.sqrt(np.maximum(squares / max(1, count) - mean**2, 0))
    std = np.where(std > 0, std, 1.0)  # a channel of one value says nothing
    return tuple(mean.tolist()), tuple(std.tolist())


def _places(image: Image) -> list[Region]:
    """A grid of windows; along a side that is short, all of it."""
    (ys, height), (xs, width) = (_along(length) for length in (image.height, image.width))
    return [Region(x, y, width, height) for y in ys for x in xs]


def _along(length: int) -> tuple[list[int], int]:
    if length <= _SIDE * _PLACES:
        return [0], length
    return [round(at) for at in np.linspace(0, length - _SIDE, _PLACES)], _SIDE


def _range_of(statistics: Statistics) -> tuple[tuple[float, float], ...]:
    return tuple((mean - _SPREAD * std, mean + _SPREAD * std) for mean, std in zip(*statistics, strict=True))
