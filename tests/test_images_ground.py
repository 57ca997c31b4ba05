"""The size of a pixel on the ground, where the map's unit is not a metre there."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.warp import transform

from zoomin.geometry import Region
from zoomin.images.describe import companions_of
from zoomin.images.open_image import open_image

A, E2 = 6_378_137.0, 0.0066943799901413165  # WGS 84


def scene(path, crs, place, step=1.0, turn=0.0, size=64):
    """A scene whose centre lies at a longitude and latitude, its pixels `step` units of the map."""
    (x,), (y,) = transform("EPSG:4326", crs, [place[0]], [place[1]])
    cos, sin = step * math.cos(turn), step * math.sin(turn)
    matrix = rasterio.Affine(cos, sin, 0, sin, -cos, 0)
    left, top = matrix * (size / 2, size / 2)
    matrix = rasterio.Affine(cos, sin, x - left, sin, -cos, y - top)
    profile = {"width": size, "height": size, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=matrix, **profile) as file:
        file.write(np.full((3, size, size), 90, np.uint8))
    return path


def radii(latitude):
    """Metres of a radian to the north and to the east."""
    sine = math.sin(math.radians(latitude))
    bend = 1 - E2 * sine * sine
    return A * (1 - E2) / bend**1.5, A / math.sqrt(bend) * math.cos(math.radians(latitude))


def test_web_mercator_at_60_degrees(tmp_path):
    """f08: one map metre a pixel is half a metre on the ground."""
    path = scene(tmp_path / "a.tif", "EPSG:3857", (10.0, 60.0))
    assert open_image(path).mpp == pytest.approx(500_000, rel=1e-4)
    assert open_image(path, mpp=7e5).mpp == 7e5


@pytest.mark.parametrize(("latitude", "factor"), [(0.0, 1.0), (-45.0, math.sqrt(0.5)), (75.0, 0.258819)])
@pytest.mark.parametrize("turn", [0.0, 0.5])
def test_web_mercator_anywhere(latitude, factor, turn, tmp_path):
    path = scene(tmp_path / "a.tif", "EPSG:3857", (-120.0, latitude), turn=turn)
    assert open_image(path).mpp == pytest.approx(1e6 * factor, rel=1e-4)


def test_mercator_on_the_ellipsoid(tmp_path):
    _, east = radii(60)
    path = scene(tmp_path / "a.tif", "EPSG:3395", (10.0, 60.0))
    assert open_image(path).mpp == pytest.approx(1e6 * east / A, rel=1e-3)


@pytest.mark.parametrize("latitude", [0.5, 45.0, -60.0])
def test_longitude_and_latitude(latitude, tmp_path, caplog):
    """A square of the same area, and a warning where the sides differ."""
    path = scene(tmp_path / "a.tif", "EPSG:4326", (10.0, latitude), step=1e-4)
    north, east = (side * math.radians(1e-4) for side in radii(latitude))
    with caplog.at_level(logging.WARNING):
        assert open_image(path).mpp == pytest.approx(1e6 * math.sqrt(north * east), rel=1e-3)
    assert ("on the ground" in caplog.text) == (abs(latitude) > 1)


def test_an_equal_area_map_warns(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found = open_image(scene(tmp_path / "a.tif", "EPSG:6933", (10.0, 60.0), step=10.0)).mpp
    assert found == pytest.approx(1e7, rel=5e-3)  # equal area: the square's side stays
    assert "wide" in caplog.text


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3035", "EPSG:2154", "EPSG:27700"])
def test_maps_that_keep_lengths_are_taken_at_their_word(crs, tmp_path):
    places = {
        "EPSG:32633": (15.0, 50.0),
        "EPSG:3035": (10.0, 52.0),
        "EPSG:2154": (3.0, 47.0),
        "EPSG:27700": (-2.0, 52.0),
    }
    assert open_image(scene(tmp_path / "a.tif", crs, places[crs])).mpp == pytest.approx(1e6, rel=1e-9)


def test_degrees_off_the_globe_tell_nothing(tmp_path):
    matrix = rasterio.Affine(0.5, 0, 10.0, 0, -0.5, 20.0)
    profile = {"width": 500, "height": 400, "count": 1, "dtype": "uint8"}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", crs="EPSG:4326", transform=matrix, **profile
    ) as file:
        file.write(np.zeros((1, 400, 500), np.uint8))
    assert open_image(tmp_path / "a.tif").mpp is None


def moon_or_mars(path, crs, place, step, turn=0.0):
    """A scene by its own map coordinates: PROJ converts nothing between bodies."""
    matrix = rasterio.Affine(step, 0, place[0] - 32 * step, 0, -step, place[1] + 32 * step)
    profile = {"width": 64, "height": 64, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=matrix, **profile) as file:
        file.write(np.full((3, 64, 64), 90, np.uint8))
    return path


MOON, MARS = 1_737_400.0, 3_396_190.0


@pytest.mark.parametrize(
    ("crs", "place", "step", "metres"),
    [
        ("IAU_2015:30100", (10, 60), 0.01, math.radians(0.01) * MOON * math.sqrt(0.5)),
        ("IAU_2015:49900", (10, 60), 0.01, math.radians(0.01) * MARS * math.sqrt(0.5)),
        ("ESRI:104903", (10, 60), 0.01, math.radians(0.01) * MOON * math.sqrt(0.5)),
        ("IAU_2015:30110", (0, MOON * math.pi / 3), 100, 100 * math.sqrt(0.5)),  # equirectangular
        ("+proj=eqc +R=1737400", (0, MOON * math.pi / 3), 100, 100 * math.sqrt(0.5)),
        ("IAU_2015:30135", (0, 0), 100, 100),  # the pole itself
        ("+proj=merc +R=3396190", (0, MARS * math.log(2 + math.sqrt(3))), 8, 4),
    ],
)
def test_maps_of_the_moon_and_mars(crs, place, step, metres, tmp_path):
    found = open_image(moon_or_mars(tmp_path / "a.tif", crs, place, step)).mpp
    assert found == pytest.approx(1e6 * metres, rel=1e-3)


def test_mars_as_an_ellipsoid(tmp_path):
    """IAU_2015:49901 has latitudes of the ellipsoid of 3396190 and 3376200 metres."""
    flat = 1 - 3_376_200 / MARS
    eccentric = flat * (2 - flat)
    bend = 1 - eccentric * 0.75
    north, east = MARS * (1 - eccentric) / bend**1.5, MARS / math.sqrt(bend) * 0.5
    found = open_image(moon_or_mars(tmp_path / "a.tif", "IAU_2015:49901", (10, 60), 0.01)).mpp
    assert found == pytest.approx(1e6 * math.radians(0.01) * math.sqrt(north * east), rel=1e-4)


def test_the_pole_of_a_polar_map(tmp_path):
    """EPSG:3031 is true at 71 degrees south: 10 units are 10.28 m at the pole (k0 0.97277)."""
    found = open_image(moon_or_mars(tmp_path / "a.tif", "EPSG:3031", (0, 0), 10.0)).mpp
    assert found == pytest.approx(1e7 / 0.972769, rel=1e-4)


@pytest.mark.parametrize(
    ("crs", "place", "step", "metres"),
    [
        ("EPSG:4807", (0, 50), 0.001, 0.001 * math.pi / 200 * math.sqrt(6_367_321.0 * 4_517_802.0)),  # grads
        ("EPSG:2263", (1e6, 2e5), 1.0, 1200 / 3937),  # US survey feet
        ('LOCAL_CS["site",UNIT["foot",0.3048]]', (5, 5), 0.1, 0.03048),
        ("EPSG:27700+5701", (4e5, 1e5), 1.0, 1.0),  # with heights
    ],
)
def test_units_of_maps(crs, place, step, metres, tmp_path):
    found = open_image(moon_or_mars(tmp_path / "a.tif", crs, place, step)).mpp
    assert found == pytest.approx(1e6 * metres, rel=1e-3)


def test_a_sheared_map_has_the_area_of_its_pixels(tmp_path, caplog):
    """The sinusoidal projection keeps areas everywhere, however its squares are sheared."""
    crs = "+proj=sinu +R=6371007.181"
    with caplog.at_level(logging.WARNING):
        found = open_image(moon_or_mars(tmp_path / "a.tif", crs, (8_340_000, 6_671_700), 463.3)).mpp
    assert found == pytest.approx(463.3e6, rel=1e-4)
    assert "on the ground" in caplog.text


def test_maps_that_tell_no_size_on_the_ground(tmp_path, caplog):
    """Geocentric coordinates are no plane; a place beside the disk of a satellite's view is nowhere."""
    assert open_image(moon_or_mars(tmp_path / "a.tif", "EPSG:4978", (4e6, 0), 1.0)).mpp is None
    beside = moon_or_mars(tmp_path / "b.tif", "+proj=geos +h=35785831", (5.5e6, 5.4e6), 1000.0)
    assert open_image(beside).mpp is None
    assert "outside of its map" in caplog.text


@pytest.mark.parametrize(
    ("name", "world"), [("a.png", "a.pgw"), ("a.jpg", "a.jgw"), ("a.png", "a.wld"), ("a.bmp", "a.bpw")]
)
@pytest.mark.parametrize("crs", [None, "EPSG:32633"])
def test_world_files_beside_other_images(name, world, crs, tmp_path):
    """Their place on the map was lost: ROI in map coordinates did not meet them."""
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(tmp_path / name)
    (tmp_path / world).write_text("0.5\n0\n0\n-0.5\n500000.25\n4999999.75\n")
    if crs is not None:
        text = f"<PAMDataset><SRS>{crs}</SRS></PAMDataset>"
        (tmp_path / f"{name}.aux.xml").write_text(text)
    image = open_image(tmp_path / name)
    assert image.georeference is not None
    assert image.georeference.transform == (0.5, 0.0, 5e5, 0.0, -0.5, 5e6)
    assert image.mpp == (None if crs is None else 500_000)
    assert open_image(tmp_path / name, mpp=7.0).mpp == 7
    assert (image.read([Region(0, 0, 64, 48)], 1.0)[0, 0, 10, 10] - 90).abs() <= 1
    assert tmp_path / world in companions_of(tmp_path / name)
