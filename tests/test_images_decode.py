"""Files of every kind against what was written into them; damaged ones against their errors."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from contextlib import suppress

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage
from PIL import ImageCms

from zoomin.errors import ConfigError, ImageError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.formats.decode import decode_image
from zoomin.images.image import Image
from zoomin.images.open_image import open_image

H, W = 24, 37


@pytest.fixture
def colour():
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)


@pytest.fixture
def grey(colour):
    return colour[..., 0].copy()


@pytest.fixture
def alpha():
    values = np.random.default_rng(1).integers(0, 256, (H, W), dtype=np.uint8)
    values[0], values[1] = 0, 255
    return values


def seen(path):
    return decode_image(path).pixels.permute(1, 2, 0).numpy()


def same(path, expected):
    np.testing.assert_array_equal(seen(path), expected if expected.ndim == 3 else as_rgb(expected))


def as_rgb(grey):
    return np.repeat(grey[..., None], 3, axis=2)


def over_white(colour, alpha):
    share = alpha[..., None] / 255
    return np.floor(colour * share + 255 * (1 - share) + 0.5 + 1e-9).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_colour_grey_and_one_bit(suffix, colour, grey, tmp_path):
    for name, pixels in (("rgb", colour), ("grey", grey)):
        path = tmp_path / f"{name}.{suffix}"
        PillowImage.fromarray(pixels).save(path)
        same(path, pixels)
    path = tmp_path / f"bit.{suffix}"
    PillowImage.fromarray(grey > 99).save(path)
    same(path, (grey > 99).astype(np.uint8) * 255)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_transparency_is_laid_over_white(suffix, colour, alpha, tmp_path):
    path = tmp_path / f"a.{suffix}"
    lossless = {"lossless": True, "exact": True} if suffix == "webp" else {}
    PillowImage.fromarray(np.dstack([colour, alpha])).save(path, **lossless)
    same(path, over_white(colour, alpha))


def test_grey_with_alpha(grey, alpha, tmp_path):
    path = tmp_path / "a.png"
    PillowImage.fromarray(np.dstack([grey, alpha]), mode="LA").save(path)
    same(path, over_white(as_rgb(grey), alpha))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "gif"])
def test_palette(suffix, colour, tmp_path):
    painted = PillowImage.fromarray(colour).quantize(16)
    path = tmp_path / f"a.{suffix}"
    painted.save(path)
    same(path, np.asarray(painted.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palette_with_a_transparent_colour(suffix, colour, tmp_path):
    painted = PillowImage.fromarray(colour).quantize(16)
    path = tmp_path / f"a.{suffix}"
    painted.save(path, transparency=3)
    expected = np.asarray(painted.convert("RGB")).copy()
    expected[np.asarray(painted) == 3] = 255
    same(path, expected)


def test_transparent_colours_of_a_png(colour, grey, tmp_path):
    colour[2, 3], grey[2, 3] = (1, 2, 3), 7
    for name, pixels, key in (("rgb", colour, (1, 2, 3)), ("grey", grey, 7)):
        path = tmp_path / f"{name}.png"
        PillowImage.fromarray(pixels).save(path, transparency=key)
        expected = (pixels if pixels.ndim == 3 else as_rgb(pixels)).copy()
        expected[(expected == key).all(axis=2)] = 255
        same(path, expected)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_transparent_value_of_few_bits(bits, tmp_path):
    """Pillow widens such samples to bytes, but not the value of those that are clear."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    values = np.arange(1 << bits, dtype=np.uint8).repeat(8)
    row = np.packbits(np.unpackbits(values[:, None], axis=1)[:, -bits:])
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0))
    content += chunk(b"tRNS", struct.pack(">H", 1)) + chunk(b"IDAT", zlib.compress(b"\0" + row.tobytes()))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    shown = decode_image(tmp_path / "a.png").read([Region(0, 0, len(values), 1)], 1.0)[0, 0, 0].numpy()
    assert np.array_equal(shown, np.where(values == 1, 255, values.astype(int) * 255 // ((1 << bits) - 1)))


def test_transparent_value_of_a_16_bit_png(grey, tmp_path):
    wide = grey.astype(np.uint16) * 250
    wide[2, 3] = 777
    PillowImage.fromarray(wide).save(tmp_path / "a.png", transparency=777)
    same(tmp_path / "a.png", np.where(wide == 777, 255, wide >> 8).astype(np.uint8))


def test_the_first_image_of_a_gif(grey, tmp_path):
    pages = [PillowImage.fromarray(grey), PillowImage.fromarray(255 - grey)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:])
    same(tmp_path / "a.gif", grey)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(mode, colour, tmp_path):
    path = tmp_path / "a.jpg"
    smooth = PillowImage.fromarray(colour).resize((3, 2)).resize((W, H), PillowImage.Resampling.BILINEAR)
    smooth.convert(mode).save(path, quality=98, subsampling=0)
    expected = np.asarray(smooth.convert(mode).convert("RGB")).astype(int)
    assert np.abs(seen(path) - expected).max() <= 6


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_its_upper_byte(suffix, grey, tmp_path):
    path = tmp_path / f"a.{suffix}"
    PillowImage.fromarray(grey.astype(np.uint16) * 256 + 200).save(path)
    same(path, grey)


def test_16_bit_grey_png_with_a_transparent_value(grey, tmp_path):
    wide = grey.astype(np.uint16) * 256 + 200
    PillowImage.fromarray(wide).save(tmp_path / "a.png", transparency=int(wide[0, 0]))
    same(tmp_path / "a.png", np.where(grey == grey[0, 0], np.uint8(255), grey))


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_alpha_png(channels, colour, alpha, tmp_path):
    parts = colour if channels == 4 else colour[..., :1]
    wide = np.dstack([parts, alpha]).astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(wide))
    same(tmp_path / "a.png", over_white(np.broadcast_to(parts, colour.shape), alpha))


def test_16_bit_colour_png(colour, tmp_path):
    wide = colour.astype(np.uint16) * 256 + 200
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(wide))
    same(tmp_path / "a.png", colour)


def test_dark_16_bits_are_not_stretched(tmp_path):
    """12-bit data in 16 bits: a scale that followed the values would differ from image to image."""
    values = np.linspace(0, 4095, H * W).astype(np.uint16).reshape(H, W)
    tifffile.imwrite(tmp_path / "a.tif", values)
    same(tmp_path / "a.tif", (values >> 8).astype(np.uint8))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "lzma", "packbits", "deflate"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_compressions_of_tiff(compression, bigtiff, colour, tmp_path):
    path = tmp_path / "a.tif"
    wide = colour.astype(np.uint16) * 256 + 3
    predictor = compression in ("zlib", "lzw", "zstd")
    tifffile.imwrite(
        path, wide, photometric="rgb", compression=compression, predictor=predictor, bigtiff=bigtiff
    )
    same(path, colour)


@pytest.mark.parametrize(
    "options", [{"planarconfig": "separate"}, {"tile": (16, 16)}, {"byteorder": ">"}, {"rowsperstrip": 5}]
)
def test_layouts_of_tiff(options, colour, tmp_path):
    for kind in (np.uint8, np.uint16):
        wide = colour.astype(kind) * (257 if kind == np.uint16 else 1)
        pixels = wide.transpose(2, 0, 1) if "planarconfig" in options else wide
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", **options)
        same(tmp_path / "a.tif", colour)


@pytest.mark.parametrize("kind", ["jpeg", "webp", "jpeg2000", "jpegxl"])
def test_compressions_with_loss(kind, tmp_path):
    y, x = np.mgrid[:64, :64]
    smooth = np.dstack([2 * x + 20, 3 * y + 10, x + y + 50]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", smooth, photometric="rgb", compression=kind, tile=(32, 32))
    assert np.abs(seen(tmp_path / "a.tif") - smooth.astype(int)).max() <= 12


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_in_tiff(dtype, colour, alpha, tmp_path):
    path, factor = tmp_path / "a.tif", 257 if dtype == np.uint16 else 1
    pixels = np.dstack([colour, alpha]).astype(dtype) * factor
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"])
    same(path, over_white(colour, alpha))
    pixels = np.dstack([colour[..., 0], alpha]).astype(dtype) * factor
    tifffile.imwrite(
        path, pixels, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    )
    same(path, over_white(as_rgb(colour[..., 0]), alpha))


def test_premultiplied_alpha_and_a_fourth_sample_of_no_meaning(colour, alpha, tmp_path):
    dim = np.floor(colour * (alpha[..., None] / 255)).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.dstack([dim, alpha]), photometric="rgb", extrasamples=["assocalpha"])
    same(path, dim + (255 - alpha[..., None]))
    tifffile.imwrite(path, np.dstack([colour, alpha]), photometric="rgb", extrasamples=["unspecified"])
    same(path, colour)


def test_fax_compression(grey, tmp_path):
    PillowImage.fromarray(grey > 99).save(tmp_path / "a.tif", compression="group4")
    same(tmp_path / "a.tif", (grey > 99).astype(np.uint8) * 255)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_in_tiff(bits, grey, tmp_path):
    wide = grey[:, :32].astype(np.uint16) << (bits - 8)
    tifffile.imwrite(tmp_path / "a.tif", wide, photometric="minisblack", bitspersample=bits)
    same(tmp_path / "a.tif", grey[:, :32])


def test_white_may_be_zero(grey, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite")
    same(tmp_path / "a.tif", 255 - grey)
    tifffile.imwrite(tmp_path / "a.tif", grey.astype(np.uint16) * 257, photometric="miniswhite")
    same(tmp_path / "a.tif", 255 - grey)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point(dtype, colour, grey, tmp_path):
    for pixels, kind in ((colour, "rgb"), (grey, "minisblack")):
        tifffile.imwrite(tmp_path / "a.tif", (pixels / 255).astype(dtype), photometric=kind)
        same(tmp_path / "a.tif", pixels)


def test_cmyk_and_lab_tiff(colour, tmp_path):
    cmyk = PillowImage.fromarray(colour).convert("CMYK")
    cmyk.save(tmp_path / "a.tif")
    same(tmp_path / "a.tif", np.asarray(cmyk.convert("RGB")))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(PillowImage.fromarray(colour), *profiles, outputMode="LAB")
    lab.save(tmp_path / "b.tif")
    assert np.abs(seen(tmp_path / "b.tif").astype(int) - colour).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_exif_orientation(suffix, orientation, tmp_path):
    """As stored, then turned upright by Pillow's own reading of the standard."""
    stored = np.zeros((16, 32, 3), dtype=np.uint8)
    stored[:8, :16], stored[:8, 16:], stored[8:, :16] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    turn = {
        2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
        3: PillowImage.Transpose.ROTATE_180,
        4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
        5: PillowImage.Transpose.TRANSPOSE,
        6: PillowImage.Transpose.ROTATE_270,
        7: PillowImage.Transpose.TRANSVERSE,
        8: PillowImage.Transpose.ROTATE_90,
    }
    image = PillowImage.fromarray(stored)
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 98, "subsampling": 0}}.get(suffix, {})
    image.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    expected = np.asarray(image.transpose(turn[orientation]) if orientation > 1 else image).astype(int)
    found = seen(tmp_path / f"a.{suffix}")
    assert found.shape == expected.shape and np.abs(found - expected).max() <= 4


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "LAB"])
def test_tiff_of_other_colours_is_turned_upright_once(mode, compression, colour, tmp_path):
    """Some are decoded by Pillow, which turns them itself, and the others are not."""
    image = PillowImage.fromarray(colour)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    image = image.quantize(64) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "plain.tif", compression=compression)
    plain = seen(tmp_path / "plain.tif")
    assert plain.shape == (H, W, 3)
    for orientation, upright in ((3, plain[::-1, ::-1]), (6, np.rot90(plain, -1)), (8, np.rot90(plain))):
        image.save(tmp_path / "a.tif", compression=compression, tiffinfo={274: orientation})
        same(tmp_path / "a.tif", upright)


def test_one_bit_palette_and_few_bits_in_tiff(grey, tmp_path):
    bits = (grey > 99).astype(np.uint8)
    painted = PillowImage.fromarray(bits).convert("P")
    painted.putpalette([10, 20, 30, 200, 100, 50])
    painted.save(tmp_path / "a.tif", bits=1)
    same(tmp_path / "a.tif", np.array([[10, 20, 30], [200, 100, 50]], dtype=np.uint8)[bits])
    four = grey[:, :32] >> 4
    tifffile.imwrite(tmp_path / "b.tif", four, photometric="minisblack", bitspersample=4)
    same(tmp_path / "b.tif", four * 17)


@pytest.mark.parametrize(
    ("unit", "resolution", "mpp"),
    [
        ("CENTIMETER", (40_000, 40_000), 0.25),
        ("CENTIMETER", (28.346, 28.346), None),
        ("INCH", (72, 72), None),
        ("INCH", (101_600, 101_600), 0.25),  # libvips writes microns so; no printer is that fine
        ("INCH", (9_600, 9_600), None),
        ("NONE", (40_000, 40_000), None),
    ],
)
def test_microns_per_pixel_are_believed_where_they_can_be(unit, resolution, mpp, grey, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", grey, resolution=resolution, resolutionunit=unit)
    assert decode_image(tmp_path / "a.tif").mpp == (None if mpp is None else pytest.approx(mpp))
    assert decode_image(tmp_path / "a.tif", mpp=0.7).mpp == 0.7


def test_dots_per_inch_are_no_microns(grey, tmp_path):
    for suffix in ("png", "jpg", "tif"):
        PillowImage.fromarray(grey).save(tmp_path / f"a.{suffix}", dpi=(72, 72))
        assert decode_image(tmp_path / f"a.{suffix}").mpp is None


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("nan"), float("inf")])
def test_microns_that_make_no_sense(mpp, grey, tmp_path):
    PillowImage.fromarray(grey).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"a\.png"):
        open_image(tmp_path / "a.png", mpp=mpp)


def test_the_content_tells_the_format(colour, tmp_path):
    PillowImage.fromarray(colour).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    image = open_image(str(tmp_path / "a.jpg"), mpp=0.5)
    assert isinstance(image, Image) and isinstance(image, ArrayImage)
    assert image.mpp == 0.5 and image.name == str(tmp_path / "a.jpg") and image.background == (255, 255, 255)
    assert torch.equal(image.read([Region(0, 0, W, H)], 1.0)[0], torch.from_numpy(colour).permute(2, 0, 1))


def fails(path, *says):
    with pytest.raises(ImageError) as caught:
        open_image(path)
    message = str(caught.value)
    assert str(path) in message and caught.value.remedy
    for words in says:
        assert words in message
    return caught.value


def test_no_file_a_folder_an_empty_file(tmp_path):
    fails(tmp_path / "a.png", "no such file")
    fails(tmp_path, "folder")
    (tmp_path / "b.png").touch()
    fails(tmp_path / "b.png", "empty")


def test_what_is_no_image(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("<html>404 Not Found</html>")
    fails(path, "text", "404")
    path.write_text("ä" * 50)
    fails(path, "text")
    path.write_bytes(bytes(range(1, 200)))
    fails(path, "unknown format")
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    fails(path, "damaged")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_cut_short(suffix, kept, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    PillowImage.fromarray(pixels).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    fails(path, "cut short")


@pytest.mark.parametrize("compression", ["zlib", "lzw", "jpeg", "zstd"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_compressed_tiff_cut_short(compression, tile, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", compression=compression, tile=tile)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    fails(path, "cut short")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "bmp", "webp"])
def test_any_damage_is_an_image_error(suffix, tmp_path):
    """Bytes overwritten anywhere: an image, or an error that names the file; never another exception."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    PillowImage.fromarray(pixels).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        torn = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 400), 3):
            torn[at] = rng.integers(0, 256)
        path.write_bytes(torn)
        try:
            open_image(path)
        except ImageError as error:
            assert str(path) in str(error) and error.remedy


def test_a_chunk_takes_no_more_memory_than_the_file_has(grey, tmp_path):
    """The length of a chunk of pixels is damaged, and says two gigabytes."""
    path = tmp_path / "a.png"
    PillowImage.fromarray(grey).save(path)
    content = path.read_bytes()
    place = content.index(b"IDAT")
    path.write_bytes(content[: place - 4] + b"\x7f\xff\xff\xf0" + content[place:])
    tracemalloc.start()
    with suppress(ImageError):
        decode_image(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50 << 20


def test_images_without_pixels(grey, tmp_path):
    path = tmp_path / "a.png"
    for suffix, place in (("png", slice(16, 20)), ("gif", slice(6, 8)), ("bmp", slice(18, 22))):
        PillowImage.fromarray(grey).save(path, format=suffix)
        torn = bytearray(path.read_bytes())
        torn[place] = bytes(place.stop - place.start)
        path.write_bytes(torn)
        fails(path, "without pixels")
    tifffile.imwrite(path, grey)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageWidth"].overwrite(0)
    fails(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_too_many_pixels(suffix, grey, tmp_path, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    PillowImage.fromarray(grey).save(path)
    monkeypatch.setattr("zoomin.images.pixels.MAX_PIXELS", H * W - 1)
    fails(path, f"{W} x {H}", "too many")
    monkeypatch.setattr("zoomin.images.pixels.MAX_PIXELS", H * W)
    same(path, grey)


def test_the_limit_of_pillow_does_not_count(grey, tmp_path, monkeypatch):
    PillowImage.fromarray(grey).save(tmp_path / "a.png")
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 10)
    same(tmp_path / "a.png", grey)
    assert PillowImage.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ((H, W, 5), {"photometric": "minisblack", "planarconfig": "contig"}, "5 channels"),
        ((H, W, 2), {"photometric": "minisblack", "planarconfig": "contig"}, "2 channels"),
        ((4, H, W), {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "ome": True}, "4 channels"),
        ((6, H, W), {"photometric": "minisblack"}, "6 pages"),
        ((2, H, W, 3), {"photometric": "rgb"}, "2 pages"),
    ],
)
def test_tiffs_of_many_channels_or_pages(shape, options, says, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, dtype=np.uint8), **options)
    fails(tmp_path / "a.tif", says)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.array([[0.0, 2.0]], dtype=np.float32), "from 0 to 2"),
        (np.array([[-0.5, 1.0]], dtype=np.float32), "from -0.5"),
        (np.array([[np.nan, 1.0]], dtype=np.float32), "nan"),
        (np.array([[0, 7]], dtype=np.int16), "int16"),
        (np.array([[0, 7]], dtype=np.uint32), "uint32"),
    ],
)
def test_tiffs_of_values_without_a_meaning(values, says, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    fails(tmp_path / "a.tif", says)


def test_pyramids_and_thumbnails_give_the_main_image(colour, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(colour, photometric="rgb", subifds=1)
        file.write(colour[::2, ::2], photometric="rgb", subfiletype=1)
        file.write(colour[:5, :5], photometric="rgb")
    same(tmp_path / "a.tif", colour)


@pytest.mark.data("slides", "CRCHistoPhenotypes_2016_04_28")
def test_real_slides_and_a_bitmap(data_root):
    assert open_image(data_root / "slides" / "CMU-1-Small-Region.svs").height == 2967
    fails(data_root / "slides" / "small_vectra.qptiff", "channels")
    fails(data_root / "slides" / "small_dicom.dcm", "DICOM", "not a whole-slide image")
    path = data_root / "CRCHistoPhenotypes_2016_04_28" / "Classification" / "img1" / "img1.bmp"
    with PillowImage.open(path) as image:
        same(path, np.asarray(image.convert("RGB")))
