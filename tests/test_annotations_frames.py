"""However it is written where an ROI lies on a map, one place converts it: the same pixels, or an error."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import transform as warp

from zoomin.annotations.foreground import FileMask
from zoomin.annotations.frames import Frame, map_to_pixels
from zoomin.annotations.open_annotation import annotation_of
from zoomin.annotations.polygons import PolygonAnnotation
from zoomin.annotations.reader import RoiReader
from zoomin.data.manifest import Record
from zoomin.data.store import open_store
from zoomin.errors import DataError, ImageError
from zoomin.geometry import TileGrid
from zoomin.images.array import ArrayImage
from zoomin.images.foreground import Foreground
from zoomin.images.georeference import Georeference
from zoomin.images.open_image import open_image
from zoomin.images.resampled import at_mpp
from zoomin.model.config import ZoomInConfig
from zoomin.model.losses import roi_loss

UTM = "EPSG:32633"
SIZE, CORNER, SIDE = (260, 300), (25, 130), 50  # of the image, and where its square of 50 x 50 stands
RING = [(25, 130), (75, 130), (75, 180), (25, 180), (25, 130)]


def metres(ring: list[Any]) -> list[Any]:
    return [[5e5 + x * 0.5, 5e6 - y * 0.5] for x, y in ring]


def degrees(ring: list[Any]) -> list[Any]:
    x, y = zip(*metres(ring), strict=True)
    return [list(point) for point in zip(*warp(UTM, "EPSG:4326", x, y), strict=True)]


def collection(ring: list[Any], **members: Any) -> str:
    shape = {"type": "Polygon", "coordinates": [[list(corner) for corner in ring]]}
    feature = {"type": "Feature", "properties": {"class": "boat"}, "geometry": shape}
    return json.dumps({"type": "FeatureCollection", "features": [feature], **members})


def name(text: str) -> dict[str, Any]:
    return {"crs": {"type": "name", "properties": {"name": text}}}


def link(href: str, kind: str = "proj4") -> dict[str, Any]:
    return {"crs": {"type": "link", "properties": {"href": href, "type": kind}}}


def scene(path: Path, crs: str | None = UTM) -> Path:
    pixels = np.random.default_rng(0).integers(120, 200, (3, *SIZE)).astype(np.uint8)
    place = {"crs": crs, "transform": from_origin(5e5, 5e6, 0.5, 0.5)}
    size = {"width": SIZE[1], "height": SIZE[0], "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", photometric="RGB", **size, **place) as file:
        file.write(pixels)
    return path


_UTM = json.dumps(name(UTM)["crs"])
WRITTEN = {
    "longitude and latitude": collection(degrees(RING)),
    "CRS84 named": collection(degrees(RING), **name("urn:ogc:def:crs:OGC:1.3:CRS84")),
    "pixels": collection(RING),
    "pixels that say CRS84": collection(RING, **name("urn:ogc:def:crs:OGC:1.3:CRS84")),
    "pixels that say EPSG:4326": collection(RING, **name("EPSG:4326")),
    "metres without crs": collection(metres(RING)),
    "metres with crs null": collection(metres(RING), crs=None),
    "metres that say CRS84": collection(metres(RING), **name("urn:ogc:def:crs:OGC:1.3:CRS84")),
    "named": collection(metres(RING), **name("urn:ogc:def:crs:EPSG::32633")),
    "as text": collection(metres(RING), crs="EPSG:32633"),
    "by code": collection(metres(RING), crs={"type": "EPSG", "properties": {"code": 32633}}),
    "linked": collection(metres(RING), **link("http://spatialreference.org/ref/epsg/32633/proj4/")),
    "linked to OGC": collection(metres(RING), **link("http://www.opengis.net/def/crs/EPSG/0/32633")),
    "named as GML does": collection(metres(RING), **name("http://www.opengis.net/gml/srs/epsg.xml#32633")),
    "named as OGC does": collection(metres(RING), **name("https://www.opengis.net/def/crs/EPSG/0/32633")),
    "linked to epsg.io": collection(metres(RING), **link("https://epsg.io/32633.json")),
    "linked relatively": collection(metres(RING), **link("./data.crs", "ogcwkt")),
    "ESRI's words": collection(metres(RING), crs_wkt=CRS.from_user_input(UTM).to_wkt(version="WKT1_ESRI")),
    "by feature": json.dumps([json.loads(collection(metres(RING)))["features"][0] | name(UTM)]),
    "by geometry, as PostGIS": collection(metres(RING)).replace(
        '"coordinates"', f'"crs": {_UTM}, "coordinates"'
    ),
    "linked file": collection(metres(RING), **link("data.crs", "ogcwkt")),
    "our own export": collection(metres(RING), crs_wkt=CRS.from_user_input(UTM).to_wkt()),
    "with height": collection([[*corner, 7.0] for corner in metres(RING)], **name(UTM)),
}


def annotated(folder: Path, text: str, image: Path | None = None) -> Record:
    (folder / "data.crs").write_text(CRS.from_user_input(UTM).to_wkt())
    (folder / "roi.geojson").write_text(text)
    return Record(image or scene(folder / "a.tif"), "pos", annotation=folder / "roi.geojson")


@pytest.mark.parametrize("written", WRITTEN)
def test_the_same_square_however_it_is_written(tmp_path: Path, written: str) -> None:
    record = annotated(tmp_path, WRITTEN[written])
    found = annotation_of(record, open_image(record.image))
    assert isinstance(found, PolygonAnnotation)
    assert found.area == pytest.approx(2500, rel=1e-3)
    np.testing.assert_allclose(found.roi.bounds, (25, 130, 75, 180), atol=0.02)


@pytest.mark.parametrize("resident", ["auto", "always", "never"])
@pytest.mark.parametrize("mpp", [None, 1e6])
def test_training_sees_the_roi_and_the_foreground_in_map_coordinates(
    tmp_path: Path, resident: Any, mpp: float | None
) -> None:
    """Whatever keeps the pixels, at the file's resolution (0.5 m) and another, as for the same in pixels."""
    foreground = Foreground("mask", min_share=0.3)
    model = ZoomInConfig(n_classes=2, mpp=mpp, tile_size=20, sub_tile_size=10, foreground=foreground)
    image, seen = scene(tmp_path / "a.tif"), []
    for written in ("pixels", "named", "longitude and latitude", "metres without crs"):
        roi = annotated(tmp_path, WRITTEN[written], image).annotation
        record = Record(image, "pos", annotation=roi, foreground=roi)
        store = open_store([record], torch.tensor([0]), resident=resident, model=model)
        batch = store.select(torch.tensor([0]))
        grid = TileGrid.of(batch.sizes, 20)
        reader = RoiReader([record], lambda row, store=store: store.file_frames[row])
        share = reader.read(batch, torch.tensor([0]), grid.image, grid.regions)[:, 0, 0]
        seen.append((share, batch.foreground(grid)))
        side = 1 if mpp is None else 2
        assert float(share.sum()) * 400 * side**2 == pytest.approx(2500, rel=2e-3)
    assert 0 < int(seen[0][1].sum()) < len(seen[0][1])
    for share, tiles in seen[1:]:
        torch.testing.assert_close(share, seen[0][0], atol=2e-3, rtol=0)
        assert torch.equal(tiles, seen[0][1])


def test_foreground_in_degrees_of_a_resampled_image(tmp_path: Path) -> None:
    image = at_mpp(open_image(scene(tmp_path / "a.tif")), 1e6)
    (tmp_path / "f.geojson").write_text(WRITTEN["longitude and latitude"])
    shares = FileMask(tmp_path / "f.geojson", image, Foreground("mask")).shares(
        torch.tensor([[13, 66, 20, 20], [60, 0, 20, 20]])
    )
    torch.testing.assert_close(shares, torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)


FAR = [(x + 5000, y) for x, y in RING]
APART = {
    "pixels": (collection(FAR), "x 5025 to 5075, y 130 to 180"),
    "metres": (collection(metres(FAR), **name(UTM)), "x 5025 to 5075, y 130 to 180"),
    "metres without crs": (collection(metres(FAR)), "x 5025 to 5075, y 130 to 180"),
    "degrees": (collection([(2, 48), (3, 48), (3, 49)]), "longitude and latitude"),
    "degrees named": (collection([(2, 48), (3, 48), (3, 49)], **name("EPSG:4326")), "remove the member crs"),
}


@pytest.mark.parametrize("kind", APART)
def test_an_annotation_that_does_not_meet_its_image_shows_both_boxes(tmp_path: Path, kind: str) -> None:
    text, told = APART[kind]
    record = annotated(tmp_path, text)
    image = open_image(record.image)
    if kind == "degrees":  # on the scene they lie within its pixels: say so by a scene far from there
        image = ArrayImage(torch.zeros(3, 20, 20, dtype=torch.uint8))
        told = "x 2 to 3, y 48 to 49"
    with pytest.raises(DataError, match="does not meet its image") as error:
        annotation_of(record, image)
    assert told in str(error.value)
    assert f"the image spans x 0 to {image.width}, y 0 to {image.height}" in str(error.value)
    assert "roi.geojson" in str(error.value)


def test_asap_and_nuclei_that_lie_elsewhere(tmp_path: Path) -> None:
    from scipy.io import savemat

    corners = "".join(f'<Coordinate Order="{i}" X="{x + 900}" Y="{y}"/>' for i, (x, y) in enumerate(RING))
    (tmp_path / "a.xml").write_text(
        '<ASAP_Annotations><Annotations><Annotation Name="A" Type="Polygon" PartOfGroup="None">'
        f"<Coordinates>{corners}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    savemat(tmp_path / "a.mat", {"detection": np.array([[900.0, 20.0], [950.0, 30.0]])})
    image = ArrayImage(torch.zeros(3, *SIZE, dtype=torch.uint8))
    for file, box in (("a.xml", "x 925 to 975, y 130 to 180"), ("a.mat", "x 900 to 950, y 20 to 30")):
        with pytest.raises(DataError, match=f"{box}; the image spans x 0 to 300, y 0 to 260"):
            annotation_of(Record(tmp_path / "i.png", None, annotation=tmp_path / file), image)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (name("EPSG:1"), "unknown coordinate reference system 'EPSG:1'"),
        (link("http://example.org/my.prj"), "behind a link, 'http://example.org/my.prj'"),
        (link("../outside.crs"), "behind a link"),
        (name("https://example.org/my.json"), "behind a link, 'https://example.org/my.json'"),
        ({"features": [{"crs": n, "geometry": None} for n in "ab"]}, "in different coordinate systems"),
        ({"crs": {"type": "name", "properties": {}}}, "names no coordinate reference system"),
    ],
)
def test_systems_that_cannot_be_known(tmp_path: Path, members: dict[str, Any], complaint: str) -> None:
    record = annotated(tmp_path, collection(metres(RING), **members))
    with pytest.raises(DataError, match=complaint):
        annotation_of(record, open_image(record.image))


def test_json_fg_is_named(tmp_path: Path) -> None:
    """Its geometry may be null, since the true one is a member place: an empty ROI would be wrong."""
    text = collection(metres(RING)).replace('"geometry"', '"geometry": null, "place"')
    record = annotated(tmp_path, text)
    with pytest.raises(DataError, match="is the member place, as in JSON-FG"):
        annotation_of(record, open_image(record.image))


def test_a_map_on_an_image_without_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = ArrayImage(torch.zeros(3, *SIZE, dtype=torch.uint8))
    for text in (WRITTEN["named"], collection(degrees(RING), **name("EPSG:4326"))):
        with pytest.raises(DataError, match="the image has no georeference"):
            annotation_of(annotated(tmp_path, text), image)
    with caplog.at_level(logging.WARNING):
        found = annotation_of(annotated(tmp_path, WRITTEN["pixels that say CRS84"]), image)
    assert isinstance(found, PolygonAnnotation) and found.area == 2500
    assert "names longitude and latitude" in caplog.text


@pytest.mark.parametrize("where", ["no map", "latitude first", "elsewhere"])
def test_degrees_are_no_pixels(tmp_path: Path, where: str) -> None:
    """An outline of a ten-thousandth of a degree would cover nothing as pixels, without a word."""
    ring = degrees(RING)
    if where == "latitude first":
        ring = [[north, east] for east, north in ring]
    elif where == "elsewhere":
        ring = [[east + 2, north] for east, north in ring]
    image = ArrayImage(torch.zeros(3, *SIZE, dtype=torch.uint8)) if where == "no map" else None
    record = annotated(tmp_path, collection(ring))
    with pytest.raises(
        DataError, match=r"smaller than a pixel, as those in degrees are; .* Write level-0 pixels"
    ):
        annotation_of(record, image or open_image(record.image))


def test_numbers_that_meet_the_image_in_two_ways(tmp_path: Path) -> None:
    """An image whose map starts at its own corner and runs down: pixels and map units both fit."""
    path = tmp_path / "a.tif"
    place = {"transform": rasterio.Affine(0.5, 0, 0, 0, 0.5, 0), "crs": UTM}
    size = {"width": 300, "height": 260, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", **size, **place) as file:
        file.write(np.zeros((3, 260, 300), np.uint8))
    ring = [(10, 10), (60, 10), (60, 60), (10, 60)]
    with pytest.raises(DataError, match="as level-0 pixels and as the image's map coordinates"):
        annotation_of(annotated(tmp_path, collection(ring), path), open_image(path))
    found = annotation_of(annotated(tmp_path, collection(ring, **name(UTM)), path), open_image(path))
    assert isinstance(found, PolygonAnnotation) and found.area == 10_000


def test_a_foreground_that_does_not_meet_its_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f.geojson").write_text(collection(metres(FAR), **name(UTM)))
    mask = FileMask(tmp_path / "f.geojson", open_image(scene(tmp_path / "a.tif")), Foreground("mask"))
    with pytest.raises(ImageError, match="does not meet its image"):
        mask.tiles(torch.tensor([[0, 0, 20, 20]]))


def exact(side: int, x: int, y: int, width: int, height: int, square: int = 50) -> float:
    """Equation 13 for attention that is the same everywhere, by counting: an independent value of f01."""
    shares = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            across = max(0, min(left + side, x + square) - max(left, x)) / min(side, width - left)
            down = max(0, min(top + side, y + square) - max(top, y)) / min(side, height - top)
            shares.append(across * down)
    return sum((share / sum(shares) - 1 / len(shares)) ** 2 for share in shares)


@pytest.mark.parametrize("side", [40, 50, 64, 80])
@pytest.mark.parametrize("crs", [UTM, "EPSG:3857", "EPSG:2154"])
def test_the_supervision_of_f01_has_its_exact_value(tmp_path: Path, side: int, crs: str) -> None:
    """The scenes of f01, even attention: over all twelve 0.177, 0.133, 0.166, 0.275 by the tile."""
    found, wanted = [], []
    for number in range(6):
        x, image = 20 + 5 * number, tmp_path / f"{number}.tif"
        size = {"width": 200, "height": 160, "count": 3, "dtype": "uint8", "photometric": "RGB"}
        with rasterio.open(
            image, "w", driver="GTiff", crs=crs, transform=from_origin(5e5, 5e6, 0.5, 0.5), **size
        ) as file:
            file.write(np.full((3, 160, 200), 150, np.uint8))
        ring = [(x, 30), (x + 50, 30), (x + 50, 80), (x, 80), (x, 30)]
        roi = tmp_path / f"{number}.geojson"
        roi.write_text(collection(metres(ring), **name(crs)))
        record = Record(image, "pos", annotation=roi)
        model = ZoomInConfig(n_classes=2, tile_size=side)
        store = open_store([record], torch.tensor([0]), resident="auto", model=model)
        batch = store.select(torch.tensor([0]))
        grid = TileGrid.of(batch.sizes, side)
        reader = RoiReader([record], lambda row, store=store: store.file_frames[row])
        share = reader.read(batch, torch.tensor([0]), grid.image, grid.regions)[:, 0, 0].float()
        even = torch.full_like(share, 1 / len(share)).log()
        found.append(float(roi_loss(even[None], share[None], torch.tensor([0]), 1)))
        wanted.append(exact(side, x, 30, 200, 160))
    assert found == pytest.approx(wanted, rel=1e-3)


MOON = 1_737_400.0 * np.pi / 180  # metres of a degree


@pytest.mark.parametrize("named", [None, "IAU_2015:30100", "EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84"])
def test_longitude_and_latitude_on_the_moon_are_its_own(named: str | None, tmp_path: Path) -> None:
    """PROJ converts nothing between bodies, and writers name those of the Earth unasked."""
    crs = CRS.from_user_input("IAU_2015:30110").to_wkt()
    frame = Frame(1000, 1000, Georeference(crs, (100.0, 0.0, MOON * 10, 0.0, -100.0, MOON * 60)))
    corners = np.array([(10.1, 59.9), (10.5, 59.9), (10.5, 59.5), (10.1, 59.5)])
    wanted = np.stack([corners[:, 0] - 10, 60 - corners[:, 1]], axis=1) * MOON / 100
    mapper = map_to_pixels({} if named is None else name(named), [corners], tmp_path / "a.json", frame)
    assert np.allclose(mapper(corners), wanted, atol=1e-3)


@pytest.mark.parametrize("image", ["IAU_2015:49910", 'LOCAL_CS["site",UNIT["metre",1]]'])
def test_systems_that_cannot_be_converted_are_named(image: str, tmp_path: Path) -> None:
    frame = Frame(
        100, 100, Georeference(CRS.from_user_input(image).to_wkt(), (1.0, 0.0, 0.0, 0.0, -1.0, 1000.0))
    )
    corners = np.array([(1.0, 950), (5, 950), (5, 990)])
    with pytest.raises(DataError, match=r"'EPSG:32633' cannot be converted to that of the image"):
        map_to_pixels(name(UTM), [corners], tmp_path / "a.json", frame)
    assert np.allclose(map_to_pixels({}, [corners], tmp_path / "a.json", frame)(corners)[0], (1, 50))
    few = np.array([(1.0, 50), (5, 50), (5, 90)])  # what could be degrees is pixels where there are none
    if image.startswith("LOCAL"):
        assert np.allclose(map_to_pixels({}, [few], tmp_path / "a.json", frame)(few), few)
