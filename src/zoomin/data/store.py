"""The images of a run: opened once, checked before training, then resident in memory or read from disk.

Whole images (PNG, JPEG, plain TIFF) are decoded when they are opened, which checks them, and stay in memory
where they fit. Stored images (slides, pyramids, rasters) are never decoded whole unless that is asked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float64, Int, UInt8
from torch import Tensor

from ..annotations.frames import Frame
from ..errors import DataError, ImageError, ZoomInError
from ..geometry import Region
from ..images.array import ArrayImage
from ..images.batch import ResidentImages, StreamedImages
from ..images.cache import Cache
from ..images.formats.channels import ChannelImage
from ..images.image import Image, ImageBatch, reader_of
from ..images.open_image import open_image
from ..images.pool import map_ahead
from ..images.resampled import ResampledImage, at_mpp
from ..images.stored import FileIdentity, identity_of
from ..images.streamed import CACHE_BYTES
from ..images.tissue import ForegroundMask, OverviewMask
from ..model.config import ZoomInConfig
from ..progress import track
from ..runtime.faults import image_error
from .config import Residence
from .manifest import Record
from .opening import foreground_mask, open_record

__all__ = ["ImageStore", "PathImage", "available_memory", "open_store"]

_SHOWN = 20  # bad images listed in one message
_DECODED_BYTES = 1 << 29  # of whole images that streaming keeps decoded at once
_MEMORY_SHARE = 0.25  # of the free memory, that images may fill
_BYTES_PER_PIXEL = 4  # three colours and the pyramid


@dataclass(frozen=True)
class PathImage:
    """A whole image that is decoded again whenever it is read: it holds no pixels and pickles by its path.

    Attributes:
        path: of the image.
        height: level-0 pixels.
        width: level-0 pixels.
        mpp: microns per level-0 pixel, or None where unknown.
        background: red, green and blue beyond the border.
        mpp_override: what the manifest says, None to trust the file.
        identity: of the file's pixels, for caches; None: they are not cached.
        series: which image of the file, None for the main one.
    """

    reader: ClassVar[str] = "whole"

    path: Path
    height: int
    width: int
    mpp: float | None
    background: tuple[int, int, int]
    mpp_override: float | None = None
    identity: FileIdentity | None = None
    series: str | None = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def read(self, regions: Sequence[Region], scale: float) -> UInt8[Tensor, "n 3 h w"]:
        """Decode the image, unless it is among those decoded last, and read; see `Image.read`."""
        return self._decoded().read(regions, scale)

    def read_boxes(
        self, boxes: Float64[Tensor, "n 4"], rows: int, columns: int
    ) -> UInt8[Tensor, "n 3 rows columns"]:
        """Read boxes with fractional edges, likewise; see `ArrayImage.read_boxes`."""
        return self._decoded().read_boxes(boxes, rows, columns)

    def _decoded(self) -> ArrayImage:
        key = self.path, self.identity
        return _DECODED.get_or_make(key, self._decode, _size_of)  # threads that ask at once decode it once

    def _decode(self) -> ArrayImage:
        chosen = {} if self.series is None else {"series": self.series}
        image = open_image(self.path, mpp=self.mpp_override, **chosen)
        if (image.height, image.width) != (self.height, self.width):
            raise ImageError(
                f"the image has changed: {image.width} x {image.height} pixels, once {self.width} x "
                f"{self.height}",
                where=self.path,
                remedy="Start again with the new image.",
            )
        assert isinstance(image, ArrayImage)
        return image


_DECODED: Cache[ArrayImage] = Cache(_DECODED_BYTES)


def _size_of(image: ArrayImage) -> int:
    return min(_DECODED_BYTES, 3 * image.height * image.width)  # one larger than the cache is kept alone


@dataclass(frozen=True)
class ImageStore:
    """The opened images of some records of a manifest.

    Attributes:
        place: for each row of the manifest its place in `images`, -1 where it was not asked for.
        images: all of them behind one batched read.
        resident: whether their pixels are kept in memory.
        readers: what decoded each one, by row of the manifest.
        file_frames: height, width and place on a map of each one's file, by row of the manifest.
    """

    place: Int[Tensor, " rows"]
    images: ResidentImages | StreamedImages
    resident: bool
    file_frames: Mapping[int, Frame] = field(default_factory=dict)
    readers: Mapping[int, str] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where views are delivered."""
        return self.images.device

    def holds(self, rows: Int[Tensor, " n"]) -> bool:
        """Whether the images of these rows are here."""
        return bool((self.place[rows] >= 0).all())

    def select(self, rows: Int[Tensor, " n"]) -> ImageBatch:
        """The images of these rows, in this order; pixels are not copied."""
        return self.images.select(self.place[rows])

    def to(self, device: torch.device | str) -> ImageStore:
        """The same images with views delivered on another device; resident pixels move there."""
        return replace(self, images=self.images.to(device))


def open_store(
    records: Sequence[Record],
    rows: Int[Tensor, " n"],
    *,
    resident: Residence = "auto",
    threads: int = 4,
    device: torch.device | str = "cpu",
    progress: bool | None = None,
    cache_bytes: int = CACHE_BYTES,
    timeout: float | None = None,
    model: ZoomInConfig | None = None,
    mpp: float | None = None,
    channels: Sequence[str | int] = (),
    skip: Callable[[int, ZoomInError], None] | None = None,
    most_skipped: int = 0,
) -> ImageStore:
    """Open the images of some rows, all of them before anything else happens; whole images are decoded.

    Args:
        records: of the whole manifest.
        rows: which of them to open.
        resident: "always" keeps all pixels in memory, "never" none, "auto" keeps whole images while four
            bytes per pixel fill less than a quarter of the free memory; stored images stay on disk. No result
            depends on it, except where "always" averages full-resolution pixels instead of a stored level.
        threads: decode this many images at a time; the result does not depend on it.
        device: where views are delivered, and resident pixels kept.
        progress: show a progress bar; by default where the messages go to a terminal.
        cache_bytes: for overviews of streamed images.
        timeout: seconds after which opening an image, or a single read, is given up; by default never.
        model: the network that the images are for: they are brought to its resolution, and their foreground
            is found as it is configured; by default they are as their files, and every tile counts.
        mpp: microns per level-0 pixel of files of which the manifest does not tell it.
        channels: that are wanted where no model says which.
        skip: called with the row of each image that cannot be opened, which is then left out; by default
            there must be none.
        most_skipped: images that may be.

    Raises:
        DataError: listing images that cannot be opened, with the reason, where none may be skipped, they are
            more than `most_skipped`, or all.
    """
    chosen = [records[row] for row in rows.tolist()]
    opener = _Opener(resident, device, model, mpp, channels)
    opening = map_ahead(opener.open, chosen, threads=threads, timeout=timeout)
    opening = track(opening, "Opening images", total=len(chosen), shown=progress)
    found = [_opened_or_error(*one) for one in opening]
    bad = [error for error in found if isinstance(error, ZoomInError)]
    if bad and (skip is None or len(bad) > most_skipped or len(bad) == len(found)):
        raise _bad_images(chosen, found, len(bad), may_skip=skip is not None)
    good = [not isinstance(one, ZoomInError) for one in found]
    for row, one in zip(rows.tolist(), found, strict=True):
        if skip is not None and isinstance(one, ZoomInError):
            skip(row, one)
    rows = rows[torch.tensor(good, dtype=torch.bool)]
    opened = [one for one in found if not isinstance(one, ZoomInError)]
    images, masks = [one.image for one in opened], [one.mask for one in opened]
    place = torch.full((len(records),), -1, dtype=torch.int64)
    place[rows] = torch.arange(rows.numel())
    frames = {row: one.file for row, one in zip(rows.tolist(), opened, strict=True)}
    readers = {row: one.reader for row, one in zip(rows.tolist(), opened, strict=True)}
    if all(isinstance(image, ArrayImage) for image in images):
        return ImageStore(place, ResidentImages(images, device, masks), True, frames, readers)
    streamed = StreamedImages(images, device, threads, cache_bytes=cache_bytes, timeout=timeout, masks=masks)
    return ImageStore(place, streamed, False, frames, readers)


class _Opened(NamedTuple):
    """An image as the model reads it, its foreground where that is sought; frame and reader of its file."""

    image: Image
    mask: ForegroundMask | None
    file: Frame
    reader: str


class _Opener:
    """Opens images; keeps the pixels of those that fit a budget of bytes."""

    def __init__(
        self,
        resident: Residence,
        device: torch.device | str,
        model: ZoomInConfig | None,
        mpp: float | None,
        channels: Sequence[str | int],
    ) -> None:
        free = available_memory(device)
        self._budget = {"always": math.inf, "never": 0.0}.get(resident, _MEMORY_SHARE * free)
        self._limit = free // _BYTES_PER_PIXEL if resident == "always" else 0  # pixels of a stored image
        self._model, self._mpp = model, mpp
        self._channels = channels if model is None or not model.channels else ()
        self._bytes = 0
        self._lock = Lock()

    def open(self, record: Record) -> _Opened:
        """Open an image."""
        image = open_record(record, self._model, self._mpp, self._channels)
        file = image.source if isinstance(image, ResampledImage) else image
        frame, reader = Frame.of(image), reader_of(image)
        fits = False
        if (self._limit and not isinstance(file, ChannelImage)) or isinstance(file, ArrayImage):
            with self._lock:
                size = image.height * image.width * _BYTES_PER_PIXEL
                fits = self._bytes + size <= self._budget
                self._bytes += size if fits else 0
        if fits and not isinstance(image, ArrayImage):
            image = _whole(image, self._limit)
        elif isinstance(file, ArrayImage) and not fits:
            by_path = _by_path(record, file, self._mpp)
            image = at_mpp(by_path, self._model.resolution) if self._model else by_path
        how = self._model.foreground if self._model else None
        mask = foreground_mask(image, record, how, frame)
        if isinstance(mask, OverviewMask) and fits:
            mask.find()  # and let go of the image, whose pixels are about to be copied
        return _Opened(image, mask, frame, reader)


def _opened_or_error(record: Record, found: _Opened | Exception) -> _Opened | ZoomInError:
    return image_error(found, record.image) if isinstance(found, Exception) else found


def _whole(image: Image, most: int) -> ArrayImage:
    """An image in memory, at full resolution; `most` pixels of it, 0: any number."""
    if most and image.height * image.width > most:
        raise ImageError(
            f"{image.width} x {image.height} pixels do not fit into memory",
            where=image.name,
            remedy="Set data.resident to auto: slides and other stored images then stay on disk.",
        )
    pixels = image.read([Region(0, 0, image.width, image.height)], 1.0)[0]
    return ArrayImage(pixels, mpp=image.mpp, background=image.background, name=image.name)


def available_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that are free on a device; where the system does not tell, half of the machine's memory."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 * 2**30


def _by_path(record: Record, image: Image, mpp: float | None) -> PathImage:
    path, size, changed = identity_of(record.image)
    part = "" if record.series is None else f"#{record.series}"
    return PathImage(
        record.image,
        image.height,
        image.width,
        image.mpp,
        image.background,
        mpp if record.mpp is None else record.mpp,
        (path + part, size, changed),
        record.series,
    )


def _bad_images(
    records: Sequence[Record], found: Sequence[_Opened | ZoomInError], count: int, *, may_skip: bool
) -> DataError:
    reasons = [
        f"{record.place}: {error.what}"
        for record, error in zip(records, found, strict=True)
        if isinstance(error, ZoomInError)
    ]
    more = f"\n  and {count - _SHOWN} more" if count > _SHOWN else ""
    return DataError(
        f"{count} of {len(records)} images cannot be read:\n  " + "\n  ".join(reasons[:_SHOWN]) + more,
        remedy="Replace these files, or take them out of the data"
        + ("; or allow as many to be left out: data.max_failures." if may_skip else "."),
    )
