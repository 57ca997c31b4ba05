"""Features as CLAM, TRIDENT, STAMP, slide2vec and wsidata store them: read, and written from any to any.

Each file is written here in the layout that its own program wrote, read off real files: CLAM at 53e2409
(April 2025), TRIDENT 0.3.0, STAMP 2.5.0 (and the units of STAMP 1), slide2vec 7.1.4 with hs2p 6.1.0, wsidata
0.12.0 with spatialdata 0.7.3.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch

from slides import picture
from zoomin.app.cli import main
from zoomin.baselines.clam import CLAM, CLAMConfig
from zoomin.data.feature_conversion import convert_features
from zoomin.data.feature_layouts import LAYOUTS, Slide, write_layout
from zoomin.data.manifest import Record
from zoomin.errors import ConfigError, ImageError
from zoomin.model.feature_files import FeatureFile, read_features, stored_dims, stored_features
from zoomin.model.feature_stores import find_store

MPP, SIDE = 0.25, 64
COORDS = np.array([[0, 0], [64, 0], [0, 64], [192, 128]])
FEATURES = np.arange(4 * 3, dtype=np.float32).reshape(4, 3)
SLIDE = Slide(Path("a.tif"), 300, 200, MPP, "uni")


def clam(folder):
    """`save_hdf5` of extract_features_fp.py: no attributes; the tensor beside it."""
    for inner in ("h5_files", "pt_files"):
        (folder / inner).mkdir(parents=True)
    with h5py.File(folder / "h5_files" / "a.h5", "w") as file:
        file.create_dataset("features", data=FEATURES, maxshape=(None, 3), chunks=(32, 3))
        file.create_dataset("coords", data=COORDS.astype(np.int32), maxshape=(None, 2), chunks=(32, 2))
    torch.save(torch.from_numpy(FEATURES), folder / "pt_files" / "a.pt")


def trident(folder):
    """`coords_to_h5` and `save_h5`: 32 pixels at 20 times of a slide of 40 times are 64 of level 0."""
    folder.mkdir(parents=True)
    told = {"patch_size": 32, "patch_size_level0": 64, "level0_magnification": 40, "target_magnification": 20}
    told |= {"overlap": 0, "name": "a", "savetodir": "out", "level0_width": 300, "level0_height": 200}
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("features", data=FEATURES, maxshape=(None, 3), chunks=(1, 3))
        file["features"].attrs.update({"name": "a", "savetodir": "out", "encoder": "uni_v1"})
        file.create_dataset("coords", data=COORDS, maxshape=(None, 2), chunks=(1, 2))
        file["coords"].attrs.update(told)


def stamp(folder):
    """Microns as floats, features in half precision, attributes of the file."""
    folder.mkdir(parents=True)
    with h5py.File(folder / "a.h5", "w") as file:
        file["coords"] = (COORDS * MPP).astype(np.float32)
        file["feats"] = FEATURES.astype(np.float16)
        told = {"stamp_version": "2.5.0", "extractor": "uni", "unit": "um", "tile_size_um": SIDE * MPP}
        file.attrs.update({**told, "tile_size_px": 224, "code_hash": "0", "feat_type": "tile"})


def stamp_1(folder):
    """No unit: tiles of 256 microns count 224."""
    folder.mkdir(parents=True)
    with h5py.File(folder / "a.h5", "w") as file:
        file["coords"] = (COORDS * MPP * 224 / 256).astype(np.float32)
        file["feats"] = FEATURES.astype(np.float16)
        file.attrs["tile_size"] = 224


def slide2vec(folder, suffix="pt"):
    """`write_tile_embeddings` and hs2p's coordinates; a tile's row is its index."""
    order = np.lexsort((COORDS[:, 1], COORDS[:, 0]))
    for inner in ("tile_embeddings", "tiles"):
        (folder / inner).mkdir(parents=True)
    place = folder / "tiles" / "a.coordinates.npz"
    x, y = COORDS[order].T
    np.savez_compressed(place, tile_index=np.arange(4, dtype=np.int32), x=x, y=y, tissue_fractions=np.ones(4))
    path = folder / "tile_embeddings" / f"a.{suffix}"
    if suffix == "pt":
        torch.save(torch.from_numpy(FEATURES[order]), path)
    else:
        np.savez_compressed(path, features=FEATURES[order], tile_index=np.arange(4))
    told = {"coordinates_npz_path": "/gone/a.coordinates.npz", "tile_size_lv0": SIDE, "feature_dim": 3}
    path.with_suffix(".meta.json").write_text(json.dumps(told))


def wsidata(folder):
    """As `_wsidata` writes it, which the real package reads; rows of tiles and table in two orders."""
    folder.mkdir(parents=True)
    found = FeatureFile(torch.from_numpy(FEATURES), torch.from_numpy(COORDS), float(SIDE))
    write_layout("wsidata", folder, SLIDE, found)


WRITERS = {
    "clam": clam,
    "trident": trident,
    "stamp": stamp,
    "stamp_1": stamp_1,
    "slide2vec": slide2vec,
    "slide2vec_npz": lambda folder: slide2vec(folder, "npz"),
    "wsidata": wsidata,
}


def rows(found):
    """Crops as a set: some toolkits sort them."""
    pairs = zip(found.coords.tolist(), found.features.tolist(), strict=True)
    return {tuple(xy): tuple(values) for xy, values in pairs}


WANTED = {tuple(xy): tuple(values) for xy, values in zip(COORDS.tolist(), FEATURES.tolist(), strict=True)}


@pytest.mark.parametrize("toolkit", WRITERS)
def test_the_files_of_a_toolkit_are_read(tmp_path, toolkit):
    WRITERS[toolkit](tmp_path / "store")
    found = read_features(find_store(tmp_path / "store", "slides/a.svs"), 3, mpp=MPP)
    assert rows(found) == WANTED
    assert found.side == {"clam": None, "stamp_1": 1024}.get(toolkit, SIDE)
    assert stored_dims(tmp_path / "store") == 3
    assert set(map(tuple, stored_features(tmp_path / "store", "a.svs").features.tolist())) == set(
        WANTED.values()
    )


@pytest.mark.parametrize("toolkit", WRITERS)
def test_a_bag_is_made_of_them(tmp_path, toolkit):
    WRITERS[toolkit](tmp_path / "store")
    net = CLAM(CLAMConfig(n_classes=2, features=f"stored:{tmp_path / 'store'}"))
    assert net.dims == 3
    assert {tuple(row) for row in net._read("a.svs").tolist()} == set(WANTED.values())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("toolkit", ["trident", "stamp", "wsidata"])
def test_any_is_written_as_any(tmp_path, toolkit, layout):
    WRITERS[toolkit](tmp_path / "store")
    options = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", picture(200, 300), photometric="rgb", **options)
    (row,) = convert_features(
        [Record(tmp_path / "a.tif", None)], tmp_path / "store", tmp_path / "out", layout, network="uni"
    )
    assert (row.status, row.error, row.crops) == ("ok", "", 4)
    found = read_features(Path(row.file), mpp=MPP)
    assert rows(found) == WANTED
    assert found.side == (None if layout == "clam" else SIDE)


def test_what_each_layout_tells(tmp_path):
    found = FeatureFile(torch.from_numpy(FEATURES), torch.from_numpy(COORDS), float(SIDE))
    for layout in LAYOUTS:
        write_layout(layout, tmp_path / layout, SLIDE, found)
    with h5py.File(tmp_path / "clam" / "patches" / "a.h5") as file:
        told = file["coords"].attrs
        assert (told["patch_size"], told["patch_level"]) == (64, 0)
    assert read_features(tmp_path / "clam" / "h5_files" / "a.h5").features.tolist() == FEATURES.tolist()
    with h5py.File(tmp_path / "trident" / "a.h5") as file:
        told = dict(file["coords"].attrs)
        assert (told["level0_magnification"], told["level0_width"], told["overlap"]) == (40, 300, 0)
    with h5py.File(tmp_path / "stamp" / "a.h5") as file:
        assert (file.attrs["unit"], file.attrs["tile_size_um"], file["feats"].dtype) == (
            "um",
            16.0,
            np.float16,
        )
        assert file["coords"][3].tolist() == [48.0, 32.0]
    tiling = json.loads((tmp_path / "slide2vec" / "tiles" / "a.coordinates.meta.json").read_text())
    assert tiling["artifact"]["coordinate_space"] == "level0_px" and tiling["tiling"]["n_tiles"] == 4


def test_a_store_of_two_networks_needs_a_name(tmp_path):
    wsidata(tmp_path / "store")
    import zarr

    tables = zarr.open_group(str(tmp_path / "store" / "a.zarr"), mode="r+")["tables"]
    other = tables.create_group("resnet_tiles")
    other.attrs.update(dict(tables["uni_tiles"].attrs))
    other.create_array("X", data=np.ones((4, 2), np.float32))
    with pytest.raises(ImageError, match=r"2 tables of features; it holds resnet_tiles, uni_tiles"):
        stored_features(tmp_path / "store", "a.svs")
    assert stored_dims(f"{tmp_path / 'store'}@resnet") == 2
    assert stored_features(f"{tmp_path / 'store'}@uni", "a.svs").features.shape == (4, 3)
    with pytest.raises(ImageError, match=r"no tables of features named 'gigapath'"):
        stored_dims(f"{tmp_path / 'store'}@gigapath")


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.zeros((0, 3), np.float32), "it holds no crops"),  # TRIDENT: a slide without tissue
        (np.zeros(0, np.float32), "it holds no crops"),
        (np.zeros(768, np.float32), "768 features of the whole image"),  # TRIDENT: a slide encoder
    ],
)
def test_files_that_are_no_bags_say_so(tmp_path, features, words):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = features
        file["coords"] = COORDS if features.ndim == 1 and len(features) else np.zeros((0, 2), np.int64)
    with pytest.raises(ImageError, match=words):
        read_features(tmp_path / "a.h5")


def test_what_cannot_be_converted_is_told(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture(200, 300), photometric="rgb")
    clam(tmp_path / "clam")
    record = Record(tmp_path / "a.tif", None)
    (row,) = convert_features([record], tmp_path / "clam", tmp_path / "out", "trident")
    assert "no known size" in row.error and "--crop_size" in row.error
    (row,) = convert_features([record], tmp_path / "clam", tmp_path / "out", "stamp", crop_size=64.0)
    assert "the size of the image's pixels is not known" in row.error
    (row,) = convert_features([record], tmp_path / "clam", tmp_path / "out", "trident", crop_size=64.0)
    assert row.status == "ok"
    with pytest.raises(ConfigError, match="unknown layout 'pkl'"):
        list(convert_features([record], tmp_path / "clam", tmp_path / "out", "pkl"))
    with pytest.raises(ConfigError, match="would replace"):
        list(convert_features([record], tmp_path / "clam", tmp_path / "clam", "stamp"))
    stamp_1(tmp_path / "old")
    with pytest.raises(ImageError, match="STAMP's units"):
        read_features(tmp_path / "old" / "a.h5")
    (tmp_path / "pickle").mkdir()
    torch.save(FEATURES, tmp_path / "pickle" / "a.pt")  # TRIDENT, of a slide without tissue: a NumPy array
    with pytest.raises(ImageError, match="without running code"):
        stored_features(tmp_path / "pickle", "a.svs")
    torch.save(torch.from_numpy(FEATURES), tmp_path / "pickle" / "b.pt")
    with pytest.raises(ImageError, match="without the places of their crops"):
        read_features(tmp_path / "pickle" / "b.pt")


def test_the_command_converts(tmp_path, capsys):
    options = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", picture(200, 300), photometric="rgb", **options)
    stamp(tmp_path / "stamp")
    words = ["--features", str(tmp_path / "stamp"), "--to", "trident", "--out", str(tmp_path / "out")]
    assert main(["data", "convert", str(tmp_path / "a.tif"), *words]) == 0
    assert "1 images converted" in capsys.readouterr().out
    assert rows(read_features(tmp_path / "out" / "a.h5")) == WANTED
