"""Valid files are not called damaged: they are read, or the error says what they are and what to do."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from zoomin.errors import ImageError
from zoomin.geometry import Region
from zoomin.images.open_image import open_image


def seen(path):
    image = open_image(path)
    return image.read([Region(0, 0, image.width, image.height)], 1.0)[0].permute(1, 2, 0).numpy()


def smooth(bits=8):
    y, x = np.mgrid[:64, :80]
    share = np.dstack([x / 79, y / 63, (x + y) / 142])
    return np.round(share * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def test_jpeg_of_twelve_bits(tmp_path):
    pixels = smooth(12)
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg_encode(pixels, bitspersample=12, level=98))
    assert np.abs(seen(tmp_path / "a.jpg") - pixels / 16).max() <= 4


@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_without_loss(bits, tmp_path):
    pixels = smooth(bits)
    meant = pixels if bits == 8 else pixels >> 8
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpegls_encode(pixels))
    assert np.array_equal(seen(tmp_path / "a.jpg"), meant)
    grey = np.ascontiguousarray(pixels[..., 0])
    (tmp_path / "b.jpg").write_bytes(imagecodecs.ljpeg_encode(grey, bitspersample=bits))
    assert np.array_equal(seen(tmp_path / "b.jpg")[..., 0], meant[..., 0])


@pytest.mark.parametrize(
    ("name", "encode", "suffix"),
    [
        ("JPEG XL", "jpegxl_encode", "jxl"),
        ("AVIF", "avif_encode", "avif"),
        ("JPEG XR", "jpegxr_encode", "jxr"),
        ("QOI", "qoi_encode", "qoi"),
    ],
)
def test_other_codecs_are_named_and_the_remedy_works(name, encode, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(getattr(imagecodecs, encode)(smooth()))
    with pytest.raises(ImageError, match=rf"{name} image, which is not read.*imagecodecs\.imread"):
        open_image(path)
    tifffile.imwrite(tmp_path / "out.tif", imagecodecs.imread(str(path)), photometric="rgb")
    assert np.abs(seen(tmp_path / "out.tif") - smooth().astype(int)).max() <= 24


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"%!PS-Adobe-3.0\n", "PostScript"), (b"%PDF-1\n", "PDF"), (b"8BPS\0", "Photoshop"), (b"PK\3\4", "ZIP"),
     (b"\x89HDF\r\n\x1a\n", "HDF5"), (b"\x1f\x8b\x08", "gzip")],
)  # fmt: skip
def test_other_formats_are_named(content, says, tmp_path):
    (tmp_path / "a.tif").write_bytes(content + bytes(60))
    with pytest.raises(ImageError, match=says):
        open_image(tmp_path / "a.tif")


def test_planes_of_red_green_and_blue_say_how_to_store_them(tmp_path):
    """Channels first, as bioio writes colours: the remedy, as printed, gives the image."""
    pixels = smooth()
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels.transpose(2, 0, 1), photometric="minisblack", metadata={"axes": "CYX"}
    )
    with pytest.raises(ImageError, match=r"3 channels .*axes CYX.*tifffile\.imwrite") as caught:
        open_image(tmp_path / "a.ome.tif")
    command = caught.value.remedy[caught.value.remedy.index("tifffile.imwrite") :].rstrip(".")
    exec(  # the remedy as a user would paste it
        command, {"tifffile": tifffile, "IN": str(tmp_path / "a.ome.tif"), "OUT": str(tmp_path / "b.tif")}
    )
    assert np.array_equal(seen(tmp_path / "b.tif"), pixels)


def test_a_zarr_folder(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text("{}")
    with pytest.raises(ImageError, match="not an OME-Zarr image"):
        open_image(tmp_path / "a.zarr")


def test_a_tiff_whose_blocks_are_all_missing(tmp_path):
    for name, options in (("a.tif", {}), ("b.tif", {"tile": (32, 32)})):
        path = tmp_path / name
        tifffile.imwrite(path, smooth(), photometric="rgb", **options)
        with tifffile.TiffFile(path, mode="r+") as file:
            for tag in ("StripOffsets", "StripByteCounts", "TileOffsets", "TileByteCounts"):
                if tag in file.pages[0].tags:
                    own = file.pages[0].tags[tag]
                    own.overwrite([0] * own.count if own.count > 1 else 0)
        with pytest.raises(ImageError, match=r"none of its \d+ blocks of pixels is stored"):
            open_image(path)


def test_a_sparse_map_without_a_block(tmp_path):
    import rasterio

    size = {"width": 256, "height": 256, "count": 3, "dtype": "uint8", "tiled": True, "sparse_ok": True}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", blockxsize=64, blockysize=64, **size, **place
    ) as f:
        assert f.count == 3
    with pytest.raises(ImageError, match="none of its 16 blocks"):
        open_image(tmp_path / "a.tif")


def test_few_bytes_that_declare_gigabytes(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, smooth(), photometric="rgb", compression="zlib", rowsperstrip=64)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageWidth"].overwrite(8_000)
        file.pages[0].tags["ImageLength"].overwrite(8_000)
        file.pages[0].tags["RowsPerStrip"].overwrite(8_000)
    with pytest.raises(ImageError, match=r"a\.tif"):
        open_image(path)
    PillowImage.new("L", (20_000, 20_000)).save(tmp_path / "b.png")
    assert open_image(tmp_path / "b.png").width == 20_000  # read from its tiled copy, never whole


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS.*git lfs pull"),
        (b"BZh91AY", "compressed by bzip2.*Unpack it"),
        (b"\xfd7zXZ\0", "compressed by xz.*Unpack it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive.*Unpack it"),
        (b"\xda\xce\xbe\x0a", "a Nikon ND2.*bioformats2raw"),
        (b"\xd0\xcf\x11\xe0", "a compound file, such as Olympus OIB.*bioformats2raw"),
        (b"\0\0\0 ftypisom", "a film .MP4."),
        (b"\0\0\0 ftypavif", "an AVIF image"),
        (b"NITF02.10", "a NITF image.*gdal_translate"),
        (b"CDF\x01", "a NetCDF file.*gdal_translate"),
    ],
)
def test_formats_of_other_fields_are_named(content, says, tmp_path):
    (tmp_path / "a.tif").write_bytes(content + bytes(100))
    with pytest.raises(ImageError, match=says):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "a.dzi",
            '<?xml version="1.0"?><Image xmlns="http://schemas.microsoft.com/deepzoom/2008" TileSize="64"/>',
            r"Deep Zoom image \(DZI\)\. Open the slide",
        ),
        ("ImageProperties.xml", '<IMAGE_PROPERTIES WIDTH="5" HEIGHT="5"/>', "Zoomify image"),
        (
            "a.afi",
            "<ImageList><Image><Path>a.svs</Path></Image><Image><Path>b.svs</Path></Image></ImageList>",
            r"\(Aperio AFI\).*Open one of these files: a\.svs, b\.svs\.",
        ),
        (
            "a.ndpis",
            "[NanoZoomer Digital Pathology Image Set]\r\nNoImages=1\r\nImage0=a-DAPI.ndpi\r\n",
            r"\(Hamamatsu NDPIS\).*Open one of these files: a-DAPI\.ndpi\.",
        ),
        (
            "a.companion.ome",
            '\ufeff<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
            '<UUID FileName="a_0.ome.tif">u</UUID></OME>',
            r"companion of an OME-TIFF.*Open one of its TIFFs.*: a_0\.ome\.tif\.",
        ),
    ],
)
def test_an_index_is_named_with_what_to_open_instead(name, text, words, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ImageError, match=words) as caught:
        open_image(tmp_path / name)
    assert "download" not in str(caught.value)
