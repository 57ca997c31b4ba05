"""Files of polygons: GeoJSON and the XML of ASAP, read, written, mended or refused by name."""

import json

import numpy as np
import pytest
import shapely
import torch

from zoomin.annotations.asap import read_asap, write_asap
from zoomin.annotations.geojson import read_geojson, write_geojson
from zoomin.annotations.open_annotation import open_annotation
from zoomin.annotations.polygons import Outline, PolygonAnnotation, polygon_of
from zoomin.annotations.rescaled import RescaledAnnotation
from zoomin.data.manifest import Record
from zoomin.errors import DataError
from zoomin.geometry import Region
from zoomin.images.georeference import Georeference

SQUARE = [[2, 2], [10, 2], [10, 10], [2, 10], [2, 2]]
HOLE = [[4, 4], [4, 6], [6, 6], [6, 4], [4, 4]]


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def save(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def opened(path, height=40, width=40, **options):
    return open_annotation(Record(path, None, annotation=path), height, width, **options)


def test_geojson_in_every_wrapping(tmp_path):
    wanted = polygon(SQUARE, HOLE)
    wrappings = [
        {"type": "FeatureCollection", "features": [feature(wanted)]},
        [feature(wanted)],  # QuPath
        feature(wanted),
        wanted,
        {"type": "MultiPolygon", "coordinates": [wanted["coordinates"]]},
        {"type": "GeometryCollection", "geometries": [wanted, {"type": "Point", "coordinates": [1, 1]}]},
    ]
    for content in wrappings:
        annotation = opened(save(tmp_path / "a.json", content))
        assert isinstance(annotation, PolygonAnnotation) and annotation.area == 60


def test_classes_of_qupath(tmp_path):
    far = [[20, 20], [24, 20], [24, 24], [20, 24], [20, 20]]
    content = [
        feature(
            polygon(SQUARE), classification={"name": "Tumor", "color": [200, 0, 0]}, objectType="annotation"
        ),
        feature(polygon(HOLE), classification={"name": "Exclusion"}),
        feature(polygon(far), classification={"name": "Ignore*"}),
        feature({"type": "LineString", "coordinates": [[0, 0], [40, 40]]}),
        feature(None),
    ]
    outlines = read_geojson(save(tmp_path / "a.geojson", content))
    assert [(o.name, o.excludes) for o in outlines] == [("Tumor", False), ("Exclusion", True)]
    assert opened(tmp_path / "a.geojson").area == 60


def test_geojson_is_written_as_it_is_read(tmp_path):
    outlines = [Outline(polygon_of(SQUARE, [HOLE]), "Tumor"), Outline(polygon_of(HOLE), "Exclusion", True)]
    write_geojson(tmp_path / "a.geojson", outlines)
    again = read_geojson(tmp_path / "a.geojson")
    assert [o[1:] for o in again] == [o[1:] for o in outlines]
    assert all(shapely.equals(a.polygons, b.polygons) for a, b in zip(again, outlines, strict=True))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not a readable JSON"),
        ("{}", "not a GeoJSON FeatureCollection"),
        ('{"type": "FeatureCollection"}', "not a GeoJSON FeatureCollection"),
        ("[1, 2]", "not a GeoJSON FeatureCollection"),
        ([feature(polygon(SQUARE)), feature({"type": "Circle"})], "feature 1: the unknown geometry 'Circle'"),
        ([feature({"type": "Polygon", "coordinates": 3})], "feature 0: its geometry cannot be read"),
        ([feature(polygon([[0, 0], [1], [2, 2]]))], "feature 0: a corner is not a pair"),
        ([feature(polygon([[0, 0], [1, None], [2, 2]]))], "feature 0: a corner is"),
    ],
)
def test_geojson_that_cannot_be_read(tmp_path, content, complaint):
    path = save(tmp_path / "bad.geojson", content)
    with pytest.raises(DataError, match=f"bad.geojson: .*{complaint}.*Export it again"):
        opened(path)


def test_map_coordinates_where_the_image_lies_on_a_map(tmp_path):
    """Pixels of 10 m in UTM zone 33 north; the square stands at pixels 2 to 10."""
    transform = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)
    place = Georeference("EPSG:32633", transform)
    utm = [[500_000 + 10 * x, 5_000_000 - 10 * y] for x, y in SQUARE]
    named = {"type": "FeatureCollection", "features": [feature(polygon(utm))]}
    named["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    assert opened(save(tmp_path / "utm.geojson", named), place=place).area == pytest.approx(64)
    from rasterio.warp import transform as warp

    degrees = np.stack(warp("EPSG:32633", "OGC:CRS84", *np.array(utm).T), axis=1).tolist()
    path = save(tmp_path / "degrees.geojson", feature(polygon(degrees)))
    found = opened(path, place=place)
    assert found.area == pytest.approx(64, rel=1e-4)
    np.testing.assert_allclose(found.roi.bounds, (2, 2, 10, 10), atol=1e-3)
    assert opened(save(tmp_path / "pixels.geojson", feature(polygon(SQUARE))), place=place).area == 64
    named["crs"]["properties"]["name"] = "EPSG:1"
    with pytest.raises(DataError, match=r"utm\.geojson: the unknown coordinate reference system 'EPSG:1'"):
        opened(save(tmp_path / "utm.geojson", named), place=place)


def asap(*annotations):
    """Annotations as (group, kind, corners), corners as (order, x, y)."""
    body = "".join(
        f'<Annotation Name="A{i}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58"><Coordinates>'
        + "".join(f'<Coordinate Order="{o}" X="{x}" Y="{y}"/>' for o, x, y in corners)
        + "</Coordinates></Annotation>"
        for i, (group, kind, corners) in enumerate(annotations)
    )
    return f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{body}</Annotations></ASAP_Annotations>'


def ring(x, y, side, shuffle=False):
    corners = [(0, x, y), (1, x + side, y), (2, x + side, y + side), (3, x, y + side)]
    return [corners[i] for i in (2, 0, 3, 1)] if shuffle else corners


@pytest.mark.parametrize(
    ("roi", "out"),
    [
        ("_0", "_2"),
        ("_1", "_2"),
        ("Tumor", "Exclusion"),
        ("metastases", "Normal"),
        ("Tumor", "None"),
        ("None", "Exclusion"),
        ("None", "_2"),
    ],
)
def test_groups_of_camelyon(tmp_path, roi, out):
    text = asap((roi, "Polygon", ring(2, 2, 8, shuffle=True)), (out, "Polygon", ring(4, 4, 2)))
    annotation = opened(save(tmp_path / "tumor_001.xml", text))
    assert [(o.name, o.excludes) for o in annotation.outlines] == [(roi, False), (out, True)]
    assert annotation.area == 60


def test_asap_without_groups_with_dots_and_decimal_commas(tmp_path):
    corners = [(0, "2,5", 2), (1, "10,5", 2), (2, "10,5", 10), (3, "2,5", 10)]
    text = asap(("None", "Spline", corners), ("None", "Dot", [(0, 30, 30)]))
    annotation = opened(save(tmp_path / "a.xml", text))
    assert annotation.roi.bounds == (2.5, 2, 10.5, 10)


def test_asap_is_written_as_it_is_read(tmp_path):
    write_asap(tmp_path / "a.xml", [Outline(polygon_of(SQUARE, [HOLE]), "Tumor")])
    assert [o[1:] for o in read_asap(tmp_path / "a.xml")] == [("Tumor", False), ("Exclusion", True)]
    assert opened(tmp_path / "a.xml").area == 60


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><ASAP_Annotations>&c;</ASAP_Annotations>'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<ASAP_Annotations>", "not a readable XML file"),
        (BOMB, "not a readable XML file"),
        ('<?xml version="1.0" encoding="ttf-8"?><ASAP_Annotations/>', "not a readable XML file"),
        ("<Annotations/>", "an XML file of <Annotations>"),
        (asap(("_0", "Polygon", [(0, 1, 1), (0, 2, 2), (1, 3, 1)])), "'A0': two corners have the Order 0"),
        (asap(("_0", "Polygon", [(0, 1, "south"), (1, 2, 2), (2, 3, 1)])), "'A0': corner 0 lacks"),
    ],
)
def test_asap_that_cannot_be_read(tmp_path, text, complaint):
    with pytest.raises(DataError, match=rf"bad\.xml: .*{complaint}"):
        opened(save(tmp_path / "bad.xml", text))


def test_files_that_are_not_there(tmp_path):
    for read in (read_asap, read_geojson, opened):
        with pytest.raises(DataError, match=r"none\.xml: no such annotation"):
            read(tmp_path / "none.xml")


def test_a_resampled_image_reads_its_annotation_rescaled(tmp_path):
    path = save(tmp_path / "a.json", feature(polygon(SQUARE)))
    found = opened(path, frame=(20, 20))
    assert isinstance(found, RescaledAnnotation)
    torch.testing.assert_close(found.read([Region(1, 1, 4, 4)], 0.5), torch.ones(1, 2, 2))
    assert isinstance(opened(path, frame=(40, 40)), PolygonAnnotation)


def nested(*groups):
    """The groups of an ASAP file, as (name, group above)."""
    body = "".join(f'<Group Name="{name}" PartOfGroup="{above}" Color="#00ff00"/>' for name, above in groups)
    return f"<AnnotationGroups>{body}</AnnotationGroups></ASAP_Annotations>"


@pytest.mark.parametrize(
    ("groups", "area"),
    [
        ([("Tumor", "None"), ("Exclusion", "None"), ("Necrosis", "Exclusion")], 60),
        ([("Tumor", "None"), ("Exclusion", "None"), ("Dead", "Exclusion"), ("Necrosis", "Dead")], 60),
        ([("Tumor", "None"), ("normal", "None"), ("Necrosis", "normal")], 60),
        ([("Tumor", "None"), ("Necrosis", "Tumor")], 64),
        ([("Tumor", "None"), ("Necrosis", "Other"), ("Other", "Necrosis")], 64),  # a circle
        ([], 64),
    ],
)
def test_groups_nested_in_an_excluded_one_are_excluded(tmp_path, groups, area):
    text = asap(("Tumor", "Polygon", ring(2, 2, 8)), ("Necrosis", "Polygon", ring(4, 4, 2)))
    text = text.replace("</ASAP_Annotations>", nested(*groups))
    assert opened(save(tmp_path / "a.xml", text)).area == area


@pytest.mark.parametrize(
    "properties",
    [
        {"objectType": "tma_core"},
        {"objectType": "tile", "classification": {"name": "Tumor"}},
        {"objectType": "root"},
        {"classification": {"name": "Ignore*: Positive"}},
        {"classification": {"names": ["Tumor", "Region*"]}},
    ],
)
def test_objects_of_qupath_that_nobody_drew(tmp_path, properties):
    whole = polygon([[0, 0], [40, 0], [40, 40], [0, 40], [0, 0]])
    drawn = feature(polygon(SQUARE), objectType="annotation", classification={"name": "Tumor: Positive"})
    assert opened(save(tmp_path / "a.geojson", [drawn, feature(whole, **properties)])).area == 64


@pytest.mark.parametrize("identity", ["PathTileObject", "TMACoreObject", "PathRootObject"])
def test_objects_of_old_versions_of_qupath(tmp_path, identity):
    whole = feature(polygon([[0, 0], [40, 0], [40, 40], [0, 40], [0, 0]])) | {"id": identity}
    drawn = feature(polygon(SQUARE)) | {"id": "PathAnnotationObject"}
    assert opened(save(tmp_path / "a.geojson", [drawn, whole])).area == 64


@pytest.mark.parametrize(
    "classification",
    [
        {"name": "Normal: Positive"},
        {"names": ["Normal", "Positive"]},
        {"name": "Exclusion: 1+"},
        {"name": "normal"},
        '{ "name": "Exclude", "color": [ 200, 0, 0 ] }',  # as GDAL before 3.8 writes QuPath's object again
    ],
)
def test_classes_derived_from_an_excluded_one(tmp_path, classification):
    content = [
        feature(polygon(SQUARE), classification={"name": "Tumor: Normal"}),
        feature(polygon(HOLE), classification=classification),
    ]
    assert opened(save(tmp_path / "a.geojson", content)).area == 60


OVERSHOT = [[2, 2], [10, 2], [10, 10], [2, 10], [3, 1], [6, 1], [6, 5], [1, 5]]
TWICE = [[2, 2], [10, 2], [10, 10], [2, 10]] * 2
EIGHT = [[2, 2], [10, 10], [10, 2], [2, 10]]
KEYHOLE = [[2, 2], [10, 2], [10, 10], [2, 10], [2, 2], [4, 4], [4, 6], [6, 6], [6, 4], [4, 4]]


@pytest.mark.parametrize(
    ("corners", "area"),
    [
        (OVERSHOT, 67.17),  # the even-odd rule leaves 57.33: it loses what the end goes around again
        (TWICE, 64),
        (EIGHT, 32),
        (KEYHOLE, 60),  # the other way round: a hole
    ],
)
def test_rings_that_cross_themselves_hold_what_they_go_around(tmp_path, corners, area):
    closed = [*corners, corners[0]]
    assert opened(save(tmp_path / "a.geojson", feature(polygon(closed)))).area == pytest.approx(
        area, abs=0.01
    )
    numbered = [(i, x, y) for i, (x, y) in enumerate(corners)]
    text = asap(("Tumor", "Polygon", numbered))
    assert opened(save(tmp_path / "a.xml", text)).area == pytest.approx(area, abs=0.01)


def test_what_lies_inside_is_told_by_the_winding_number():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ring_ = rng.integers(0, 20, (7, 2)) + 0.01 * rng.random((7, 2))
        points = 20 * rng.random((500, 2))
        turns = np.zeros(len(points), dtype=int)
        for (x0, y0), (x1, y1) in zip(ring_, np.roll(ring_, -1, axis=0), strict=True):
            left = (x1 - x0) * (points[:, 1] - y0) - (points[:, 0] - x0) * (y1 - y0)
            turns += (y0 <= points[:, 1]) & (points[:, 1] < y1) & (left > 0)
            turns -= (y1 <= points[:, 1]) & (points[:, 1] < y0) & (left < 0)
        inside = shapely.contains_xy(polygon_of(ring_), points[:, 0], points[:, 1])
        assert (inside == (turns != 0)).mean() > 0.99


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_xml_of_any_encoding(encoding, tmp_path):
    corners = "".join(
        f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate([(1, 1), (9, 1), (9, 9)])
    )
    annotation = (
        f'<Annotation Type="Polygon" PartOfGroup="None"><Coordinates>{corners}</Coordinates></Annotation>'
    )
    text = f"<ASAP_Annotations><Annotations>{annotation}</Annotations></ASAP_Annotations>"
    mark = "\ufeff" if encoding.endswith("be") else ""
    (tmp_path / "a.xml").write_bytes(
        (mark + f'<?xml version="1.0" encoding="UTF-16"?>{text}').encode(encoding)
    )
    found = open_annotation(Record(tmp_path / "a.png", None, annotation=tmp_path / "a.xml"), 20, 20)
    assert found is not None
    assert float(found.read([Region(0, 0, 20, 20)], 1.0).sum()) == pytest.approx(32)


@pytest.mark.parametrize("mark", ["", "\x1e"])
def test_a_feature_per_line(mark, tmp_path):
    """GeoJSON text sequences (RFC 8142), with or without their record separator."""
    features = [feature(polygon([[x + far, y] for x, y in SQUARE])) for far in (0, 20)]
    path = save(tmp_path / "a.geojsonl", "".join(f"{mark}{json.dumps(one)}\n" for one in features))
    assert float(opened(path).read([Region(0, 0, 40, 40)], 1.0).sum()) == pytest.approx(128)
