"""Batches of images and labels for Lightning: opened once, in an order that a seed decides."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Shaped
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..annotations.frames import Frame
from ..errors import DataError, ZoomInError
from ..images.augment import augment_batch
from ..images.batch import read_ahead
from ..images.image import ImageBatch
from ..images.physical import microns
from ..model.config import ZoomInConfig
from ..model.targets import Target
from .batch import Batch
from .config import DataConfig
from .csv_table import listed
from .failures import Failures
from .find import open_dataset
from .manifest import SPLITS, Manifest
from .sharing import Share, dealt
from .splits import split_of
from .store import ImageStore, open_store
from .trainable import check_trainable

__all__ = ["Batch", "BatchKey", "DataConfig", "TrainingOrder", "ZoomInDataModule"]

_ORDER, _AUGMENTATION = 1, 2  # streams of random numbers


class BatchKey(NamedTuple):
    """What decides a batch completely, given the data and the seed.

    Attributes:
        rows: of the manifest.
        epoch: of training, -1 for batches that are not augmented.
        number: of the batch in its epoch.
        own_places: places in `rows` of the images that this process takes, of several that train together;
            None: all.
    """

    rows: tuple[int, ...]
    epoch: int
    number: int
    own_places: tuple[int, ...] | None = None


class TrainingOrder(Sampler[BatchKey]):
    """The batches of one epoch of training, in an order that (seed, epoch) decides.

    The trainer tells the epoch before each pass with `set_epoch`, so that a run resumed in epoch 7 goes
    through it as the uninterrupted run would have.

    Args:
        rows: of the manifest, the training images.
        batch_size: images per batch.
        seed: of the order.
        deal: gives a batch the places that are those of this process.
    """

    def __init__(
        self,
        rows: Int[Tensor, " n"],
        batch_size: int,
        seed: int,
        deal: Callable[[BatchKey], BatchKey] | None = None,
    ) -> None:
        """Start in epoch 0."""
        self._rows = rows
        self._batch_size = batch_size
        self._seed = seed
        self._deal = deal
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of batches."""
        return -(-self._rows.numel() // self._batch_size)

    def __iter__(self) -> Iterator[BatchKey]:
        """The keys of the batches."""
        generator = _generator(self._seed, _ORDER, self.epoch)
        for key in _keys(self.arrange(generator), self._batch_size, self.epoch):
            yield key if self._deal is None else self._deal(key)

    def arrange(self, generator: torch.Generator) -> Int[Tensor, " n"]:
        """The rows in the order of an epoch."""
        return self._rows[torch.randperm(self._rows.numel(), generator=generator)]


class _Keys(Dataset[BatchKey]):
    """Hands a sampler's keys on: batches are made from their key by the loader's collate function."""

    def __getitem__(self, key: BatchKey) -> BatchKey:
        return key


class _Loader(DataLoader[BatchKey]):
    """Batches of keys; the overviews of the next ones are read while one is at work.

    Args:
        order: the keys.
        make: a batch of a key.
        ahead: batches to prepare ahead.
        announce: starts to read what a batch will need first.
    """

    def __init__(
        self,
        order: Iterable[BatchKey],
        make: Callable[[Any], Any],
        ahead: int,
        announce: Callable[[Batch], None],
    ) -> None:
        super().__init__(_Keys(), batch_size=None, sampler=order, collate_fn=make, num_workers=0)
        self._ahead, self._announce = ahead, announce

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch declares its own iterator
        waiting: deque[Batch] = deque()
        for batch in super().__iter__():
            if self._ahead:
                self._announce(batch)
            waiting.append(batch)
            if len(waiting) > self._ahead:
                yield waiting.popleft()
        yield from waiting


class ZoomInDataModule(LightningDataModule):
    """Opens every image once and serves batches of them.

    The loaders work in the main process (`num_workers=0`): a batch of resident images is a list of places in
    one tensor, which takes microseconds to make, while workers would copy all pixels into each and could
    not hold them on a GPU. Streamed images decode in threads, which release Python's lock.

    Args:
        config: which images, and how to serve them.
        manifest: the images; by default those found in `config.root`.
        splits: rows of the manifest for "train", "val" and "test"; by default the manifest's own, or drawn at
            random with the fractions of `config`.
        progress: show a progress bar while images are read; by default where messages go to a terminal.
        model: the network that the images are for, which says how it wants them; by default as they are.

    Attributes:
        failures: images that could not be read after they had been opened.

    Raises:
        DataError: if the data set, or the splits, cannot be used.
    """

    def __init__(
        self,
        config: DataConfig,
        manifest: Manifest | None = None,
        splits: Mapping[str, Int[Tensor, " n"]] | None = None,
        *,
        progress: bool | None = None,
        model: ZoomInConfig | None = None,
    ) -> None:
        """Find the images and split them; nothing is decoded yet."""
        super().__init__()
        self.config = config
        self.manifest = manifest or open_dataset(
            config.root, classes=config.classes, columns=config.columns, target=config.target
        )
        if splits is None:
            splits = split_of(self.manifest, config.seed, config.val_fraction, config.test_fraction)
        self.splits = _checked(splits, self.manifest)
        self.progress = progress
        self.model = model
        self.part = Share()
        self.failures = Failures(config.max_failures)
        self._store: ImageStore | None = None
        self.labels: Shaped[Tensor, "images ..."] = self.target.truth([r.label for r in self.manifest])

    @property
    def target(self) -> Target:
        """The kind of target, with the names of the data."""
        return self.manifest.kind()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.manifest.classes

    @property
    def store(self) -> ImageStore:
        """The opened images; opens them where `prepare` has not been called."""
        return self.prepare()

    def with_splits(self, splits: Mapping[str, Int[Tensor, " n"]]) -> ZoomInDataModule:
        """Other splits of the same images, such as the next fold; images already open are shared."""
        other = ZoomInDataModule(self.config, self.manifest, splits, progress=self.progress, model=self.model)
        other.share(self)
        other.part = self.part
        return other

    def with_part(self, part: Share) -> ZoomInDataModule:
        """The part of every batch that one of several processes takes; open images are shared.

        A batch then has `config.batch_size` images for each process, dealt by their pixels; validation and
        all other images are dealt too, each to one process.
        """
        other = self.with_splits(self.splits)
        other.part = part
        return other

    def share(self, other: ZoomInDataModule) -> None:
        """Take over the images that another module has open, and what it knows of failures."""
        self._store, self.failures = other._store, other.failures

    def with_seed(self, seed: int) -> ZoomInDataModule:
        """The same images and splits, shuffled and augmented by another seed; open images are shared."""
        other = self.with_splits(self.splits)
        other.config = replace(self.config, seed=seed)
        return other

    def prepare(self, device: torch.device | str | None = None) -> ImageStore:
        """Open all images of the splits, unless they are open, and bring them to a device.

        Raises:
            DataError: listing every image that cannot be read.
        """
        rows = torch.cat(list(self.splits.values())).sort().values
        if self._store is None or not self._store.holds(rows):
            self._store = self._opened(rows, device)
        if device is not None and self._store.device != torch.device(device):
            self._store = self._store.to(device)
        return self._store

    def without_unreadable(self) -> ZoomInDataModule:
        """The same data without the images that cannot be opened: see `leave_out_unreadable`.

        Raises:
            DataError: if they are more than `max_failures`, or all.
        """
        other = self.with_splits(self.splits)
        other.leave_out_unreadable()
        return other

    def leave_out_unreadable(self) -> None:
        """Open all images of the splits; those that cannot be opened leave them, and are noted in `failures`.

        Raises:
            DataError: if they are more than `max_failures`, or all.
        """
        rows = torch.cat(list(self.splits.values())).sort().values
        bad: list[int] = []

        def skip(row: int, error: ZoomInError) -> None:
            bad.append(row)
            self.note_unreadable(row, error)

        self._store = self._opened(rows, None, skip)
        absent = torch.tensor(bad, dtype=torch.int64)
        self.splits = {name: own[~torch.isin(own, absent)] for name, own in self.splits.items()}

    def note_unreadable(self, row: int, error: ZoomInError) -> None:
        """Record an image of a split that cannot be read before the first epoch.

        Raises:
            DataError: if more than `max_failures` cannot.
        """
        split = next(name for name, own in self.splits.items() if row in own)
        self.failures.note(0, split, str(self.manifest.records[row].image), error)

    def _opened(
        self,
        rows: Int[Tensor, " n"],
        device: torch.device | str | None,
        skip: Callable[[int, ZoomInError], None] | None = None,
    ) -> ImageStore:
        """The images of some rows, as the configuration wants them."""
        return open_store(
            self.manifest.records,
            rows,
            resident=self.config.resident,
            threads=self.config.threads,
            device=device or "cpu",
            progress=self.progress,
            cache_bytes=self.config.cache_mb << 20,
            timeout=self.config.read_timeout,
            model=self.model,
            mpp=None if self.config.mpp is None else microns(self.config.mpp, "data.mpp"),
            channels=self.config.channels or (),
            skip=skip,
            most_skipped=self.config.max_failures,
        )

    def file_frame(self, row: int) -> Frame:
        """Size and place on a map of the image in a row of the manifest, as its file has it."""
        return self.store.file_frames[row]

    def setup(self, stage: str | None = None) -> None:
        """Check that the training images can be learned from, and open all images on the trainer's device.

        Raises:
            DataError: if there are fewer than two classes or two images of a class to train on, a label is
                missing, or images cannot be read.
        """
        self.check_labels(stage)
        self.prepare(None if self.trainer is None else self.trainer.strategy.root_device)

    def check_labels(self, stage: str | None) -> None:
        """Check that no label is missing, and that the training images can be learned from; none is opened.

        Args:
            stage: "fit", "validate", "test", or None for all.

        Raises:
            DataError: naming the first image without one; if there are fewer than two classes or two images
                of a class to train on.
        """
        if stage in (None, "fit"):
            check_trainable(self.manifest.subset(self.splits["train"]))
        labelled = {
            "fit": ("train", "val"),
            "validate": ("val",),
            "test": ("test",),
            None: tuple(self.splits),
        }
        for name in labelled.get(stage, ()):
            self.manifest.subset(self.splits[name]).targets()

    def train_dataloader(self) -> DataLoader[BatchKey]:
        """Shuffled, augmented batches; call `loader.sampler.set_epoch` before each pass, as trainers do."""
        size, alone = self.config.batch_size * self.part.of, self.part.of == 1
        deal = None if alone else self._dealt
        return self._loader(TrainingOrder(self.splits["train"], size, self.config.seed, deal))

    def val_dataloader(self) -> DataLoader[BatchKey]:
        """The validation images in the manifest's order."""
        return self._ordered(self.splits["val"])

    def test_dataloader(self) -> DataLoader[BatchKey]:
        """The test images in the manifest's order."""
        return self._ordered(self.splits["test"])

    def predict_dataloader(self) -> DataLoader[BatchKey]:
        """The images of all splits in the manifest's order, with label -1 where there is none."""
        return self._ordered(torch.cat(list(self.splits.values())).sort().values)

    def batch(self, key: BatchKey) -> Batch:
        """Make the batch that a key stands for, on the device of the images."""
        rows = torch.tensor(key.rows, dtype=torch.int64)
        store = self.store
        images = store.select(rows)
        if key.epoch >= 0:
            generator = _generator(self.config.seed, _AUGMENTATION, key.epoch, key.number)
            images = self.augment(images, generator)
        whole = Batch(images, self.labels[rows].to(store.device), rows.to(store.device))
        if key.own_places is None:
            return whole
        return replace(whole, place=whole.places).select(torch.tensor(key.own_places, dtype=torch.int64))

    def augment(self, images: ImageBatch, generator: torch.Generator) -> ImageBatch:
        """Training images, changed at random as configured."""
        return augment_batch(images, self.config.augmentation, generator)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Bring a batch to the trainer's device, where it usually is already."""
        return batch.to(device)

    def _ordered(self, rows: Int[Tensor, " n"]) -> DataLoader[BatchKey]:
        if self.part.of == 1:
            return self._loader(_keys(rows, self.config.batch_size, epoch=-1))
        own = rows[dealt(self._pixels(rows), self.part.of)[self.part.rank]]
        nothing = [BatchKey((), -1, 0)]  # who has no image takes part all the same
        return self._loader(_keys(own, self.config.batch_size, epoch=-1) or nothing)

    def _dealt(self, key: BatchKey) -> BatchKey:
        """A batch of all processes with the places that are those of this one."""
        parts = dealt(self._pixels(torch.tensor(key.rows)), self.part.of)
        return key._replace(own_places=tuple(parts[self.part.rank]))

    def _pixels(self, rows: Int[Tensor, " n"]) -> list[int]:
        """Of each image, as the model reads it: what it costs to look at it."""
        sizes: list[int] = self.store.select(rows).sizes.prod(1).tolist()
        return sizes

    def _loader(self, order: Iterable[BatchKey]) -> DataLoader[BatchKey]:
        make: Callable[[Any], Any] = self.batch  # without a batch size, collate gets single keys
        return _Loader(order, make, self.config.prefetch, self._announce)

    def _announce(self, batch: Batch) -> None:
        """Start to read the overviews of a batch, where the images are on disk and a network wants them."""
        if self.model is not None and len(batch):
            read_ahead(batch.images, self.model.tile_size, *self.model.first_stage)


def _checked(splits: Mapping[str, Int[Tensor, " _"]], manifest: Manifest) -> dict[str, Int[Tensor, " _"]]:
    """All three splits, ascending where they are served in order."""
    unknown = splits.keys() - set(SPLITS)
    if unknown:
        raise DataError(
            f"unknown splits {listed(sorted(unknown))}",
            where=manifest.source,
            remedy="Use train, val and test.",
        )
    nothing = torch.zeros(0, dtype=torch.int64)
    whole = {name: splits.get(name, nothing).sort().values for name in SPLITS}
    rows = torch.cat(list(whole.values()))
    if not rows.numel():
        raise DataError("no image in any split", where=manifest.source, remedy="Give at least one image.")
    if rows.min() < 0 or rows.max() >= len(manifest):
        raise DataError(
            f"a split names row {int(rows.max())} of {len(manifest)}",
            where=manifest.source,
            remedy="Fix the split.",
        )
    ordered = rows.sort().values
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if repeated.numel():
        twice = manifest.records[int(repeated[0])]
        raise DataError(
            f"the image {twice.place} is in two splits",
            where=manifest.source,
            remedy="Put it into one of them.",
        )
    return whole


def _keys(rows: Int[Tensor, " n"], batch_size: int, epoch: int) -> list[BatchKey]:
    """The rows cut into batches."""
    starts = range(0, rows.numel(), batch_size)
    return [
        BatchKey(tuple(rows[start : start + batch_size].tolist()), epoch, number)
        for number, start in enumerate(starts)
    ]


def _generator(*seed: int) -> torch.Generator:
    """A separate generator for each combination of numbers."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1)
    return torch.Generator().manual_seed(int(state))
