"""Slides read by other packages: one adapter, the contract of readers, and the name of what is missing."""

from __future__ import annotations

import imagecodecs
import numpy as np
import openslide
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless

from slides import picture, pyramid
from zoomin.errors import ImageError
from zoomin.geometry import Region
from zoomin.images.describe import describe
from zoomin.images.formats.adapted import AdaptedSlide, SlideReader, open_adapted
from zoomin.images.formats.other_slides import FASTSLIDE, WSIDICOM
from zoomin.images.open_image import READERS, open_image
from zoomin.images.slide_reader import slide_reader
from zoomin.testing import READER_CHECKS, ReaderCase

PIXELS = picture()
PACKAGES = {
    "imitation": SlideReader("imitation", "imitations:Imitation"),
    "native": SlideReader("native", "imitations:Native", frame="level", parallel=True),
    "bare": SlideReader("bare", "imitations:Bare"),
    "openslide": SlideReader("openslide", "openslide:OpenSlide"),
    "fastslide": FASTSLIDE,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return pyramid(tmp_path_factory.mktemp("slides") / "a.tif", PIXELS, compression="lzw")


def whole(image):
    return image.read([Region(0, 0, image.width, image.height)], 1.0)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("check", READER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_keeps_the_contract(check, package, path):
    check(ReaderCase(lambda: open_adapted(path, PACKAGES[package]), PIXELS))


@pytest.mark.parametrize(("package", "mpp"), [("imitation", 0.25), ("native", 0.5), ("bare", None)])
def test_microns_per_pixel(package, mpp, path):
    assert open_adapted(path, PACKAGES[package]).mpp == mpp
    assert open_adapted(path, PACKAGES[package], mpp=0.3).mpp == 0.3


@pytest.mark.parametrize(
    ("opener", "words"),
    [
        ("no_such_package:Slide", "a slide that the package reads, which does not load"),
        ("imitations:refuse", "the package cannot open the slide .RuntimeError: no such vendor"),
        ("imitations:Oblong", "not square"),
        ("builtins:str", "does not report the size"),
    ],
)
def test_what_a_package_cannot_do_is_told(opener, words, path):
    with pytest.raises(ImageError, match=words) as caught:
        open_adapted(path, SlideReader("the package", opener, install="pip install package"))
    assert "a.tif" in str(caught.value)


def test_pixels_that_are_no_bytes_are_an_error_of_the_read(path):
    image = open_adapted(path, SlideReader("sixteen", "imitations:Sixteen"))
    with pytest.raises(ImageError, match=r"cannot be decoded \(sixteen: .*uint16, not bytes"):
        whole(image)


def test_a_row_for_an_entry_point(path, tmp_path, monkeypatch):
    (tmp_path / "a.kfb").write_bytes(path.read_bytes())
    row = slide_reader(PACKAGES["imitation"], (".kfb",))
    monkeypatch.setattr(READERS, "outside", lambda: {"kfb": row})
    image = open_image(tmp_path / "a.kfb", mpp=0.4)
    assert isinstance(image, AdaptedSlide) and image.mpp == 0.4
    assert np.array_equal(whole(image), PIXELS)
    found = describe(tmp_path / "a.kfb", image=open_image(tmp_path / "a.kfb"))
    assert (found.reader, found.pixels) == ("imitation", "imitation slide")
    assert found.mpp_source == "property that imitation tells in microns"


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.isyntax", b'<?xml version="1.0"?><DataObject ObjectType="DPUfsImport">'),
        ("a.vsi", b"II*\0" + bytes(64)),
    ],
)
def test_the_extra_is_named_where_it_is_missing(name, head, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(head)
    (tmp_path / "_a_").mkdir()
    monkeypatch.setitem(__import__("sys").modules, "fastslide", None)
    with pytest.raises(ImageError, match="a slide that fastslide reads") as caught:
        open_image(tmp_path / name)
    assert "pip install 'zoomin-net[fastslide]'" in caught.value.remedy


def test_a_slide_that_neither_reads_has_the_cause_of_the_first(tmp_path):
    """OpenSlide 4.0.1 reads CZI itself; what it refuses is given to fastslide."""
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE" + bytes(600))
    with pytest.raises(ImageError, match="OpenSlide does not read") as caught:
        open_image(tmp_path / "a.czi")
    assert "zoomin-net[fastslide]" in caught.value.remedy


def jpeg_ls(source, path):
    """A DICOM slide whose frames are encoded anew without loss, in a way that OpenSlide does not read."""
    slide = pydicom.dcmread(source)
    frames = np.atleast_1d(slide.pixel_array)
    frames = frames if frames.ndim == 4 else frames[None]
    slide.PixelData = encapsulate([imagecodecs.jpegls_encode(np.ascontiguousarray(one)) for one in frames])
    slide.file_meta.TransferSyntaxUID = JPEGLSLossless
    slide.PhotometricInterpretation = "RGB"
    slide["PixelData"].VR = "OB"
    slide.save_as(path)
    return frames, slide


@pytest.mark.data("slides")
def test_wsidicom_reads_what_openslide_reads(data_root):
    path = data_root / "slides" / "boxes_0.dcm"
    with openslide.OpenSlide(str(path)) as slide:
        wanted = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    image = open_adapted(path, WSIDICOM)
    assert np.abs(whole(image).astype(int) - wanted).max() <= 4  # JPEG by two libraries
    assert image.mpp == pytest.approx(0.499, abs=1e-3)


@pytest.mark.data("slides")
def test_a_slide_of_jpeg_ls_is_read_by_wsidicom_or_refused(data_root, tmp_path, monkeypatch):
    frames, slide = jpeg_ls(data_root / "slides" / "boxes_0.dcm", tmp_path / "a.dcm")
    image = open_image(tmp_path / "a.dcm")
    assert isinstance(image, AdaptedSlide) and image.reader == "wsidicom"
    height, width = slide.Rows, slide.Columns
    corner = image.read([Region(0, 0, min(width, image.width), min(height, image.height))], 1.0)[0]
    wanted = frames[0][: image.height, : image.width]
    assert np.array_equal(corner.permute(1, 2, 0).numpy(), wanted)
    monkeypatch.setattr("zoomin.images.formats.other_slides.find_spec", lambda name: None)
    with pytest.raises(ImageError, match="encoded as JPEG-LS") as caught:
        open_image(tmp_path / "a.dcm")
    assert "zoomin-net[dicom]" in caught.value.remedy
