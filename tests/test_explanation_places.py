"""Whatever shows where the network looked shows it at the right place, within one cell of the attention."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from shapely.geometry import Point, shape
from torch import Tensor

from explanation_examples import SIDE, bright_net, dark_image, save_image
from zoomin.errors import ConfigError
from zoomin.explanation import Explanation, overlay_figure, panel_figure, read_index
from zoomin.explanation.dense import dense_map, write_dense_map
from zoomin.explanation.export_config import ExportConfig
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.georeference import Georeference
from zoomin.inference import InferenceConfig, explain
from zoomin.inference.explain_folder import explain_into

# height, width, centre x and y of the object, tile size, s1, s2: odd sizes, the object near borders and seams
CASES = [
    (151, 211, (101.5, 71.5), 37, 0.3, 0.27),
    (97, 303, (297.5, 92.5), 50, 0.21, 0.33),
    (260, 60, (36.5, 37.5), 37, 0.4, 0.19),
    (40, 45, (5.5, 4.5), 64, 0.25, 0.25),
]
MODES = ["exact", "systematic", "multinomial", "top"]


def look(case: tuple[Any, ...], folder: Path, sampling: str = "systematic") -> tuple[Explanation, float]:
    """The explanation of the image of a case, and the side of an attention cell."""
    height, width, centre, tile, s1, s2 = case
    path = save_image(dark_image(height, width, centre), folder / "image.png")
    net = bright_net(tile, s1, s2)
    n = 60 if sampling == "multinomial" else 6
    [one] = explain(path, net, sampling=sampling, n_samples=n, replicates=2)
    return one, tile / min(net.map_size)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Explanation, float]:
    return look(CASES[0], tmp_path_factory.mktemp("seen"))


def features(collection: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [f for f in collection["features"] if f["properties"]["objectType"] == kind]


def check_geometry(collection: dict[str, Any]) -> None:
    """What a strict reader asks: closed, counterclockwise, valid polygons with distinct ids."""
    assert collection["type"] == "FeatureCollection"
    json.loads(json.dumps(collection, allow_nan=False))
    for feature in collection["features"]:
        [ring] = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        polygon = shape(feature["geometry"])
        assert polygon.is_valid and polygon.area > 0 and polygon.exterior.is_ccw
    assert len({feature["id"] for feature in collection["features"]}) == len(collection["features"])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_geojson_and_heat_map_are_where_the_object_is(case: tuple[Any, ...], tmp_path: Path) -> None:
    one, cell = look(case, tmp_path)
    x, y = case[2]
    collection = one.to_geojson(attention_cells=True)
    check_geometry(collection)
    first_tile, first = features(collection, "annotation")[0], features(collection, "detection")[0]
    assert shape(first_tile["geometry"]).contains(Point(x, y))
    centre = shape(first["geometry"]).centroid
    assert max(abs(centre.x - x), abs(centre.y - y)) <= cell + SIDE / 2
    brightest = max(
        features(collection, "tile"), key=lambda f: f["properties"]["measurements"]["attention / mean"]
    )
    assert shape(brightest["geometry"]).distance(Point(x, y)) <= cell
    heat, step = dense_map(one)
    i, j = divmod(int(heat.argmax()), heat.shape[1])
    assert max(abs((j + 0.5) * step - x), abs((i + 0.5) * step - y)) <= cell + step / 2


@pytest.mark.parametrize("mode", MODES)
def test_every_sampling_finds_the_object_and_adds_up(mode: str, tmp_path: Path) -> None:
    one, cell = look(CASES[2], tmp_path, mode)
    torch.testing.assert_close(one.contribution.sum(0) + one.bias, one.logits, atol=1e-4, rtol=0)
    x, y, width, height = one.places().regions[0].tolist()
    assert max(abs(x + width / 2 - 36.5), abs(y + height / 2 - 37.5)) <= cell + SIDE / 2
    assert one.provenance.sampling == mode
    assert (one.standard_error == 0) == (mode in ("exact", "top"))


def test_overlays_show_the_object_under_its_outline(seen: tuple[Explanation, float]) -> None:
    one, cell = seen
    for figure, part in (
        (f := overlay_figure(one), f.subfigs[0]),
        (p := panel_figure(one), p.subfigs[0]),
    ):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        rendered = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
        axes = part.axes[0]
        column, row = axes.transData.transform((101.5, 71.5))
        there = rendered[round(len(rendered) - row), round(column)]
        far_column, far_row = axes.transData.transform((101.5 + 30, 71.5 + 30))
        elsewhere = rendered[round(len(rendered) - far_row), round(far_column)]
        assert there[0] > 180 > 100 > elsewhere.max()
        box = axes.patches[-1].get_bbox()  # the heaviest is drawn last
        assert box.x0 - cell <= 101.5 <= box.x1 + cell
        assert box.y0 - cell <= 71.5 <= box.y1 + cell


def test_measurements_and_classification_speak_qupath(seen: tuple[Explanation, float]) -> None:
    one, _ = seen
    collection = one.to_geojson()
    heaviest = features(collection, "detection")[0]["properties"]
    places = one.places()
    assert heaviest["measurements"]["weight"] == pytest.approx(float(places.weight[0]))
    said = [heaviest["measurements"][f"contribution to {name}"] for name in one.classes]
    assert said == pytest.approx(places.contribution[0].tolist())
    assert heaviest["measurements"]["attention of the tile"] == pytest.approx(float(one.alpha.max()))
    assert heaviest["classification"]["name"] in (f"for {one.label}", f"against {one.label}")
    assert len(heaviest["classification"]["color"]) == 3
    tile = features(collection, "annotation")[0]["properties"]
    assert tile["isLocked"] is True
    assert tile["measurements"]["attention / mean"] == pytest.approx(float(one.alpha.max()) * 30)
    assert "crs" not in collection


def test_top_limits_sub_tiles_and_tiles_end_at_the_border(seen: tuple[Explanation, float]) -> None:
    one, _ = seen
    assert len(features(one.to_geojson(top=2), "detection")) == 2
    assert len(features(one.to_geojson(top=0), "detection")) == len(one.places().weight)
    for feature in features(one.to_geojson(), "annotation"):
        left, top, right, bottom = shape(feature["geometry"]).bounds
        assert 0 <= left < right <= 211 and 0 <= top < bottom <= 151


def test_bounds_offset_counts_from_the_scanned_part(seen: tuple[Explanation, float]) -> None:
    one = replace(seen[0], source=replace(seen[0].source, bounds=Region(30, 20, 100, 100)))
    plain = shape(features(one.to_geojson(), "detection")[0]["geometry"]).bounds
    moved = shape(features(one.to_geojson(bounds_offset=True), "detection")[0]["geometry"]).bounds
    assert moved == (plain[0] - 30, plain[1] - 20, plain[2] - 30, plain[3] - 20)
    assert (
        features(seen[0].to_geojson(bounds_offset=True), "detection")[0]["geometry"]
        == (features(seen[0].to_geojson(), "detection")[0]["geometry"])
    )


class Shrunk(ArrayImage):
    """An image read at 1.979 times the MPP of its file, whose object lies elsewhere in the file's pixels."""

    FACTOR = 1.979
    georeference = None

    @property
    def identity(self) -> Any:
        return ("of the pixels", self.FACTOR)

    @identity.setter
    def identity(self, value: object) -> None:
        pass

    @property
    def source(self) -> ArrayImage:
        height, width = round(self.height * self.FACTOR), round(self.width * self.FACTOR)
        return ArrayImage(torch.zeros(3, height, width, dtype=torch.uint8), mpp=0.25, name="file")

    def to_source(self, boxes: Tensor) -> Tensor:
        return boxes * self.FACTOR


def test_an_image_read_at_another_mpp_is_explained_in_the_pixels_of_its_file(tmp_path: Path) -> None:
    height, width, (x, y), tile, s1, s2 = CASES[0]
    net = bright_net(tile, s1, s2)
    image = Shrunk(dark_image(height, width, (x, y)), mpp=0.25 * Shrunk.FACTOR, name="shrunk")
    [one] = explain(image, net, sampling="systematic", replicates=2)
    assert (one.size, one.source.mpp, one.source.identity) == ((299, 418), 0.25, None)
    assert one.tile_size == pytest.approx(37 * 1.979)
    cell, x, y = 37 / 10 * 1.979, x * 1.979, y * 1.979
    heat, step = dense_map(one)
    i, j = divmod(int(heat.argmax()), heat.shape[1])
    assert max(abs((j + 0.5) * step - x), abs((i + 0.5) * step - y)) <= cell + step / 2
    collection = one.to_geojson(attention_cells=True)
    check_geometry(collection)
    centre = shape(features(collection, "detection")[0]["geometry"]).centroid
    assert max(abs(centre.x - x), abs(centre.y - y)) <= cell + SIDE
    one.save(tmp_path)
    assert torch.equal(Explanation.load(tmp_path).sub_tiles, one.sub_tiles)


# --------------------------------------------------------------------------- on a map

TURNED = Georeference("EPSG:32633", (0.5, 0.1, 500_000.0, 0.1, -0.5, 5_400_000.0))


def on_map(one: Explanation, where: Georeference = TURNED) -> Explanation:
    return replace(one, source=replace(one.source, georeference=where))


def test_map_coordinates_name_their_system(seen: tuple[Explanation, float]) -> None:
    one, cell = on_map(seen[0]), seen[1]
    collection = one.to_geojson()
    check_geometry(collection)
    assert collection["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    centre = shape(features(collection, "detection")[0]["geometry"]).centroid
    east, north = TURNED.to_map(101.5, 71.5)
    assert max(abs(centre.x - east), abs(centre.y - north)) <= 0.6 * (cell + SIDE / 2)
    pixels = features(one.to_geojson(coordinates="pixels"), "detection")[0]["geometry"]
    assert pixels == features(seen[0].to_geojson(), "detection")[0]["geometry"]


def test_degrees_follow_rfc_7946(seen: tuple[Explanation, float]) -> None:
    collection = on_map(seen[0]).to_geojson(coordinates="wgs84")
    check_geometry(collection)
    assert "crs" not in collection
    centre = shape(features(collection, "detection")[0]["geometry"]).centroid
    assert (centre.x, centre.y) == pytest.approx((15.0, 48.75), abs=0.01)  # central meridian of zone 33


def test_coordinates_that_cannot_be_had_are_told(seen: tuple[Explanation, float]) -> None:
    with pytest.raises(ConfigError, match=r"no georeference.*coordinates=pixels"):
        seen[0].to_geojson(coordinates="map")
    with pytest.raises(ConfigError, match="no coordinate reference system"):
        on_map(seen[0], replace(TURNED, crs=None)).to_geojson(coordinates="wgs84")
    with pytest.raises(ConfigError, match="unknown coordinates 'lonlat'"):
        seen[0].to_geojson(coordinates="lonlat")
    assert "crs" not in on_map(seen[0], replace(TURNED, crs=None)).to_geojson()


def test_geotiff_lies_on_the_object(seen: tuple[Explanation, float], tmp_path: Path) -> None:
    one, cell = on_map(seen[0]), seen[1]
    path = write_dense_map(one, tmp_path)
    assert path.name == "attention.tif"
    with rasterio.open(path) as dataset:
        heat = dataset.read(1)
        assert dataset.crs.to_epsg() == 32633
        i, j = divmod(int(heat.argmax()), heat.shape[1])
        east, north = dataset.xy(i, j)
        step = one.size[1] / heat.shape[1]
    x, y = TURNED.to_pixels(float(east), float(north))
    assert max(abs(x - 101.5), abs(y - 71.5)) <= cell + step


def test_a_geotiff_is_explained_on_the_map(tmp_path: Path) -> None:
    """From the file to the files, with the real reader."""
    pixels, profile = dark_image(151, 211, (101.5, 71.5)), {"crs": "EPSG:32633", "dtype": "uint8", "count": 3}
    transform = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", height=151, width=211, transform=transform, **profile
    ) as dataset:
        dataset.write(pixels.transpose(2, 0, 1))
    how, exports = InferenceConfig(replicates=2), ExportConfig(pictures=False)
    summary = explain_into([tmp_path / "map.tif"], bright_net(), tmp_path / "out", how, exports)
    [entry] = read_index(summary.folder).entries
    folder = summary.folder / str(entry.folder)
    collection = json.loads((folder / "explanation.geojson").read_text())
    assert "32633" in collection["crs"]["properties"]["name"]
    centre = shape(features(collection, "detection")[0]["geometry"]).centroid
    assert (centre.x, centre.y) == pytest.approx((500_050.75, 5_399_964.25), abs=0.5 * (3.7 + SIDE / 2))
    with rasterio.open(folder / "attention.tif") as dataset:
        heat = dataset.read(1)
        east, north = dataset.xy(*divmod(int(heat.argmax()), heat.shape[1]))
    assert (east, north) == pytest.approx((500_050.75, 5_399_964.25), abs=0.5 * 3.7 + 1)
    assert Explanation.load(folder).source.mpp == pytest.approx(500_000)


# --------------------------------------------------------------------------- dense maps


def test_ome_tiff_tells_its_scale(seen: tuple[Explanation, float], tmp_path: Path) -> None:
    one, cell = seen
    path = write_dense_map(replace(one, source=replace(one.source, mpp=0.25)), tmp_path)
    assert path.name == "attention.ome.tif"
    with tifffile.TiffFile(path) as file:
        heat = file.asarray()
        assert file.ome_metadata is not None
        assert 'PhysicalSizeX="0.75"' in file.ome_metadata  # 3 level-0 pixels
    assert heat.dtype == np.float32
    assert heat.shape == (51, 71)
    i, j = divmod(int(heat.argmax()), heat.shape[1])
    assert max(abs((j + 0.5) * 3 - 101.5), abs((i + 0.5) * 3 - 71.5)) <= cell + 1.5
    write_dense_map(one, tmp_path)
    once = path.read_bytes()
    assert write_dense_map(one, tmp_path).read_bytes() == once  # no moment, no chance
    assert 'PhysicalSizeXUnit="pixel"' in str(tifffile.TiffFile(path).ome_metadata)
    write_dense_map(replace(one, source=replace(one.source, mpp=0.25)), tmp_path, magnification=5.0)
    assert 'PhysicalSizeX="2.0"' in str(tifffile.TiffFile(path).ome_metadata)  # microns: five times
    with pytest.raises(ConfigError, match=r"no magnification is either.*--mpp"):
        dense_map(one, magnification=5.0)


def test_a_small_map_loses_no_peak(seen: tuple[Explanation, float], tmp_path: Path) -> None:
    one, _ = seen
    fine, _ = dense_map(one)
    coarse, step = dense_map(one, side=16)
    assert max(coarse.shape) <= 16 and step == 14
    i, j = divmod(int(coarse.argmax()), coarse.shape[1])
    assert abs((j + 0.5) * step - 101.5) <= step and abs((i + 0.5) * step - 71.5) <= step
    assert float(coarse.sum()) * step**2 == pytest.approx(float(fine.sum()) * 9, rel=0.02)
