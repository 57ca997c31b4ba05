"""Files that are torn, vanish or do not respond: an error that names file, problem and remedy."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage

from slides import by_gdal, geotiff, picture, pyramid
from zoomin.errors import ConfigError, ImageError
from zoomin.geometry import Region
from zoomin.images import stored
from zoomin.images.formats.raster import RasterImage
from zoomin.images.formats.slide import SlideImage
from zoomin.images.open_image import open_image
from zoomin.images.timeouts import file_timeout, touch, within

APERIO = "Aperio Image Library v11.2.1\r\n520x392 (64x64) JPEG|AppMag = 40|MPP = 0.2500"
HURT, WHOLE = Region(320, 0, 64, 64), Region(0, 64, 64, 64)  # the sixth block, and one of the next row


def fails(call, path, *words):
    with pytest.raises(ImageError) as caught:
        call()
    assert str(path) in str(caught.value) and caught.value.remedy
    for word in words:
        assert word in str(caught.value)


def hurt(path, block=5, page=0, how="zeros"):
    """Destroy one stored block; the directory stays as it is."""
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[page].dataoffsets[block], file.pages[page].databytecounts[block]
    data = bytearray(path.read_bytes())
    first = start + (size // 2 if how == "half" else 0)
    data[first : start + size] = bytes(start + size - first)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("compression", ["jpeg", "lzw", "zlib", "zstd"])
@pytest.mark.parametrize("kind", ["svs", "tif"])
def test_a_corrupt_block_fails_alone(kind, compression, tmp_path):
    """The handle of OpenSlide is of no use after an error, and GDAL keeps the block: both start anew."""
    path = tmp_path / f"a.{kind}"
    pyramid(path, picture(), compression=compression, description=APERIO if kind == "svs" else None)
    intact = open_image(path).read([WHOLE], 1.0)
    image = open_image(hurt(path))
    assert isinstance(image, SlideImage if kind == "svs" else RasterImage)
    for _ in range(2):
        fails(lambda: image.read([HURT], 1.0), path, "cannot be decoded", "320")
        assert torch.equal(image.read([WHOLE], 1.0), intact)
    fails(lambda: image.read([HURT, WHOLE], 1.0), path)
    assert image.read([HURT], 0.5).shape == (1, 3, 32, 32)  # another level holds it


@pytest.mark.parametrize("kind", ["svs", "tif"])
def test_half_a_jpeg_block_is_no_grey_block(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    pyramid(path, picture(), compression="jpeg", description=APERIO if kind == "svs" else None)
    image = open_image(hurt(path, how="half"))
    for _ in range(2):
        fails(lambda: image.read([HURT], 1.0), path, "cannot be decoded")
    assert image.read([WHOLE], 1.0).shape == (1, 3, 64, 64)


def test_threads_that_hit_a_corrupt_block_leave_the_others_alone(tmp_path):
    path = pyramid(tmp_path / "a.svs", picture(), compression="jpeg", description=APERIO)
    intact = open_image(path).read([WHOLE], 1.0)
    image, wrong = open_image(hurt(path)), []

    def read(box, times):
        for _ in range(times):
            try:
                if not torch.equal(image.read([box], 1.0), intact):
                    wrong.append(box)
            except ImageError:
                wrong.extend([] if box == HURT else [box])

    threads = [threading.Thread(target=read, args=(box, 25)) for box in (HURT, WHOLE, HURT, WHOLE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "geo.tif", "a.jp2"])
@pytest.mark.parametrize("kept", [0.95, 0.5, 0.1, 0.01])
def test_cut_short(name, kept, tmp_path):
    path = tmp_path / name
    if name == "geo.tif":
        geotiff(path, picture(), compress="deflate")
    elif name == "a.jp2":
        by_gdal(path, picture()[:128, :128], "JP2OpenJPEG")
    else:
        pyramid(path, picture(), compression="jpeg", description=APERIO if name == "a.svs" else None)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])

    def read_all():
        image = open_image(path)
        for scale in (1.0, 0.5, 0.25):
            image.read([Region(0, 0, image.width, image.height)], scale)

    fails(read_all, path)


def test_no_slide_at_all(tmp_path):
    for name in ("a.svs", "a.ndpi", "a.dcm", "a.mrxs", "a.vms"):
        path = tmp_path / name
        path.touch()
        fails(lambda path=path: open_image(path), path, "empty")
        path.write_text("Access denied. Please sign in.")
        fails(lambda path=path: open_image(path), path, "text, not an image", "download")
    path = tmp_path / "b.mrxs"
    PillowImage.new("RGB", (50, 40)).save(path, format="JPEG")
    fails(lambda: open_image(path), path, "MIRAX", "folder")


@pytest.mark.data("slides")
def test_the_beginning_of_a_dicom_file(tmp_path, data_root):
    path = tmp_path / "b.dcm"
    path.write_bytes((data_root / "slides" / "boxes_0.dcm").read_bytes()[:2000])
    fails(lambda: open_image(path), path)


def test_one_pixel(tmp_path):
    for path in (
        geotiff(tmp_path / "a.tif", picture()[:1, :1], overviews=()),
        pyramid(tmp_path / "a.svs", picture()[:1, :1], levels=1, description=APERIO, compression=None),
    ):
        image = open_image(path)
        assert (image.height, image.width) == (1, 1)
        view = image.read([Region(-1, -1, 3, 3)], 1.0)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(view[1, 1], picture()[0, 0]) and (view[0] == 255).all()
        assert image.read([Region(0, 0, 5000, 5000)], 0.001).shape == (1, 3, 5, 5)


@pytest.mark.parametrize("kind", ["svs", "tif"])
def test_a_file_that_vanishes_or_changes(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_PAUSE", -1.0)
    path = pyramid(tmp_path / f"a.{kind}", picture(), compression="jpeg", description=APERIO)
    image = open_image(path)
    image.read([WHOLE], 1.0)
    path.rename(tmp_path / "moved")
    fails(lambda: image.read([WHOLE], 1.0), path, "gone")
    (tmp_path / "moved").rename(path)
    assert image.read([WHOLE], 1.0).shape == (1, 3, 64, 64)
    image.close()
    pyramid(path, picture(), compression="zlib", description=APERIO)
    fails(lambda: image.read([WHOLE], 1.0), path, "changed", "Open it again")


def test_a_drive_that_does_not_answer(tmp_path, monkeypatch):
    """A named pipe that nobody writes to hangs when opened, as a dead network drive does."""
    monkeypatch.setenv("ZOOMIN_TIMEOUT", "0.2")
    monkeypatch.setattr(stored, "_PAUSE", -1.0)
    pipe = tmp_path / "pipe.svs"
    os.mkfifo(pipe)
    started = time.monotonic()
    fails(lambda: open_image(pipe), pipe, "did not respond within 0.2 seconds", "ZOOMIN_TIMEOUT")
    path = geotiff(tmp_path / "a.tif", picture())
    image = open_image(path)
    image.read([WHOLE], 1.0)
    path.unlink()
    os.mkfifo(path)
    fails(lambda: image.read([WHOLE], 1.0), path, "did not respond")
    assert time.monotonic() - started < 5
    for waiting in (pipe, path):  # let the threads that were left behind end
        os.close(os.open(waiting, os.O_RDWR | os.O_NONBLOCK))


def test_how_long_to_wait(tmp_path, monkeypatch):
    monkeypatch.delenv("ZOOMIN_TIMEOUT", raising=False)
    assert file_timeout() == 120
    monkeypatch.setenv("ZOOMIN_TIMEOUT", "0")
    assert file_timeout() is None and within(None, lambda: 3, tmp_path) == 3
    monkeypatch.setenv("ZOOMIN_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="ZOOMIN_TIMEOUT"):
        file_timeout()
    monkeypatch.setenv("ZOOMIN_TIMEOUT", "5")
    with pytest.raises(ZeroDivisionError):
        within(5.0, lambda: 1 // 0, tmp_path)
    fails(lambda: touch(tmp_path / "a.svs"), tmp_path, "gone")


def declaring(kind, width, height):
    """A small file whose header declares another size."""
    written = io.BytesIO()
    PillowImage.fromarray(picture(60, 80)).save(written, kind)
    data = bytearray(written.getvalue())
    if kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    else:
        place = data.index(b"\xff\xc0")
        data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("kind", ["BMP", "PNG", "JPEG"])
@pytest.mark.parametrize(("width", "height"), [(8000, 8000), (80, 60_000), (60_000, 50_000)])
def test_more_pixels_than_the_bytes_can_hold(kind, width, height, tmp_path):
    """They were looked for in as much time as the header asked for; JPEGs were filled with grey."""
    (tmp_path / "a").write_bytes(declaring(kind, width, height))
    words = "is cut short or its header damaged" if width > 80 else "cut short|cannot be decoded"
    with pytest.raises(ImageError, match=words):
        open_image(tmp_path / "a").read([Region(0, 0, 80, 60)], 1.0)


@pytest.mark.parametrize(
    "options", [{"format": "JPEG"}, {"format": "JPEG", "progressive": True}, {"format": "PNG"}]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_of_one_colour_take_few_bytes_and_are_whole(options, mode, tmp_path):
    PillowImage.new(mode, (2048, 2048)).save(tmp_path / "a", **options, optimize=True)
    assert open_image(tmp_path / "a").height == 2048


def test_a_png_of_a_palette_that_is_not_there_is_an_error(tmp_path):
    path = tmp_path / "a.png"
    PillowImage.fromarray(np.zeros((9, 9), np.uint8)).convert("P").save(path)
    data = path.read_bytes()
    at = data.index(b"PLTE")
    path.write_bytes(data[: at - 4] + data[at + 8 + int.from_bytes(data[at - 4 : at], "big") :])
    fails(lambda: open_image(path), path)


def test_a_tiff_of_sides_below_one_pixel_ends(tmp_path):
    """Tifffile would count its pages backwards, without end."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((192, 192), np.float32))
    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags["ImageLength"]
        at = tag.offset
    data = bytearray(path.read_bytes())
    data[at + 2 : at + 4], data[at + 8 : at + 12] = b"\x09\x00", b"\xff" * 4  # a signed number, -1
    path.write_bytes(data)
    fails(lambda: open_image(path), path, "-1 x 192 pixels")


def test_a_slide_of_more_blocks_than_bytes_is_refused(tmp_path):
    """OpenSlide would show a gigapixel of nothing, at the pace of pixels."""
    path = pyramid(tmp_path / "a.svs", picture(192, 192), compression="jpeg", description=APERIO)
    with tifffile.TiffFile(path) as file:
        at = file.pages.first.tags["ImageLength"].offset
    data = bytearray(path.read_bytes())
    data[at + 2 : at + 4], data[at + 8 : at + 12] = b"\x04\x00", (1 << 24).to_bytes(4, "little")
    path.write_bytes(data)
    fails(lambda: open_image(path), path, "x 16777216 pixels")
