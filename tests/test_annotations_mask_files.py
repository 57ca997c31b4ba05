"""Masks as files: what is stored counts, whatever colours it is meant to be seen in."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image as PillowImage

from zoomin.annotations.mask import MaskAnnotation
from zoomin.errors import DataError
from zoomin.geometry import Region

H, W = 300, 400
TRUE = np.zeros((H, W), dtype=bool)
TRUE[10:110, 10:110] = True


def stored(path):
    """The ROI that a mask file tells, pixel by pixel."""
    mask = MaskAnnotation(path, height=H, width=W)
    return mask.read([Region(0, 0, W, H)], 1.0)[0].numpy() > 0.5


def by_tifffile(**options):
    return lambda path: tifffile.imwrite(path, TRUE, **options)


def by_gdal(**options):
    def write(path):
        size = {"height": H, "width": W, "count": 1, "dtype": "uint8"}
        with rasterio.open(path, "w", driver="GTiff", **size, **options) as file:
            file.write(TRUE.astype(np.uint8), 1)

    return write


def by_pillow(mode, **options):
    def write(path):
        image = PillowImage.fromarray(TRUE) if mode == "1" else PillowImage.fromarray(TRUE.astype(np.uint8))
        if mode == "P":
            image = image.convert("P")
            image.putpalette([255, 255, 255, 0, 0, 0])  # true is painted black
        image.save(path, **options)

    return write


FILES = {
    "bool.tif": by_tifffile(),  # f06: 1 bit, white is zero
    "bool-black-is-zero.tif": by_tifffile(photometric="minisblack"),
    "bool-deflate-tiles.tif": by_tifffile(compression="zlib", tile=(64, 64)),
    "bytes-white-is-zero.tif": lambda path: tifffile.imwrite(
        path, TRUE.astype("u1"), photometric="miniswhite"
    ),
    "words-white-is-zero.tif": lambda path: tifffile.imwrite(
        path, TRUE.astype("u2"), photometric="miniswhite"
    ),
    "labels.tif": lambda path: tifffile.imwrite(path, TRUE.astype("i4") * 7, photometric="minisblack"),
    "floats.tif": lambda path: tifffile.imwrite(path, TRUE.astype("f4") * 0.1, photometric="minisblack"),
    "nbits.tif": by_gdal(nbits=1),
    "nbits-white-is-zero.tif": by_gdal(nbits=1, photometric="miniswhite"),
    "fax.tif": by_gdal(nbits=1, compress="ccittfax4"),
    "palette.tif": by_pillow("P"),
    "palette.png": by_pillow("P"),
    "palette.bmp": by_pillow("P"),
    "bits.png": by_pillow("1"),
    "bits.bmp": by_pillow("1"),
    "bits.tif": by_pillow("1"),
}


@pytest.mark.parametrize("name", FILES)
def test_true_is_what_was_stored(name, tmp_path):
    """The right value of f06 is 10,000 pixels; tifffile and rasterio agree for every TIFF."""
    path = tmp_path / name
    FILES[name](path)
    assert stored(path).sum() == 10_000
    assert np.array_equal(stored(path), TRUE)
    if name.endswith("tif"):
        assert np.array_equal(tifffile.imread(path) != 0, TRUE)
        with rasterio.open(path) as file:
            assert np.array_equal(file.read(1) != 0, TRUE)


def test_colours_count_and_opacity_does_not(tmp_path):
    colours = np.zeros((H, W, 4), dtype=np.uint8)
    colours[..., 3] = 255
    colours[TRUE, 1] = 1
    for name in ("a.png", "a.tif"):
        PillowImage.fromarray(colours).save(tmp_path / name)
        assert np.array_equal(stored(tmp_path / name), TRUE)
    inks = np.zeros((H, W, 4), dtype=np.uint8)
    inks[TRUE, 3] = 200
    tifffile.imwrite(tmp_path / "b.tif", inks, photometric="separated")
    assert np.array_equal(stored(tmp_path / "b.tif"), TRUE)


def test_a_pyramid_of_a_mask_is_its_first_level(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(TRUE, tile=(64, 64), subifds=1)
        file.write(TRUE[::2, ::2], tile=(64, 64), subfiletype=1)
    assert np.array_equal(stored(tmp_path / "a.tif"), TRUE)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 3\n"), ("a.png", b"%!PS-Adobe-3.0\n"),
     ("a.tif", b"%PDF-1.7\n"), ("b.tif", b"II*\0" + bytes(20))],
)  # fmt: skip
def test_masks_come_through_the_door_of_images(name, content, tmp_path, monkeypatch):
    """Only formats that images have: PostScript would run another program."""
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(PillowImage, "open", lambda *_: pytest.fail("any plug-in may answer"))
    with pytest.raises(DataError, match=r"mask cannot be decoded"):
        stored(tmp_path / name)
