"""One conversion for whole and for streamed TIFFs: every kind against what its standard says."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image as PillowImage
from PIL import ImageCms

import tiff_table
from zoomin.errors import ImageError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.formats import raster
from zoomin.images.formats.raster import RasterImage
from zoomin.images.formats.tiff_image import TiffImage
from zoomin.images.open_image import open_image

LOSSY = ("jpeg,", "webp,", "jpeg2000,", "jpegxr,")


def seen(path):
    image = open_image(path)
    return image.read([Region(0, 0, image.width, image.height)], 1.0)[0].permute(1, 2, 0).numpy()


def near(found, meant, most):
    assert np.abs(found - np.asarray(meant, dtype=float)).max() <= most


def test_the_table_in_the_guide_is_true(tmp_path):
    """Strips, tiles and pyramids are read alike, within what 16 bits lose to 8, or refused alike."""
    wrong, kinds = [], []

    def told(name, verdict):
        kinds.append(name)
        most = 12 if name.startswith(LOSSY) else 2.1
        if verdict.error > most:
            wrong.append((name, verdict.error))

    text = tiff_table.page(tmp_path, told)
    assert not wrong and len(kinds) > 200
    assert text in tiff_table.PAGE.read_text(encoding="utf-8"), "python benchmarks/tiff_table.py --write"


@pytest.mark.parametrize("subsampling", tiff_table.SUBSAMPLINGS)
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("tiled", [False, True])
def test_stored_luma_and_chroma(subsampling, deflate, tiled, tmp_path, monkeypatch):
    """Against the formula of JPEG, and libtiff's own conversion, which GDAL calls."""
    kind = tiff_table.Colours("YCbCr", "ycbcr", 3)
    samples = tiff_table.samples_of(kind, "8")
    across, down = subsampling
    chroma = samples[::down, ::across, 1:].repeat(down, axis=0).repeat(across, axis=1)
    samples = np.concatenate([samples[..., :1], chroma], axis=2)
    path = tmp_path / "a.tif"
    tiff_table.write_ycbcr(path, samples, subsampling, deflate=deflate, tiled=tiled)
    near(seen(path), tiff_table.expected_of(kind, "8", samples), 1)
    if deflate or not tiled:  # libtiff refuses stored tiles of 4:2:0
        with rasterio.open(path) as file:
            near(seen(path), file.read([1, 2, 3]).transpose(1, 2, 0), 2)
    whole = seen(path)
    monkeypatch.setattr("zoomin.images.formats.raster.IN_MEMORY", 100)
    assert isinstance(open_image(path), TiffImage) and np.array_equal(seen(path), whole)


def premultiplied(path, bits=8, grey=False, geo=False):
    """f07: associated alpha over colours; and what is right: colour + 255 - alpha."""
    y, x = np.mgrid[:300, :420]
    colours = np.stack([x * 255 // 419, y * 255 // 299, (x // 16 + y // 16) % 2 * 160 + 40], -1)
    alpha = np.clip(x // 2 + 20, 0, 255) if geo else np.full((300, 420), 128)
    shown = colours[..., :1] if grey else colours
    dim = np.round(shown * (alpha / 255)[..., None])
    stored = np.dstack([dim, alpha]).astype(np.uint8)
    wide = stored.astype(np.uint16) * 257 if bits == 16 else stored
    if geo:
        profile = {
            "driver": "GTiff",
            "width": 420,
            "height": 300,
            "count": 4,
            "dtype": "uint8",
            "tiled": True,
        }
        profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)}
        with rasterio.open(path, "w", photometric="rgb", alpha="premultiplied", **profile) as file:
            file.write(stored.transpose(2, 0, 1))
    else:
        options = {"photometric": "minisblack" if grey else "rgb", "planarconfig": "contig"}
        options |= {"tile": (64, 64), "extrasamples": ["assocalpha"]}
        with tifffile.TiffWriter(path) as file:
            file.write(wide, subifds=1, **options)
            file.write(wide[::2, ::2], subfiletype=1, **options)
    return (dim + 255 - alpha[..., None]).repeat(3 if grey else 1, axis=2)


@pytest.mark.parametrize("options", [{}, {"bits": 16}, {"grey": True}, {"geo": True}])
def test_associated_alpha_is_multiplied_once(options, tmp_path):
    meant = premultiplied(tmp_path / "a.tif", **options)
    assert isinstance(open_image(tmp_path / "a.tif"), RasterImage)
    near(seen(tmp_path / "a.tif"), meant, 0)


def lab_pyramid(path, bits=8, photometric="cielab", extra=None):
    y, x = np.mgrid[:256, :256]
    signed = np.dstack([np.full_like(x, 160), x // 4 - 32, y // 4 - 32])
    offset = 128 if photometric == "icclab" else 0
    lab = signed + np.array([0, offset, offset])
    lab = lab % 256 if bits == 8 else (lab * 256) % 65536
    if photometric == "cielab" and bits == 16:
        lab[..., 0] = 160 * 257
    if extra is not None:
        lab = np.dstack([lab, np.full_like(x, extra)])
    options = {"photometric": photometric, "tile": (64, 64)}
    options |= {"extrasamples": ["unassalpha"]} if extra is not None else {}
    lab = lab.astype(np.uint8 if bits == 8 else np.uint16)
    with tifffile.TiffWriter(path) as file:
        file.write(lab, subifds=1, **options)
        file.write(lab[::2, ::2], subfiletype=1, **options)
    return signed


@pytest.mark.parametrize(
    ("bits", "photometric"), [(8, "cielab"), (16, "cielab"), (8, "icclab"), (16, "icclab")]
)
def test_lab_has_one_answer(bits, photometric, tmp_path):
    """f10: streamed, in memory, and by LittleCMS, an independent implementation; not as if it were RGB."""
    signed = lab_pyramid(tmp_path / "a.tif", bits, photometric)
    streamed = open_image(tmp_path / "a.tif")
    assert isinstance(streamed, TiffImage) and len(streamed.levels) == 2
    found = seen(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", tifffile.imread(tmp_path / "a.tif"), photometric=photometric)
    assert isinstance(open_image(tmp_path / "b.tif"), ArrayImage)
    assert np.array_equal(seen(tmp_path / "b.tif"), found)
    image = PillowImage.frombytes("LAB", (256, 256), (signed % 256).astype(np.uint8).tobytes())
    by_lcms = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    difference = np.abs(found - np.asarray(by_lcms).astype(int))
    assert difference.mean() < 1


def test_the_white_of_lab_is_white(tmp_path):
    lab = np.zeros((40, 40, 3), dtype=np.uint8)
    lab[..., 0] = 255
    for name, white in (("d50", None), ("d65", (3127, 10000, 3290, 10000))):
        tags = [] if white is None else [(318, 5, 2, white, True)]
        tifffile.imwrite(tmp_path / f"{name}.tif", lab, photometric="cielab", extratags=tags)
        assert (seen(tmp_path / f"{name}.tif") == 255).all()


@pytest.mark.parametrize("alpha", [255, 0, 128])
def test_lab_with_alpha_is_read(alpha, tmp_path):
    """f04 ended a whole prediction by a traceback."""
    lab = np.zeros((60, 80, 4), dtype=np.uint8)
    lab[:] = (160, 20, 236, alpha)
    tifffile.imwrite(tmp_path / "a.tif", lab, photometric="cielab", extrasamples=["unassalpha"])
    opaque = tiff_table.lab(lab[..., :3], 8, icc=False)
    near(seen(tmp_path / "a.tif"), opaque * alpha / 255 + 255 - alpha, 1.5)


@pytest.mark.parametrize("codec", ["jpegxl", "jpeg2000", "png", "jpegxr"])
def test_codecs_that_gdal_lacks_are_streamed(codec, tmp_path, monkeypatch):
    """Such a TIFF was refused where it is large, and the advised command cannot read it either."""
    colours = tiff_table.COLOURS[3]
    tiff_table.write(tmp_path / "a.tif", colours, "8", planar=False, layout="tiles", codec=codec)
    whole = seen(tmp_path / "a.tif")
    monkeypatch.setattr("zoomin.images.formats.raster.IN_MEMORY", 100)
    image = open_image(tmp_path / "a.tif")
    assert isinstance(image, TiffImage)
    assert np.array_equal(seen(tmp_path / "a.tif"), whole)
    part = image.read([Region(20, 20, 40, 40)], 1.0)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(part, whole[20:60, 20:60])
    near(whole, tifffile.imread(tmp_path / "a.tif"), 0)


def test_a_damaged_block_of_a_streamed_tiff_fails_alone(tmp_path):
    lab_pyramid(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", tifffile.imread(tmp_path / "a.tif"), photometric="cielab",
                     tile=(64, 64), compression="zlib")  # fmt: skip
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        start, size = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    data = bytearray((tmp_path / "b.tif").read_bytes())
    data[start : start + size] = bytes(size)
    (tmp_path / "b.tif").write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoomin.images.formats.raster.IN_MEMORY", 100)
        image = open_image(tmp_path / "b.tif")
    assert image.read([Region(0, 0, 64, 64)], 1.0).shape == (1, 3, 64, 64)
    with pytest.raises(ImageError, match=r"b\.tif: the pixels at level 0, columns 70"):
        image.read([Region(70, 70, 20, 20)], 1.0)


def test_inks_that_are_not_named_and_lab_of_few_bits(tmp_path):
    inks = np.zeros((32, 32, 4), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated", extratags=[(332, 3, 1, 2, True)])
    with pytest.raises(ImageError, match="unnamed inks"):
        open_image(tmp_path / "a.tif")


def test_nodata_of_each_band(tmp_path):
    """An RGB GeoTIFF with 0, 0, 255 in its side-car: the missing pixel is theirs, a black one is not."""
    pixels = np.full((3, 40, 40), 90, dtype=np.uint8)
    pixels[:, 3, 4] = (0, 0, 255)
    pixels[:, 7, 8] = 0
    path = tmp_path / "a.tif"
    size = {"width": 40, "height": 40, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32633", transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6), **size
    ) as file:
        file.write(pixels)
    bands = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for band, value in ((1, 0), (2, 0), (3, 255))
    )
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    with rasterio.open(path) as file:
        assert file.nodatavals == (0, 0, 255)
    before = sorted(tmp_path.iterdir())
    found = seen(path)
    assert sorted(tmp_path.iterdir()) == before  # side-cars are read, none is written
    assert (found[3, 4] == 255).all()
    assert (found[7, 8] == 0).all()
    assert (found[0, 0] == 90).all()


@pytest.mark.parametrize("inside", [False, True])
def test_a_mask_of_valid_pixels_counts_wherever_it_is(tmp_path, inside):
    """Also beside a small TIFF that is on no map (NAME.tif.msk)."""
    pixels = np.random.default_rng(0).integers(1, 200, (3, 40, 40), dtype=np.uint8)
    valid = np.zeros((40, 40), np.uint8)
    valid[:, :25] = 255
    size = {"width": 40, "height": 40, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside):
        with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size) as file:
            file.write(pixels)
            file.write_mask(valid)
    assert (tmp_path / "a.tif.msk").is_file() is not inside
    expected = np.where(valid[..., None] == 0, 255, pixels.transpose(1, 2, 0))
    assert np.array_equal(seen(tmp_path / "a.tif"), expected)


def test_a_band_without_nodata_is_never_missing(tmp_path):
    """As GDAL's mask of the data set: a pixel is missing where all of its bands are."""
    pixels = np.full((3, 20, 20), 90, dtype=np.uint8)
    pixels[2, 3, 4] = 0
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=20, height=20, count=3, dtype="uint8"
    ) as file:
        file.write(pixels)
    bands = '<PAMRasterBand band="3"><NoDataValue>0</NoDataValue></PAMRasterBand>'
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.nodatavals == (None, None, 0) and file.dataset_mask().all()
    assert seen(tmp_path / "a.tif")[3, 4].tolist() == [90, 90, 0]


def both_ways(path, monkeypatch):
    """The pixels (h, w, 3) read from memory, and from disk."""
    found = []
    for most in (1 << 26, 1):
        monkeypatch.setattr(raster, "IN_MEMORY", most)
        image = open_image(path)
        found.append(image.read([Region(0, 0, image.width, image.height)], 1.0)[0].permute(1, 2, 0).numpy())
    assert np.array_equal(*found)
    return found[0].astype(int)


def ramp(height=96, width=128):
    y, x = np.mgrid[:height, :width]
    colours = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) % 200], -1).astype(np.uint8)
    return colours, ((3 * x + 2 * y) % 256).astype(np.uint8)


@pytest.mark.parametrize("kind", ["separated", "miniswhite"])
def test_what_is_no_light_is_divided_by_its_opacity(kind, tmp_path, monkeypatch):
    """Inks, and grey whose 0 is white, are multiplied as they are stored: more opaque is darker."""
    colours, alpha = ramp()
    light = colours if kind == "separated" else colours[..., :1]
    stored = 255 - light
    stored = np.dstack([stored, np.zeros_like(alpha)]) if kind == "separated" else stored
    stored = np.dstack([np.round(stored * (alpha / 255)[..., None]).astype(np.uint8), alpha])
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=kind, extrasamples=["assocalpha"], tile=(64, 64))
    wanted = np.round(light * (alpha / 255)[..., None] + 255.0 - alpha[..., None])
    assert np.abs(both_ways(tmp_path / "a.tif", monkeypatch) - wanted).max() <= 2


@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
def test_lab_times_opacity_is_refused(photometric, tmp_path):
    pixels = np.full((32, 32, 4), 100, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric, extrasamples=["assocalpha"])
    with pytest.raises(ImageError, match="multiplied by opacity"):
        open_image(tmp_path / "a.tif")


def jpeg2000(path, samples, compression, photometric, *, mixed):
    """A TIFF of one tile, as Aperio writes it: a codestream, whose components are mixed or not."""
    import imagecodecs

    code = imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, codecformat="j2k", mct=mixed)
    tifffile.imwrite(
        path,
        iter([code]),
        shape=samples.shape,
        dtype=np.uint8,
        photometric=photometric,
        compression="jpeg2000",
        tile=samples.shape[:2],
        metadata=None,
    )
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(compression)


@pytest.mark.parametrize(
    ("compression", "photometric", "mixed", "stored"),
    [
        (33003, "rgb", False, "luma"),  # an SVS whose description is gone
        (33003, "ycbcr", False, "luma"),
        (34712, "ycbcr", False, "luma"),
        (34712, "ycbcr", True, "colours"),
        (33005, "rgb", False, "colours"),
        (33005, "rgb", True, "colours"),
        (34712, "rgb", True, "colours"),
    ],
)
def test_luma_and_chroma_in_jpeg_2000(compression, photometric, mixed, stored, tmp_path, monkeypatch):
    colours, _ = ramp(64, 64)
    red, green, blue = np.moveaxis(colours.astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    ycc = np.stack([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402], -1).round()
    samples = colours if stored == "colours" else ycc.clip(0, 255).astype(np.uint8)
    jpeg2000(tmp_path / "a.tif", samples, compression, photometric, mixed=mixed)
    assert np.abs(both_ways(tmp_path / "a.tif", monkeypatch) - colours).max() <= (
        2 if stored == "luma" else 0
    )


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_halved_chroma_has_one_answer(subsampling, tile, tmp_path, monkeypatch):
    """Decoders widen it in their own ways, up to 67 grey values apart."""
    options = {"compressionargs": {"level": 95}, "subsampling": subsampling, "tile": tile}
    tifffile.imwrite(tmp_path / "a.tif", ramp()[0], photometric="rgb", compression="jpeg", **options)
    monkeypatch.setattr(raster, "IN_MEMORY", 1 << 26)
    small = open_image(tmp_path / "a.tif")
    monkeypatch.setattr(raster, "IN_MEMORY", 1)
    large = open_image(tmp_path / "a.tif")
    region = [Region(0, 0, small.width, small.height)]
    assert np.abs(small.read(region, 1.0).int() - large.read(region, 1.0).int()).max() <= 1


SIDE_CAR = (
    "<PAMDataset>"
    + "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for band, value in enumerate((0, 0, 255), start=1)
    )
    + "</PAMDataset>"
)


@pytest.mark.parametrize("name", ["a.tif", "a.bmp", "a.png", "a.jp2"])
def test_missing_samples_in_a_side_car(name, tmp_path, monkeypatch):
    """0, 0, 255 is missing, and black is black, whether the file is small or large, on a map or not."""
    monkeypatch.setenv("ZOOMIN_CACHE", str(tmp_path / "cache"))
    pixels, _ = ramp()
    pixels[10:20, 10:20], pixels[30:40, 30:40] = (0, 0, 255), 0
    options = {"irreversible": False} if name == "a.jp2" else {}
    PillowImage.fromarray(pixels).save(tmp_path / name, **options)
    (tmp_path / f"{name}.aux.xml").write_text(SIDE_CAR)
    wanted = pixels.astype(int)
    wanted[10:20, 10:20] = 255
    assert np.array_equal(both_ways(tmp_path / name, monkeypatch), wanted)


def test_a_world_file_places_a_small_tiff(tmp_path):
    PillowImage.fromarray(ramp()[0]).save(tmp_path / "a.tif")
    (tmp_path / "a.tfw").write_text("0.5\n0\n0\n-0.5\n500000.25\n4999999.75\n")
    place = open_image(tmp_path / "a.tif").georeference
    assert place.transform == (0.5, 0.0, 5e5, 0.0, -0.5, 5e6) and place.crs is None
