"""Odd files of public test suites, called damaged or read wrongly: their true cause, their right pixels."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile

from slides import picture
from zoomin.errors import ImageError
from zoomin.geometry import Region
from zoomin.images.formats.decode import decode_values
from zoomin.images.open_image import open_image

PIXELS = picture(48, 64)


def written(path, *, tag=None, becomes=None, value=None, **options):
    """A TIFF in which the entry of a tag gets another number or another value."""
    tifffile.imwrite(path, PIXELS, photometric="rgb", metadata=None, **options)
    if tag is not None:
        with tifffile.TiffFile(path) as file:
            entry = file.pages.first.tags[tag].offset
        data = bytearray(path.read_bytes())
        if becomes is not None:
            struct.pack_into("<H", data, entry, becomes)
        if value is not None:
            struct.pack_into("<H", data, entry + 8, value)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tag": 262, "becomes": 263}, r"does not say what its samples are \(no PhotometricInterpretation\)"),
        ({"tag": 262, "value": 77}, "PhotometricInterpretation is 77, which no standard defines"),
        ({"tag": 259, "value": 6}, "old-style JPEG"),
        ({"tag": 259, "value": 64_999}, "Compression is 64999, which no standard defines"),
    ],
)
def test_the_true_cause(tmp_path, change, words, tile):
    path = written(tmp_path / "a.tif", tile=tile, **change)
    with pytest.raises(ImageError, match=words):
        open_image(path)
    with pytest.raises(ImageError, match=words):
        decode_values(path)


@pytest.mark.parametrize("found", [("s", 0, "\x08"), ("B", 1, 1), ("H", 1, 0)])
def test_an_orientation_that_is_no_number_is_upright(tmp_path, found):
    image = open_image(written(tmp_path / "a.tif", extratags=[(274, *found, True)]))
    view = image.read([Region(0, 0, 64, 48)], 1.0)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(view, PIXELS)


def ycc(path, shares):
    """Stored luma and chroma whose shares are stated as three fractions."""
    red, green, blue = (PIXELS[..., i].astype(float) for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    stored = np.stack([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402], axis=-1)
    tags = [(529, "2I", 3, shares, True), (530, "H", 2, (1, 1), True)]
    found = np.rint(stored).clip(0, 255).astype(np.uint8)
    tifffile.imwrite(path, found, photometric="ycbcr", metadata=None, extratags=tags)
    return path


@pytest.mark.parametrize(
    "shares", [(1, 0, 1, 0, 1, 0), (0, 0, 0, 0, 0, 0), (299, 1000, 587, 1000, 114, 1000)]
)
def test_shares_of_the_luma_that_are_no_fractions_state_nothing(tmp_path, shares):
    """A public file has 1/0: its colours were magenta."""
    image = open_image(ycc(tmp_path / "a.tif", shares))
    view = image.read([Region(0, 0, 64, 48)], 1.0)[0].permute(1, 2, 0).numpy()
    assert np.abs(view.astype(int) - PIXELS).max() <= 2


@pytest.mark.parametrize("shares", [(1, 1, 1, 1, 1, 1), (0, 1, 1, 1, 0, 1), (1, 2, 1, 2, 1, 2)])
def test_shares_of_the_luma_that_are_no_whole_are_refused(tmp_path, shares):
    with pytest.raises(ImageError, match="not of one whole"):
        open_image(ycc(tmp_path / "a.tif", shares))


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_missing_compression_is_none(tmp_path, tile):
    path = written(tmp_path / "a.tif", tag=259, becomes=260, tile=tile)
    view = open_image(path).read([Region(0, 0, 64, 48)], 1.0)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(view, PIXELS)


def test_a_bmp_of_an_uncommon_kind_is_not_called_damaged(tmp_path):
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 16, 3, 128, 0, 0, 0, 0)  # 16 bits by masks
    masks = struct.pack("<III", 0x0F00, 0x00F0, 0x000F)
    start = struct.pack("<2sIHHI", b"BM", 14 + 40 + 12 + 128, 0, 0, 66)
    (tmp_path / "a.bmp").write_bytes(start + header + masks + bytes(128))
    with pytest.raises(ImageError, match="a BMP of a kind that is not read") as caught:
        open_image(tmp_path / "a.bmp")
    assert imagecodecs.imread(tmp_path / "a.bmp").shape[:2] == (8, 8)
    assert "imagecodecs" in caught.value.remedy


@pytest.mark.parametrize("shift", [1, 2, 4])
def test_a_lossless_jpeg_of_shifted_samples(tmp_path, shift):
    """liblj92 gave 116.8 on average for 105.7; libjpeg-turbo, an independent decoder, is right."""
    values = np.arange(64, dtype=np.uint8).reshape(8, 8) % (256 >> shift)
    first = 128 - (128 >> shift)  # the prediction of the first sample depends on the shift too
    data = bytearray(imagecodecs.ljpeg_encode(values + np.uint8(first)))
    start = data.find(b"\xff\xda")
    data[start + 7 + 2 * data[start + 4]] = shift
    assert np.array_equal(imagecodecs.jpeg8_decode(bytes(data)), values << shift)
    (tmp_path / "a.jpg").write_bytes(data)
    view = open_image(tmp_path / "a.jpg").read([Region(0, 0, 8, 8)], 1.0)[0]
    assert np.array_equal(view[0].numpy(), values << shift)
