"""Annotations that ask for more than can be computed are refused, naming the file; large ones are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from zoomin.annotations import limits
from zoomin.annotations.asap import read_asap
from zoomin.annotations.geojson import read_geojson
from zoomin.annotations.polygons import PolygonAnnotation, polygon_of
from zoomin.errors import DataError


def circle(corners: int, radius: float = 400, step: int = 1) -> np.ndarray:
    """Corners on a circle; each edge leads `step` corners on, so that large steps make a star."""
    angles = 2 * np.pi * step * np.arange(corners) / corners
    return 500 + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def geojson(path: Path, *rings: np.ndarray) -> Path:
    shapes = [[ring.round(3).tolist()] for ring in rings]
    path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": shapes}))
    return path


def asap(path: Path, ring: np.ndarray) -> Path:
    corners = "".join(f'<Coordinate Order="{n}" X="{x:.3f}" Y="{y:.3f}"/>' for n, (x, y) in enumerate(ring))
    head = '<ASAP_Annotations><Annotations><Annotation Type="Polygon" PartOfGroup="Tumor"><Coordinates>'
    path.write_text(f"{head}{corners}</Coordinates></Annotation></Annotations></ASAP_Annotations>")
    return path


def test_outlines_of_many_corners_are_read(tmp_path: Path) -> None:
    (outline,) = read_geojson(geojson(tmp_path / "a.json", circle(20_000)))
    annotation = PolygonAnnotation([outline], 1000, 1000)
    assert annotation.area == pytest.approx(np.pi * 400**2, rel=1e-4)


@pytest.mark.parametrize("write", [geojson, asap])
def test_too_many_corners_or_bytes(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.annotation", circle(1000))
    read = read_geojson if write is geojson else read_asap
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MOST", 999)
        with pytest.raises(
            DataError, match=r"a\.annotation: polygons of 1,000 corners.*Simplify the outlines"
        ):
            read(path)
        with pytest.raises(DataError, match=r"drawn: polygons of 1,001 corners"):
            _ = PolygonAnnotation([polygon_of(circle(1000))], 1000, 1000, name="drawn").roi
        patch.setattr(limits, "BYTES", 1000)
        with pytest.raises(DataError, match=r"a\.annotation: .* MiB of polygons"):
            read(path)
    assert len(read(path)) == 1


@pytest.mark.parametrize("write", [geojson, asap])
def test_an_outline_that_crosses_itself_almost_everywhere(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A star of 201 edges, each of which crosses nearly all others."""
    monkeypatch.setattr(limits, "_SPARE", 0)
    path = write(tmp_path / "star.annotation", circle(201, step=100))
    with pytest.raises(
        DataError, match=r"star\.annotation: outlines of 201 edges that cross almost everywhere"
    ):
        (read_geojson if write is geojson else read_asap)(path)


def test_outlines_that_cross_each_other_almost_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two combs, one across the other; each alone is fine."""
    monkeypatch.setattr(limits, "_SPARE", 0)
    teeth = np.repeat(np.arange(0, 900, 4.5), 2)
    ends = np.tile([10.0, 900.0, 900.0, 10.0], len(teeth) // 4)
    comb = np.concatenate([np.stack([teeth, ends], axis=1), [[900, 0], [0, 0]]])
    across = comb[:, ::-1]
    one, other = polygon_of(comb), polygon_of(across)
    assert not PolygonAnnotation([one], 1000, 1000).empty
    with pytest.raises(DataError, match=r"combs: outlines of .* edges that cross almost everywhere"):
        _ = PolygonAnnotation([one, other], 1000, 1000, name="combs").roi
