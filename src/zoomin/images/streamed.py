"""Images that stay on disk: every read decodes the regions asked for, on the threads of the process.

All reads of a stage, for all images of a batch, become tasks: image by image, from top to bottom, so that a
reader sees neighbours together and decodes what they share once. Overviews that are announced by `prefetch`
are read in the background and kept in a bounded cache (docs/streaming.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from ..errors import BatchReadError, ConfigError, ImageError
from ..geometry import Region, TileGrid
from ..runtime.faults import image_error
from .averaging import common_size
from .cache import Cache
from .image import Image, Started, layout_of
from .pool import Reading, Task, default_threads
from .tissue import ForegroundMask, foreground_of

__all__ = ["CACHE_BYTES", "StreamedImages"]

CACHE_BYTES = 1 << 28  # of overviews, unless another number is given
_LEAST_ROWS = 8  # regions in a task: a reader merges neighbours within a task

Views = npt.NDArray[Any]  # n, height, width, channels


class _Held(NamedTuple):
    """Views of one image that are in memory, or on their way to it."""

    views: Views  # n, height, width, 3
    place: dict[tuple[int, int], int]  # x and y of a region -> its view
    reading: Reading
    group: int


class _Rows(NamedTuple):
    """The rows of a read that look at one image, from top to bottom."""

    image: int
    rows: npt.NDArray[np.int64]
    regions: list[Region]


@dataclass
class _Shared:
    """What all selections of the same images share."""

    threads: int
    timeout: float | None
    cache: Cache[_Held]
    seconds: list[float] = field(default_factory=lambda: [0.0])
    asking: threading.Lock = field(default_factory=threading.Lock)

    def __reduce__(self) -> tuple[type[_Shared], tuple[int, float | None, Cache[_Held]]]:
        """Pickle without what other processes cannot use: the cache arrives empty."""
        return type(self), (self.threads, self.timeout, self.cache)


class StreamedImages:
    """An `ImageBatch` over any images, decoded region by region when they are read.

    Args:
        images: any images; their `read` must be callable from several threads. Views of those that have an
            `identity` (a hashable that no other pixels share) can be kept.
        device: where views are delivered.
        threads: that read at a time, of those that the process shares; by default one per processor, up to 8.
        cache_bytes: for views that are read ahead; 0 keeps none.
        timeout: seconds after which a single read is given up; by default never.
        masks: foreground of each image; by default none has any, and all of their tiles count.

    Raises:
        ConfigError: if there are no images, or a number is out of range.
    """

    def __init__(
        self,
        images: Sequence[Image],
        device: torch.device | str = "cpu",
        threads: int | None = None,
        *,
        cache_bytes: int = CACHE_BYTES,
        timeout: float | None = None,
        masks: Sequence[ForegroundMask | None] = (),
    ) -> None:
        """Keep the images; nothing is opened or read."""
        if not images:
            raise ConfigError("a batch without images", remedy="Give at least one image.")
        if timeout is not None and timeout <= 0:
            raise ConfigError(f"a timeout of {timeout} seconds", remedy="Give a positive number, or none.")
        self._images = tuple(images)
        self._masks = tuple(masks) or (None,) * len(images)
        self._device = torch.device(device)
        self._shared = _Shared(threads or default_threads(), timeout, Cache(cache_bytes))
        layouts = {layout_of(image) for image in images}
        if len(layouts) > 1:
            raise ConfigError(
                "images with different numbers of channels in one batch",
                remedy="Open all of them for the same channels.",
            )
        [(self._channels, self._dtype)] = layouts

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    @property
    def device(self) -> torch.device:
        """Where views are delivered."""
        return self._device

    @property
    def sizes(self) -> Int[Tensor, "batch 2"]:
        """Height and width of each image, level-0 pixels."""
        return torch.tensor([(image.height, image.width) for image in self._images], device=self._device)

    @property
    def names(self) -> list[str]:
        """Name of each image."""
        return [image.name for image in self._images]

    @property
    def seconds_waiting(self) -> float:
        """Time spent in `read` so far, by this batch and all that share its images: waiting for pixels."""
        return self._shared.seconds[0]

    @property
    def decoded_pixels(self) -> int:
        """Pixels of stored blocks that the images have decoded so far, of those that count them."""
        return sum(getattr(image, "decoded_pixels", 0) for image in self._images)

    def select(self, indices: Int[Tensor, " n"] | Sequence[int]) -> StreamedImages:
        """Some of the images, in the order given; what is cached is shared."""
        return self._like(torch.as_tensor(indices).tolist(), self._device)

    def to(self, device: torch.device | str) -> StreamedImages:
        """The same images with views delivered on another device."""
        return self._like(range(len(self)), torch.device(device))

    def foreground(self, grid: TileGrid) -> Bool[Tensor, " tiles"] | None:
        """Which tiles can hold anything (see `images.image.ImageBatch`); overviews are read in threads.

        Raises:
            BatchReadError: if the overviews or mask files of some images cannot be read, or not in time.
        """
        if not any(self._masks):
            return None
        regions = grid.regions.cpu().split(grid.count.tolist())
        tasks = [
            Task(i, partial(_find_foreground, mask, own))  # the answer is kept by the mask
            for i, (mask, own) in enumerate(zip(self._masks, regions, strict=True))
            if mask is not None
        ]
        reading = Reading(tasks, self._shared.threads).start()
        waited = {task.group: reading.wait(self._shared.timeout, task.group) for task in tasks}
        errors = {i: found[i] for i, found in waited.items() if i in found}
        if errors:
            raise BatchReadError.of({i: self._named(i, error) for i, error in errors.items()})
        return foreground_of(self._masks, grid)

    def prefetch(self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float) -> None:
        """Start to read these regions into the cache; `read` will wait for them, not read them again.

        Returns at once. Left out are images whose views do not fit the cache, those without an identity, and
        those already read. Errors are raised by `read`.

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the regions are not of one size.
        """
        _, _, height, width = common_size(regions.tolist(), scale)
        with self._shared.asking:  # several threads may ask for the same
            self._prefetch(list(_by_image(image_index, regions)), scale, (height, width))

    def _prefetch(self, parts: list[_Rows], scale: float, size: tuple[int, int]) -> None:
        asked: list[tuple[Hashable, Views, _Rows]] = []
        free = self._shared.cache.capacity
        for part in parts:
            key = self._key(part, scale)
            held = self._held(part, scale)
            count = len(part.rows) * size[0] * size[1] * self._channels
            nbytes = count * self._dtype.itemsize if held is None else held.views.nbytes
            if key is None or nbytes > free:
                continue
            free -= nbytes  # what one call asks for does not drive out its own
            if held is not None:
                continue
            views = torch.empty(len(part.rows), *size, self._channels, dtype=self._dtype).numpy()
            asked.append((key, views, part._replace(rows=np.arange(len(part.rows)))))
        started: dict[int, tuple[Hashable, _Held]] = {}

        def done(group: int, error: Exception | None) -> None:
            if error is not None:
                self._shared.cache.drop(*started[group])

        split = self._split(len(asked))
        tasks = [task for _, views, part in asked for task in self._tasks(part, scale, views, split)]
        reading = Reading(tasks, self._shared.threads, done)
        for key, views, part in asked:
            place = {region[:2]: view for view, region in enumerate(part.regions)}
            started[part.image] = key, _Held(views, place, reading, part.image)
            self._shared.cache.put(*started[part.image], views.nbytes)
        reading.start()

    def read(
        self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float
    ) -> Shaped[Tensor, "n c h w"]:
        """Read one region of each indexed image (see `images.image.ImageBatch`).

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the regions are not of one size.
            BatchReadError: if some images cannot be decoded, or not in time; the others have been read.
        """
        return self.start(image_index, regions, scale).views()

    def start(self, image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"], scale: float) -> Started:
        """Begin to read in threads (see `images.image.ImageBatch`).

        Raises:
            ConfigError: if the scale is not in (0, 1].
            ImageError: if the regions are not of one size.
        """
        _, _, height, width = common_size(regions.tolist(), scale)
        views = _Delivery((len(regions), height, width, self._channels), self._dtype, self._device)
        parts = [(part, self._held(part, scale)) for part in _by_image(image_index, regions)]
        split = self._split(sum(held is None for _, held in parts))
        tasks = [
            task
            for part, held in parts
            if held is None
            for task in self._tasks(part, scale, views.staged, split)
        ]
        reading = Reading(tasks, self._shared.threads).start()
        return Started(partial(self._finish, parts, reading, views), reading.cancel)

    def _finish(
        self, parts: list[tuple[_Rows, _Held | None]], reading: Reading, views: _Delivery
    ) -> Shaped[Tensor, "n c h w"]:
        """Wait for views, image by image."""
        began = time.perf_counter()
        failures: dict[int, Exception] = {}
        try:
            for part, held in parts:
                source, group = (reading, part.image) if held is None else (held.reading, held.group)
                error = source.wait(self._shared.timeout, group).get(group)
                if error is not None:
                    failures[part.image] = error
                    continue
                if held is not None:
                    places = [held.place[region[:2]] for region in part.regions]
                    views.staged[part.rows] = held.views[places]
                views.send(part.rows)
        finally:
            reading.cancel()
            self._shared.seconds[0] += time.perf_counter() - began
        if failures:
            raise BatchReadError.of({i: self._named(i, error) for i, error in failures.items()})
        return views.delivered()

    def _like(self, places: Sequence[int], device: torch.device) -> StreamedImages:
        other = StreamedImages(
            [self._images[i] for i in places], device, masks=[self._masks[i] for i in places]
        )
        other._shared = self._shared
        return other

    def _key(self, part: _Rows, scale: float) -> Hashable:
        """What tells a set of views from others: the pixels, the scale, and the grid that the regions are of.

        The corner of the grid tells mirrored grids from straight ones.
        """
        identity = getattr(self._images[part.image], "identity", None)
        if identity is None:
            return None
        x, y, width, height = part.regions[0]
        return identity, scale, width, height, x % width, y % height

    def _held(self, part: _Rows, scale: float) -> _Held | None:
        """The kept views among which all of these are."""
        key = self._key(part, scale)
        held = None if key is None else self._shared.cache.get(key)
        if held is None or any(region[:2] not in held.place for region in part.regions):
            return None
        return held

    def _split(self, images: int) -> int:
        """Tasks an image: enough to keep the threads busy, few enough for readers to merge neighbours."""
        return -(-2 * self._shared.threads // max(1, images))

    def _tasks(self, part: _Rows, scale: float, views: Views, split: int) -> Iterator[Task]:
        """About `split` tasks that read regions into their rows of the views."""
        image = self._images[part.image]
        for band in _bands(part.regions, split):

            def fetch(band: slice = band) -> None:
                read = image.read(part.regions[band], scale)
                views[part.rows[band]] = read.permute(0, 2, 3, 1).numpy()

            yield Task(part.image, fetch)

    def _named(self, index: int, error: Exception) -> ImageError:
        """The error of an image, with its name."""
        found = image_error(error, self._images[index].name)
        if isinstance(found, ImageError):
            return found
        return ImageError(found.what, where=found.where, remedy=found.remedy)


class _Delivery:
    """Views on their way to a device: filled in (pinned) memory, sent as soon as an image is complete."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        self._device = device
        pinned = device.type == "cuda" and shape[0] > 0
        self._memory = torch.empty(shape, dtype=dtype, pin_memory=pinned)
        self.staged: Views = self._memory.numpy()
        self._there = None if device.type == "cpu" else torch.empty(shape, dtype=dtype, device=device)
        self._late: list[npt.NDArray[np.int64]] = []

    def send(self, rows: npt.NDArray[np.int64]) -> None:
        """Copy rows, which are complete, without waiting."""
        if self._there is None:
            return
        first, last = int(rows.min()), int(rows.max()) + 1
        if last - first == len(rows):
            self._there[first:last].copy_(self._memory[first:last], non_blocking=True)
        else:
            self._late.append(rows)

    def delivered(self) -> Shaped[Tensor, "n c h w"]:
        """All views, channels-last."""
        views = self._memory
        if self._there is not None:
            views = self._there.copy_(self._memory, non_blocking=True) if self._late else self._there
        return views.permute(0, 3, 1, 2)


def _find_foreground(mask: ForegroundMask, regions: Int[Tensor, "n 4"]) -> None:
    mask.tiles(regions)


def _by_image(image_index: Int[Tensor, " n"], regions: Int[Tensor, "n 4"]) -> Iterator[_Rows]:
    """The rows that look at each image, from top to bottom and left to right."""
    image, boxes = image_index.cpu().numpy(), regions.cpu().numpy()
    order = np.lexsort((boxes[:, 0], boxes[:, 1], image))
    starts = np.flatnonzero(np.diff(image[order], prepend=-1))
    for rows in np.split(order, starts[1:]) if len(order) else []:
        yield _Rows(int(image[rows[0]]), rows, [Region(*box) for box in boxes[rows].tolist()])


def _bands(regions: Sequence[Region], split: int) -> Iterator[slice]:
    """About `split` runs of sorted regions, cut where a new row of regions begins, if one does in time."""
    size = max(_LEAST_ROWS, -(-len(regions) // split))
    start = 0
    for at in range(1, len(regions)):
        new_row = regions[at].y != regions[at - 1].y
        if at - start >= (size if new_row else 2 * size):
            yield slice(start, at)
            start = at
    yield slice(start, len(regions))
