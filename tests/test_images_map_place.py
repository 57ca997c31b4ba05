"""Where a raster lies on its map, if that is not told by a transform and a coordinate system in the file."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from zoomin.annotations.open_annotation import annotation_of
from zoomin.errors import DataError
from zoomin.geometry import Region
from zoomin.images.describe import companions_of
from zoomin.images.open_image import open_image

WIDTH, HEIGHT = 96, 64
PLANE = Affine(0.5, 0.01, 500_000, -0.01, -0.5, 5_400_000)
BOX = [(20.0, 10.0), (68.0, 10.0), (68.0, 42.0), (20.0, 42.0), (20.0, 10.0)]
WHOLE, SHARE = [Region(0, 0, WIDTH, HEIGHT)], 0.25
ESRI = (
    'PROJCS["WGS_1984_Web_Mercator_Auxiliary_Sphere",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",'
    'SPHEROID["WGS_1984",6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],'
    'PROJECTION["Mercator_Auxiliary_Sphere"],PARAMETER["False_Easting",0.0],PARAMETER["False_Northing",0.0],'
    'PARAMETER["Central_Meridian",0.0],PARAMETER["Standard_Parallel_1",0.0],'
    'PARAMETER["Auxiliary_Sphere_Type",0.0],UNIT["Meter",1.0]]'
)


def by_points(path, off=0.0, count=9):
    """A scene placed by control points, of which the middle one is off by so many pixels."""
    points = [GroundControlPoint(y, x, *(PLANE @ (x, y)), 0) for y in (0, 32, 64) for x in (0, 48, 96)]
    points[4] = GroundControlPoint(32, 48 + off, *(PLANE @ (48, 32)), 0)
    profile = {"width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32632", gcps=points[:count], **profile) as file:
        file.write(np.full((3, HEIGHT, WIDTH), 90, np.uint8))
    return path


def roi(path, corners, **members):
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [corners], **members}))
    return SimpleNamespace(annotation=path, mask=None)


def share(image, record):
    return float(annotation_of(record, image).read(WHOLE, 1.0).mean())


def test_control_points_on_a_plane(tmp_path):
    """GDAL gives neither a transform nor a coordinate system of such files."""
    image = open_image(by_points(tmp_path / "a.tif"))
    assert image.mpp == pytest.approx(500_100, rel=1e-4)
    assert share(image, roi(tmp_path / "m.json", [PLANE @ corner for corner in BOX])) == SHARE
    assert share(image, roi(tmp_path / "p.json", BOX)) == SHARE


@pytest.mark.parametrize(("off", "count", "words"), [(9.0, 9, "misses by up to 8"), (0.0, 2, "2 control")])
def test_control_points_without_a_plane(off, count, words, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        image = open_image(by_points(tmp_path / "a.tif", off, count))
    assert image.georeference is None and image.mpp is None
    assert words in caplog.text and "gdalwarp" in caplog.text
    with pytest.raises(DataError, match="does not meet its image"):
        share(image, roi(tmp_path / "m.json", [PLANE @ corner for corner in BOX]))


@pytest.mark.parametrize("name", ["a.tif tfw prj", "a.tif TFW PRJ", "a.png pgw prj", "a.jpg wld prj"])
def test_the_coordinate_system_beside_a_world_file(name, tmp_path):
    """Half a metre at 60 degrees; longitude and latitude meet the image."""
    name, world, prj = name.split()
    path = tmp_path / name
    Image.new("RGB", (WIDTH, HEIGHT), (200, 30, 90)).save(path)
    path.with_suffix(f".{world}").write_text("1\n0\n0\n-1\n1000000.5\n8399736.5\n")
    path.with_suffix(f".{prj}").write_text(ESRI)
    image = open_image(path)
    assert image.mpp == pytest.approx(500_000, rel=1e-4)
    east, north = np.array([image.georeference.to_map(*corner) for corner in BOX]).T
    lon, lat = rasterio.warp.transform("EPSG:3857", "OGC:CRS84", east, north)
    assert share(image, roi(tmp_path / "m.json", np.stack([lon, lat], 1).tolist())) == pytest.approx(SHARE)
    assert {one.name for one in companions_of(path)} == {f"a.{world}", f"a.{prj}"}


def test_a_prj_that_says_nothing(tmp_path, caplog):
    path = tmp_path / "a.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    path.with_suffix(".pgw").write_text("1\n0\n0\n-1\n0.5\n-0.5\n")
    path.with_suffix(".prj").write_text("Projection UTM")
    assert open_image(path).mpp is None
    assert "names no coordinate reference system" in caplog.text
