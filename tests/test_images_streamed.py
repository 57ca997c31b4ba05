"""Streamed batches: read once, in order, on one pool; the same without a cache; errors name images."""

from __future__ import annotations

import gc
import pickle
import threading
import time
import weakref

import pytest
import torch

from zoomin.errors import BatchReadError, ConfigError, ImageError, UnexpectedError
from zoomin.geometry import Region, TileGrid
from zoomin.images.array import ArrayImage
from zoomin.images.augment import AugmentationDraw, AugmentedBatch
from zoomin.images.batch import read_ahead
from zoomin.images.cache import Cache
from zoomin.images.pool import Reading, Task
from zoomin.images.streamed import StreamedImages, _Delivery

SIZES = [(130, 170), (64, 64), (1, 300), (300, 1), (1, 1), (17, 250)]


class Watched:
    """An image that remembers what was read, and can be told to fail or to hang."""

    def __init__(self, pixels, name="image", identity=True):
        self.inner = ArrayImage(pixels, name=name, background=(9, 8, 7))
        self.reads, self.threads, self.lock = [], set(), threading.Lock()
        self.error, self.gate = None, None
        self.identity = ("file", name) if identity else None

    height = property(lambda self: self.inner.height)
    width = property(lambda self: self.inner.width)
    mpp = property(lambda self: None)
    background = property(lambda self: self.inner.background)
    name = property(lambda self: self.inner.name)

    def read(self, regions, scale):
        with self.lock:
            self.reads.append((tuple(regions), scale))
            self.threads.add(threading.get_ident())
        if self.gate is not None:
            self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return self.inner.read(regions, scale)

    def regions(self, scale):
        return [region for regions, at in self.reads for region in regions if at == scale]


@pytest.fixture
def images(generator):
    return [
        Watched(torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator), f"image {i}")
        for i, size in enumerate(SIZES)
    ]


def grid_of(batch, tile_size=32):
    grid = TileGrid.of(batch.sizes, tile_size)
    return grid.image, grid.regions


def in_chunks(batch, index, regions, scale, size=7):
    return torch.cat(
        [batch.read(i, r, scale) for i, r in zip(index.split(size), regions.split(size), strict=True)]
    )


def alone(images, index, regions, scale):
    pairs = zip(index.tolist(), regions.tolist(), strict=True)
    return torch.cat([images[i].inner.read([Region(*region)], scale) for i, region in pairs])


@pytest.mark.parametrize("cache_bytes", [0, 3000, 1 << 20])
@pytest.mark.parametrize(("tile_size", "scale"), [(32, 0.25), (50, 0.1), (33, 0.1), (400, 1 / 32), (16, 1.0)])
def test_the_cache_changes_no_bit(images, cache_bytes, tile_size, scale):
    batch = StreamedImages(images, threads=3, cache_bytes=cache_bytes)
    index, regions = grid_of(batch, tile_size)
    expected = alone(images, index, regions, scale)
    for _ in range(2):
        batch.prefetch(index, regions, scale)
        assert torch.equal(batch.read(index, regions, scale), expected)
        assert torch.equal(in_chunks(batch, index, regions, scale), expected)


@pytest.mark.parametrize("orientation", range(8))
def test_mirrored_grids_are_grids_of_their_own(images, orientation):
    """The tiles of a mirrored image are counted from its other border."""
    cached, plain = StreamedImages(images), StreamedImages(images, cache_bytes=0)
    index, regions = grid_of(cached)
    cached.prefetch(index, regions, 0.25)
    cached.read(index, regions, 0.25)
    draw = AugmentationDraw.of([orientation] * len(images))
    changed, expected = AugmentedBatch(cached, draw), AugmentedBatch(plain, draw)
    index, regions = grid_of(changed)
    for _ in range(2):
        changed.prefetch(index, regions, 0.25)
        assert torch.equal(in_chunks(changed, index, regions, 0.25), expected.read(index, regions, 0.25))


def test_an_overview_is_decoded_once_however_often_and_in_whatever_chunks_it_is_read(images):
    batch = StreamedImages(images)
    index, regions = grid_of(batch)
    for rows in (slice(None), slice(None, None, 2)):  # all tiles, then some of them
        batch.prefetch(index[rows], regions[rows], 0.25)
        in_chunks(batch, index[rows], regions[rows], 0.25)
    some = batch.select([3, 0])
    some.prefetch(*grid_of(some), 0.25)
    some.read(*grid_of(some), 0.25)
    for i, image in enumerate(images):
        assert sorted(image.regions(0.25)) == sorted(Region(*r) for r in regions[index == i].tolist())


def test_what_does_not_fit_the_cache_is_read_again_and_memory_stays_bounded(images):
    view = 8 * 8 * 3
    batch = StreamedImages(images, cache_bytes=30 * view)  # image 0 has 30 tiles, image 1 has 4
    index, regions = grid_of(batch)
    for _ in range(2):
        batch.prefetch(index, regions, 0.25)
        batch.read(index, regions, 0.25)
        assert batch._shared.cache.filled <= 30 * view
    assert len(images[0].regions(0.25)) == 30 and len(images[1].regions(0.25)) == 8


def test_views_read_ahead_go_with_their_batch(images):
    """At once, without the collector of cycles: arrays that wait for it fill the memory of long jobs."""
    gc.disable()
    try:
        batch = StreamedImages(images)
        index, regions = grid_of(batch)
        batch.prefetch(index, regions, 0.25)
        batch.read(index, regions, 0.25)
        views = [weakref.ref(held.views) for held, _ in batch._shared.cache._kept.values()]
        assert len(views) == len(images) and all(view() is not None for view in views)
        del batch
        deadline = time.monotonic() + 5  # a thread may still hold what it did last
        while any(view() is not None for view in views) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert all(view() is None for view in views)
    finally:
        gc.enable()


def test_images_without_identity_are_not_kept(generator):
    image = Watched(torch.zeros(3, 64, 64, dtype=torch.uint8), identity=False)
    batch = StreamedImages([image])
    for _ in range(2):
        batch.prefetch(*grid_of(batch), 0.25)
        batch.read(*grid_of(batch), 0.25)
    assert len(image.regions(0.25)) == 8 and len(batch._shared.cache) == 0


def test_reads_go_from_top_to_bottom_and_neighbours_together(images):
    batch = StreamedImages(images[:1], threads=2)
    index, regions = grid_of(batch, 8)
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(0))
    batch.read(index[order], regions[order], 0.5)
    for read, _ in images[0].reads:
        assert list(read) == sorted(read, key=lambda region: (region.y, region.x))
    rows = [{region.y for region in read} for read, _ in images[0].reads]
    assert 1 < len(rows) <= 8 and sum(map(len, rows)) == -(-130 // 8)  # cut between rows of tiles alone


def test_all_batches_of_a_process_share_its_threads(images):
    for threads in (2, 2, 2):
        for _ in range(20):
            batch = StreamedImages(images, threads=threads)
            batch.prefetch(*grid_of(batch), 0.25)
            batch.read(*grid_of(batch), 0.5)
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("zoomin-read") <= 64
    before = len(names)
    StreamedImages(images, threads=2).read(*grid_of(batch), 0.5)
    assert len(threading.enumerate()) == before


def test_every_image_that_fails_is_named_and_the_others_are_not(images):
    images[1].error, images[4].error = ImageError("torn", where="image 1"), OSError("Stale file handle")
    batch = StreamedImages(images)
    for ahead in (False, True):
        if ahead:
            batch.prefetch(*grid_of(batch), 0.25)
        with pytest.raises(BatchReadError, match=r"image 1: torn \(and 1 more images") as caught:
            batch.read(*grid_of(batch), 0.25)
        failures = pickle.loads(pickle.dumps(caught.value)).failures
        assert sorted(failures) == [1, 4] and "image 4" in str(failures[4]) and "Stale" in str(failures[4])
    images[1].error = images[4].error = None
    batch.prefetch(*grid_of(batch), 0.25)
    assert torch.equal(batch.read(*grid_of(batch), 0.25), alone(images, *grid_of(batch), 0.25))


def test_whatever_a_reader_raises_is_an_error_of_its_image(images):
    images[0].error = KeyError("tag")
    with pytest.raises(BatchReadError, match=r"cannot be read \(KeyError: 'tag'\)") as caught:
        StreamedImages(images).read(*grid_of(StreamedImages(images)), 0.25)
    assert list(caught.value.failures) == [0]
    assert isinstance(caught.value.failures[0], UnexpectedError)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_read_that_hangs_is_given_up_and_other_images_go_on(images, ahead):
    gate = images[0].gate = threading.Event()
    batch = StreamedImages(images, threads=1, timeout=0.1)
    try:
        if ahead:
            batch.prefetch(*grid_of(batch), 0.25)
        with pytest.raises(
            BatchReadError, match=r"image 0: reading did not finish within 0\.1 seconds"
        ) as caught:
            batch.read(*grid_of(batch), 0.25)
        assert list(caught.value.failures) == [0]
        others = batch.select(range(1, len(images)))
        assert torch.equal(others.read(*grid_of(others), 0.25), alone(images[1:], *grid_of(others), 0.25))
    finally:
        gate.set()


def test_pickled_batches_read_the_same_with_an_empty_cache(generator):
    arrays = [ArrayImage(torch.randint(0, 256, (3, 70, 50), dtype=torch.uint8, generator=generator))]
    batch = StreamedImages(arrays, threads=3, cache_bytes=12345, timeout=7.0)
    batch.prefetch(*grid_of(batch), 0.25)
    views = batch.read(*grid_of(batch), 0.25)
    assert len(batch._shared.cache) == 1
    again = pickle.loads(pickle.dumps(batch))
    assert len(again._shared.cache) == 0 and again._shared.cache.capacity == 12345
    assert (again._shared.threads, again._shared.timeout) == (3, 7.0)
    assert torch.equal(again.read(*grid_of(batch), 0.25), views)


def test_the_time_of_waiting_is_shared_by_selections(images):
    batch = StreamedImages(images)
    some = batch.select([0])
    assert batch.seconds_waiting == 0
    some.read(*grid_of(some), 0.5)
    assert batch.seconds_waiting == some.seconds_waiting > 0


def test_delivery_sends_whole_images_and_scattered_rows():
    delivery = _Delivery((5, 2, 2, 3), torch.uint8, torch.device("cpu"))
    delivery._there = torch.zeros(5, 2, 2, 3, dtype=torch.uint8)  # as on another device
    delivery.staged[:] = torch.arange(5 * 12).reshape(5, 2, 2, 3).numpy()
    delivery.send(torch.tensor([1, 0]).numpy())
    assert torch.equal(delivery._there[:2], delivery._memory[:2]) and not delivery._there[2:].any()
    delivery.send(torch.tensor([2, 4]).numpy())
    assert torch.equal(delivery.delivered(), delivery._memory.permute(0, 3, 1, 2))


def test_numbers_out_of_range():
    image = ArrayImage(torch.zeros(3, 4, 4, dtype=torch.uint8))
    for wrong in ({"cache_bytes": -1}, {"timeout": 0.0}):
        with pytest.raises(ConfigError):
            StreamedImages([image], **wrong)


def test_the_least_recently_used_is_forgotten_first():
    cache = Cache(capacity=3)
    for key in "abc":
        assert cache.put(key, key.upper(), 1)
    assert cache.get("a") == "A"
    assert cache.put("d", "D", 1) and cache.get("b") is None and cache.get("a") == "A"
    cache.put("a", "new", 3)
    assert (len(cache), cache.filled, cache.get("a")) == (1, 3, "new")
    cache.drop("a", "old")
    assert len(cache) == 1
    cache.drop("a")
    assert (len(cache), cache.filled) == (0, 0)


def test_what_several_threads_ask_for_is_made_once():
    cache, made, gate = Cache(capacity=10), [], threading.Event()

    def make():
        gate.wait(10)
        made.append(1)
        return "x"

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.get_or_make("k", make, len))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(10)
    assert found == ["x"] * 5 and made == [1] and not cache._making


def test_after_a_failure_the_rest_of_its_group_is_left_out_and_a_cancelled_reading_ends():
    done, ended = [], []

    def fail():
        raise ImageError("torn")

    tasks = [Task(0, fail), Task(0, lambda: done.append(0)), Task(1, lambda: done.append(1))]
    reading = Reading(tasks, 1, lambda group, error: ended.append((group, str(error)))).start()
    assert list(reading.wait()) == [0] and done == [1]
    assert ended == [(0, "torn."), (1, "None")]
    never = Reading(tasks, 1)
    never.cancel()
    assert never.wait() == {}


class Half:
    """A mask of every other tile; it reads a corner of the image first, as one that looks for tissue does."""

    def __init__(self, image):
        self.image = image

    def tiles(self, regions):
        self.image.read([Region(0, 0, 8, 8)], 1.0)
        return torch.arange(len(regions)) % 2 == 0


def test_reading_ahead_leaves_background_out(images):
    batch = StreamedImages(images, threads=2, masks=[Half(image) for image in images])
    read_ahead(batch, 32, 0.25)
    index, regions = grid_of(batch)
    kept = batch.foreground(TileGrid.of(batch.sizes, 32))
    views = batch.read(index[kept], regions[kept], 0.25)
    assert torch.equal(views, alone(images, index[kept], regions[kept], 0.25))
    for i, image in enumerate(images):
        allowed = {Region(*region) for region in regions[kept][index[kept] == i].tolist()}
        assert set(image.regions(0.25)) <= allowed


def test_threads_that_announce_the_same_read_it_once(images):
    batch = StreamedImages(images, threads=2)
    index, regions = grid_of(batch)
    asking = [threading.Thread(target=batch.prefetch, args=(index, regions, 0.25)) for _ in range(6)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    batch.read(index, regions, 0.25)
    for image in images:
        assert len(image.regions(0.25)) == len(set(image.regions(0.25)))
