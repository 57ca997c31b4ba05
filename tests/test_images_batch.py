"""Batches of images: one read for all of them is what each image reads by itself."""

from __future__ import annotations

import math
import multiprocessing
import pickle
from fractions import Fraction

import pytest
import torch

from zoomin.errors import ConfigError, ImageError
from zoomin.geometry import Region, TileGrid
from zoomin.images.array import ArrayImage
from zoomin.images.augment import AugmentationDraw, AugmentedBatch
from zoomin.images.batch import ResidentImages, StreamedImages, as_batch
from zoomin.images.image import ImageBatch

SIZES = [(100, 120), (60, 50), (7, 9), (201, 33), (50, 50)]


@pytest.fixture
def images(generator):
    return [
        ArrayImage(
            torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator),
            background=(10 * i, 255 - i, i),
            name=f"image {i}",
        )
        for i, (height, width) in enumerate(SIZES)
    ]


class Remote:
    """Any image that is not an array; pickles."""

    def __init__(self, image):
        self.image = image

    height = property(lambda self: self.image.height)
    width = property(lambda self: self.image.width)
    mpp = property(lambda self: self.image.mpp)
    background = property(lambda self: self.image.background)
    name = property(lambda self: self.image.name)

    def read(self, regions, scale):
        return self.image.read(regions, scale)


def one_by_one(images, index, regions, scale):
    return torch.cat(
        [
            images[i].read([Region(*region)], scale)
            for i, region in zip(index.tolist(), regions.tolist(), strict=True)
        ]
    )


def tiles_of(images, tile_size):
    sizes = torch.tensor([(image.height, image.width) for image in images])
    grid = TileGrid.of(sizes, tile_size)
    order = torch.randperm(len(grid.image), generator=torch.Generator().manual_seed(0))
    return grid.image[order], grid.regions[order]


@pytest.mark.parametrize("kind", [ResidentImages, StreamedImages])
@pytest.mark.parametrize(
    ("tile_size", "scale"),
    [(50, 0.1), (50, 0.2), (50, 1.0), (250, 0.1), (40, 0.25), (30, 1 / 3), (64, 1 / 32)],
)
def test_tiles_of_a_ragged_batch(kind, tile_size, scale, images):
    index, regions = tiles_of(images, tile_size)
    views = kind(images).read(index, regions, scale)
    assert torch.equal(views, one_by_one(images, index, regions, scale))


@pytest.mark.parametrize("kind", [ResidentImages, StreamedImages])
@pytest.mark.parametrize("scale", [1 / 32, 0.1, 0.2, 1 / 3])
@pytest.mark.parametrize("size", [(48, 48), (31, 31), (20, 50)])
def test_regions_anywhere_are_averaged_exactly(kind, scale, size, images, generator):
    corner = torch.randint(-60, 230, (40, 2), generator=generator)
    regions = torch.cat([corner, torch.tensor([size]).expand(40, 2)], 1)
    index = torch.randint(0, len(images), (40,), generator=generator)
    views = kind(images).read(index, regions, scale)
    assert torch.equal(views, one_by_one(images, index, regions, scale))


@pytest.mark.parametrize(("tile_size", "scale"), [(50, 0.1), (32, 0.1), (33, 0.3), (250, 0.21), (40, 0.25)])
@pytest.mark.parametrize("orientation", range(8))
def test_tiles_of_mirrored_images_come_from_levels_and_agree_to_the_bit(
    tile_size, scale, orientation, images
):
    resident = ResidentImages(images)
    draw = AugmentationDraw.of([orientation] * len(images))
    batches = [AugmentedBatch(batch, draw) for batch in (resident, StreamedImages(images))]
    grid = TileGrid.of(batches[0].sizes, tile_size)
    views = [batch.read(grid.image, grid.regions, scale) for batch in batches]
    assert torch.equal(*views)
    assert 1 <= len(resident._store.levels) <= 4


def test_few_levels_are_kept(images):
    batch = ResidentImages(images)
    region = torch.tensor([[0, 0, 1, 1]])
    for side in range(10, 50):
        batch.read(torch.tensor([0]), region * side, 0.3)
    assert len(batch._store.levels) == 12


@pytest.mark.parametrize("kind", [ResidentImages, StreamedImages])
def test_sub_tiles_anywhere_at_full_resolution(kind, images, generator):
    corner = torch.randint(-40, 230, (64, 2), generator=generator)
    regions = torch.cat([corner, torch.tensor([[27, 13]]).expand(64, 2)], 1)
    index = torch.randint(0, len(images), (64,), generator=generator)
    views = kind(images).read(index, regions, 1.0)
    assert views.shape == (64, 3, 13, 27)
    assert torch.equal(views, one_by_one(images, index, regions, 1.0))


@pytest.mark.parametrize("kind", [ResidentImages, StreamedImages])
def test_outside_lies_the_background_of_each_image(kind, images):
    regions = torch.tensor([[500, 0, 20, 20], [-20, 0, 20, 20], [0, -500, 20, 20]])
    for scale in (1.0, 0.1):
        views = kind(images).read(torch.tensor([1, 3, 4]), regions, scale)
        for view, i in zip(views, (1, 3, 4), strict=True):
            assert view.flatten(1).T.unique(dim=0).tolist() == [list(images[i].background)]


@pytest.mark.parametrize("kind", [ResidentImages, StreamedImages])
def test_select_takes_some_in_any_order(kind, images):
    batch = kind(images)
    some = batch.select(torch.tensor([3, 0, 3])).select([2, 1])
    assert len(some) == 2 and list(some.names) == ["image 3", "image 0"]
    assert some.sizes.tolist() == [[201, 33], [100, 120]]
    region = torch.tensor([[0, 0, 50, 50], [50, 0, 50, 50]])
    expected = one_by_one([images[3], images[0]], torch.tensor([0, 1]), region, 0.1)
    assert torch.equal(some.read(torch.tensor([0, 1]), region, 0.1), expected)


def test_selections_share_pixels_and_levels(images):
    batch = ResidentImages(images)
    some = batch.select([1, 2])
    some.read(torch.tensor([0]), torch.tensor([[0, 0, 50, 50]]), 0.1)
    assert some._store is batch._store and list(batch._store.levels) == [(Fraction(10), 0)]
    assert batch._store.full.pixels.numel() == sum(h * w for h, w in SIZES) + len(SIZES)


@pytest.mark.parametrize("kind", [ResidentImages, StreamedImages])
def test_the_face_of_a_batch(kind, images):
    batch = kind(images)
    assert isinstance(batch, ImageBatch) and len(batch) == len(SIZES)
    assert batch.device == torch.device("cpu") and batch.sizes.tolist() == [list(size) for size in SIZES]
    nothing = batch.read(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4, dtype=torch.int64), 0.5)
    assert nothing.shape[:2] == (0, 3) and nothing.dtype == torch.uint8
    views = batch.read(torch.tensor([0, 1]), torch.tensor([[0, 0, 8, 8]] * 2), 1.0)
    assert views.float().is_contiguous(memory_format=torch.channels_last)
    index, regions = torch.tensor([0, 1]), torch.tensor([[0, 0, 8, 8], [0, 0, 4, 4]])
    with pytest.raises(ImageError, match="different sizes"):
        batch.read(index, regions, 1.0)
    with pytest.raises(ConfigError, match="outside"):
        batch.read(index, regions[:1].expand(2, 4), 2.0)
    with pytest.raises(ConfigError, match="without images"):
        kind([])


@pytest.mark.parametrize("kind", [ResidentImages, StreamedImages])
def test_a_batch_pickles_after_use(kind, images):
    batch = kind(images)
    index, regions = tiles_of(images, 50)
    views = batch.read(index, regions, 0.2)
    again = pickle.loads(pickle.dumps(batch))
    assert torch.equal(again.read(index, regions, 0.2), views)


def test_streaming_does_not_depend_on_threads(images):
    index, regions = tiles_of(images, 20)
    views = [StreamedImages(images, threads=n).read(index, regions, 0.3) for n in (1, 2, 5)]
    assert torch.equal(views[0], views[1]) and torch.equal(views[0], views[2])


def _mean(batch, queue):
    queue.put(float(batch.read(torch.tensor([0]), torch.tensor([[0, 0, 20, 20]]), 1.0).double().mean()))


def test_streaming_goes_on_in_a_forked_process(images):
    batch = StreamedImages(images)
    here = float(batch.read(torch.tensor([0]), torch.tensor([[0, 0, 20, 20]]), 1.0).double().mean())
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_mean, args=(batch, queue))
    child.start()
    child.join(30)
    alive = child.is_alive()
    child.kill()
    assert not alive and queue.get() == here


def test_an_error_of_a_thread_arrives_whole(images):
    class Broken(Remote):
        def read(self, regions, scale):
            raise ImageError("torn", where=self.name)

    batch = StreamedImages([images[0], Broken(images[1])])
    with pytest.raises(ImageError, match="image 1: torn"):
        batch.read(torch.tensor([0, 1]), torch.tensor([[0, 0, 8, 8]] * 2), 1.0)


def test_as_batch_takes_what_callers_have(images):
    assert isinstance(as_batch(images), ResidentImages)
    assert isinstance(as_batch([images[0], Remote(images[1])]), StreamedImages)
    resident = ResidentImages([Remote(image) for image in images])
    assert as_batch(resident) is resident
    index, regions = tiles_of(images, 50)
    assert torch.equal(resident.read(index, regions, 0.1), as_batch(images).read(index, regions, 0.1))


def test_as_batch_takes_tensors(generator):
    pixels = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8, generator=generator)
    index, region = torch.tensor([0, 1]), torch.tensor([[0, 0, 30, 20]] * 2)
    for images in (pixels, pixels / 255, pixels.double() / 255):
        assert torch.equal(as_batch(images).read(index, region, 1.0), pixels)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 8, 8),
        torch.zeros(3, 8, 8),
        torch.zeros(2, 3, 8, 8, dtype=torch.int64),
        torch.full((1, 3, 8, 8), 1.5),
        torch.full((1, 3, 8, 8), -0.1),
        torch.full((1, 3, 8, 8), math.nan),
        torch.zeros(1, 3, 8, 8, requires_grad=True),
        [],
    ],
)
def test_as_batch_refuses_the_rest(images):
    with pytest.raises(ConfigError):
        as_batch(images)
