"""Find images, open and read them ahead of the network, batch them, run it, in memory that does not grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..baselines import Baseline
from ..classifiers import Classifier
from ..data.find import TABLES, WORKBOOKS, open_dataset
from ..data.folders import list_images
from ..data.manifest import Record
from ..data.opening import foreground_mask, open_record
from ..data.slide_files import one_per_slide
from ..errors import BatchReadError, DataError, ImageError, ZoomInError
from ..geometry import TileGrid, view_size
from ..images.allocator import release_memory
from ..images.array import ArrayImage, images_of
from ..images.batch import StreamedImages, batch_of, read_ahead
from ..images.image import Image, ImageBatch
from ..images.physical import microns
from ..images.pool import Reading, Task
from ..images.resampled import at_mpp
from ..images.tissue import ForegroundMask
from ..model.config import ZoomInConfig
from ..model.sampling import design
from ..model.zoom_in import ZoomIn
from .predictions import InferenceConfig

__all__ = ["Opened", "Sources", "find_images", "look"]

BATCH_PIXELS = 2**26  # of views, and of images in memory, that one batch may hold together

T = TypeVar("T")
Source = str | Path | Record | Image
Sources = Iterable[str | Path | Record | Image] | Tensor | str | Path | Image


class Opened(NamedTuple):
    """An image and what the user calls it."""

    name: str
    image: Image


class _Ready(NamedTuple):
    """An image as the model reads it, and its foreground where that is sought."""

    image: Image
    mask: ForegroundMask | None


class _Group(NamedTuple):
    """Images of a batch that go through the network together.

    Attributes:
        mode: the sampling design.
        places: in the batch.
        opened: the images and their names.
        images: behind one batched read.
    """

    mode: str
    places: list[int]
    opened: list[Opened]
    images: ImageBatch


class _Batch(NamedTuple):
    """Some images: those that could not be opened, by their place, and the others."""

    size: int
    failed: dict[int, tuple[str, Exception]]
    groups: list[_Group]


def find_images(patterns: Sequence[str | Path], manifest: str | Path | None = None) -> list[Path | Record]:
    """The images that a user means, each once.

    Args:
        patterns: image files, folders (all images in and below them), glob patterns, or manifests (CSV).
        manifest: a CSV, or another layout of images without need of labels.

    Returns:
        Paths, in the order given, and the records of the manifest. A file that does not exist is among them:
        it becomes a failed row, as does one that cannot be read.

    Raises:
        DataError: if nothing is asked for, or a folder or pattern holds no image.
    """
    asked: list[Path | Record] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.suffix.lower() in TABLES | WORKBOOKS and path.is_file():
            asked += open_dataset(path, labels_required=False).records
            continue
        if path.is_dir():
            images = list_images(path)
        elif not path.exists() and any(sign in str(pattern) for sign in "*?["):
            below = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
            images = one_per_slide(sorted(found for found in below if found.is_file()))
        else:
            images = [path]
        if not images:
            raise DataError("no image found", where=pattern, remedy="Check the folder or the pattern.")
        asked += images
    if manifest is not None:
        asked += open_dataset(manifest, labels_required=False).records
    if not asked:
        raise DataError("no images given", remedy="Name files, folders or patterns, or give --manifest.")
    once = {str(_path(image)): image for image in asked}
    kept = one_per_slide([_path(image) for image in once.values()])
    return [once[str(path)] for path in kept]


def _path(image: Path | Record) -> Path:
    return image.image if isinstance(image, Record) else image


def look(
    images: Sources,
    model: Classifier,
    config: InferenceConfig,
    device: str | torch.device | None,
    read: Callable[[Any, Sequence[Opened], str], list[T]],
    failed: Callable[[str, Exception], T],
) -> Iterator[T]:
    """Open, batch, run the network; `read` turns its output into results, `failed` an error into one.

    Overviews of `config.prefetch` further batches are read while one is at work.
    """
    if device is not None:
        model.to(device)
    opened = _opened(_sources(images), model.config if isinstance(model, ZoomIn) else None, config)
    waiting: deque[_Batch] = deque()
    for found in _batches(opened, model, config):
        waiting.append(_grouped(found, model, config))
        if len(waiting) > config.prefetch:
            yield from _results(waiting.popleft(), model, config, read, failed)
    while waiting:
        yield from _results(waiting.popleft(), model, config, read, failed)


def _grouped(
    found: Sequence[tuple[str, _Ready | Exception]], model: Classifier, config: InferenceConfig
) -> _Batch:
    """Sort a batch by sampling design, and start to read the overviews."""
    errors: dict[int, tuple[str, Exception]] = {}
    modes: dict[str, dict[int, _Ready]] = {}
    for place, (name, ready) in enumerate(found):
        if isinstance(ready, Exception):
            errors[place] = name, ready
        else:
            modes.setdefault(_mode(ready.image, model, config), {})[place] = ready
    groups = []
    for mode, own in modes.items():
        images, masks = [ready.image for ready in own.values()], [ready.mask for ready in own.values()]
        batch = batch_of(images, masks, model.device, config.read_timeout)
        if config.prefetch and isinstance(batch, StreamedImages) and isinstance(model, ZoomIn):
            read_ahead(batch, model.config.tile_size, model.config.tile_scale)
        opened = [Opened(found[place][0], ready.image) for place, ready in own.items()]
        groups.append(_Group(mode, list(own), opened, batch))
    return _Batch(len(found), errors, groups)


def _results(
    batch: _Batch,
    model: Classifier,
    config: InferenceConfig,
    read: Callable[[Any, Sequence[Opened], str], list[T]],
    failed: Callable[[str, Exception], T],
) -> Iterator[T]:
    """What becomes of a batch, in its order."""
    results = {place: failed(name, error) for place, (name, error) in batch.failed.items()}
    for group in batch.groups:
        results.update(zip(group.places, _run(group, model, config, read, failed), strict=True))
        if isinstance(group.images, StreamedImages):
            release_memory()
    yield from (results[place] for place in range(batch.size))


def _run(
    group: _Group,
    model: Classifier,
    config: InferenceConfig,
    read: Callable[[Any, Sequence[Opened], str], list[T]],
    failed: Callable[[str, Exception], T],
) -> list[T]:
    """One forward pass; where it fails, again without the guilty images, or each alone to find them."""
    was_training = model.training
    model.eval()
    opened, mode = group.opened, group.mode
    parts = [[place] for place in range(len(opened))]
    errors: dict[int, Exception] = {}
    try:
        with torch.no_grad(), _precision(model, config):
            output = model(
                group.images,
                keys=torch.full((len(opened),), config.seed, dtype=torch.int64),
                n_samples=config.n_samples,
                sampling=mode,
                replicates=config.replicates if design(mode).random else 1,
            )
            return read(output, opened, mode)
    except BatchReadError as error:
        errors.update(error.failures)
        parts = [[place for place in range(len(opened)) if place not in errors]]
    except (ImageError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        if len(opened) == 1:
            errors[0], parts = error, []
    finally:
        model.train(was_training)
    results = {place: failed(opened[place].name, error) for place, error in errors.items()}
    for part in filter(None, parts):
        own = [opened[place] for place in part]
        less = _Group(mode, list(range(len(own))), own, group.images.select(part))
        results.update(zip(part, _run(less, model, config, read, failed), strict=True))
    return [results[place] for place in range(len(opened))]


def _precision(model: Classifier, config: InferenceConfig) -> torch.autocast:
    return torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed")


def _mode(image: Image, model: Classifier, config: InferenceConfig) -> str:
    if isinstance(model, Baseline):
        return model.design_for(image.height, image.width, config.sampling, config.exact_budget)
    if config.sampling != "auto":
        return config.sampling
    sub_tiles = _tiles(image, model) * model.map_size[0] * model.map_size[1]
    return "exact" if sub_tiles <= config.exact_budget else "systematic"


def _tiles(image: Image, model: ZoomIn) -> int:
    return int(TileGrid.of(torch.tensor([[image.height, image.width]]), model.config.tile_size).count[0])


def _pixels(image: Image, model: Classifier, config: InferenceConfig) -> int:
    """Pixels that an image brings into a batch: its views, and itself where it is in memory."""
    held = image.height * image.width if isinstance(image, ArrayImage) else 0
    if isinstance(model, Baseline):
        return held + model.pixels_of(image.height, image.width)
    geometry, tiles = model.config, _tiles(image, model)
    most = tiles * model.map_size[0] * model.map_size[1]
    mode = _mode(image, model, config)
    asked = (config.n_samples or geometry.n_samples) * (config.replicates if design(mode).random else 1)
    drawn = most if mode == "exact" else min(most, asked)
    overview = tiles * view_size(geometry.tile_size, geometry.tile_scale) ** 2
    attended = min(tiles, drawn) * view_size(geometry.tile_size, geometry.sub_tile_scale) ** 2
    return overview + attended + drawn * geometry.sub_tile_size**2 + held


def _batches(
    opened: Iterator[tuple[str, _Ready | Exception]], model: Classifier, config: InferenceConfig
) -> Iterator[list[tuple[str, _Ready | Exception]]]:
    """Runs of at most `config.batch_size` images and, but for a single one, `BATCH_PIXELS` pixels."""
    batch: list[tuple[str, _Ready | Exception]] = []
    pixels = 0
    for name, found in opened:
        more = 0 if isinstance(found, Exception) else _pixels(found.image, model, config)
        if batch and (len(batch) == config.batch_size or pixels + more > BATCH_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append((name, found))
        pixels += more
    if batch:
        yield batch


def _opened(
    sources: Iterator[Source], model: ZoomInConfig | None, config: InferenceConfig
) -> Iterator[tuple[str, _Ready | Exception]]:
    """Open images in threads, in order, at most `config.threads` ahead."""
    waiting: deque[tuple[str, list[_Ready | Exception], Reading]] = deque()
    mpp = None if config.mpp is None else microns(config.mpp)
    try:
        for source in sources:
            found: list[_Ready | Exception] = []
            reading = Reading([Task(0, partial(_open, source, model, mpp, found))], 1).start()
            waiting.append((_name(source), found, reading))
            if len(waiting) > config.threads:
                yield _taken(*waiting.popleft(), config.read_timeout)
        while waiting:
            yield _taken(*waiting.popleft(), config.read_timeout)
    finally:
        for _, _, reading in waiting:
            reading.cancel()


def _taken(
    name: str, found: list[_Ready | Exception], reading: Reading, timeout: float | None
) -> tuple[str, _Ready | Exception]:
    """An opened image, once it is there or its time is over."""
    error = reading.wait(timeout).get(0)
    if error is None:
        return name, found[0]
    if not isinstance(error, ZoomInError):
        raise error
    return name, ImageError(error.what, where=name, remedy=error.remedy)


def _open(
    source: Source, model: ZoomInConfig | None, mpp: float | None, found: list[_Ready | Exception]
) -> None:
    """Add the image of a source as the model reads it, or why it cannot be opened, to a list."""
    record = source if isinstance(source, Record) else None
    if isinstance(source, (str, Path)):
        record = Record(Path(source), label=None)
    try:
        if record is not None:
            image = open_record(record, model, mpp)
        else:
            assert isinstance(source, Image)
            image = at_mpp(source, model.resolution if model else None)
        found.append(_Ready(image, foreground_mask(image, record, model.foreground if model else None)))
    except (ZoomInError, OSError, MemoryError) as error:
        found.append(error)


def _name(source: Source) -> str:
    if isinstance(source, Record):
        return str(source.image)
    return str(source) if isinstance(source, (str, Path)) else source.name


def _sources(images: Sources) -> Iterator[Source]:
    if isinstance(images, Tensor):
        yield from images_of(images)
    elif isinstance(images, (str, Path, Image)):
        yield images
    else:
        yield from images
