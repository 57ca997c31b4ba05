"""DICOM files that OpenSlide does not read: the true cause, and a remedy that was tried."""

from __future__ import annotations

import struct
import zlib

import pytest

from zoomin.data.slide_files import one_per_slide
from zoomin.errors import ImageError
from zoomin.images.formats.dicom_header import read_dicom_header
from zoomin.images.formats.slide import open_slide
from zoomin.images.open_image import open_image

SLIDE, CT = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def element(tag, vr, value):
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH", *tag) + vr.encode()
    return head + (struct.pack("<HI", 0, len(value)) if vr == "OB" else struct.pack("<H", len(value))) + value


def dicom(
    path,
    syntax=EXPLICIT,
    storage=SLIDE,
    modality="SM",
    bits=8,
    planes=1,
    paths=1,
    series=b"1.2.4",
    flavour=b"VOLUME",
    frames=4,
):
    """A slide's header, of 2 x 2 tiles, and a few bytes for pixels."""
    body = element((8, 8), "CS", rb"ORIGINAL\PRIMARY\%b\NONE" % flavour)
    body += element((8, 0x16), "UI", storage.encode()) if storage else b""
    body += element((8, 0x18), "UI", b"1.2.3") + element((8, 0x60), "CS", modality.encode())
    body += element((0x20, 0xD), "UI", b"1.2")
    body += element((0x20, 0xE), "UI", series) if series else b""
    body += element((0x28, 4), "CS", b"RGB") + element((0x28, 8), "IS", b"%d" % frames)
    body += element((0x28, 0x10), "US", b"\x10\0") + element((0x28, 0x11), "US", b"\x10\0")
    body += element((0x28, 0x100), "US", struct.pack("<H", bits))
    body += element((0x48, 6), "UL", b"\x20\0\0\0") + element((0x48, 7), "UL", b"\x11\0\0\0")
    body += element((0x48, 0x302), "UL", struct.pack("<I", paths))
    body += element((0x48, 0x303), "UL", struct.pack("<I", planes)) + element((0x7FE0, 0x10), "OB", bytes(64))
    if syntax.endswith(".99"):
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
    path.write_bytes(bytes(128) + b"DICM" + element((2, 0x10), "UI", syntax.encode()) + body)
    return path


@pytest.mark.parametrize(
    ("facts", "says", "remedy"),
    [
        ({"syntax": "1.2.840.10008.1.2.4.80"}, "JPEG-LS", "pydicom"),
        ({"syntax": "1.2.840.10008.1.2.4.201"}, "High-Throughput JPEG 2000", "pydicom"),
        ({"syntax": "1.2.840.10008.1.2.1.99"}, "deflated", "ExplicitVRLittleEndian"),
        ({"syntax": "1.2.840.10008.1.2.4.110"}, "JPEG XL", "JPEG 2000"),
        ({"syntax": "1.2.840.10008.1.2.5"}, "run lengths", "decompress"),
        ({"planes": 2}, "2 focal planes", "Export the plane"),
        ({"paths": 3}, "3 optical paths", "as one image"),  # OpenSlide 4.0.1 shows one of them
        ({"frames": 5}, "more frames than tiles", "Export the plane"),
        ({"bits": 16}, "16 bits per sample", "8 bits"),
        ({"storage": CT, "modality": "CT"}, "not a whole-slide image.* of modality CT", "windowing"),
        ({"series": None}, "no SeriesInstanceUID", "Export it again"),
        ({"storage": CT, "modality": "CT", "series": None}, "not a whole-slide image", "windowing"),
        ({"storage": None, "modality": "OT", "series": None}, "not a whole-slide image", "windowing"),
        ({}, "damaged, cut short, or lacks a part of its series", "one folder"),
    ],
)
def test_the_true_cause(facts, says, remedy, tmp_path):
    path = dicom(tmp_path / "a.dcm", **facts)
    with pytest.raises(ImageError, match=says) as caught:
        open_image(path)
    assert remedy in caught.value.remedy and "MIRAX" not in str(caught.value)


def test_the_header(tmp_path):
    header = read_dicom_header(dicom(tmp_path / "a.dcm", syntax="1.2.840.10008.1.2.1.99", bits=16, planes=3))
    assert (header.series, header.bits, header.planes, header.modality) == ("1.2.4", 16, 3, "SM")
    assert header.is_slide and header.is_volume and header.colours == "RGB"


def test_a_mirax_slide_alone(tmp_path):
    from PIL import Image

    Image.new("RGB", (9, 9)).save(tmp_path / "a.mrxs", format="JPEG")
    with pytest.raises(ImageError, match=r"MIRAX slide without its other files.*Slidedat"):
        open_image(tmp_path / "a.mrxs")


@pytest.mark.parametrize(
    "start",
    [
        element((8, 5), "CS", b"ISO_IR 100"),
        element((8, 8), "CS", b"ORIGINAL"),
        struct.pack(">HH", 8, 5) + b"CS\0\x0aISO_IR 100",
        element((2, 0x10), "UI", EXPLICIT.encode()),
    ],
)
def test_a_file_without_preamble_is_named(start, tmp_path):
    (tmp_path / "a.dcm").write_bytes(start + element((8, 0x60), "CS", b"SM"))
    with pytest.raises(ImageError, match="a DICOM file without its preamble") as caught:
        open_image(tmp_path / "a.dcm")
    assert "force=True" in caught.value.remedy


def test_slides_without_a_series_are_not_one_slide(tmp_path):
    files = [dicom(tmp_path / f"{name}.dcm", series=None) for name in "ab"]
    assert one_per_slide(files) == files


@pytest.mark.parametrize("flavour", [b"LABEL", b"OVERVIEW", b"THUMBNAIL"])
def test_a_picture_beside_a_slide_is_not_called_damaged(flavour, tmp_path, monkeypatch):
    import openslide

    class Refusing:
        def __init__(self, path):
            raise openslide.OpenSlideError("No pyramid levels found")

        @staticmethod
        def detect_format(path):
            return "dicom"

    monkeypatch.setattr(openslide, "OpenSlide", Refusing)
    with pytest.raises(ImageError, match=rf"the {flavour.decode().lower()} of a DICOM slide.*says VOLUME"):
        open_slide(dicom(tmp_path / "a.dcm", flavour=flavour))
