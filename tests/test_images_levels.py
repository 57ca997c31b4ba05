"""A level has the aspect, the content and the place of the image; labels, macros and thumbnails do not."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import tifffile

from slides import halved, picture
from zoomin.errors import ImageError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.open_image import open_image

TILES = {"tile": (240, 240)}
RGB = {"photometric": "rgb", "metadata": None}
GREEN, RED = (0, 160, 0), (200, 0, 0)


def scan(height=1200, width=1680):
    y, x = np.mgrid[:height, :width]
    squares = (x // 64 + y // 64) % 2 * 160 + 40
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), squares], -1).astype(np.uint8)


def flat(height, width, colour):
    return np.full((height, width, 3), colour, np.uint8)


def label(height, width):
    """White paper with a dark line of text."""
    paper = flat(height, width, (245, 245, 245))
    paper[height // 3 : height // 2, width // 8 : width // 2] = 20
    return paper


def sizes(image):
    return [(level.width, level.height) for level in image.levels]


def mean(image, scale=1 / 16):
    return image.read([Region(0, 0, image.width, image.height)], scale)[0].float().mean((1, 2)).tolist()


def test_label_and_macro_of_a_deidentified_slide(tmp_path):
    """f03: at 1/16 the product showed the label."""
    big, jpeg = scan(), {"compression": "jpeg", "compressionargs": {"level": 80}}
    with tifffile.TiffWriter(tmp_path / "out.svs") as file:
        file.write(big, **TILES, **RGB, **jpeg)
        file.write(big[::4, ::4], **RGB, **jpeg)
        file.write(big[::4, ::4], **TILES, **RGB, **jpeg)
        file.write(flat(90, 80, GREEN), subfiletype=1, **RGB, compression="lzw")
        file.write(flat(80, 210, RED), subfiletype=9, **RGB, compression="jpeg")
    image = open_image(tmp_path / "out.svs")
    assert sizes(image) == [(1680, 1200), (420, 300)]
    assert mean(image) == pytest.approx((127, 127, 120), abs=1.5)


@pytest.mark.parametrize("flag", [0, 1, 9])
@pytest.mark.parametrize("picture_of", ["green", "label", "other scan", "mirrored", "part"])
def test_a_picture_of_the_same_aspect_and_layout_is_no_level(picture_of, flag, tmp_path):
    """Told by content alone: same tiles, same codec, a whole factor smaller, marked as reduced or not."""
    big = scan()
    beside = {
        "green": flat(300, 420, GREEN),
        "label": label(300, 420),
        "other scan": picture(300, 420),
        "mirrored": big[::4, ::-4],
        "part": big[:600:2, :840:2],
    }[picture_of]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(big, **TILES, **RGB, compression="zlib")
        file.write(halved(big), subfiletype=1, **TILES, **RGB, compression="zlib")
        file.write(beside, subfiletype=flag, **TILES, **RGB, compression="zlib")
    image = open_image(tmp_path / "a.tif")
    assert sizes(image) == [(1680, 1200), (840, 600)]
    assert mean(image) == pytest.approx(big.mean((0, 1)), abs=1)
    chosen = open_image(tmp_path / "a.tif", series=2)
    assert np.array_equal(chosen.read([Region(0, 0, 420, 300)], 1.0)[0].permute(1, 2, 0), beside)


@pytest.mark.parametrize("how", ["averaged", "decimated", "jpeg", "unmarked", "planar", "grey"])
def test_true_levels_are_kept(how, tmp_path):
    """However the writer shrank them: averaged, every second pixel of noise, with loss, not marked at all."""
    big = picture(800, 1200)
    options = {**RGB, "tile": (128, 128), "compression": "jpeg" if how == "jpeg" else "zlib"}
    if how == "grey":
        big, options["photometric"] = big[..., 0], "minisblack"
    if how == "decimated":
        big = np.random.default_rng(0).integers(0, 256, (800, 1200, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number in range(4):
            step = 2**number
            small = big if number == 0 else big[::step, ::step]
            if how == "averaged" and number:
                small = big.reshape(800 // step, step, 1200 // step, step, 3).mean((1, 3)).astype(np.uint8)
            if how == "planar":
                small, options["planarconfig"] = np.ascontiguousarray(small.transpose(2, 0, 1)), "separate"
            file.write(small, subfiletype=int(number > 0 and how != "unmarked"), **options)
    assert sizes(open_image(tmp_path / "a.tif")) == [(1200, 800), (600, 400), (300, 200), (150, 100)]


def test_levels_of_odd_sizes_are_kept(tmp_path):
    big = picture(777, 1001)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number, rounded in ((0, 0), (1, 1), (2, 0), (3, 1)):
            height, width = (side // 2**number + rounded for side in (777, 1001))
            rows, columns = (np.arange(n) * side // n for n, side in ((height, 777), (width, 1001)))
            file.write(big[rows][:, columns], subfiletype=int(number > 0), tile=(128, 128), **RGB)
    assert len(open_image(tmp_path / "a.tif").levels) == 4


def ome(path, parts):
    """An OME-TIFF of several images: (pixels, microns, name)."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for pixels, microns, name in parts:
            metadata = {"axes": "YXS", "PhysicalSizeX": microns, "PhysicalSizeY": microns}
            metadata |= {"Name": name} if name else {}
            options = {"photometric": "rgb", "tile": (128, 128)}
            file.write(pixels, subifds=1, metadata=metadata, **options)
            file.write(pixels[::2, ::2], subfiletype=1, **options)


@pytest.mark.parametrize("names", [("", ""), ("macro", "scan"), ("Overview image", "Image:1")])
def test_an_ome_tiff_whose_macro_comes_first(names, tmp_path):
    """It was classified as the macro: 256 x 192 at 16 microns instead of 2048 x 1536 at 0.25."""
    big = scan(1536, 2048)
    ome(tmp_path / "a.ome.tif", [(flat(192, 256, RED), 16.0, names[0]), (big, 0.25, names[1])])
    image = open_image(tmp_path / "a.ome.tif")
    assert (image.width, image.height, image.mpp) == (2048, 1536, 0.25)
    assert sizes(image) == [(2048, 1536), (1024, 768)]
    assert np.array_equal(image.read([Region(0, 0, 2048, 1536)], 1.0)[0].permute(1, 2, 0), big)
    macro = open_image(tmp_path / "a.ome.tif", series=0)
    assert (macro.width, macro.mpp) == (256, 16.0)
    if names[0]:
        assert open_image(tmp_path / "a.ome.tif", series=names[0]).width == 256


def test_images_of_like_size_are_for_the_user_to_choose(tmp_path):
    first, second = picture(300, 400), picture(310, 420, seed=1)
    ome(tmp_path / "a.ome.tif", [(first, 0.25, "left"), (second, 0.5, "right")])
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(first, **RGB)
        file.write(second, **RGB)
    for name in ("a.ome.tif", "b.tif"):
        with pytest.raises(ImageError, match=r"2 images of like size: 0.* \(400 x 300\), 1.*series"):
            open_image(tmp_path / name)
        for number, pixels in enumerate((first, second)):
            image = open_image(tmp_path / name, series=number)
            found = image.read([Region(0, 0, image.width, image.height)], 1.0)[0].permute(1, 2, 0)
            assert np.array_equal(found, pixels)
    assert open_image(tmp_path / "a.ome.tif", series="right").mpp == 0.5
    with pytest.raises(ImageError, match=r"no image 'middle': 0 'left'"):
        open_image(tmp_path / "a.ome.tif", series="middle")


def test_a_thumbnail_that_comes_first(tmp_path):
    big = scan()
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(label(150, 210), **RGB)
        file.write(big, **TILES, **RGB)
    image = open_image(tmp_path / "a.tif")
    assert (image.width, image.height) == (1680, 1200)
    assert isinstance(image, ArrayImage)


def test_a_label_in_tiles_is_no_level_of_a_slide(tmp_path):
    """OpenSlide takes every tiled directory of an Aperio slide for a level."""
    big, text = scan(), "Aperio Image Library v11.2.1\r\n1680x1200 (240x240) RAW|AppMag = 40|MPP = 0.2500"
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        file.write(big, **TILES, **RGB, description=text, compression="lzw")
        file.write(halved(big), **TILES, **RGB, description=text, compression="lzw")
        file.write(label(300, 240), **TILES, **RGB, description=text, compression="lzw")
    image = open_image(tmp_path / "a.svs")
    assert sizes(image) == [(1680, 1200), (840, 600)]
    assert mean(image) == pytest.approx(big.mean((0, 1)), abs=1)


def test_a_page_of_several_is_chosen(tmp_path):
    pages = np.stack([picture(60, 80, seed=seed) for seed in range(3)])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb")
    with pytest.raises(ImageError, match=r"3 pages of one size.*series=0 to 2"):
        open_image(tmp_path / "a.tif")
    for number, meant in enumerate(pages):
        found = open_image(tmp_path / "a.tif", series=number).read([Region(0, 0, 80, 60)], 1.0)[0]
        assert np.array_equal(found.permute(1, 2, 0), meant)


@pytest.mark.parametrize("options", [{}, {"OVERVIEWS": "IGNORE_EXISTING"}])
def test_the_remedy_for_decimated_overviews(options, tmp_path):
    """`gdal_translate -of COG` alone keeps them; as the guide has it, they are averages."""
    from rasterio.enums import Resampling
    from rasterio.shutil import copy

    from slides import geotiff

    board = np.zeros((1024, 1024, 3), np.uint8)
    board[::2, ::2] = 200
    geotiff(tmp_path / "a.tif", board, overviews=())
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.build_overviews([2], Resampling.nearest)
    copy(tmp_path / "a.tif", tmp_path / "b.tif", driver="COG", RESAMPLING="AVERAGE", **options)
    shrunk = open_image(tmp_path / "b.tif").read([Region(0, 0, 1024, 1024)], 0.5)
    assert (shrunk == (50 if options else 200)).all()


def test_an_external_overview_file_is_used(tmp_path):
    from rasterio.enums import Resampling

    from slides import geotiff

    path = geotiff(tmp_path / "a.tif", picture(400, 600), overviews=())
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.average)
    assert (tmp_path / "a.tif.ovr").exists()
    assert sizes(open_image(path)) == [(600, 400), (300, 200), (150, 100)]


def test_series_of_what_is_no_tiff(tmp_path):
    from PIL import Image as PillowImage

    PillowImage.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="neither TIFF nor OME-Zarr"):
        open_image(tmp_path / "a.png", series=1)


@pytest.mark.parametrize("flag", [0, 1])
@pytest.mark.parametrize("text", [20, 200])
@pytest.mark.parametrize("factor", [4, 2])
def test_a_white_label_is_no_level_of_white_glass(tmp_path, flag, text, factor):
    """Glass with little tissue is as white as paper: what stands out in one must stand out in the other."""
    glass = flat(1200, 1600, (245, 245, 245))
    glass[40:120, 60:160], glass[700:760, 1000:1060] = (150, 40, 120), (120, 30, 140)
    paper = flat(1200 // factor, 1600 // factor, (250, 250, 250))
    paper[20:40, 30:90] = text
    for name, last in (("label.tif", paper), ("blank.tif", flat(300, 400, (247, 247, 247)))):
        with tifffile.TiffWriter(tmp_path / name) as file:
            file.write(glass, **TILES, **RGB)
            file.write(last, subfiletype=flag, **RGB)
        image = open_image(tmp_path / name)
        assert mean(image) == pytest.approx(glass.mean((0, 1)).tolist(), abs=0.6), name
    with tifffile.TiffWriter(tmp_path / "level.tif") as file:
        file.write(glass, **TILES, **RGB)
        file.write(halved(halved(glass)) if factor == 4 else halved(glass), subfiletype=flag, **RGB)
    assert len(sizes(open_image(tmp_path / "level.tif"))) == 2


ELSEWHERE = {
    "mirrored": lambda small: small[:, ::-1],
    "upside down": lambda small: small[::-1, ::-1],
    "moved": lambda small: np.roll(small, (2, 3), axis=(0, 1)),
    "more around it": lambda small: np.pad(small, ((12, 12), (16, 16), (0, 0)), mode="wrap")[:72, :96],
    "of another part": lambda small: np.roll(small, 30, axis=1),
}


@pytest.mark.parametrize("sub", [True, False])
@pytest.mark.parametrize("how", ["true", *ELSEWHERE])
def test_texture_of_another_place_is_no_level(how, sub, tmp_path):
    """All means are alike; a macro of the aspect of the slide shows the same tissue, but not in its place."""
    cells = np.random.default_rng(0).integers(60, 240, (72, 96, 3), np.uint8)
    big = cells.repeat(4, 0).repeat(4, 1)
    small = cells if how == "true" else np.ascontiguousarray(ELSEWHERE[how](cells))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(big, tile=(64, 64), subifds=int(sub), **RGB)
        file.write(small, tile=(32, 32), subfiletype=1, **RGB)
    image = open_image(tmp_path / "a.tif")
    assert (len(getattr(image, "levels", [0])) > 1) == (how == "true")
    shown = image.read([Region(0, 0, 384, 288)], 0.25)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(shown, cells)


def test_a_level_of_other_photometric_is_left_out(tmp_path):
    """Levels are read alike: one that is white where the image is black would be shown inverted."""
    grey = scan()[..., 2]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(grey, **TILES, photometric="minisblack", metadata=None)
        file.write(255 - grey[::4, ::4], subfiletype=1, photometric="miniswhite", metadata=None)
    image = open_image(tmp_path / "a.tif")
    assert mean(image) == pytest.approx([float(grey.mean())] * 3, abs=1)


APERIO = (
    "Aperio Image Library v11.2.1\r\n{}x{} [0,0 {}x{}]{}|AppMag = 40|ScanScope ID = X|MPP = {}|Left = 25.6"
)


@pytest.mark.parametrize("words", ["", " (64x64) RAW", " (64x64) JPEG/RGB Q=70"])
@pytest.mark.parametrize("mpp", ["0.2520", "0,2520"])
@pytest.mark.parametrize("compression", [None, "lzw", "lzma", "jpegxl", "jpeg2000"])
@pytest.mark.parametrize("tile", [(64, 64), None])
def test_aperio_of_any_compression(words, mpp, compression, tile, tmp_path):
    """OpenSlide reads some compressions, and slides in tiles only; the others are read as TIFF."""
    big, path = picture(256, 384), tmp_path / "a.svs"
    small = big.reshape(64, 4, 96, 4, 3).mean((1, 3)).astype(np.uint8)
    options = {"photometric": "rgb", "metadata": None, "compression": compression, "software": None}
    with tifffile.TiffWriter(path) as file:
        for level, kind in ((big, tile), (small, None), (small, tile)):  # the second is the thumbnail
            text = APERIO.format(384, 256, 384, 256, words, mpp)
            file.write(level, tile=kind, rowsperstrip=None if kind else 16, description=text, **options)
        for name, number in (("label", 1), ("macro", 9)):
            text = f"Aperio Image Library v11.2.1\r\n{name} 80x60"
            file.write(picture(60, 80, seed=number), subfiletype=number, description=text, **options)
    image = open_image(path)
    assert image.mpp == pytest.approx(0.252)
    assert [(level.width, level.height) for level in image.levels] == [(384, 256), (96, 64)]
    region = [Region(0, 0, 384, 256)]
    assert np.array_equal(image.read(region, 1.0)[0].permute(1, 2, 0), big)
    assert np.array_equal(image.read(region, 0.25)[0].permute(1, 2, 0), small)
    assert open_image(path, series=1).mpp == pytest.approx(4 * 0.252)  # it repeats the number of the slide
    assert open_image(path, series="label").mpp is None


@pytest.mark.parametrize("tag", ["TileByteCounts", "TileOffsets"])
def test_an_aperio_slide_without_any_tile_is_refused(tag, tmp_path):
    """OpenSlide takes missing tiles for bare glass: the whole slide was white."""
    path = tmp_path / "a.svs"
    text = APERIO.format(384, 256, 384, 256, "", "0.25")
    tifffile.imwrite(
        path, picture(256, 384), photometric="rgb", tile=(64, 64), description=text, metadata=None
    )
    with tifffile.TiffFile(path) as file:
        found = file.pages.first.tags[tag]
        place, size = found.valueoffset, found.valuebytecount
    with path.open("r+b") as file:
        file.seek(place + size // 24)  # all but the first: a slide with holes is one
        file.write(bytes(size - size // 24))
    assert open_image(path).read([Region(0, 0, 64, 64)], 1.0).float().std() > 0
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(size))
    with pytest.raises(ImageError, match="none of its 24 blocks of pixels is stored"):
        open_image(path)
