"""Rasters by GDAL: colours, missing pixels, maps, physical sizes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from PIL import Image as PillowImage
from rasterio.enums import ColorInterp

from slides import HEIGHT, WIDTH, geotiff, noise, picture, pyramid
from zoomin.errors import ConfigError, ImageError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.formats.gdal import opened
from zoomin.images.formats.raster import RasterImage
from zoomin.images.open_image import open_image


def seen(path):
    image = open_image(path)
    assert isinstance(image, RasterImage)
    return image.read([Region(0, 0, image.width, image.height)], 1.0)[0].permute(1, 2, 0).numpy()


def on(colour, share, background=255):
    return np.floor(
        (colour * share[..., None] + background * (255 - share[..., None].astype(float))) / 255 + 0.5
    )


def test_alpha_lies_on_white(tmp_path):
    pixels = noise(channels=4)
    path = geotiff(tmp_path / "a.tif", pixels, photometric="rgb", alpha="yes")
    assert np.array_equal(seen(path), on(pixels[..., :3].astype(float), pixels[..., 3]))


def test_grey_and_grey_with_alpha(tmp_path):
    pixels = noise(channels=2)
    assert np.array_equal(
        seen(geotiff(tmp_path / "a.tif", pixels[..., :1])), np.repeat(pixels[..., :1], 3, 2)
    )
    path = geotiff(tmp_path / "b.tif", pixels, alpha="yes")
    assert np.array_equal(seen(path), on(np.repeat(pixels[..., :1], 3, 2).astype(float), pixels[..., 1]))


@pytest.mark.parametrize("value", [0, 7])
def test_missing_pixels_show_the_background(value, tmp_path):
    pixels = noise()
    pixels[100:200, 50:90] = value
    pixels[300, 300] = (value, 9, 9)  # one band alone is no missing pixel
    expected = pixels.copy()
    expected[(pixels == value).all(axis=2)] = 255
    assert np.array_equal(seen(geotiff(tmp_path / "a.tif", pixels, nodata=value)), expected)


def test_a_stored_mask(tmp_path):
    pixels = noise()
    path = geotiff(tmp_path / "a.tif", pixels, overviews=())
    valid = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    valid[10:20, 30:60] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(valid)
    assert np.array_equal(seen(path), np.where(valid[..., None] > 0, pixels, 255))


def test_palette_and_white_zero(tmp_path):
    index = noise(channels=1) % 4
    path = tmp_path / "a.tif"
    geotiff(path, index, photometric="palette", overviews=())
    colours = {0: (1, 2, 3, 255), 1: (200, 100, 50, 255), 2: (9, 9, 9, 0), 3: (7, 8, 9, 255)}
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, colours)
    found, flat = seen(path), index[..., 0]
    assert (found[flat == 1] == (200, 100, 50)).all() and (found[flat == 3] == (7, 8, 9)).all()
    grey = geotiff(tmp_path / "b.tif", noise(channels=1), photometric="miniswhite")
    assert np.array_equal(seen(grey), np.repeat(255 - noise(channels=1), 3, 2))


def test_more_bits_keep_the_upper_ones(tmp_path):
    """By the bits that the file states, never by its values: all images of a set get one scale."""
    wide = noise().astype(np.uint16) * 256 + 200
    assert np.array_equal(seen(geotiff(tmp_path / "a.tif", wide)), noise())
    twelve = noise().astype(np.uint16) * 16 + 5
    assert np.array_equal(seen(geotiff(tmp_path / "b.tif", twelve, nbits=12)), noise())
    shares = (noise() / 255).astype(np.float32)
    assert np.array_equal(seen(geotiff(tmp_path / "c.tif", shares)), noise())


def test_16_bit_alpha_and_nodata_of_floats(tmp_path):
    wide = noise(channels=4).astype(np.uint16) * 257
    path = geotiff(tmp_path / "a.tif", wide, photometric="rgb", alpha="yes")
    assert (
        np.abs(seen(path).astype(int) - on((wide[..., :3] >> 8).astype(float), wide[..., 3] >> 8)).max() <= 1
    )
    shares = (noise() / 255).astype(np.float32)
    shares[:9] = np.nan
    found = seen(geotiff(tmp_path / "b.tif", shares, nodata=float("nan")))
    assert (found[:9] == 255).all() and np.array_equal(found[9:], noise()[9:])


def test_four_bands_without_alpha_show_the_first_three(tmp_path):
    pixels = noise(channels=4)
    path = geotiff(tmp_path / "a.tif", pixels, photometric="rgb", alpha="unspecified", overviews=())
    assert np.array_equal(seen(path), pixels[..., :3])


def test_bands_say_which_is_red(tmp_path):
    pixels = noise(channels=5)
    path = geotiff(tmp_path / "a.tif", pixels, overviews=(), photometric="minisblack")
    with pytest.raises(ImageError, match=r"5 bands .* which are red, green, blue.*gdal_translate -b"):
        open_image(path)
    with rasterio.open(path, "r+") as file:
        other = ColorInterp.undefined
        file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, other, other]
    assert np.array_equal(seen(path), pixels[..., [2, 1, 0]])


@pytest.mark.parametrize("kind", ["int16", "uint32", "int32"])
def test_values_without_a_meaning(kind, tmp_path):
    path = geotiff(tmp_path / "a.tif", noise().astype(kind), overviews=())
    with pytest.raises(ImageError, match=rf"type {kind}.*gdal_translate -ot Byte"):
        open_image(path)


def test_floats_out_of_range(tmp_path):
    image = open_image(geotiff(tmp_path / "a.tif", noise().astype(np.float32), overviews=()))
    with pytest.raises(ImageError, match="floating-point pixels from"):
        image.read([Region(0, 0, 50, 50)], 1.0)


@pytest.mark.parametrize(
    ("crs", "metre", "mpp"),
    [
        ("EPSG:32633", 0.5, 5e5),
        ("EPSG:2263", 1.0, 1e6 * 1200 / 3937),
        ("EPSG:4326", 0.5, None),
        (None, 0.5, None),
    ],
)
def test_a_map_tells_the_size_of_a_pixel(crs, metre, mpp, tmp_path):
    transform = rasterio.Affine(metre, 0, 10.0, 0, -metre, 20.0)
    image = open_image(geotiff(tmp_path / "a.tif", picture(), crs=crs, transform=transform))
    assert image.mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-9))
    assert image.georeference.transform == (metre, 0.0, 10.0, 0.0, -metre, 20.0)
    assert image.georeference.to_map(4.0, 2.0) == (10 + 4 * metre, 20 - 2 * metre)
    assert image.georeference.to_pixels(10 + 4 * metre, 20 - 2 * metre) == pytest.approx((4.0, 2.0))
    assert (image.georeference.crs is None) == (crs is None)


def test_a_turned_map_and_pixels_that_are_not_square(tmp_path):
    side, half = 0.5 * np.cos(np.pi / 6), 0.5 * np.sin(np.pi / 6)
    turned = rasterio.Affine(side, half, 5e5, half, -side, 5e6)
    assert open_image(geotiff(tmp_path / "a.tif", picture(), transform=turned)).mpp == pytest.approx(5e5)
    oblong = rasterio.Affine(0.5, 0, 0, 0, -1.0, 0)
    path = geotiff(tmp_path / "b.tif", picture(), transform=oblong)
    with pytest.raises(ImageError, match="not square"):
        open_image(path)
    assert open_image(path, mpp=7e5).mpp == 7e5


def test_no_map_no_georeference(tmp_path):
    assert open_image(pyramid(tmp_path / "a.tif", picture())).georeference is None
    assert ArrayImage(picture()).georeference is None


def test_ome_metadata_tell_microns(tmp_path):
    for unit, size in (("µm", 0.5), ("nm", 500.0), ("mm", 5e-4)):
        metadata = {"PhysicalSizeX": size, "PhysicalSizeY": size}
        metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
        path = tmp_path / "a.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as file:
            file.write(picture(), photometric="rgb", metadata=metadata)
        assert open_image(path).mpp == pytest.approx(0.5), unit


def test_a_turned_pyramid_is_refused(tmp_path):
    path = pyramid(tmp_path / "a.tif", picture(), extratags=[(274, 3, 1, 6, True)])
    with pytest.raises(ImageError, match="rotated or mirrored"):
        open_image(path)


def test_a_header_of_any_size_is_no_work_of_hours(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    PillowImage.fromarray(picture()).save(path)
    monkeypatch.setattr("zoomin.images.formats.raster.IN_MEMORY", 1000)
    monkeypatch.setenv("ZOOMIN_MAX_PIXELS", "5e4")
    with pytest.raises(ImageError, match=r"520 x 392 .*at most 50,000.*ZOOMIN_MAX_PIXELS"):
        open_image(path)
    monkeypatch.setenv("ZOOMIN_MAX_PIXELS", "many")
    with pytest.raises(ConfigError, match="'many' is not a number"):
        open_image(path)


def test_small_plain_tiffs_stay_in_memory_and_large_ones_do_not(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), photometric="rgb")
    assert isinstance(open_image(path), ArrayImage)
    monkeypatch.setattr("zoomin.images.formats.raster.IN_MEMORY", HEIGHT * WIDTH - 1)
    assert np.array_equal(seen(path), picture())


def test_blocks_too_large_to_read_a_part(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), photometric="rgb", compression="zlib", rowsperstrip=HEIGHT)
    monkeypatch.setattr("zoomin.images.formats.raster.IN_MEMORY", 1000)
    monkeypatch.setattr("zoomin.images.formats.raster._LARGEST_BLOCK", 1000)
    with pytest.raises(ImageError, match=r"blocks of 520 x 392.*gdal_translate -of COG"):
        open_image(path)


def test_gdal_opens_local_files_of_named_drivers_only(tmp_path):
    inner = geotiff(tmp_path / "inner.tif", picture())
    path = tmp_path / "a.tif"
    path.write_text(
        f'<VRTDataset rasterXSize="520" rasterYSize="392"><SourceFilename>{inner}</SourceFilename>'
    )
    with pytest.raises(ImageError, match="a virtual raster of GDAL, which is not read"):
        open_image(path)
    with pytest.raises(ImageError, match="GDAL does not read"):
        opened(path, "GTiff")


@pytest.mark.parametrize("name", ["a b.tif", "ä 組.tif", "a!b.tif", "a#b?.tif", "a%20b.tif", "zip+a.tif"])
def test_any_name_of_a_file(name, tmp_path, monkeypatch):
    geotiff(tmp_path / "plain.tif", picture()).rename(tmp_path / name)
    assert np.array_equal(seen(tmp_path / name), picture())
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(seen(name), picture())


def test_the_logs_of_gdal_stay_quiet(tmp_path, capfd, recwarn):
    image = open_image(pyramid(tmp_path / "a.tif", picture()))
    assert torch.equal(
        image.read([Region(0, 0, 9, 9)], 1.0)[0], ArrayImage(picture()).read([Region(0, 0, 9, 9)], 1.0)[0]
    )
    assert capfd.readouterr().err == "" and not recwarn.list
