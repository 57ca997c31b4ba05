"""PNG and JPEG that are too large for the memory: converted once, in bounded memory, shared by processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import time

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from slides import picture
from zoomin.errors import ConfigError, ImageError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.formats import tiled_copy as copies
from zoomin.images.formats.decode import decode_image
from zoomin.images.formats.raster import ConvertedImage, RasterImage
from zoomin.images.open_image import open_image

HEIGHT, WIDTH = 1100, 1300
PIXELS = np.tile(picture(), (3, 3, 1))[:HEIGHT, :WIDTH]


@pytest.fixture(autouse=True)
def small_limits(tmp_path, monkeypatch):
    monkeypatch.setattr("zoomin.images.formats.raster.IN_MEMORY", 1000)
    monkeypatch.setenv("ZOOMIN_CACHE", str(tmp_path / "the cache"))


def save(path, pixels=PIXELS, **options):
    PillowImage.fromarray(pixels).save(path, **options)
    return path


def copies_in(tmp_path):
    return sorted((tmp_path / "the cache" / "tiled").glob("*.tif"))


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_reads_as_decoded_whole(name, tmp_path, caplog):
    image = open_image(save(tmp_path / name, quality=90, subsampling=0))
    assert isinstance(image, ConvertedImage) and not copies_in(tmp_path)  # nothing is decoded yet
    expected = decode_image(tmp_path / name)
    boxes = [Region(500, 480, 64, 64), Region(-9, 1000, 64, 64), Region(1290, 700, 64, 64)]
    with caplog.at_level(logging.WARNING):
        difference = image.read(boxes, 1.0).int() - expected.read(boxes, 1.0).int()
    assert difference.abs().max() <= (0 if name == "a.png" else 8)  # two builds of the JPEG decoder
    assert "tiled copy, once" in caplog.text and len(copies_in(tmp_path)) == 1
    boxes = [Region(512, 256, 256, 256), Region(0, 0, 256, 256)]
    for scale in (0.5, 0.25):
        assert (image.read(boxes, scale).int() - expected.read(boxes, scale).int()).abs().max() <= 3
    caplog.clear()
    again = open_image(tmp_path / name)
    again.read(boxes, 1.0)
    pickle.loads(pickle.dumps(image)).read(boxes, 1.0)
    assert caplog.text == "" and len(copies_in(tmp_path)) == 1
    assert [level.width for level in image.levels] == [1300, 650, 325]


def test_alpha_16_bits_grey_and_palette(tmp_path):
    alpha = np.dstack([PIXELS, np.roll(PIXELS[..., 0], 7)])
    grey = PIXELS[..., 0]
    kinds = {
        "alpha": save(tmp_path / "alpha.png", alpha),
        "grey": save(tmp_path / "grey.png", grey),
        "wide": save(tmp_path / "wide.png", grey.astype(np.uint16) * 256 + 9),
    }
    PillowImage.fromarray(PIXELS).quantize(16).save(tmp_path / "palette.png")
    kinds["palette"] = tmp_path / "palette.png"
    for path in kinds.values():
        boxes = [Region(500, 500, 100, 90)]
        assert torch.equal(open_image(path).read(boxes, 1.0), decode_image(path).read(boxes, 1.0)), path.name


def test_a_large_bitmap_needs_no_copy(tmp_path):
    image = open_image(save(tmp_path / "a.bmp"))
    boxes = [Region(500, 480, 64, 64), Region(-9, 1000, 64, 64)]
    assert isinstance(image, RasterImage) and not isinstance(image, ConvertedImage)
    assert torch.equal(image.read(boxes, 1.0), ArrayImage(PIXELS).read(boxes, 1.0))


def test_a_new_file_of_the_same_name_is_another_image(tmp_path):
    path, box = save(tmp_path / "a.png"), [Region(0, 0, 8, 8)]
    old = open_image(path)
    old.read(box, 1.0)
    save(path, 255 - PIXELS)
    os.utime(path, (1, 1))
    assert torch.equal(open_image(path).read(box, 1.0), 255 - ArrayImage(PIXELS).read(box, 1.0))
    old.close()
    with pytest.raises(ImageError, match="changed"):
        old.read(box, 1.0)


def _read(path, queue):
    queue.put(open_image(path).read([Region(0, 0, 8, 8)], 1.0).numpy())


def test_processes_share_one_copy(tmp_path):
    path = save(tmp_path / "a.png")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_read, args=(path, queue)) for _ in range(3)]
    for child in children:
        child.start()
    found = [queue.get(timeout=30) for _ in children]
    for child in children:
        child.join()
    assert all(np.array_equal(view, found[0]) for view in found)
    assert [file.suffix for file in copies_in(tmp_path)[0].parent.iterdir() if file.suffix != ".lock"] == [
        ".tif"
    ]


def test_damage_is_found_when_it_is_read_and_leaves_nothing_behind(tmp_path):
    for name in ("a.png", "a.jpg"):
        path = save(tmp_path / name)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        image = open_image(path)
        for _ in range(2):
            with pytest.raises(ImageError, match=rf"a\.{name[2:]}.*(decoded row by row|damaged)"):
                image.read([Region(0, 0, 8, 8)], 1.0)
        assert not copies_in(tmp_path) and not list((tmp_path / "the cache" / "tiled").glob("*.part"))


def test_a_turned_image_is_refused(tmp_path):
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    for name in ("a.jpg", "a.png"):
        with pytest.raises(ImageError, match="rotated or mirrored"):
            open_image(save(tmp_path / name, exif=exif))


def test_the_copies_used_longest_ago_go_first(tmp_path, monkeypatch):
    folder = copies.cache_folder()
    folder.mkdir(parents=True)
    now = time.time()
    for name, age in (("old", 9), ("older", 10), ("new", 0.5)):
        (folder / f"{name}.tif").write_bytes(bytes(1000))
        os.utime(folder / f"{name}.tif", (now - age * 86_400, now - age * 86_400))
    monkeypatch.setenv("ZOOMIN_CACHE_GB", "0.000002")
    copies._trim(folder, keep=folder / "new.tif")
    assert sorted(file.stem for file in folder.iterdir()) == ["new", "old"]
    monkeypatch.setenv("ZOOMIN_CACHE_GB", "0")
    copies._trim(folder, keep=folder / "other.tif")
    assert [file.stem for file in folder.iterdir()] == ["new"]  # of today
    monkeypatch.setenv("ZOOMIN_CACHE_GB", "much")
    with pytest.raises(ConfigError, match="ZOOMIN_CACHE_GB"):
        copies._trim(folder, keep=folder / "new.tif")


def test_no_room_for_the_copy(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZOOMIN_CACHE", str(tmp_path / "file"))
    image = open_image(save(tmp_path / "a.png"))
    with pytest.raises(ImageError, match=r"tiled copy cannot be written.*ZOOMIN_CACHE"):
        image.read([Region(0, 0, 8, 8)], 1.0)
