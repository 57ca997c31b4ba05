"""One contract for every reader of stored images, against the pixels that were written."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage

from slides import HEIGHT, MPP, WIDTH, by_gdal, geotiff, picture, pyramid
from zoomin.errors import ImageError
from zoomin.geometry import Region
from zoomin.images import stored
from zoomin.images.array import ArrayImage
from zoomin.images.cache import HANDLES
from zoomin.images.formats.raster import RasterImage
from zoomin.images.formats.slide import SlideImage
from zoomin.images.image import Image
from zoomin.images.open_image import open_image
from zoomin.images.stored import Level, StoredImage
from zoomin.testing import READER_CHECKS, ReaderCase, check_reader

PIXELS = picture()
APERIO = "Aperio Image Library v11.2.1\r\n520x392 (64x64) RAW|AppMag = 40|MPP = 0.2500"

FORMATS = {
    "pyramidal-deflate.tif": lambda path: pyramid(path, PIXELS),
    "pyramidal-big.tif": lambda path: pyramid(path, PIXELS, bigtiff=True, compression="lzw"),
    "sub-ifds.ome.tif": lambda path: pyramid(path, PIXELS, sub_ifds=True, ome=True),
    "geo.tif": lambda path: geotiff(path, PIXELS, compress="deflate"),
    "striped.tif": lambda path: geotiff(path, PIXELS, tiled=False, blockysize=7),
    "planar.tif": lambda path: geotiff(path, PIXELS, interleave="band"),
    "cog.tif": lambda path: by_gdal(path, PIXELS, "COG", BLOCKSIZE=128, RESAMPLING="AVERAGE"),
    "lossless.jp2": lambda path: by_gdal(
        path,
        PIXELS,
        "JP2OpenJPEG",
        QUALITY="100",
        REVERSIBLE="YES",
        YCBCR420="NO",
        BLOCKXSIZE=256,
        BLOCKYSIZE=256,
    ),
    "aperio.svs": lambda path: pyramid(path, PIXELS, compression=None, description=APERIO),
}


WHOLE = {"a.png": {}, "a.bmp": {}, "a.webp": {"lossless": True}, "a.ppm": {}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same pixels in every format, in a folder with spaces and letters of other alphabets."""
    folder = tmp_path_factory.mktemp("Müller & søn 組織")
    return {name: write(folder / name) for name, write in FORMATS.items()}


@pytest.fixture(params=FORMATS)
def image(request, files):
    opened = open_image(files[request.param])
    yield opened
    opened.close()


@pytest.mark.parametrize("check", READER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", FORMATS)
def test_stored_formats_keep_the_contract(check, name, files):
    mean = 4.0 if "jp2" in name else 2.0  # wavelets are no averages
    check(ReaderCase(lambda: open_image(files[name]), PIXELS, mean=mean))


@pytest.mark.parametrize("name", WHOLE)
def test_whole_images_keep_the_contract(name, tmp_path):
    PillowImage.fromarray(PIXELS).save(tmp_path / name, **WHOLE[name])
    check_reader(ReaderCase(lambda: open_image(tmp_path / name), PIXELS, shrunk=0, mean=0.0, in_memory=True))


def test_lossy_images_keep_the_contract_as_they_decode(tmp_path):
    PillowImage.fromarray(PIXELS).save(tmp_path / "a.jpg", quality=90)
    decoded = np.array(PillowImage.open(tmp_path / "a.jpg"))
    check_reader(ReaderCase(lambda: open_image(tmp_path / "a.jpg"), decoded, full=2, in_memory=True))


class _Wrong(ArrayImage):
    """A reader with one fault."""

    def __init__(self, fault):
        super().__init__(PIXELS)
        self.fault = fault
        if fault == "describes_itself":
            self.name = ""

    def read(self, regions, scale):
        if self.fault == "refusals":
            scale = min(max(scale, 0.1), 1.0)
        views = super().read(regions, scale)
        if self.fault == "full_resolution" and scale == 1:
            views = views.flip(1)
        if self.fault == "area_averaging" and scale < 1:  # takes one pixel of each box
            views = torch.nn.functional.interpolate(super().read(regions, 1.0), views.shape[2:])
        if self.fault == "beyond_the_border":
            views = views.clone()
            views[(views == 255).all(1, keepdim=True).expand_as(views)] = 0
        return views.flip(0) if self.fault == "order" else views


@pytest.mark.parametrize(
    "fault",
    ["describes_itself", "full_resolution", "beyond_the_border", "area_averaging", "order", "refusals"],
)
def test_the_contract_finds_faults(fault):
    with pytest.raises(AssertionError):
        check = next(check for check in READER_CHECKS if check.__name__ == f"check_{fault}")
        check(ReaderCase(lambda: _Wrong(fault), PIXELS, in_memory=True))


def reference():
    return ArrayImage(PIXELS)


def regions(width, height, step=1, seed=0, n=12):
    """Boxes anywhere, many beyond the border, their corners multiples of `step`."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-width, WIDTH, n) // step * step
    y = rng.integers(-height, HEIGHT, n) // step * step
    return [Region(int(a), int(b), width, height) for a, b in zip(x, y, strict=True)]


def test_each_format_has_its_reader(image):
    assert isinstance(image, Image) and isinstance(image, StoredImage)
    assert isinstance(image, SlideImage if image.name.endswith("svs") else RasterImage)
    assert (image.height, image.width) == (HEIGHT, WIDTH)
    assert image.levels[0].pixel == (1.0, 1.0)
    if "jp2" not in image.name:
        assert [level.pixel for level in image.levels[:3]] == [(1, 1), (2, 2), (4, 4)]


@pytest.mark.parametrize("banded", [False, True])
def test_pixels_at_scale_1(image, banded, monkeypatch):
    if banded:
        monkeypatch.setattr(stored, "_GATHERED", 1 << 8)
    for boxes in (regions(100, 80), regions(1, 1), [Region(-5, -5, WIDTH + 10, HEIGHT + 10)]):
        assert torch.equal(image.read(boxes, 1.0), reference().read(boxes, 1.0))


def test_views_are_averages_of_all_pixels(image):
    """Levels are rounded means themselves: one grey value apart at most."""
    for size, scale, step in ((96, 0.5, 2), (128, 0.25, 4), (128, 0.125, 8), (96, 1 / 3, 4), (240, 0.1, 20)):
        boxes = regions(size, size, step)
        inside = [box for box in boxes if box.x >= 0 and box.y >= 0]
        difference = image.read(inside, scale).int() - reference().read(inside, scale).int()
        exact = scale in (0.5, 0.25, 0.125) and "jp2" not in image.name  # wavelets are no averages
        limit = 1 if exact else 16
        assert difference.abs().max() <= limit, (size, scale)


def test_level_0_alone_agrees_to_the_bit(files):
    """Without lower levels, any view equals that of the pixels in memory."""
    image = open_image(files["geo.tif"])
    image.levels = image.levels[:1]
    for size, scale in ((96, 0.5), (99, 1 / 3), (100, 0.1), (128, 1 / 32), (250, 0.3)):
        boxes = regions(size, size + 3)
        assert torch.equal(image.read(boxes, scale), reference().read(boxes, scale)), (size, scale)


def test_large_boxes_are_read_in_bands(files, monkeypatch):
    image = open_image(files["geo.tif"])
    image.levels = image.levels[:1]
    monkeypatch.setattr(stored, "_GATHERED", 1 << 10)
    monkeypatch.setattr(stored, "_PIECE", 1 << 13)
    for box, scale in (((-30, -50, 1200, 900), 0.1), ((3, 5, 602, 609), 1 / 7), ((450, 350, 400, 400), 0.25)):
        assert torch.equal(image.read([Region(*box)], scale), reference().read([Region(*box)], scale))
    outside = image.read([Region(900, 0, 500, 500)], 0.1)
    assert (outside == 255).all()


def test_a_marker_stands_where_it_was_drawn(tmp_path):
    """A black pixel on white is seen in the one view pixel that covers it, at every scale and level."""
    pixels = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    places = [(0, 0), (HEIGHT - 1, WIDTH - 1), (333, 517), (96, 300), (360, 63)]
    for row, column in places:
        pixels[row, column] = 0
    for name, write in (("a.tif", pyramid), ("g.tif", geotiff)):
        image = open_image(write(tmp_path / name, pixels))
        for factor in (1, 2, 4, 8):
            view = image.read([Region(0, 0, WIDTH, HEIGHT)], 1 / factor)[0, 0]
            dark = {tuple(place) for place in (view < 255).nonzero().tolist()}
            assert dark == {(row // factor, column // factor) for row, column in places}


def test_boxes_with_fractional_edges(image):
    boxes = torch.tensor(
        [[10.25, 20.5, 100.5, 80.75], [-30.5, -20.25, 100.5, 80.75], [490.1, 360.3, 100.5, 80.75]]
    )
    boxes = boxes.double()
    exact = image.read_boxes(boxes, 100, 120)
    assert torch.equal(exact, reference().read_boxes(boxes, 100, 120))
    shrunk = image.read_boxes(boxes, 30, 40).int() - reference().read_boxes(boxes, 30, 40).int()
    assert shrunk.abs().max() <= 10 and shrunk.abs().float().mean() < 2  # parts of a lower level's pixels
    for wrong in ([[0, 0, 0, 5.0]], [[0, 0, float("nan"), 5.0]]):
        with pytest.raises(ImageError, match="boxes without area"):
            image.read_boxes(torch.tensor(wrong, dtype=torch.float64), 3, 3)


def test_microns_per_pixel(files):
    assert open_image(files["pyramidal-deflate.tif"]).mpp == pytest.approx(MPP)
    assert open_image(files["aperio.svs"]).mpp == pytest.approx(MPP)
    assert open_image(files["geo.tif"]).mpp == pytest.approx(500_000)
    assert all(open_image(path, mpp=0.7).mpp == 0.7 for path in files.values())


def test_each_block_is_decoded_once(files):
    image = open_image(files["geo.tif"])
    image.read([Region(0, 0, 10, 10), Region(5, 5, 10, 10), Region(20, 20, 10, 10)], 1.0)
    assert image.decoded_pixels == 64 * 64
    image.read([Region(60, 60, 10, 10)], 1.0)
    assert image.decoded_pixels == 5 * 64 * 64
    image.read([Region(0, 0, 256, 256)], 0.25)
    assert image.decoded_pixels == 6 * 64 * 64
    assert pickle.loads(pickle.dumps(image)).decoded_pixels == 0


def test_pickled_images_are_the_same_file(image):
    image.read([Region(400, 300, 64, 64)], 1.0)
    assert len(HANDLES) > 0
    again = pickle.loads(pickle.dumps(image))
    assert again.identity == image.identity and len(pickle.dumps(image)) < 5000


def _read_in_a_fork(image, queue):
    queue.put(image.read([Region(400, 300, 64, 64)], 0.5).numpy())


def test_a_forked_process_opens_its_own(image):
    expected = image.read([Region(400, 300, 64, 64)], 0.5)
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=_read_in_a_fork, args=(image, queue))
    child.start()
    assert np.array_equal(queue.get(timeout=20), expected.numpy())
    child.join()


def test_few_files_stay_open(tmp_path):
    descriptors = Path("/proc/self/fd")
    here = len(list(descriptors.iterdir())) if descriptors.is_dir() else None
    one = geotiff(tmp_path / "a.tif", PIXELS[:64, :64], overviews=())
    for number in range(150):
        path = Path(shutil.copy(one, tmp_path / f"{number}.tif"))
        open_image(path).read([Region(0, 0, 4, 4)], 1.0)
    assert len(HANDLES) <= 128
    assert here is None or len(list(descriptors.iterdir())) <= here + 128 + 10


@pytest.mark.parametrize(
    ("size", "factor"), [((62, 75), (4, 4)), ((63, 75), (4, 4)), ((125, 150), (2, 2)), ((50, 100), (5, 3))]
)
def test_levels_mean_whole_factors_where_they_can(size, factor):
    assert Level.of(size, (250, 300), (64, 64)).pixel == factor


def test_a_level_of_another_shape_scales_by_its_sides(tmp_path):
    assert Level.of((62, 80), (250, 300), (64, 64)).pixel == (250 / 62, 300 / 80)


def test_tifffile_agrees(files):
    found = open_image(files["sub-ifds.ome.tif"]).read([Region(0, 0, WIDTH, HEIGHT)], 1.0)[0]
    assert np.array_equal(found.permute(1, 2, 0), tifffile.imread(files["sub-ifds.ome.tif"]))
