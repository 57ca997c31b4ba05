"""Polygons as annotations: exact areas whatever the size, and files that are mended or refused."""

import pickle

import numpy as np
import pytest
import shapely
import torch

from zoomin.annotations.annotation import Annotation
from zoomin.annotations.coverage import coverage
from zoomin.annotations.mask import MaskAnnotation
from zoomin.annotations.polygons import Outline, PolygonAnnotation, polygon_of
from zoomin.annotations.rescaled import RescaledAnnotation
from zoomin.errors import DataError
from zoomin.geometry import Region, view_size


def star(rng, x, y, radius, corners, roughness=0.4):
    """A polygon that is never self-crossing and never convex."""
    turn = np.sort(rng.uniform(0, 2 * np.pi, corners))
    away = radius * (1 - roughness * rng.random(corners))
    return polygon_of(np.stack([x + away * np.cos(turn), y + away * np.sin(turn)], axis=1))


def shares(roi, region, scale):
    """The share of ROI in each view pixel by intersecting it with the pixel's box."""
    rows, columns = view_size(region.height, scale), view_size(region.width, scale)
    y = region.y + np.arange(rows + 1) * region.height / rows
    x = region.x + np.arange(columns + 1) * region.width / columns
    roi = shapely.intersection(roi, shapely.box(x[0], y[0], x[-1], y[-1]))
    boxes = shapely.box(x[None, :-1], y[:-1, None], x[None, 1:], y[1:, None])
    return shapely.area(shapely.intersection(boxes, roi)) / shapely.area(boxes)


@pytest.fixture(scope="module")
def busy():
    """Overlapping polygons with holes and exclusions, some across the border."""
    rng = np.random.default_rng(0)
    drawn = [star(rng, *rng.uniform(-20, 220, 2), rng.uniform(5, 60), 40) for _ in range(25)]
    large = star(rng, 120, 90, 90, 3000, 0.2)
    cut = [Outline(star(rng, *rng.uniform(0, 200, 2), 15, 9), "Exclusion", True) for _ in range(6)]
    ring = polygon_of([(5, 5), (95, 5), (95, 80), (5, 80)], [[(20, 20), (20, 60), (70, 60)]])
    return PolygonAnnotation([*drawn, large, ring, *cut], height=180, width=240)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3, 0.07, 0.01])
def test_share_is_the_exact_area(busy, scale):
    regions = [
        Region(0, 0, 41, 57),
        Region(-13, -9, 41, 57),
        Region(100, 60, 41, 57),
        Region(210, 150, 41, 57),
    ]
    found = busy.read(regions, scale)
    assert isinstance(busy, Annotation) and found.dtype == torch.float32
    expected = np.stack([shares(busy.roi, region, scale) for region in regions])
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_whole_pixels_agree_with_a_mask():
    mask = np.zeros((30, 40), dtype=bool)
    mask[3:9, 5:20], mask[12:30, 30:40] = True, True
    polygons = PolygonAnnotation([shapely.box(5, 3, 20, 9), shapely.box(30, 12, 40, 30)], 30, 40)
    regions = [Region(-3, 2, 17, 11), Region(24, 20, 17, 11)]
    for scale in (1.0, 0.4, 0.15):
        expected = MaskAnnotation(mask, 30, 40).read(regions, scale)
        torch.testing.assert_close(polygons.read(regions, scale), expected)


def test_views_are_bounded_not_images_nor_vertices(monkeypatch):
    monkeypatch.setattr("zoomin.annotations.polygons._PIXELS", 500)
    monkeypatch.setattr("zoomin.annotations.coverage._AT_ONCE", 3000)
    side, rng = 100_000, np.random.default_rng(1)
    outline = star(rng, 50_000, 40_000, 45_000, 100_000, 0.01)
    holes = [Outline(star(rng, *rng.uniform(20_000, 60_000, 2), 200, 30), excludes=True) for _ in range(300)]
    annotation = PolygonAnnotation([outline, *holes], side, side)
    regions = [Region(x, y, 3200, 3200) for x, y in rng.integers(0, side, (12, 2)).tolist()]
    found = annotation.read(regions, 1 / 320)
    expected = np.stack([shares(annotation.roi, region, 1 / 320) for region in regions])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    whole = annotation.read([Region(0, 0, side, side)], 1e-3)
    assert float(whole.double().sum()) * 1e6 == pytest.approx(annotation.area, rel=1e-6)


def test_no_polygons_no_roi():
    for outlines in ([], [polygon_of([(50, 50), (60, 60), (50, 60)])], [polygon_of([(1, 1), (2, 2)])]):
        annotation = PolygonAnnotation(outlines, height=20, width=20)
        assert annotation.empty and annotation.area == 0
        assert annotation.read([Region(0, 0, 20, 20)], 0.5).sum() == 0


def test_rings_in_any_direction_open_or_closed():
    ring = [(1, 1), (7, 1), (7, 5), (1, 5)]
    views = [
        PolygonAnnotation([polygon_of(r)], 8, 8).read([Region(0, 0, 8, 8)], 0.25)
        for r in (ring, ring[::-1], [*ring, ring[0]])
    ]
    assert torch.equal(views[0], views[1]) and torch.equal(views[0], views[2])
    assert float(views[0].sum()) * 16 == 24


def test_a_ring_that_crosses_itself_keeps_both_halves():
    eight = polygon_of([(0, 0), (8, 8), (8, 0), (0, 8)])
    assert eight.is_valid and eight.area == 32
    spike = polygon_of([(0, 0), (4, 0), (4, 4), (4, 9), (4, 4), (0, 4)])  # goes out and comes back
    assert spike.is_valid and spike.area == 16 and spike.geom_type in ("Polygon", "MultiPolygon")


@pytest.mark.parametrize("corners", [[(0, 0), (1, np.nan), (3, 3)], [(0, 0), (1, "x"), (2, 2)], [(0,), (1,)]])
def test_corners_that_are_no_numbers_are_refused(corners):
    with pytest.raises(DataError, match="a corner is"):
        polygon_of(corners)


def test_regions_of_two_sizes_are_refused(busy):
    for annotation in (busy, RescaledAnnotation(busy, 90, 120)):
        with pytest.raises(DataError, match="2 sizes of region"):
            annotation.read([Region(0, 0, 4, 4), Region(0, 0, 4, 5)], 1.0)


def test_annotations_travel_to_other_processes(busy):
    again = pickle.loads(pickle.dumps(busy))
    region = [Region(10, 10, 60, 60)]
    assert torch.equal(again.read(region, 0.5), busy.read(region, 0.5))


def test_an_image_at_another_resolution_has_the_same_roi(busy):
    """A pixel of the image as it is read is 2.5 stored pixels wide."""
    rescaled = RescaledAnnotation(busy, height=72, width=96)
    assert isinstance(rescaled, Annotation) and rescaled.factor == (2.5, 2.5) and not rescaled.empty
    found = rescaled.read([Region(0, 0, 20, 10), Region(40, 30, 20, 10)], 0.5)
    expected = busy.read([Region(0, 0, 50, 25), Region(100, 75, 50, 25)], 0.2)
    torch.testing.assert_close(found, expected)
    mask = np.random.default_rng(0).random((180, 240)) < 0.3
    found = RescaledAnnotation(MaskAnnotation(mask, 180, 240), 360, 480).read([Region(11, 7, 20, 10)], 1.0)
    assert found.shape == (1, 10, 20)
    assert float(found[0, 0, 0]) == mask[3, 5] and float(found[0, 9, 19]) == mask[8, 15]


def test_coverage_of_edges_far_beyond_the_view():
    square = np.array([[-1e6, -1e6], [1e6, -1e6], [1e6, 1e6], [-1e6, 1e6], [-1e6, -1e6]])
    edges = np.concatenate([square[:-1], square[1:]], axis=1)
    found = coverage(edges, np.zeros(4, dtype=np.int64), (1, 3, 5))
    np.testing.assert_array_equal(found, np.ones((1, 3, 5)))
