"""The images of a run: opened once, checked before training, then resident in memory or read from disk."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Literal

import torch
from jaxtyping import Int, UInt8
from rich.console import Console
from rich.progress import track
from torch import Tensor

from ..errors import DataError, ZoomInError
from ..geometry import Region
from ..images.array import ArrayImage
from ..images.base import Image, ImageBatch
from ..images.batch import ResidentImages, StreamedImages
from ..images.open_image import open_image
from .manifest import Record

__all__ = ["ImageStore", "PathImage", "Residence", "available_memory", "open_store"]

Residence = Literal["auto", "always", "never"]
Opened = Image | ZoomInError
_SHOWN = 20  # bad images listed in one message
_CACHED = 16  # images that streaming keeps open at once
_MEMORY_SHARE = 0.25  # of the free memory, that images may fill
_BYTES_PER_PIXEL = 4  # three colours and the pyramid


@dataclass(frozen=True)
class PathImage:
    """An image that is opened again whenever it is read: it holds no pixels and pickles by its path.

    Attributes:
        path: of the image.
        height: level-0 pixels.
        width: level-0 pixels.
        mpp: microns per level-0 pixel, or None where unknown.
        background: red, green and blue beyond the border.
        mpp_override: what the manifest says, None to trust the file.
    """

    path: Path
    height: int
    width: int
    mpp: float | None
    background: tuple[int, int, int]
    mpp_override: float | None = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def read(self, regions: Sequence[Region], scale: float) -> UInt8[Tensor, "n 3 h w"]:
        """Open the image, unless it is among those opened last, and read; see `Image.read`."""
        with _LOCKS[hash(self.path) % len(_LOCKS)]:  # threads that read one image decode it once
            image = _open_again(self.path, self.mpp_override)
        return image.read(regions, scale)


_LOCKS = tuple(Lock() for _ in range(64))


@lru_cache(maxsize=_CACHED)
def _open_again(path: Path, mpp: float | None) -> Image:
    return open_image(path, mpp=mpp)


@dataclass(frozen=True)
class ImageStore:
    """The opened images of some records of a manifest.

    Attributes:
        place: for each row of the manifest its place in `images`, -1 where it was not asked for.
        images: all of them behind one batched read.
        resident: whether their pixels are kept in memory.
    """

    place: Int[Tensor, " rows"]
    images: ResidentImages | StreamedImages
    resident: bool

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
) -> ImageStore:
    """Open and decode the images of some rows, all of them before anything else happens.

    Args:
        records: of the whole manifest.
        rows: which of them to open.
        resident: "always" keeps the pixels in memory, "never" decodes them again for each batch, "auto" keeps
            them where four bytes a pixel fill less than a quarter of the free memory.
        threads: decode this many images at a time; the result does not depend on it.
        device: where views are delivered, and resident pixels kept.
        progress: show a progress bar; by default where the messages go to a terminal.

    Raises:
        DataError: listing every image that cannot be opened, with the reason.
    """
    budget = {"always": math.inf, "never": -1.0}.get(resident)
    opener = _Opener(_MEMORY_SHARE * available_memory(device) if budget is None else budget)
    chosen = [records[row] for row in rows.tolist()]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = list(_shown(pool.map(opener.open, chosen), len(chosen), progress))
    bad = [error for error in found if isinstance(error, ZoomInError)]
    if bad:
        raise _bad_images(chosen, found, len(bad))
    images = [image for image in found if not isinstance(image, ZoomInError)]
    place = torch.full((len(records),), -1, dtype=torch.int64)
    place[rows] = torch.arange(rows.numel())
    arrays = [image for image in images if isinstance(image, ArrayImage)]
    if opener.fits and len(arrays) == len(images):
        return ImageStore(place, ResidentImages(arrays, device), resident=True)
    by_path = [_by_path(record, image) for record, image in zip(chosen, images, strict=True)]
    return ImageStore(place, StreamedImages(by_path, device, threads), resident=False)


class _Opener:
    """Opens images and, once their pixels together exceed a budget of bytes, keeps the pixels of none."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._bytes = 0
        self._lock = Lock()

    @property
    def fits(self) -> bool:
        return self._bytes <= self._budget

    def open(self, record: Record) -> Image | ZoomInError:
        """The image, or why it cannot be opened."""
        try:
            image = open_image(record.image, mpp=record.mpp)
        except ZoomInError as error:
            return error
        with self._lock:
            self._bytes += image.height * image.width * _BYTES_PER_PIXEL
        return image if self.fits else _by_path(record, image)


def available_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that are free on a device; where the system does not tell, half of the machine's memory."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    told = Path("/proc/meminfo")
    if told.is_file():
        for line in told.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 * 2**30


def _by_path(record: Record, image: Image) -> PathImage:
    return PathImage(record.image, image.height, image.width, image.mpp, image.background, record.mpp)


def _bad_images(records: Sequence[Record], found: Sequence[Image | ZoomInError], count: int) -> DataError:
    reasons = [
        f"{record.place}: {error.what}"
        for record, error in zip(records, found, strict=True)
        if isinstance(error, ZoomInError)
    ]
    more = f"\n  and {count - _SHOWN} more" if count > _SHOWN else ""
    return DataError(
        f"{count} of {len(records)} images cannot be read:\n  " + "\n  ".join(reasons[:_SHOWN]) + more + "\n",
        remedy="Replace these files, or take them out of the data.",
    )


def _shown(items: Iterable[Opened], total: int, progress: bool | None) -> Iterable[Opened]:
    """The items behind a progress bar."""
    shown = sys.stderr.isatty() if progress is None else progress
    return track(items, "Reading images", total=total, console=Console(stderr=True), disable=not shown)
