"""The store: slides stay on disk, whole images in memory where they fit; both may stand in one manifest."""

from __future__ import annotations

import threading

import numpy as np
import psutil
import pytest
import torch
from PIL import Image as PillowImage

from slides import picture, pyramid
from zoomin.data import opening
from zoomin.data import store as store_module
from zoomin.data.manifest import Record
from zoomin.data.store import PathImage, open_store
from zoomin.errors import BatchReadError, DataError
from zoomin.geometry import Region, TileGrid
from zoomin.images.array import ArrayImage
from zoomin.images.cache import HANDLES
from zoomin.images.formats.raster import RasterImage


@pytest.fixture
def records(tmp_path):
    """Two little slides and three photographs, in turns."""
    paths = [tmp_path / name for name in ("0.tif", "1.png", "2.tif", "3.png", "4.png")]
    for seed, path in enumerate(paths):
        if path.suffix == ".tif":
            pyramid(path, picture(seed=seed))
        else:
            PillowImage.fromarray(picture(90 + seed, 70, seed)).save(path)
    return [Record(path, "a") for path in paths]


@pytest.fixture
def decoded(monkeypatch):
    """Areas of the windows that are decoded of stored images."""
    windows = []
    decode = RasterImage.decode

    def counted(self, level, window):
        windows.append(window.area)
        return decode(self, level, window)

    monkeypatch.setattr(RasterImage, "decode", counted)
    return windows


def everything(records, **options):
    return open_store(records, torch.arange(len(records)), progress=False, **options)


def overview(store):
    images = store.select(torch.arange(len(store.images)))
    grid = TileGrid.of(images.sizes, 64)
    return images.read(grid.image, grid.regions, 0.25)


def test_opening_decodes_no_stored_image(records, decoded):
    for resident in ("auto", "never"):
        store = everything(records, resident=resident)
        assert decoded == [] and not store.resident
        assert store.images.sizes.tolist() == [[392, 520], [91, 70], [392, 520], [93, 70], [94, 70]]


def test_some_images_in_memory_and_some_on_disk(records):
    mixed = everything(records)
    kinds = [type(image) for image in mixed.images._images]
    assert kinds == [RasterImage, ArrayImage, RasterImage, ArrayImage, ArrayImage]
    streamed = everything(records, resident="never")
    kinds = [type(image) for image in streamed.images._images]
    assert kinds == [RasterImage, PathImage, RasterImage, PathImage, PathImage]
    assert torch.equal(overview(mixed), overview(streamed))
    resident = everything(records, resident="always")
    assert resident.resident
    assert (
        overview(resident).int() - overview(mixed).int()
    ).abs().max() <= 2  # means of means, rounded twice
    photographs = everything([records[1], records[3]])
    assert photographs.resident and torch.equal(
        overview(photographs), overview(everything([records[1], records[3]], resident="never"))
    )


def test_whole_images_beyond_the_budget_stream(records, monkeypatch):
    monkeypatch.setattr(store_module, "available_memory", lambda device: 4 * 4 * 70 * (91 + 93))
    store = everything(records, threads=1)
    kinds = [type(image) for image in store.images._images]
    assert kinds == [RasterImage, ArrayImage, RasterImage, ArrayImage, PathImage]


def test_what_cannot_be_resident_says_so(records, monkeypatch):
    monkeypatch.setattr(store_module, "available_memory", lambda device: 100_000)
    with pytest.raises(DataError, match="520 x 392 pixels do not fit into memory") as error:
        everything(records, resident="always")
    assert "2 of 5 images" in str(error.value)


def test_epoch_two_decodes_no_overview_again(records, decoded):
    store = everything(records)
    images = store.select(torch.arange(len(records)))
    grid = TileGrid.of(images.sizes, 64)
    views = []
    for _ in range(2):
        images.prefetch(grid.image, grid.regions, 0.25)
        views.append(images.read(grid.image, grid.regions, 0.25))
        once = sum(decoded)
        images = store.select(torch.arange(len(records)))
    assert torch.equal(*views) and sum(decoded) == once > 0
    assert sum(decoded) <= 2 * 1.7 * (392 // 4) * (520 // 4)  # level 2 alone, blocks shared by bands twice


def test_photographs_that_stream_are_decoded_once_by_threads_that_ask_at_once(records, monkeypatch):
    store = everything(records, resident="never", threads=4)
    opened = []
    monkeypatch.setattr(
        store_module, "open_image", lambda path, mpp: opened.append(path) or real(path, mpp=mpp)
    )
    monkeypatch.setattr(store_module, "_DECODED", store_module.Cache(1 << 20))
    real = store_module_open
    overview(store)
    overview(store)
    assert sorted(path.name for path in opened) == ["1.png", "3.png", "4.png"]


store_module_open = store_module.open_image


def test_a_photograph_larger_than_the_room_has_it_for_itself(records, monkeypatch):
    monkeypatch.setattr(store_module, "_DECODED_BYTES", 100)
    monkeypatch.setattr(store_module, "_DECODED", store_module.Cache(100))
    expected = overview(everything(records))
    assert torch.equal(overview(everything(records, resident="never")), expected)
    assert store_module._DECODED.filled <= 100


def test_many_slides_leave_few_files_open(records, tmp_path, monkeypatch):
    monkeypatch.setattr(HANDLES, "capacity", 20)
    many = []
    for number in range(60):
        path = tmp_path / f"many{number}.tif"
        path.hardlink_to(records[0].image)
        many.append(Record(path, "a"))
    store = everything(many, cache_bytes=0)
    overview(store)
    open_files = [file.path for file in psutil.Process().open_files()]
    assert 0 < sum("many" in name for name in open_files) <= 20


def test_a_file_that_vanishes_or_changes_is_named(records):
    store = everything(records, resident="never")
    records[1].image.unlink()
    PillowImage.fromarray(np.zeros((5, 5, 3), np.uint8)).save(records[3].image)
    records[0].image.unlink()
    with pytest.raises(BatchReadError) as error:
        overview(store)
    failures = {place: str(failure) for place, failure in error.value.failures.items()}
    assert sorted(failures) == [0, 1, 3]
    assert "0.tif" in failures[0] and "no such file" in failures[1] and "the image has changed" in failures[3]


def test_an_image_that_does_not_open_in_time_is_listed(records, monkeypatch):
    gate, real = threading.Event(), opening.open_image

    def slow(path, mpp):
        if path.name == "3.png":
            gate.wait(60)
        return real(path, mpp=mpp)

    monkeypatch.setattr(opening, "open_image", slow)
    with pytest.raises(
        DataError, match=r"(?s)1 of 5 images.*3\.png: reading did not finish within 1 seconds"
    ):
        everything(records, timeout=1.0)
    gate.set()


def test_regions_of_a_path_image_are_those_of_the_image(records):
    store = everything([records[1]], resident="never")
    [image] = store.images._images
    region = Region(-5, 3, 40, 20)
    assert torch.equal(image.read([region], 0.5), store_module_open(image.path).read([region], 0.5))
