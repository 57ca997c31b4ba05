"""OME-Zarr of every version and packing, against the arrays that zarr itself gives."""

from __future__ import annotations

import shutil

import numcodecs
import numpy as np
import pytest
import torch
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from slides import noise, picture
from training_examples import one_thread, run_config  # noqa: F401 (a fixture)
from zarrs import ome_zarr, zipped
from zoomin.data.check import check_images, images_to_check
from zoomin.data.find import open_dataset
from zoomin.data.folders import list_images, read_folders
from zoomin.data.manifest import Record
from zoomin.errors import ChannelsError, DataError, ImageError
from zoomin.geometry import Region
from zoomin.images.cache import HANDLES
from zoomin.images.describe import describe
from zoomin.images.formats.zarr_image import ZarrImage
from zoomin.images.open_image import open_image
from zoomin.inference import InferenceConfig, predict
from zoomin.inference.explain_folder import explain_into
from zoomin.inference.sources import find_images
from zoomin.model import ZoomIn
from zoomin.testing import READER_CHECKS, ReaderCase
from zoomin.training.fit import fit
from zoomin.training.plan import plan

PIXELS = picture(192, 256)

KINDS = {
    "v04.zarr": lambda path: ome_zarr(path, PIXELS, "0.4", compressor=numcodecs.Blosc("zstd")),
    "v04-tczyx.zarr": lambda path: ome_zarr(path, PIXELS, "0.4", axes="tczyx"),
    "v05.zarr": lambda path: ome_zarr(path, PIXELS, compressor=ZstdCodec()),
    "v05-yxc.zarr": lambda path: ome_zarr(path, PIXELS, axes="yxc", compressor=BloscCodec()),
    "sharded.zarr": lambda path: ome_zarr(path, PIXELS, chunk=32, shard=128),
    "raw.zarr": lambda path: ome_zarr(path, PIXELS, compressor=None),
    "a.zarr.zip": lambda path: zipped(ome_zarr(path.with_name("inner.zarr"), PIXELS, "0.4"), path),
    "a.ozx": lambda path: zipped(ome_zarr(path.with_name("in.zarr"), PIXELS, chunk=32, shard=128), path),
    "deep.zip": lambda path: zipped(ome_zarr(path.with_name("d.zarr"), PIXELS), path, below="d.zarr/"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Müller zarr")
    return {name: write(folder / name) for name, write in KINDS.items()}


@pytest.mark.parametrize("check", READER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", KINDS)
def test_the_contract(check, name, files):
    check(ReaderCase(lambda: open_image(files[name]), PIXELS))


@pytest.mark.parametrize("name", KINDS)
def test_levels_are_those_that_zarr_gives(name, files):
    image = open_image(files[name])
    assert isinstance(image, ZarrImage) and image.mpp == 0.25
    assert [level.pixel for level in image.levels] == [(1, 1), (2, 2), (4, 4)]
    if not files[name].is_dir():
        return
    array = zarr.open_array(str(files[name] / "2"), mode="r")
    names = image.contents.axes
    plain = np.asarray(array[...]).transpose([names.index(a) for a in (*(set(names) - set("yxc")), *"yxc")])
    view = image.read([Region(0, 0, image.width, image.height)], 0.25)[0]
    assert np.array_equal(view.permute(1, 2, 0).numpy(), plain.reshape(48, 64, 3))
    image.close()


def test_only_touched_chunks_are_read(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", noise(256, 256), levels=1, chunk=64)
    image = open_image(path)
    (path / "0" / "c" / "0" / "3" / "3").write_bytes(b"damaged")
    image.read([Region(0, 0, 128, 64)], 1.0)
    assert image.decoded_pixels == 2 * 64 * 64
    with pytest.raises(ImageError, match=r"level 0, columns 200 to 216.*A chunk is damaged"):
        image.read([Region(200, 200, 16, 16)], 1.0)
    image.read([Region(0, 0, 128, 64)], 1.0)


def test_of_a_shard_only_the_touched_chunks_are_read(tmp_path):
    """A byte is changed in each stored chunk but the first: reads of the first alone succeed."""
    path = ome_zarr(
        tmp_path / "a.zarr",
        noise(256, 256),
        levels=1,
        chunk=64,
        shard=256,
        compressor=ZstdCodec(checksum=True),
    )
    pixels = noise(256, 256)
    image = open_image(path)
    shard = path / "0" / "c" / "0" / "0" / "0"
    stored = bytearray(shard.read_bytes())
    index = np.frombuffer(bytes(stored[-4 - 48 * 16 : -4]), "<u8").reshape(3, 4, 4, 2)
    for channel, row, column in np.ndindex(3, 4, 4):
        if (row, column) != (0, 0):
            offset, length = (int(n) for n in index[channel, row, column])
            stored[offset + length // 2] ^= 0xFF
    shard.write_bytes(bytes(stored))
    view = image.read([Region(0, 0, 64, 64)], 1.0)[0]
    assert np.array_equal(view.permute(1, 2, 0).numpy(), pixels[:64, :64])
    with pytest.raises(ImageError, match="cannot be decoded"):
        image.read([Region(64, 64, 64, 64)], 1.0)


def test_missing_chunks_have_the_fill_value(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PIXELS, levels=1)
    (path / "0" / "c" / "1" / "0" / "0").unlink()
    view = open_image(path).read([Region(0, 0, 64, 64)], 1.0)[0]
    assert (view[1] == 0).all()
    assert np.array_equal(view[0].numpy(), PIXELS[:64, :64, 0])


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_without_any_chunk_is_refused(packed, tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PIXELS, levels=2)
    shutil.rmtree(path / "0" / "c")
    path = zipped(path, tmp_path / "a.ozx") if packed else path
    with pytest.raises(ImageError, match="none of its chunks is stored"):
        open_image(path)


def test_planes_are_chosen(tmp_path):
    path = tmp_path / "a.zarr"
    ome_zarr(path, PIXELS[..., :1], axes="zyx", levels=1, channels=())
    stack = np.stack([PIXELS[..., 0], 255 - PIXELS[..., 0], PIXELS[..., 1]])
    group = zarr.open_group(path, mode="a")
    group.create_array("0", data=stack, chunks=(1, 64, 64), overwrite=True)
    with pytest.raises(ImageError, match=r'3 along z.*series="z=1"'):
        open_image(path)
    view = open_image(path, series="z=1").read([Region(0, 0, 50, 40)], 1.0)[0]
    assert np.array_equal(view[2].numpy(), 255 - PIXELS[:40, :50, 0])
    with pytest.raises(ImageError, match="Give z from 0 to 2"):
        open_image(path, series="z=3")
    with pytest.raises(ImageError, match='"1, z=4, t=0"'):
        open_image(path, series="y=3")


def test_a_collection_of_images(tmp_path):
    path = tmp_path / "a.zarr"
    ome_zarr(path, PIXELS, "0.4", place="0", name="label image")
    ome_zarr(path, PIXELS, "0.4", place="1", name="slide", mpp=0.5)
    ome_zarr(path, PIXELS[:64, :64], "0.4", place="2", levels=1)
    zarr.open_group(path, mode="a").attrs["bioformats2raw.layout"] = 3
    image = open_image(path)
    assert (image.mpp, image.contents.arrays[0]) == (0.5, "1/0")
    assert describe(path).associated == ("0 'label image' (256 x 192)", "2 (64 x 64)")
    assert open_image(path, series=0).mpp == 0.25
    assert open_image(path, series="slide").mpp == 0.5
    shutil.rmtree(path / "2")
    ome_zarr(path, PIXELS, "0.4", place="2")
    with pytest.raises(ImageError, match=r"2 images of like size: .*series=0"):
        open_image(path)


REFUSED = {
    "plate": ({"plate": {"wells": []}}, "plate of an OME-Zarr.*a.zarr/A/1/0"),
    "well": ({"well": {"images": []}}, "well of an OME-Zarr"),
    "labels": ({"labels": ["cells"]}, "labels of an OME-Zarr"),
    "group": ({}, "no multiscales"),
    "levels": ({"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": []}]}, "no datasets"),
    "axes": ({"multiscales": [{"axes": ["q", "x"], "datasets": [{"path": "0"}]}]}, "axes q, x"),
    "absent": ({"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]}, "no Zarr array.*'0'"),
    "senseless": ({"multiscales": {"a": 1}}, "are not valid"),
}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_by_its_name(name, version, tmp_path):
    attributes, words = REFUSED[name]
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    group.attrs.update({"ome": attributes} if version == 3 else attributes)
    with pytest.raises(ImageError, match=words):
        open_image(tmp_path / "a.zarr")


def test_an_array_alone_is_refused(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=PIXELS)
    with pytest.raises(ImageError, match="Zarr array without the metadata"):
        open_image(tmp_path / "a.zarr")


def test_labels_beside_the_image_are_ignored(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PIXELS)
    ome_zarr(path, PIXELS, place="labels/cells", channels=())
    zarr.open_group(path, mode="a")["labels"].attrs["ome"] = {"labels": ["cells"]}
    assert np.array_equal(_whole(open_image(path)), PIXELS)
    with pytest.raises(ImageError, match="labels of an OME-Zarr"):
        open_image(path / "labels")


@pytest.mark.parametrize(
    ("unit", "mpp", "found"),
    [("micrometer", 0.5, 0.5), ("nanometer", 250, 0.25), ("millimeter", 0.001, 1.0), ("", 0.5, None),
     ("picometer", 250_000.0, 0.25), ("angstrom", 2500.0, 0.25), ("foot", 0.25 / 304_800, 0.25),
     ("yoctometer", 2.5e17, 0.25), ("meter", 10.0, None), ("pixel", 1.0, None), ("micrometer", 100.0, None)],
)  # fmt: skip
def test_microns_have_a_unit(unit, mpp, found, tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PIXELS, levels=1, mpp=mpp, unit=unit)
    image = open_image(path)
    assert image.mpp == pytest.approx(found)
    assert open_image(path, mpp=0.7).mpp == 0.7
    assert describe(path).mpp_source == (f"OME-Zarr scale in {unit}" if found else "")


def test_scales_of_the_whole_multiply(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PIXELS, levels=1, mpp=1.0)
    group = zarr.open_group(path, mode="a")
    ome = group.attrs["ome"]
    ome["multiscales"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    group.attrs["ome"] = ome
    assert open_image(path).mpp == 0.5


def test_a_level_of_another_place_or_aspect_is_none(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PIXELS)
    group = zarr.open_group(path, mode="a")
    group.create_array("1", data=PIXELS[:100].transpose(2, 0, 1), overwrite=True)
    ome = group.attrs["ome"]
    shift = {"type": "translation", "translation": [0, 40.0, 40.0]}
    ome["multiscales"][0]["datasets"][2]["coordinateTransformations"].append(shift)
    group.attrs["ome"] = ome
    assert len(open_image(path).levels) == 1


def test_colours_of_the_channels_decide(tmp_path):
    swapped = [{"color": c, "label": ""} for c in ("0000FF", "00FF00", "FF0000")]
    path = ome_zarr(tmp_path / "a.zarr", PIXELS, channels=swapped)
    assert np.array_equal(_whole(open_image(path)), PIXELS[..., ::-1])
    named = [{"color": "FFFFFF", "label": name} for name in ("B", "green", "Red channel")]
    path = ome_zarr(tmp_path / "c.zarr", PIXELS, channels=named)
    assert np.array_equal(_whole(open_image(path)), PIXELS[..., ::-1])


@pytest.mark.parametrize("colours", [("FFFFFF",) * 3, ("0000FF", "00FF00", "FF0000")])
def test_the_names_of_stains_outweigh_the_colours_they_are_displayed_in(colours, tmp_path):
    stains = zip(("DAPI", "FITC", "Cy5"), colours, strict=True)
    channels = [{"color": colour, "label": name} for name, colour in stains]
    path = ome_zarr(tmp_path / "b.zarr", PIXELS, channels=channels)
    with pytest.raises(
        ChannelsError, match=r"3 channels \(DAPI, FITC, Cy5\) that are not red.*data\.channels"
    ):
        open_image(path)


def test_sixteen_bits_and_floating_point_are_seen_as_elsewhere(tmp_path):
    wide = PIXELS.astype(np.uint16) * 257
    assert np.array_equal(_whole(open_image(ome_zarr(tmp_path / "a.zarr", wide, levels=1))), PIXELS)
    real = (PIXELS / 255).astype(np.float32)
    real[:64, :64] = np.nan
    found = _whole(open_image(ome_zarr(tmp_path / "b.zarr", real, levels=1)))
    assert (found[:64, :64] == 255).all() and np.array_equal(found[64:], PIXELS[64:])
    with pytest.raises(ImageError, match="pixels of type int32"):
        open_image(ome_zarr(tmp_path / "c.zarr", PIXELS.astype(np.int32), levels=1))


def test_a_folder_is_one_image_wherever_folders_are_listed(tmp_path):
    for label in ("normal", "tumour"):
        ome_zarr(tmp_path / "set" / label / "a.zarr", PIXELS, levels=1)
        zipped(tmp_path / "set" / label / "a.zarr", tmp_path / "set" / label / "b.zarr.zip")
    names = ["normal/a.zarr", "normal/b.zarr.zip", "tumour/a.zarr", "tumour/b.zarr.zip"]
    every = [tmp_path / "set" / name for name in names]
    assert list_images(tmp_path / "set") == every
    assert [record.image for record in read_folders(tmp_path / "set").records] == every
    assert find_images([tmp_path / "set"]) == find_images([tmp_path / "set" / "*" / "*"]) == every
    assert find_images([tmp_path / "set" / "**" / "*"]) == every
    assert find_images([every[0]]) == [every[0]]
    assert [record.image for record in images_to_check([every[0]])] == [every[0]]
    with pytest.raises(DataError, match="an OME-Zarr, which is one image"):
        open_dataset(every[0])


def test_data_check_tells_what_it_is(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PIXELS)
    [found] = check_images([Record(path, label=None)])
    row = found.row
    assert (row.problem, row.reader, row.format, row.levels, row.mpp) == ("", "zarr", "ZARR", 3, 0.25)
    assert row.mpp_source == "OME-Zarr scale in micrometer"
    assert row.pixels == "OME-Zarr 0.5, 3 x uint8, Zstd"


def test_a_zarr_that_changes_or_goes(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PIXELS)
    image = open_image(path)
    ome_zarr(tmp_path / "b.zarr", PIXELS[::-1])
    shutil.rmtree(path)
    HANDLES.drop_all(lambda key: True)
    with pytest.raises(ImageError, match="gone or cannot be reached"):
        image.read([Region(0, 0, 8, 8)], 1.0)
    (tmp_path / "b.zarr").rename(path)
    with pytest.raises(ImageError, match="has changed"):
        image.read([Region(0, 0, 8, 8)], 1.0)


def _whole(image):
    view = image.read([Region(0, 0, image.width, image.height)], 1.0)[0]
    assert view.dtype == torch.uint8
    return view.permute(1, 2, 0).numpy()


def test_plan_train_predict_and_explain(tmp_path):
    """A bright square tells the classes apart; images are OME-Zarrs, in folders and archives."""
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        kind = number % 2
        if kind:
            pixels[20:36, 8:24, 1] = 255
        path = tmp_path / "set" / ("empty", "square")[kind] / f"{number}.zarr"
        ome_zarr(path, pixels, levels=1, chunk=32)
        if number > 7:
            zipped(path, path.with_name(f"{number}.ozx"))
            shutil.rmtree(path)
    config = run_config(tmp_path / "set", tmp_path / "run", epochs=2)
    assert plan(config.data).summary.formats == {".zarr": 8, ".ozx": 4}
    fit(config, progress=False)
    net = ZoomIn.from_pretrained(tmp_path / "run" / "model")
    paths = find_images([tmp_path / "set"])
    rows = list(predict(paths, net))
    assert len(rows) == 12 and all(row.status == "ok" for row in rows)
    summary = explain_into(paths[-1:], net, tmp_path / "explained", InferenceConfig())
    assert (summary.explained, len(summary.failed)) == (1, 0)
