"""The size of a pixel on the ground, where the map's unit is not a metre there."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

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
