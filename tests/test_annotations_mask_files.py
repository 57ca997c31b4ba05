"""Masks as files: what is stored counts, whatever colours it is meant to be seen in."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image as PillowImage
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin

from zoomin.annotations.mask import MaskAnnotation
from zoomin.annotations.open_annotation import open_annotation
from zoomin.data.manifest import Record
from zoomin.errors import DataError
from zoomin.geometry import Region
from zoomin.images.georeference import Georeference

H, W = 300, 400
TRUE = np.zeros((H, W), dtype=bool)
TRUE[10:110, 10:110] = True


def stored(path):
    """The ROI that a mask file tells, pixel by pixel."""
    mask = MaskAnnotation(path, height=H, width=W)
    return mask.read([Region(0, 0, W, H)], 1.0)[0].numpy() > 0.5


def by_tifffile(**options):
    return lambda path: tifffile.imwrite(path, TRUE, **options)


def by_gdal(**options):
    def write(path):
        size = {"height": H, "width": W, "count": 1, "dtype": "uint8"}
        with rasterio.open(path, "w", driver="GTiff", **size, **options) as file:
            file.write(TRUE.astype(np.uint8), 1)

    return write


def by_pillow(mode, **options):
    def write(path):
        image = PillowImage.fromarray(TRUE) if mode == "1" else PillowImage.fromarray(TRUE.astype(np.uint8))
        if mode == "P":
            image = image.convert("P")
            image.putpalette([255, 255, 255, 0, 0, 0])  # true is painted black
        image.save(path, **options)

    return write


def by_alpha(mode):
    def write(path):
        grey = np.full((H, W, len(mode) - 1), 0 if mode == "LA" else 255, np.uint8)
        PillowImage.fromarray(np.dstack([grey, TRUE * np.uint8(255)]), mode).save(path)

    return write


def missing(value, dtype="uint8"):
    """What was drawn is 1, what was measured elsewhere 0, and the rest was not measured."""
    values = np.where(TRUE, 1, np.where(np.arange(H)[:, None] < 200, 0, value)).astype(dtype)

    def write(path):
        with rasterio.open(
            path, "w", driver="GTiff", height=H, width=W, count=1, dtype=dtype, nodata=value
        ) as f:
            f.write(values, 1)

    return write


FILES = {
    "bool.tif": by_tifffile(),  # f06: 1 bit, white is zero
    "bool-black-is-zero.tif": by_tifffile(photometric="minisblack"),
    "bool-deflate-tiles.tif": by_tifffile(compression="zlib", tile=(64, 64)),
    "bytes-white-is-zero.tif": lambda path: tifffile.imwrite(
        path, TRUE.astype("u1"), photometric="miniswhite"
    ),
    "words-white-is-zero.tif": lambda path: tifffile.imwrite(
        path, TRUE.astype("u2"), photometric="miniswhite"
    ),
    "labels.tif": lambda path: tifffile.imwrite(path, TRUE.astype("i4") * 7, photometric="minisblack"),
    "floats.tif": lambda path: tifffile.imwrite(path, TRUE.astype("f4") * 0.1, photometric="minisblack"),
    "nbits.tif": by_gdal(nbits=1),
    "nbits-white-is-zero.tif": by_gdal(nbits=1, photometric="miniswhite"),
    "fax.tif": by_gdal(nbits=1, compress="ccittfax4"),
    "palette.tif": by_pillow("P"),
    "palette.png": by_pillow("P"),
    "palette.bmp": by_pillow("P"),
    "bits.png": by_pillow("1"),
    "bits.bmp": by_pillow("1"),
    "bits.tif": by_pillow("1"),
    "netpbm.pbm": by_pillow("1"),
}
MEANT = {
    "loss.jpg": lambda path: PillowImage.fromarray(TRUE * np.uint8(255)).save(path, quality=70),
    "loss.webp": lambda path: PillowImage.fromarray(TRUE * np.uint8(255)).save(path, quality=50),
    "loss.tif": lambda path: tifffile.imwrite(path, TRUE * np.uint8(255), compression="jpeg"),
    "opacity-alone.png": by_alpha("RGBA"),
    "opacity-of-black.png": by_alpha("LA"),
    "opacity-alone.tif": by_alpha("RGBA"),
    "nodata-255.tif": missing(255),
    "nodata-minus-9999.tif": missing(-9999.0, "float32"),
    "not-a-number.tif": missing(np.nan, "float32"),
}


@pytest.mark.parametrize("name", FILES)
def test_true_is_what_was_stored(name, tmp_path):
    """The right value of f06 is 10,000 pixels; tifffile and rasterio agree for every TIFF."""
    path = tmp_path / name
    FILES[name](path)
    assert stored(path).sum() == 10_000
    assert np.array_equal(stored(path), TRUE)
    if name.endswith("tif"):
        assert np.array_equal(tifffile.imread(path) != 0, TRUE)
        with rasterio.open(path) as file:
            assert np.array_equal(file.read(1) != 0, TRUE)


@pytest.mark.parametrize("name", MEANT)
def test_true_is_what_was_meant(name, tmp_path):
    """Decoders show other values than 0 outside of what was drawn, or none inside."""
    MEANT[name](tmp_path / name)
    assert np.array_equal(stored(tmp_path / name), TRUE)


@pytest.mark.parametrize("value", [1, 100])
@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.tif"])
def test_a_loss_that_nothing_undoes_is_refused(name, value, tmp_path):
    mask = TRUE * np.uint8(value)
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, mask, compression="jpeg")
    else:
        PillowImage.fromarray(mask).save(tmp_path / name, quality=60)
    with pytest.raises(DataError, match=r"compressed with loss.*Save it without loss"):
        stored(tmp_path / name)


def test_missing_samples_alone_are_not_clear(tmp_path):
    """A profile copied from the image declares 255 as missing, and what was drawn is 255."""
    profile = {"driver": "GTiff", "height": H, "width": W, "count": 1, "dtype": "uint8", "nodata": 255}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(TRUE * np.uint8(255), 1)
    with pytest.raises(DataError, match=r"nothing but 0 and 255.*-unsetnodata"):
        stored(tmp_path / "a.tif")


def test_formats_of_images_alone_are_named(tmp_path):
    PillowImage.fromarray(TRUE * np.uint8(255)).save(tmp_path / "a.jp2")
    with pytest.raises(DataError, match="JPEG 2000, of which only images are read"):
        stored(tmp_path / "a.jp2")


def on_map(path, mask, crs="EPSG:32633", left=5e5, top=5e6, side=0.5):
    where = {"crs": crs, "transform": from_origin(left, top, side, side)}
    height, width = mask.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8", **where
    ) as file:
        file.write(mask.astype(np.uint8), 1)
    return path


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"left": 5e5 + 0.25, "top": 5e6 - 0.25},  # of the centre of a pixel
        {"crs": "EPSG:25833"},  # the same to a micron
        {"crs": None},
        {"crs": None, "left": 0, "top": 0},  # no map: how large pixels are
    ],
)
@pytest.mark.parametrize("step", [1, 4])
def test_a_mask_on_the_map_of_its_image(where, step, tmp_path):
    place = Georeference(CRS.from_epsg(32633).to_wkt(), (0.5, 0.0, 5e5, 0.0, -0.5, 5e6))
    path = on_map(tmp_path / "a.tif", TRUE[::step, ::step], side=0.5 * step, **where)
    assert MaskAnnotation(path, H, W, place=place).read([Region(0, 0, W, H)], 1.0).sum() == pytest.approx(1e4)


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("of", ["mask", "image"])
def test_rows_from_south_to_north(of, step, tmp_path):
    drawn = np.zeros((H, W), dtype=bool)
    drawn[40:80, 100:200] = True
    up, down = (0.5, 0.0, 5e5, 0.0, 0.5, 5e6 - H / 2), (0.5, 0.0, 5e5, 0.0, -0.5, 5e6)
    path = on_map(tmp_path / "a.tif", drawn[::step, ::step], side=0.5 * step)
    if of == "mask":
        with rasterio.open(path, "r+") as file:
            file.write(np.ascontiguousarray(file.read()[:, ::-1]))
            file.transform = Affine(0.5 * step, 0, 5e5, 0, 0.5 * step, 5e6 - H / 2)
    place = Georeference(CRS.from_epsg(32633).to_wkt(), down if of == "mask" else up)
    seen = MaskAnnotation(path, H, W, place=place).read([Region(0, 0, W, H)], 1.0)[0].numpy() > 0.5
    assert np.array_equal(seen, drawn if of == "mask" else drawn[::-1])


@pytest.mark.parametrize("turned", [False, True])
def test_columns_from_east_to_west(turned, tmp_path):
    path = on_map(tmp_path / "a.tif", TRUE, side=0.5)
    with rasterio.open(path, "r+") as file:
        stored_as = file.read()[:, :: -1 if turned else 1, ::-1]
        file.write(np.ascontiguousarray(stored_as))
        south = 5e6 - H / 2 if turned else 5e6
        file.transform = Affine(-0.5, 0, 5e5 + W / 2, 0, 0.5 if turned else -0.5, south)
    place = Georeference(CRS.from_epsg(32633).to_wkt(), (0.5, 0.0, 5e5, 0.0, -0.5, 5e6))
    seen = MaskAnnotation(path, H, W, place=place).read([Region(0, 0, W, H)], 1.0)[0].numpy() > 0.5
    assert np.array_equal(seen, TRUE)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"left": 5e5 + 25}, "x 50 to 450, y 0 to 300"),  # half of it lies beside the image
        ({"side": 1.0}, "x 0 to 800, y 0 to 600"),
        ({"crs": "EPSG:32632"}, "it spans x -9"),
        ({"crs": None, "left": 5e5 + 25}, "x 50 to 450, y 0 to 300"),  # a map that it does not name
    ],
)
def test_a_mask_that_lies_elsewhere_on_the_map(where, words, tmp_path):
    place = Georeference(CRS.from_epsg(32633).to_wkt(), (0.5, 0.0, 5e5, 0.0, -0.5, 5e6))
    with pytest.raises(DataError, match=f"the mask does not meet its image: .*{words}.*gdalwarp"):
        assert MaskAnnotation(on_map(tmp_path / "a.tif", TRUE, **where), H, W, place=place).empty


def test_colours_count_and_opacity_does_not(tmp_path):
    colours = np.zeros((H, W, 4), dtype=np.uint8)
    colours[..., 3] = 255
    colours[TRUE, 1] = 1
    for name in ("a.png", "a.tif"):
        PillowImage.fromarray(colours).save(tmp_path / name)
        assert np.array_equal(stored(tmp_path / name), TRUE)


def test_a_pyramid_of_a_mask_is_its_first_level(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(TRUE, tile=(64, 64), subifds=1)
        file.write(TRUE[::2, ::2], tile=(64, 64), subfiletype=1)
    assert np.array_equal(stored(tmp_path / "a.tif"), TRUE)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 3\n"), ("a.png", b"%!PS-Adobe-3.0\n"),
     ("a.tif", b"%PDF-1.7\n"), ("b.tif", b"II*\0" + bytes(20))],
)  # fmt: skip
def test_masks_come_through_the_door_of_images(name, content, tmp_path, monkeypatch):
    """Only formats that images have: PostScript would run another program."""
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(PillowImage, "open", lambda *_: pytest.fail("any plug-in may answer"))
    with pytest.raises(DataError, match=r"mask cannot be decoded"):
        stored(tmp_path / name)


STACK = np.stack([TRUE, TRUE[:, ::-1], np.zeros_like(TRUE)]).astype(np.uint8)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"),
        lambda path: tifffile.imwrite(path, STACK, imagej=True),
        lambda path: tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX"}),
        lambda path: tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "CYX"}),
        lambda path: [tifffile.imwrite(path, p, append=n > 0, metadata=None) for n, p in enumerate(STACK)],
        lambda path: PillowImage.fromarray(STACK[0]).save(
            path, save_all=True, append_images=[PillowImage.fromarray(p) for p in STACK[1:]]
        ),
    ],
)
def test_a_mask_of_several_planes_names_the_remedy_that_masks_have(write, tmp_path):
    """`series=` is of images. Both remedies are tried."""
    path = tmp_path / "a.tif"
    write(path)
    with pytest.raises(
        DataError, match=r"the mask is a stack.*A mask is one plane\. Save what any"
    ) as caught:
        stored(path)
    assert "series" not in str(caught.value) and "channels=" not in str(caught.value)
    tifffile.imwrite(tmp_path / "any.tif", (tifffile.imread(path) != 0).any(axis=0).astype("uint8"))
    assert np.array_equal(stored(tmp_path / "any.tif"), TRUE | TRUE[:, ::-1])
    tifffile.imwrite(tmp_path / "one.tif", tifffile.imread(path, key=0))
    assert np.array_equal(stored(tmp_path / "one.tif"), TRUE)


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_an_animation_is_no_mask(kind, tmp_path):
    """Its first picture was taken for all of them."""
    first, *others = [PillowImage.fromarray(p * 255).convert("RGB") for p in STACK]
    first.save(
        tmp_path / f"a.{kind}",
        save_all=True,
        append_images=others,
        **{"lossless": True} if kind == "webp" else {},
    )
    with pytest.raises(DataError, match=r"the mask is a stack \(the \w+ holds 3 pictures\)"):
        stored(tmp_path / f"a.{kind}")


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float64"])
def test_a_mask_that_numpy_saved(dtype, tmp_path):
    values = TRUE.astype(dtype)
    if dtype == "int8":
        values = -values
    if dtype.startswith("float"):
        values[0] = np.nan  # not measured
    np.save(tmp_path / "a.npy", values)
    assert np.array_equal(stored(tmp_path / "a.npy"), TRUE)
    np.save(tmp_path / "b.npy", values[::2, ::2, None])
    assert np.array_equal(stored(tmp_path / "b.npy"), TRUE)
    record = Record(tmp_path / "i.png", label=None, annotation=tmp_path / "a.npy")
    found = open_annotation(record, H, W)
    assert found is not None and not found.empty


@pytest.mark.parametrize(
    ("values", "words"),
    [(STACK, r"of uint8 and shape \(3, 300, 400\).*Save one plane"), (np.array([["a"]]), "of <U1 and shape"),
     (np.array([[None]]), "cannot be read as a NumPy array")],
)  # fmt: skip
def test_arrays_that_are_no_masks(values, words, tmp_path):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=words):
        stored(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("name", "palette", "clear"),
    [
        ("a.png", {0: (0, 0, 0), 1: (255, 255, 255)}, True),
        ("a.png", {0: (255, 255, 255), 1: (0, 0, 0)}, True),  # a label's index counts
        ("a.gif", {0: (0, 0, 0), 1: (9, 0, 0)}, True),
        ("a.gif", {0: (255, 255, 255), 1: (0, 0, 0)}, False),  # colours were numbered in any order
        ("a.png", {7: (0, 0, 0), 4: (255, 255, 255)}, False),  # by its indices, all of it is ROI
        ("a.tif", {7: (0, 0, 0), 4: (255, 255, 255)}, False),
        ("a.bmp", {7: (0, 0, 0), 4: (255, 255, 255)}, False),
        ("a.png", {7: (9, 9, 9), 4: (255, 255, 255)}, None),
    ],
)
def test_palettes_whose_indices_and_colours_disagree(name, palette, clear, tmp_path):
    outside, inside = palette
    image = PillowImage.fromarray(np.where(TRUE, inside, outside).astype(np.uint8), "P")
    colours = np.full((256, 3), 40, np.uint8)
    for index, colour in palette.items():
        colours[index] = colour
    image.putpalette(colours.ravel().tolist())
    image.save(tmp_path / name, **({"optimize": False} if name.endswith("gif") else {}))
    if clear is False:
        with pytest.raises(DataError, match=r"black is not the index 0.*Save it as grey"):
            stored(tmp_path / name)
    else:
        assert np.array_equal(stored(tmp_path / name), TRUE if clear else np.ones_like(TRUE))


@pytest.mark.parametrize("suffix", ["webp", "ppm", "bmp", "png", "tif"])
def test_a_mask_in_the_column_of_annotations_is_known_by_its_content(suffix, tmp_path):
    options = {"lossless": True} if suffix == "webp" else {}
    PillowImage.fromarray(TRUE.astype(np.uint8) * 255).convert("RGB").save(
        tmp_path / f"a.{suffix}", **options
    )
    record = Record(tmp_path / "i.png", label=None, annotation=tmp_path / f"a.{suffix}")
    found = open_annotation(record, H, W)
    assert found is not None
    assert np.array_equal(found.read([Region(0, 0, W, H)], 1.0)[0].numpy() > 0.5, TRUE)


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
@pytest.mark.parametrize("drawn", ["white", "black"])
def test_inks_are_no_mask(name, drawn, tmp_path):
    """White on black, converted to inks, is 0 inside and full outside."""
    grey = PillowImage.fromarray((TRUE == (drawn == "white")) * np.uint8(255))
    grey.convert("CMYK").save(tmp_path / name)
    with pytest.raises(DataError, match=r"values do not tell what was drawn.*Save it as grey"):
        stored(tmp_path / name)


@pytest.mark.parametrize("second", [255, TRUE[::-1]])
def test_a_sample_without_a_name(second, tmp_path):
    """Nowhere 0, it is opacity or a second class that fills the image; else it is drawn, as any channel."""
    values = np.dstack([TRUE, np.broadcast_to(second, TRUE.shape)]).astype(np.uint8)
    kind = {"photometric": "minisblack", "extrasamples": ["unspecified"], "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", values, **kind)
    if isinstance(second, int):
        with pytest.raises(DataError, match="does not name is not 0 anywhere"):
            stored(tmp_path / "a.tif")
    else:
        assert np.array_equal(stored(tmp_path / "a.tif"), TRUE | second)


@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
def test_lab_is_no_mask(photometric, tmp_path):
    """Neutral is 128 in one of its encodings: all of the image was ROI."""
    values = np.dstack([TRUE * np.uint8(255), *[np.full_like(TRUE, 128, dtype=np.uint8)] * 2])
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric)
    with pytest.raises(DataError, match=r"values do not tell what was drawn.*Save it as grey"):
        stored(tmp_path / "a.tif")


def test_a_palette_that_shows_the_other_way_round_is_told(tmp_path, caplog):
    """As programs that reduce colours write it; the index counts all the same."""
    grey = PillowImage.fromarray(TRUE.astype(np.uint8) * 255).convert("RGB")
    reduced = grey.quantize(2)
    reduced.save(tmp_path / "a.png")
    assert np.array_equal(stored(tmp_path / "a.png"), np.asarray(reduced) != 0)
    told = "shows another index black" in caplog.text
    assert told == (not np.array_equal(np.asarray(reduced) != 0, TRUE))


@pytest.mark.parametrize(("east", "fits"), [(5e5, True), (5e5 + 50, False)])
def test_a_png_mask_on_a_map_by_its_world_file(east, fits, tmp_path):
    PillowImage.fromarray(TRUE.astype(np.uint8) * 255).save(tmp_path / "m.png")
    (tmp_path / "m.pgw").write_text(f"0.5\n0\n0\n-0.5\n{east + 0.25}\n4999999.75\n")
    place = Georeference(CRS.from_epsg(32633).to_wkt(), (0.5, 0.0, 5e5, 0.0, -0.5, 5e6))
    mask = MaskAnnotation(tmp_path / "m.png", H, W, place=place)
    if fits:
        assert np.array_equal(mask.read([Region(0, 0, W, H)], 1.0)[0].numpy() > 0.5, TRUE)
    else:
        with pytest.raises(DataError, match="the mask does not meet its image"):
            mask.read([Region(0, 0, W, H)], 1.0)
