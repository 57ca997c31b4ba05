"""Batch opened images, read their overviews ahead, run the network, in memory that does not grow."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from ..classifiers import Classifier, Output
from ..errors import BatchReadError, ImageError
from ..files import json_digest
from ..images.allocator import release_memory
from ..images.array import ArrayImage
from ..images.batch import StreamedImages, batch_of
from ..images.formats.lossless import is_lossless
from ..images.image import Image, ImageBatch, reader_of, reader_words
from ..model.sampling import design
from ..model.storage import model_fingerprint
from ..runtime.faults import Faults, image_error
from .abstain import check_abstaining
from .config import InferenceConfig
from .sources import ImagesLike, Opened, Unreadable, open_images

__all__ = ["Answered", "made_by", "run_batches"]

logger = logging.getLogger(__name__)

BATCH_PIXELS = 2**26  # of views, and of images in memory, that one batch may hold together

_OF_FILES = ("whole", "GDAL", "tifffile")  # which give what is stored
_FREE = ("batch_size", "threads", "prefetch", "read_timeout")  # settings that change no answer

T = TypeVar("T")


class Answered(NamedTuple):
    """What the network answered for some images.

    Attributes:
        output: of the network.
        opened: the images, in the order of the output.
        sampling: the design that was used.
    """

    output: Output
    opened: Sequence[Opened]
    sampling: str


class _Group(NamedTuple):
    """Images of a batch that go through the network together.

    Attributes:
        sampling: the design.
        places: in the batch.
        opened: the images and their names.
        images: behind one batched read.
    """

    sampling: str
    places: Sequence[int]
    opened: Sequence[Opened]
    images: ImageBatch

    def select(self, places: Sequence[int]) -> _Group:
        """Some of the images."""
        own = [self.places[i] for i in places], [self.opened[i] for i in places]
        return _Group(self.sampling, *own, self.images.select(places))


class _Batch(NamedTuple):
    """Some images: those that could not be opened, by their place, and the others."""

    size: int
    unreadable: dict[int, Unreadable]
    groups: list[_Group]


class _Job(NamedTuple):
    """A model and how to run it, and whether the maps inside tiles are wanted."""

    model: Classifier
    config: InferenceConfig
    warned: set[str]
    keep_maps: bool = True

    def draws(self, sampling: str) -> int | None:
        """Sub-tiles drawn of an image in all replicates; None for all that there are."""
        if sampling == "exact":
            return None
        n = self.config.n_samples or self.model.n_samples
        return n * (self.config.replicates if design(sampling).random else 1)

    def sampling_of(self, image: Image) -> str:
        """The design for an image."""
        config = self.config
        return self.model.design_for(image.height, image.width, config.sampling, config.exact_budget)

    def compare_reader(self, found: Opened) -> None:
        """Warn, once for each reader, of one that decoded no training image: its images with loss differ."""
        known = getattr(self.model, "readers", ())
        reader = reader_of(found.image)
        if known and reader not in known and reader not in self.warned:
            file = getattr(found.image, "source", found.image)
            if reader in _OF_FILES and is_lossless(Path(getattr(file, "path", "") or file.name)):
                return  # whoever decodes it gives these pixels
            self.warned.add(reader)
            logger.warning(
                "%s: read by %s, and the training images by %s: their pixels may differ slightly. Compare "
                "predictions of a few images in both formats, or store all of them in one.",
                found.name,
                reader_words(reader),
                ", ".join(map(reader_words, known)),
            )

    def pixels_of(self, image: Image) -> int:
        """Pixels that an image brings into a batch: its views, and itself where it is in memory."""
        size = image.height, image.width
        held = size[0] * size[1] if isinstance(image, ArrayImage) else 0
        return held + self.model.pixels_of(*size, self.draws(self.sampling_of(image)))


def made_by(model: Classifier, config: InferenceConfig) -> str:
    """The same for the same model and settings."""
    settings = {name: value for name, value in asdict(config).items() if name not in _FREE}
    return json_digest([model_fingerprint(model, model.config), settings])


def run_batches(
    images: ImagesLike,
    model: Classifier,
    config: InferenceConfig,
    device: str | torch.device | None,
    answers: Callable[[Answered], Sequence[T]],
    warned: set[str] | None = None,
    *,
    keep_maps: bool = True,
) -> Iterator[T | Unreadable]:
    """Open images, batch them and run the network; what `answers` makes of its outputs, in the images' order.

    Overviews of `config.prefetch` further batches are read while one is at work. Whatever one image fails
    with, the others continue.

    Args:
        images: see `predict`.
        model: what `load_model` gave.
        config: how to sample and run.
        device: move the model there first.
        answers: one for each image of an output.
        warned: readers that were warned of; by default none was, before these images.
        keep_maps: give `answers` the attention maps inside the drawn tiles, the largest part of an output.

    Raises:
        ConfigError: if the model cannot tell what the settings abstain for.
        Exception: an unexpected error that many images fail with, one after another: see `Faults`.
    """
    check_abstaining(model, config)
    if device is not None:
        model.to(device)
    job = _Job(model, config, set() if warned is None else warned, keep_maps)
    faults = Faults()
    for found in _all_results(images, job, answers):
        faults.note(found.error if isinstance(found, Unreadable) else None)
        yield found


def _all_results(
    images: ImagesLike,
    job: _Job,
    answers: Callable[[Answered], Sequence[T]],
) -> Iterator[T | Unreadable]:
    waiting: deque[_Batch] = deque()
    for found in _batches(open_images(images, job.model.config, job.config), job):
        waiting.append(_grouped(found, job))
        if len(waiting) > job.config.prefetch:
            yield from _results(waiting.popleft(), job, answers)
    while waiting:
        yield from _results(waiting.popleft(), job, answers)


def _batches(opened: Iterable[Opened | Unreadable], job: _Job) -> Iterator[list[Opened | Unreadable]]:
    """Runs of at most `config.batch_size` images and, but for a single one, `BATCH_PIXELS` pixels."""
    batch: list[Opened | Unreadable] = []
    pixels = 0
    for found in opened:
        more = 0
        if isinstance(found, Opened):
            more = job.pixels_of(found.image)
            job.compare_reader(found)
        if batch and (len(batch) == job.config.batch_size or pixels + more > BATCH_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append(found)
        pixels += more
    if batch:
        yield batch


def _grouped(found: Sequence[Opened | Unreadable], job: _Job) -> _Batch:
    """Sort a batch by sampling design, and start to read the overviews."""
    unreadable = {place: one for place, one in enumerate(found) if isinstance(one, Unreadable)}
    designs: dict[str, dict[int, Opened]] = {}
    for place, one in enumerate(found):
        if isinstance(one, Opened):
            designs.setdefault(job.sampling_of(one.image), {})[place] = one
    groups = []
    for sampling, own in designs.items():
        images, masks = [one.image for one in own.values()], [one.mask for one in own.values()]
        batch = batch_of(images, masks, job.model.device, job.config.read_timeout)
        if job.config.prefetch and isinstance(batch, StreamedImages):
            job.model.read_ahead(batch)
        groups.append(_Group(sampling, list(own), list(own.values()), batch))
    return _Batch(len(found), unreadable, groups)


def _results(
    batch: _Batch, job: _Job, answers: Callable[[Answered], Sequence[T]]
) -> Iterator[T | Unreadable]:
    """What becomes of a batch, in its order."""
    results: dict[int, T | Unreadable] = {**batch.unreadable}
    for group in batch.groups:
        results.update(_run(group, job, answers))
        if isinstance(group.images, StreamedImages):
            release_memory()
    yield from (results[place] for place in range(batch.size))


def _run(group: _Group, job: _Job, answers: Callable[[Answered], Sequence[T]]) -> dict[int, T | Unreadable]:
    """One forward pass; where it fails, again without the guilty images, or each alone to find them."""
    try:
        return dict(zip(group.places, _answers(group, job, answers), strict=True))
    except BatchReadError as error:
        failures: dict[int, Exception] = dict(error.failures)
        left = [place for place in range(len(group.opened)) if place not in failures]
        parts = [left] if left else []
    except Exception as error:
        alone = len(group.opened) == 1
        failures = {0: error} if alone else {}
        parts = [] if alone else [[place] for place in range(len(group.opened))]
    results: dict[int, T | Unreadable] = {
        group.places[place]: _unreadable(group.opened[place].name, error) for place, error in failures.items()
    }
    for part in parts:
        results.update(_run(group.select(part), job, answers))
    return results


def _unreadable(name: str, error: Exception) -> Unreadable:
    if isinstance(error, torch.OutOfMemoryError):
        error = ImageError("does not fit the memory of the device", where=name, remedy="Lower n_samples.")
    return Unreadable(name, image_error(error, name))


def _answers(group: _Group, job: _Job, answers: Callable[[Answered], Sequence[T]]) -> Sequence[T]:
    """What becomes of the network's output, in evaluation mode and without gradients."""
    model, config = job.model, job.config
    was_training = model.training
    model.eval()
    bfloat16 = config.precision == "bf16-mixed"
    try:
        with (
            torch.no_grad(),
            torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16),
            model.computed_by(config.engine),
        ):
            output = model(
                group.images,
                keys=torch.full((len(group.opened),), config.seed, dtype=torch.int64),
                n_samples=config.n_samples,
                sampling=group.sampling,
                replicates=config.replicates if design(group.sampling).random else 1,
                keep_maps=job.keep_maps,
            )
            return answers(Answered(output, group.opened, group.sampling))
    finally:
        model.train(was_training)
