"""`describe`: what a file really holds, and where the size of a pixel comes from."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image as PillowImage
from PIL import ImageCms

from slides import geotiff, picture, pyramid
from zoomin.data.check import check_images, images_to_check, write_checks
from zoomin.data.manifest import read_manifest
from zoomin.data.opening import open_record
from zoomin.errors import ImageError
from zoomin.images.describe import companions_of, describe
from zoomin.images.open_image import open_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
APERIO = "Aperio Image Library v11.2.1\r\n520x392 (64x64) RAW|AppMag = 40|MPP = 0.2500"


def test_a_tiff_with_levels_label_and_profile(tmp_path):
    big = picture(400, 600)
    options = {"photometric": "rgb", "metadata": None, "tile": (64, 64)}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(big, resolution=(40_000, 40_000), resolutionunit="CENTIMETER", iccprofile=SRGB, **options)
        file.write(big[::2, ::2], subfiletype=1, **options)
        file.write(
            np.zeros((90, 80, 3), np.uint8), photometric="rgb", description="label 80x90", subfiletype=1
        )
    (tmp_path / "a.tif.ovr").touch()
    (tmp_path / "a.tif.ovr").unlink()
    found = describe(tmp_path / "a.tif")
    assert found.reader == "GDAL" and found.pixels == "RGB, 3 x 8 bits, NONE"
    assert found.levels == ((600, 400), (300, 200)) and found.series == 2
    assert found.associated == ("label 80 x 90 (series 2)",)
    assert "sRGB" in found.icc
    assert (found.mpp, found.mpp_source) == (0.25, "resolution per centimetre")
    stated = describe(tmp_path / "a.tif", mpp=0.5)
    assert (stated.mpp, stated.mpp_source) == (0.5, "stated")


def test_a_slide_a_map_and_a_photograph(tmp_path):
    slide = describe(pyramid(tmp_path / "a.svs", picture(), compression=None, description=APERIO))
    assert slide.reader == "OpenSlide" and slide.pixels == "aperio slide" and len(slide.levels) == 3
    assert slide.mpp == 0.25 and "openslide.mpp-x" in slide.mpp_source
    place = geotiff(tmp_path / "b.tif", picture())
    (tmp_path / "b.tif.aux.xml").write_text("<PAMDataset/>")
    (tmp_path / "b.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    found = describe(place)
    assert found.mpp_source == "map in metre" and found.mpp == pytest.approx(5e5)
    assert {one.name for one in found.companions} == {"b.tif.aux.xml", "b.tfw"}
    PillowImage.fromarray(picture()).save(tmp_path / "c.jpg", icc_profile=SRGB)
    found = describe(tmp_path / "c.jpg")
    assert found.reader == "whole" and "sRGB" in found.icc and found.mpp is None and found.mpp_source == ""


@pytest.mark.parametrize(
    ("unit", "resolution", "mpp", "says"),
    [
        ("INCH", 101_600, 0.25, "inch"),
        ("INCH", 9_600, None, ""),
        ("CENTIMETER", 40_000, 0.25, "centimetre"),
        ("MILLIMETER", 4_000, 0.25, "millimetre"),
        ("MICROMETER", 4, 0.25, "micron"),
        ("NONE", 101_600, None, ""),
        (None, 101_600, 0.25, "inch"),  # TIFF's own default
    ],
)
def test_resolution_tags(unit, resolution, mpp, says, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, picture(), resolution=(resolution, resolution), resolutionunit=unit or "INCH", metadata=None
    )
    if unit is None:  # no unit is stored at all: the tag's number becomes one that nobody knows
        with tifffile.TiffFile(path, mode="r+") as file:
            place = file.pages[0].tags["ResolutionUnit"].offset
            file.filehandle.seek(place)
            file.filehandle.write((65_000).to_bytes(2, "little"))
    found = describe(path)
    assert found.mpp == (None if mpp is None else pytest.approx(mpp)) and says in found.mpp_source


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("pm", 250_000.0),
        ("Å", 2500.0),
        ("nm", 250.0),
        ("µm", 0.25),
        ("mm", 2.5e-4),
        ("cm", 2.5e-5),
        ("m", 2.5e-7),
        ("in", 0.25 / 25_400),
        ("thou", 0.25 / 25.4),
        ("pt", 0.25 * 72 / 25_400),
        ("ft", 0.25 / 304_800),
        ("dam", 2.5e-8),
        ("fm", 2.5e8),
    ],
)
def test_units_of_ome(unit, size, tmp_path):
    metadata = {f"PhysicalSize{axis}": size for axis in "XY"} | {
        f"PhysicalSize{axis}Unit": unit for axis in "XY"
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", picture(), photometric="rgb", metadata=metadata)
    found = describe(tmp_path / "a.ome.tif")
    assert found.mpp == pytest.approx(0.25) and found.mpp_source == f"OME metadata in {unit}"


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("um", 0.25),
        ("\\u00B5m", 0.25),
        ("micron", 0.25),
        ("nm", 250.0),
        ("mm", 2.5e-4),
        ("Microns", 0.25),
        ("nanometers", 250.0),
        ("angstrom", 2500.0),
        ("inch", 0.25 / 25_400),
        ("centimeter", 2.5e-5),
        ("pm", 250_000.0),
        ("mil", 0.25 / 25.4),
    ],
)
def test_units_of_imagej(unit, size, tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        picture()[..., 0],
        imagej=True,
        resolution=(1 / size, 1 / size),
        metadata={"unit": unit},
    )
    found = describe(tmp_path / "a.tif")
    assert found.mpp == pytest.approx(0.25, rel=1e-4) and found.mpp_source.startswith("ImageJ metadata in ")
    tifffile.imwrite(
        tmp_path / "b.tif", picture()[..., 0], imagej=True, resolution=(4, 4), metadata={"unit": "pixel"}
    )
    assert describe(tmp_path / "b.tif").mpp is None


def test_data_check_tells_it(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for side, microns, name in ((64, 16.0, "macro"), (512, 0.25, "scan")):
            size = {"PhysicalSizeX": microns, "PhysicalSizeY": microns, "Name": name}
            file.write(picture(side, side), photometric="rgb", metadata=size)
    (row,) = [look.row for look in check_images(images_to_check([path]))]
    assert (row.width, row.series, row.associated) == (512, 2, ("macro 64 x 64 (series 0)",))
    assert row.mpp_source == "OME metadata in µm" and row.level_sizes == ((512, 512),)
    write_checks([row], tmp_path / "checks.csv")
    (cells,) = csv.DictReader((tmp_path / "checks.csv").open(encoding="utf-8"))
    assert (cells["associated"], cells["level_sizes"]) == (row.associated[0], "512 x 512")
    assert cells["reader"] == "whole"


def test_the_manifest_chooses_the_series(tmp_path):
    first, second = picture(300, 400), picture(310, 420, seed=1)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(first, photometric="rgb", metadata=None)
        file.write(second, photometric="rgb", metadata=None)
    (tmp_path / "list.csv").write_text("image,label,series\na.tif,x,1\n")
    (record,) = read_manifest(tmp_path / "list.csv")
    assert record.series == "1" and open_record(record).width == 420


def test_companions(tmp_path):
    (tmp_path / "a.mrxs").touch()
    (tmp_path / "a").mkdir()
    assert companions_of(tmp_path / "a.mrxs") == (tmp_path / "a",)
    with rasterio.open(geotiff(tmp_path / "b.tif", picture(), overviews=()), "r") as file:
        assert file.count == 3


def test_a_damaged_thumbnail_does_not_hide_the_slide(tmp_path):
    """OpenSlide raises its own error when the pixels of an associated image are asked for."""
    options = {"photometric": "rgb", "metadata": None, "description": APERIO}
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        file.write(picture(), tile=(64, 64), **options)
        file.write(picture(96, 128), rowsperstrip=96, compression="jpeg", **options)
    with tifffile.TiffFile(tmp_path / "a.svs") as file:
        start, count = file.pages[1].dataoffsets[0], file.pages[1].databytecounts[0]
    data = bytearray((tmp_path / "a.svs").read_bytes())
    data[start + 2 : start + count] = bytes(count - 2)
    (tmp_path / "a.svs").write_bytes(data)
    found = describe(tmp_path / "a.svs")
    assert found.associated == ("thumbnail 128 x 96",) and found.mpp == 0.25


@pytest.mark.parametrize(
    ("unit", "yunit", "resolution"), [("micron", "mm", (4, 4000)), ("nm", "\\u00B5m", (4e-3, 4))]
)
def test_an_imagej_file_whose_sides_have_units_of_their_own(unit, yunit, resolution, tmp_path):
    """ImageJ writes yunit only where it differs from unit."""
    text = f"ImageJ=1.54f\nunit={unit}\nyunit={yunit}\n"
    tifffile.imwrite(
        tmp_path / "a.tif",
        picture()[..., 0],
        description=text,
        metadata=None,
        resolution=resolution,
        resolutionunit="NONE",
    )
    found = describe(tmp_path / "a.tif")
    assert found.mpp == pytest.approx(0.25, rel=1e-4)
    assert found.mpp_source == f"ImageJ metadata in {unit} and {yunit.replace(chr(92) + 'u00B5', chr(181))}"


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize(
    "options",
    [
        {"resolution": (40_000, 20_000), "resolutionunit": "CENTIMETER"},
        {"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}},
        {"ome": True, "metadata": {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}},
    ],
)
def test_pixels_that_are_not_square_are_refused_unless_mpp_is_stated(options, tile, tmp_path):
    """As those of slides and maps are: neither no size in silence, nor one that is wrong along a side."""
    if "imagej" in options and tile:
        options = {**options, "imagej": False, "metadata": None, "description": "ImageJ=1.54f\nunit=um\n"}
        options["resolutionunit"] = "NONE"
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture()[..., 0], tile=tile, **options)
    with pytest.raises(ImageError, match=r"not square: 0\.25 x 0\.5 microns.*state mpp"):
        open_image(path)
    assert open_image(path, mpp=0.25).mpp == 0.25
    assert describe(path, mpp=0.25).mpp_source == "stated"


def ome_xml(body, uuid="urn:uuid:1"):
    return f'<?xml version="1.0"?><OME xmlns="http://x" UUID="{uuid}">{body}</OME>'


@pytest.mark.parametrize("name", ["a.ome.tif", "renamed.ome.tif"])
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_the_scale_in_a_companion(tile, name, tmp_path):
    images = "".join(
        f'<Image><Pixels PhysicalSizeX="{size}" PhysicalSizeY="{size}"><TiffData IFD="0">'
        f'<UUID FileName="{stem}.ome.tif">urn:uuid:{stem}</UUID></TiffData></Pixels></Image>'
        for stem, size in (("b", 0.25), ("a", 0.5))
    )
    (tmp_path / "two.companion.ome").write_text(ome_xml(images))
    body = '<BinaryOnly MetadataFile="two.companion.ome" UUID="urn:uuid:1"/>'
    options = {"description": ome_xml(body, "urn:uuid:a"), "metadata": None, "tile": tile}
    tifffile.imwrite(tmp_path / name, picture(), photometric="rgb", **options)
    found = describe(tmp_path / name)
    assert (found.mpp, found.mpp_source) == (0.5, "OME metadata of two.companion.ome in µm")
    assert found.companions == (tmp_path / "two.companion.ome",)
    assert open_image(tmp_path / name).mpp == 0.5
    (tmp_path / "two.companion.ome").unlink()
    assert describe(tmp_path / name).mpp is None


@pytest.mark.parametrize("axis", ["X", "Y"])
def test_one_side_alone_is_taken_as_square(axis, tmp_path):
    metadata = {f"PhysicalSize{axis}": 500, f"PhysicalSize{axis}Unit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", picture(), photometric="rgb", metadata=metadata)
    found = describe(tmp_path / "a.ome.tif")
    assert found.mpp == 0.5 and found.mpp_source == f"OME metadata in nm, of {axis} alone: taken as square"
