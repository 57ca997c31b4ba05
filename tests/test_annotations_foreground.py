"""Foreground from a file: mask images and polygons tell tiles, at the file's resolution and at another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from zoomin.annotations.foreground import FileMask
from zoomin.data.manifest import read_manifest
from zoomin.errors import ImageError
from zoomin.geometry import TileGrid
from zoomin.images.array import ArrayImage
from zoomin.images.foreground import Foreground
from zoomin.images.resampled import at_mpp
from zoomin.inference import predict
from zoomin.model import ZoomIn
from zoomin.model.config import ZoomInConfig

BOX = (20, 40, 60, 80)  # x, y, x, y of the foreground in an image of 100 x 120


@pytest.fixture
def image() -> ArrayImage:
    return ArrayImage(torch.full((3, 120, 100), 200, dtype=torch.uint8), mpp=0.5)


@pytest.fixture(params=["mask", "small mask", "polygon"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    left, top, right, bottom = BOX
    if request.param == "polygon":
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        shape = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [shape]}))
        return tmp_path / "a.geojson"
    mask = np.zeros((120, 100), dtype=np.uint8)
    mask[top:bottom, left:right] = 255
    PillowImage.fromarray(mask[::4, ::4] if request.param == "small mask" else mask).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_tiles_of_the_file_and_of_another_resolution(path: Path, image: ArrayImage, mpp: float) -> None:
    seen = at_mpp(image, mpp)
    mask = FileMask(path, seen, Foreground("mask", min_share=0.3))
    grid = TileGrid.of(torch.tensor([[seen.height, seen.width]]), int(20 * 0.5 / mpp))
    tiles = mask.tiles(grid.regions).view(6, 5)
    assert tiles.nonzero().tolist() == [[i, j] for i in (2, 3) for j in (1, 2)]
    torch.testing.assert_close(mask.shares(grid.regions).view(6, 5)[2:4, 1:3], torch.ones(2, 2))


def test_an_unusable_file_is_an_error_of_its_image(image: ArrayImage, tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text("{}")
    with pytest.raises(ImageError, match=r"a\.geojson"):
        FileMask(tmp_path / "a.geojson", image, Foreground("mask")).tiles(torch.tensor([[0, 0, 9, 9]]))


def test_manifests_name_foreground(path: Path, image: ArrayImage, tmp_path: Path) -> None:
    """One image with a good file, one with a bad one, one without: two predictions and an error."""
    for name in "xyz":
        PillowImage.fromarray(image.pixels.permute(1, 2, 0).numpy()).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.geojson").write_text("{}")
    (tmp_path / "m.csv").write_text(f"image,foreground\nx.png,{path.name}\ny.png,bad.geojson\nz.png,\n")
    manifest = read_manifest(tmp_path / "m.csv", labels_required=False)
    settings = {"tile_size": 20, "sub_tile_size": 9, "tile_scale": 0.5, "sub_tile_scale": 0.5}
    net = ZoomIn(ZoomInConfig(**settings, foreground=Foreground("mask")))
    rows = predict(manifest, net)
    assert [row.status for row in rows] == ["ok", "error", "ok"]
    assert rows[0].pixels_read < rows[2].pixels_read
    assert "bad.geojson" in rows[1].error
