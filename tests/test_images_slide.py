"""Whole slides by OpenSlide: real files against other decoders, and what their properties mean."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage

from slides import picture, pyramid
from zoomin.errors import ConfigError, ImageError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.formats.slide import SlideImage, background_of, bounds_of, mpp_of, open_slide
from zoomin.images.open_image import open_image
from zoomin.images.stored import StoredImage

APERIO = "Aperio Image Library v11.2.1\r\n520x392 (64x64) RAW|AppMag = 40|MPP = {mpp}"


def whole(image):
    return image.read([Region(0, 0, image.width, image.height)], 1.0)[0].permute(1, 2, 0).numpy()


@pytest.mark.data("slides")
def test_every_real_file_opens_or_says_what_to_do(data_root):
    kinds = {
        "CMU-1-Small-Region.svs": ((2967, 2220), 0.499, (255, 255, 255)),
        "boxes.tiff": ((250, 300), None, (255, 255, 255)),
        "boxes_0.dcm": ((16, 16), 0.499, (255, 255, 255)),
        "boxes_1.dcm": ((16, 16), 0.499, (255, 255, 255)),
        "smalltif.tif": ((480, 640), None, (255, 255, 255)),
        "test3-DAPI-2-387.ndpi": ((4864, 3968), pytest.approx(0.228175), (0, 0, 0)),
    }
    refused = {
        "small_dicom.dcm": ("not a whole-slide image", "windowing"),
        "small_vectra.qptiff": ("3 channels", "red, green and blue"),
    }
    found = sorted(path.name for path in (data_root / "slides").iterdir())
    assert found == sorted([*kinds, *refused])
    for name, (size, mpp, background) in kinds.items():
        image = open_image(data_root / "slides" / name)
        assert ((image.height, image.width), image.mpp, image.background) == (size, mpp, background), name
        corner, overview = Region(-3, -3, 8, 8), Region(0, 0, image.width, image.height)
        assert image.read([corner], 1.0)[0, :, 0, 0].tolist() == list(background)
        assert image.read([overview], 1 / 16).shape[2] == round(image.height / 16)
    for name, words in refused.items():
        with pytest.raises(ImageError) as caught:
            open_image(data_root / "slides" / name)
        assert all(word in str(caught.value) for word in (name, *words))


@pytest.mark.data("slides")
def test_svs_against_tifffile(data_root):
    path = data_root / "slides" / "CMU-1-Small-Region.svs"
    image, expected = open_image(path), tifffile.imread(path, key=0)
    assert isinstance(image, SlideImage) and image.vendor == "aperio"
    assert np.abs(whole(image).astype(int) - expected).max() <= 1  # two builds of the JPEG decoder
    boxes = [Region(700, 900, 300, 200), Region(-100, 2800, 300, 200)]
    for scale in (0.5, 0.1, 1 / 3):
        difference = image.read(boxes, scale).int() - ArrayImage(whole(image).copy()).read(boxes, scale).int()
        assert difference.abs().max() == 0


@pytest.mark.data("slides")
def test_ndpi_levels_against_tifffile(data_root):
    path = data_root / "slides" / "test3-DAPI-2-387.ndpi"
    image = open_image(path)
    with tifffile.TiffFile(path) as file:
        for scale, level in ((0.25, 2), (0.125, 3)):
            expected = file.series[0].levels[level].asarray()
            view = image.read([Region(0, 0, image.width, image.height)], scale)[0].permute(1, 2, 0).numpy()
            assert np.abs(view.astype(int) - expected).max() <= 2
    full = ArrayImage(image.read([Region(1000, 2000, 800, 800)], 1.0)[0])
    view = image.read([Region(1000, 2000, 800, 800)], 1 / 8).int()
    assert (view - full.read([Region(0, 0, 800, 800)], 1 / 8).int()).abs().float().mean() < 3


@pytest.mark.data("slides")
def test_dicom_against_the_jpeg_inside(data_root):
    for name in ("boxes_0.dcm", "boxes_1.dcm"):
        image = open_image(data_root / "slides" / name)
        levels = {
            imagecodecs.jpeg_decode(part).tobytes()
            for part in _jpegs((data_root / "slides" / "boxes_0.dcm").read_bytes())
            + _jpegs((data_root / "slides" / "boxes_1.dcm").read_bytes())
        }
        pixels = whole(image)
        assert any(
            pixels.tobytes() == np.frombuffer(one, np.uint8)[: pixels.size].tobytes() for one in levels
        ) or any(
            np.abs(np.frombuffer(one, np.uint8).reshape(-1, 64, 3)[:16, :16].astype(int) - pixels).max() <= 1
            for one in levels
            if len(one) == 64 * 64 * 3
        )


def _jpegs(data):
    starts = [at for at in range(len(data) - 3) if data[at : at + 3] == b"\xff\xd8\xff"]
    return [data[start : data.index(b"\xff\xd9", start) + 2] for start in starts]


def test_level_0_is_the_whole_canvas_and_bounds_are_told(tmp_path):
    path = pyramid(tmp_path / "a.svs", picture(), compression=None, description=APERIO.format(mpp=0.25))
    assert open_slide(path).bounds is None
    scanned = {"x": "64", "y": "32", "width": "400", "height": "300"}
    properties = {f"openslide.bounds-{side}": value for side, value in scanned.items()}
    image = SlideImage(path, open_slide(path).levels, properties, 0.25)
    assert image.bounds == Region(64, 32, 400, 300)
    assert np.array_equal(whole(image), picture())  # the frame does not move
    assert bounds_of({**properties, "openslide.bounds-x": "?"}) is None


def test_what_is_transparent_lies_on_the_background(tmp_path):
    path = pyramid(tmp_path / "a.svs", picture(), compression=None, description=APERIO.format(mpp=0.25))
    image = SlideImage(path, open_slide(path).levels, {"openslide.background-color": "C80A4D"}, None)
    assert image.background == (200, 10, 77)
    rgba = np.array([[[0, 0, 0, 0], [100, 100, 100, 255], [100, 100, 100, 128]]], dtype=np.uint8)
    flat = image._flatten(PillowImage.fromarray(rgba))
    assert flat.tolist() == [[[200, 10, 77], [100, 100, 100], [150, 55, 89]]]
    outside = image.read([Region(-8, -8, 4, 4)], 0.5)[0, :, 0, 0]
    assert outside.tolist() == [200, 10, 77]


@pytest.mark.parametrize(
    ("properties", "colour"),
    [
        ({"openslide.background-color": "FFFFFF"}, (255, 255, 255)),
        ({"openslide.background-color": "rubbish"}, (255, 255, 255)),
        ({"hamamatsu.NDP": "ExcitationWaveLength=387\rEmissionWaveLength=455"}, (0, 0, 0)),
    ],
)
def test_background(properties, colour):
    assert background_of(properties) == colour


def test_microns_per_pixel(tmp_path):
    def tags(x, y):
        return {"openslide.mpp-x": x, "openslide.mpp-y": y}

    assert mpp_of(tags("0.25", "0.2501"), tmp_path) == pytest.approx(0.25005)
    assert mpp_of({}, tmp_path) is None
    assert mpp_of(tags("many", "0.25"), tmp_path) is None
    assert mpp_of(tags("352.8", "352.8"), tmp_path) is None  # 72 dots an inch
    with pytest.raises(ImageError, match=r"not square: 0\.25 x 0\.5 microns.*state mpp"):
        mpp_of(tags("0.25", "0.5"), tmp_path)
    path = pyramid(tmp_path / "a.svs", picture(), compression=None, description=APERIO.format(mpp=0.25))
    assert open_slide(path, mpp=0.5).mpp == 0.5
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="microns per pixel"):
            open_image(path, mpp=wrong)


@pytest.mark.data("slides")
def test_a_sub_tile_of_each_level_is_where_openslide_has_it(data_root):
    """Levels of 3, 5 and 62 rows to one: positions are those of level 0."""
    image = open_slide(data_root / "slides" / "boxes.tiff")
    assert isinstance(image, StoredImage) and image.vendor == "generic-tiff"
    pixels = ArrayImage(tifffile.imread(data_root / "slides" / "boxes.tiff"))
    for scale in (1.0, 0.5, 0.25, 0.125):
        boxes = [Region(40, 40, 160, 160)]
        difference = image.read(boxes, scale).int() - pixels.read(boxes, scale).int()
        assert difference.abs().float().mean() < 6, scale
    assert torch.equal(image.read(boxes, 1.0), pixels.read(boxes, 1.0))
