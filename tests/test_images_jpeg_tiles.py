"""Tiles of JPEG decoded straight from the file give the pixels of OpenSlide and GDAL, or are left to them."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from PIL import Image as PillowImage

from slides import geotiff, noise, picture, pyramid
from zoomin.errors import ImageError
from zoomin.geometry import Region
from zoomin.images.formats import jpeg_tiles
from zoomin.images.formats.raster import RasterImage
from zoomin.images.formats.slide import SlideImage
from zoomin.images.open_image import open_image

APERIO = "Aperio Image Library v11.2.1\r\n520x392 (64x64) JPEG|AppMag = 40|MPP = 0.2500"
RGB = {"photometric": "rgb", "compressionargs": {"outcolorspace": "rgb", "level": 85}}
HALVED = {"photometric": "ycbcr", "subsampling": (2, 2)}


def counted(image, monkeypatch):
    """The windows that the reader decodes."""
    found, read = [], image.decode_by_reader
    monkeypatch.setattr(
        image, "decode_by_reader", lambda level, window: found.append((level, window)) or read(level, window)
    )
    return found


def regions(image, count=40, side=90):
    draw = random.Random(0)
    corners = [(draw.randrange(-20, image.width), draw.randrange(-20, image.height)) for _ in range(count)]
    return [Region(x, y, side, side) for x, y in corners]


def slide(path, pixels=None, **options):
    return pyramid(
        path, picture() if pixels is None else pixels, compression="jpeg", description=APERIO, **options
    )


def one_level(path, pixels, **options):
    """A GeoTIFF without georeference: large enough for the disk, as far as the tests are concerned."""
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="jpeg", metadata=None, **options)
    return path


@pytest.mark.parametrize("kind", ["rgb", "halved", "whole"])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
def test_tiles_of_a_slide(kind, scale, tmp_path, monkeypatch):
    """Of single reads and of many together, OpenSlide's pixels; it reads no more than a window of a level."""
    options = {"rgb": RGB, "halved": HALVED, "whole": {"photometric": "ycbcr", "subsampling": (1, 1)}}[kind]
    image = open_image(slide(tmp_path / "a.svs", **options))
    assert isinstance(image, SlideImage)
    wanted = open_image(tmp_path / "a.svs")
    wanted.directories = ()
    read = counted(image, monkeypatch)
    assert torch.equal(image.read(regions(image), scale), wanted.read(regions(image), scale))
    for region in regions(image):
        assert torch.equal(image.read([region], scale), wanted.read([region], scale))
    assert len({level for level, _ in read}) == 1 and set(image._agreed.values()) == {True}
    assert len(read) < 3 or kind != "rgb"
    assert image.decoded_pixels == wanted.decoded_pixels


@pytest.mark.parametrize("grey", [False, True])
def test_tiles_that_gdal_reads(grey, tmp_path, monkeypatch):
    pixels = picture()[..., 0] if grey else picture()
    path = one_level(tmp_path / "a.tif", pixels, **({"photometric": "minisblack"} if grey else RGB))
    monkeypatch.setattr("zoomin.images.formats.raster.IN_MEMORY", 1)
    image = open_image(path)
    assert isinstance(image, RasterImage)
    read = counted(image, monkeypatch)
    image.read([Region(0, 0, 64, 64)], 1.0)
    views = image.read(regions(image), 1.0)
    assert len(read) == 1 and image._agreed == {0: True}
    image.directories = ()
    assert torch.equal(views, image.read(regions(image), 1.0))


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_luma_and_chroma_are_those_of_gdal(subsampling, tmp_path):
    """The JPEG library of GDAL's wheels widens chroma in its own way, another build of it maybe as we do."""
    path = pyramid(
        tmp_path / "a.tif", noise(), compression="jpeg", photometric="ycbcr", subsampling=subsampling
    )
    image = open_image(path)
    whole = [Region(0, 0, image.width, image.height)]
    with rasterio.open(path) as file:
        wanted = file.read().transpose(1, 2, 0)
    for _ in range(2):
        assert np.array_equal(image.read(whole, 1.0)[0].permute(1, 2, 0).numpy(), wanted)
    same = jpeg_tiles._found_same[RasterImage]
    assert image._agreed == ({0: True} if same else dict.fromkeys(range(3), False)), "or of no level"


def test_what_is_no_plain_colour_is_left_to_gdal(tmp_path):
    """Missing samples, opacity and stored masks."""
    pixels = picture()
    options = {"compress": "jpeg", "photometric": "ycbcr"}
    assert open_image(geotiff(tmp_path / "a.tif", pixels, nodata=0, **options)).directories == ()
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    assert open_image(geotiff(tmp_path / "b.tif", opaque, compress="jpeg")).directories == ()
    assert open_image(geotiff(tmp_path / "c.tif", pixels, compress="lzw")).directories == (None,) * 3
    assert None not in open_image(geotiff(tmp_path / "d.tif", pixels, **options)).directories


def test_a_level_of_a_fractional_step_is_left_to_openslide(tmp_path):
    """It moves such a level by parts of a pixel."""
    pixels = picture(390, 518)
    small = np.asarray(PillowImage.fromarray(pixels).resize((130, 97)))
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        for level in (pixels, small):
            file.write(level, tile=(64, 64), compression="jpeg", description=APERIO, metadata=None, **RGB)
    image = open_image(tmp_path / "a.svs")
    assert len(image.levels) == 2 and image.directories[0] and image.directories[1] is None


def hurt(path, how, block=0):
    """Change a tile of the first page behind the back of whoever has the file open; its time stays."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        start, size = page.dataoffsets[block], page.databytecounts[block]
        place = page.tags["TileByteCounts"].valueoffset + 4 * block
    data = bytearray(path.read_bytes())
    if how == "missing":
        data[place : place + 4] = bytes(4)
    else:
        data[start + size // 2 : start + size] = bytes(size - size // 2)
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["missing", "torn"])
@pytest.mark.parametrize("kind", ["svs", "tif"])
def test_damaged_and_missing_tiles_are_left_to_the_reader(kind, how, tmp_path):
    """It raises its own error, or gives what it gives for a tile that is not stored; others are as before."""
    path = tmp_path / f"a.{kind}"
    pyramid(path, picture(), compression="jpeg", description=APERIO if kind == "svs" else None, **RGB)
    hurt(path, how)
    image, wanted = open_image(path), open_image(path)
    wanted.directories = ()
    good, bad = [Region(128, 128, 64, 64)], [Region(30, 0, 64, 64)]
    assert torch.equal(image.read(good, 1.0), wanted.read(good, 1.0)) and image._agreed == {0: True}
    for _ in range(2):
        if how == "torn":
            with pytest.raises(ImageError) as caught:
                image.read(bad, 1.0)
            with pytest.raises(ImageError) as theirs:
                wanted.read(bad, 1.0)
            assert str(caught.value) == str(theirs.value)
        else:
            assert torch.equal(image.read(bad, 1.0), wanted.read(bad, 1.0))
        assert torch.equal(image.read(good, 1.0), wanted.read(good, 1.0))


def test_a_window_that_shows_nothing_proves_nothing(tmp_path, monkeypatch):
    pixels = picture()
    pixels[:128, :128] = 240
    image = open_image(slide(tmp_path / "a.svs", pixels, **RGB))
    read = counted(image, monkeypatch)
    for _ in range(3):
        image.read([Region(0, 0, 64, 64)], 1.0)
    assert len(read) == 3 and not image._agreed


def test_a_decoder_that_disagrees_is_not_used(tmp_path, monkeypatch):
    image = open_image(slide(tmp_path / "a.svs", **RGB))
    wanted = image.read([Region(0, 0, 200, 200)], 1.0)
    again, decode = open_image(tmp_path / "a.svs"), jpeg_tiles._decode_tile
    jpeg_tiles._KEPT.drop_all(lambda key: True)
    monkeypatch.setattr(jpeg_tiles, "_decode_tile", lambda *arguments: decode(*arguments) ^ 1)
    for _ in range(2):
        assert torch.equal(again.read([Region(0, 0, 200, 200)], 1.0), wanted)
    assert again._agreed == {0: False}
    jpeg_tiles._KEPT.drop_all(lambda key: True)


def test_without_simplejpeg_the_reader_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(jpeg_tiles, "_has_decoder", lambda: False)
    image = open_image(slide(tmp_path / "a.svs", **RGB))
    read = counted(image, monkeypatch)
    for _ in range(2):
        image.read([Region(0, 0, 64, 64)], 1.0)
    assert len(read) == 2


def test_a_pickled_image_has_proved_nothing(tmp_path):
    image = open_image(slide(tmp_path / "a.svs", **RGB))
    image.read([Region(0, 0, 64, 64)], 1.0)
    assert image._agreed == {0: True}
    other = pickle.loads(pickle.dumps(image))
    assert not other._agreed and other.directories == image.directories
    assert torch.equal(other.read([Region(5, 5, 64, 64)], 1.0), image.read([Region(5, 5, 64, 64)], 1.0))
