"""Features written by other toolkits' own code and read by zoomin, and the other way round.

    python benchmarks/toolkit_stores.py [--clam FOLDER] [--trident FOLDER]

Run it where zoomin and the toolkits are installed: `pip install lazyslide==0.13.0 wsidata==0.12.0`,
`pip install --no-deps slide2vec==7.1.4 hs2p==6.1.0`; CLAM and TRIDENT are folders with their source. What is
not installed is left out, and named. STAMP needs another Python: its files are compared in the tests.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tifffile
import torch
from numpy.typing import ArrayLike

from zoomin.data.feature_layouts import Slide, write_layout
from zoomin.model.feature_files import FeatureFile, read_features
from zoomin.model.feature_stores import find_store

MPP, SIDE = 0.25, 64
COORDS = np.array([[0, 0], [0, 64], [64, 0], [192, 128]])
FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)
OURS = FeatureFile(torch.from_numpy(FEATURES), torch.from_numpy(COORDS), float(SIDE))


def rows(coords: ArrayLike, features: ArrayLike) -> dict[tuple[int, ...], tuple[float, ...]]:
    pairs = zip(np.asarray(coords).tolist(), np.asarray(features, dtype=float).tolist(), strict=True)
    return {tuple(map(round, xy)): tuple(values) for xy, values in pairs}


WANTED = rows(COORDS, FEATURES)


def ours(folder: Path) -> None:
    """Read what a toolkit wrote."""
    path = find_store(folder, "a.tif")
    assert path is not None, sorted(folder.rglob("*"))
    found = read_features(path, mpp=MPP)
    assert rows(found.coords, found.features) == WANTED, found


def clam(folder: Path, slide: Slide) -> None:
    import h5py

    utils = importlib.import_module("utils.file_utils")
    (folder / "theirs").mkdir()
    for start in (0, 2):  # in batches, as extract_features_fp.py
        part = {"features": FEATURES[start : start + 2], "coords": COORDS[start : start + 2].astype(np.int32)}
        utils.save_hdf5(str(folder / "theirs" / "a.h5"), part, mode="a" if start else "w")
    ours(folder / "theirs")
    write_layout("clam", folder / "ours", slide, OURS)
    with h5py.File(folder / "ours" / "patches" / "a.h5") as file:  # Whole_Slide_Bag_FP
        assert int(file["coords"].attrs["patch_size"]) == SIDE and file["coords"].attrs["patch_level"] == 0
    tensor = torch.load(folder / "ours" / "pt_files" / "a.pt")
    assert tensor.tolist() == FEATURES.tolist()


def trident(folder: Path, slide: Slide) -> None:
    io = importlib.import_module("trident.IO")
    (folder / "theirs").mkdir()
    path = str(folder / "theirs" / "coords.h5")
    io.coords_to_h5(COORDS.tolist(), path, 32, 40, 20, "out", slide.width, slide.height, "a", 0)
    told, coords = io.read_coords(path)
    io.save_h5(str(folder / "theirs" / "a.h5"), {"features": FEATURES, "coords": coords}, {"coords": told})
    Path(path).unlink()
    ours(folder / "theirs")
    told, coords = io.read_coords(str(write_layout("trident", folder / "ours", slide, OURS)))
    assert coords.tolist() == COORDS.tolist() and told["patch_size_level0"] == SIDE


def slide2vec(folder: Path, slide: Slide) -> None:
    artifacts = importlib.import_module("slide2vec.artifacts")
    tiling = importlib.import_module("hs2p.tiling.io")
    written = write_layout("slide2vec", folder / "ours", slide, OURS)
    place = folder / "ours" / "tiles" / "a.coordinates.npz"
    result = tiling._load_tiling_result_from_paths(place, place.with_suffix(".meta.json"))
    assert rows(np.stack([result.x, result.y], 1), artifacts.load_array(written)) == WANTED
    assert result.tiles.tile_size_lv0 == SIDE
    paths = tiling._save_tiling_result(result, folder / "theirs" / "tiles")
    told = {"coordinates_npz_path": str(paths["npz"]), "tile_size_lv0": SIDE}
    for kind in ("pt", "npz"):
        options = {"output_dir": folder / "theirs", "output_format": kind, "metadata": told}
        artifact = artifacts.write_tile_embeddings("a", FEATURES, tile_index=np.arange(4), **options)
        ours(folder / "theirs")
        artifact.path.unlink()


def wsidata(folder: Path, slide: Slide) -> None:
    import shapely
    from wsidata import open_wsi
    from wsidata.io import add_features, add_tiles

    store = write_layout("wsidata", folder / "ours", slide, OURS)
    wsi = open_wsi(slide.path, store=str(store))
    box = np.asarray(shapely.bounds(wsi.shapes["tiles"].geometry.values))
    table = wsi.tables["zoomin_tiles"]
    assert rows(box[:, :2], table.X) == WANTED and (box[:, 2] - box[:, 0] == SIDE).all()
    assert wsi.tile_spec("tiles").width == SIDE
    other = open_wsi(slide.path, store=str(folder / "theirs" / "a.zarr"))
    add_tiles(other, "tiles", COORDS[::-1], wsi.tile_spec("tiles"), np.zeros(4, int))
    add_features(other, "uni_tiles", "tiles", FEATURES[::-1].copy())
    other.write()
    ours(folder / "theirs")


TOOLKITS: dict[str, tuple[Callable[[Path, Slide], None], str]] = {
    "CLAM": (clam, "utils.file_utils"),
    "TRIDENT": (trident, "trident.IO"),
    "slide2vec": (slide2vec, "slide2vec.artifacts"),
    "wsidata": (wsidata, "wsidata"),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clam", type=Path, help="folder of CLAM's source")
    parser.add_argument("--trident", type=Path, help="folder of TRIDENT's source")
    options = parser.parse_args()
    sys.path += [str(folder) for folder in (options.clam, options.trident) if folder]
    failed = 0
    for name, (check, module) in TOOLKITS.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(f"{name}: left out ({error})")
            continue
        with tempfile.TemporaryDirectory() as inner:
            slide = Slide(Path(inner) / "a.tif", 300, 200, MPP)
            pixels = np.zeros((200, 300, 3), np.uint8)
            with tifffile.TiffWriter(slide.path) as file:
                options_of = SimpleNamespace(resolution=(40_000, 40_000), resolutionunit="CENTIMETER")
                file.write(pixels, photometric="rgb", tile=(64, 64), **vars(options_of))
            try:
                check(Path(inner), slide)
                print(f"{name}: read and written")
            except Exception as error:
                failed += 1
                print(f"{name}: {type(error).__name__}: {error}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
