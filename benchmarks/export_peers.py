"""What zoomin writes, read back by the programs that people open it with.

    python benchmarks/export_peers.py

Run it where zoomin, geopandas, pyogrio, pandas and ome-types are installed. A slide and a map, made here, are
explained by a network that has learned nothing; the GeoJSON is then read by pyogrio (GDAL) and checked by the
rules of QuPath, the attention by ome-types and rasterio, the tables by pandas. A misreading ends with 1.
"""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import rasterio
import tifffile
import torch
from rasterio.transform import from_origin

from zoomin.explanation.export_config import ExportConfig
from zoomin.inference.explain_folder import explain_into
from zoomin.inference.prediction_table import predict_into
from zoomin.model import ZoomIn, ZoomInConfig

WIDTH, HEIGHT, SUB_TILE = 300, 200, 15
QUPATH = {"annotation", "detection", "tile", "cell", "tma_core", "root", "unclassified"}
problems: list[str] = []


def expect(what: str, holds: bool, found: object = "") -> None:
    print(f"{'right' if holds else 'WRONG'}: {what} {found}".rstrip())
    if not holds:
        problems.append(what)


def pictures(folder: Path) -> list[Path]:
    """A TIFF of a quarter of a micron, and a map in UTM."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    slide, scene = folder / "NA.tif", folder / "scene.tif"
    options: dict[str, Any] = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(slide, pixels, photometric="rgb", tile=(64, 64), **options)
    size = {"width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 0.5, 0.5)}
    with rasterio.open(scene, "w", driver="GTiff", **size, **place) as file:
        file.write(pixels.transpose(2, 0, 1))
    return [slide, scene]


def by_qupath_rules(collection: dict[str, Any]) -> bool:
    """QuPath 0.5: PathObjectTypeAdapters reads objectType, id, classification, measurements; closed rings."""
    for feature in collection["features"]:
        told = feature["properties"]
        uuid.UUID(feature["id"])
        colour = told["classification"]["color"]
        ring = feature["geometry"]["coordinates"][0]
        numbers = all(isinstance(value, float | int) for value in told["measurements"].values())
        ok = told["objectType"] in QUPATH and len(colour) == 3 and ring[0] == ring[-1] and numbers
        if not (ok and feature["geometry"]["type"] == "Polygon"):
            return False
    return bool(collection["features"])


def vectors(found: Path, mapped: bool) -> None:
    import geopandas

    table = geopandas.read_file(found, engine="pyogrio")
    collection = json.loads(found.read_text(encoding="utf-8"))
    expect("pyogrio reads every feature", len(table) == len(collection["features"]), len(table))
    bounds = table.total_bounds
    beyond = SUB_TILE / 2 * (0.5 if mapped else 1)  # a sub-tile is centred inside, and may reach beyond
    if mapped:
        expect("the map's coordinate system", table.crs is not None and table.crs.to_epsg() == 32633)
        edges = np.array([5e5, 5e6 - HEIGHT / 2, 5e5 + WIDTH / 2, 5e6])
    else:
        edges = np.array([0, 0, WIDTH, HEIGHT])
    over = (edges - bounds) * [1, 1, -1, -1]
    expect("features lie on the image", bool((over <= beyond).all()), bounds.round(1).tolist())
    expect("QuPath's rules", by_qupath_rules(collection))
    expect("valid polygons", bool(table.geometry.is_valid.all()))


def rasters(folder: Path, mapped: bool) -> None:
    if mapped:
        with rasterio.open(folder / "attention.tif") as file:
            left, bottom, right, top = file.bounds
            expect("the attention's system", file.crs.to_epsg() == 32633)
            expect("it covers the scene", np.allclose((left, top), (5e5, 5e6)), file.bounds)
            expect("and ends with it", np.allclose((right, bottom), (5e5 + WIDTH / 2, 5e6 - HEIGHT / 2)))
        return
    import ome_types

    path = folder / "attention.ome.tif"
    ome = ome_types.from_tiff(path)
    pixels = ome.images[0].pixels
    with tifffile.TiffFile(path) as file:
        stored = file.series[0].shape
    expect("ome-types validates it", pixels.size_x == stored[-1] and pixels.size_y == stored[-2], stored)
    known = pixels.physical_size_x is not None and pixels.physical_size_x_unit is not None
    microns = pixels.size_x * pixels.physical_size_x if known else 0
    expect("its width on the slide is 75 microns", abs(microns - WIDTH * 0.25) < 1, microns)


def tables(folder: Path, model: ZoomIn, images: list[Path]) -> None:
    predict_into(images, model, folder / "predictions.csv")
    table = pandas.read_csv(folder / "predictions.csv")
    expect("pandas reads a row per image", len(table) == len(images), list(table.columns)[:4])
    expect("numbers stay numbers", bool(table.filter(like="prob_").dtypes.eq(float).all()))
    total = table.filter(like="prob_").sum(axis=1)
    expect("probabilities sum to one", bool(np.allclose(total, 1, atol=1e-4)))
    expect("a file called NA is no missing value", table["image"].notna().all())


def main() -> int:
    torch.manual_seed(0)
    config = ZoomInConfig(
        n_classes=2, tile_size=50, sub_tile_size=SUB_TILE, n_samples=4, class_names=("no", "yes")
    )
    model = ZoomIn(config).eval()
    with tempfile.TemporaryDirectory() as inner:
        images = pictures(Path(inner))
        explain_into(images, model, Path(inner) / "out", exports=ExportConfig(pictures=False))
        for found in sorted((Path(inner) / "out").rglob("explanation.geojson")):
            mapped = (found.parent / "attention.tif").is_file()
            print(f"--- {'the map' if mapped else 'the slide'}")
            vectors(found, mapped)
            rasters(found.parent, mapped)
        print("--- the table")
        tables(Path(inner), model, images)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
