"""The benchmarks of speed measure what they say: growth, pooling, reads by threads. No time is tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import growth
import pooling
import read_threads
from zoomin.geometry import Region
from zoomin.images.open_image import open_image


@pytest.fixture(scope="module")
def giant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("growth") / "giant.tif"
    growth.write_giant(path, 40_000)
    return path


def test_a_giant_is_a_whole_pyramid_in_a_small_file(giant: Path) -> None:
    image = open_image(giant)
    assert (image.height, image.width) == (40_000, 40_000)
    assert [level.width for level in image.levels] == [40_000, 20_000, 10_000, 5_000, 2_500, 1_250]
    assert giant.stat().st_size < 1e6
    [middle, corner] = image.read([Region(20_000, 20_000, 512, 512), Region(0, 0, 512, 512)], 1.0).float()
    assert float(middle.std()) > 10 and (corner - torch.tensor(growth.GLASS)[:, None, None]).abs().max() < 3
    whole = image.read([Region(0, 0, 40_000, 40_000)], 1 / 32)[0].float().mean(0)
    assert float((whole < 210).float().mean()) == pytest.approx(growth.SHARE, abs=0.08)


def test_growth_is_measured_drawn_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def process(point: growth.Point, path: Path, first_on: Path, networks: str) -> growth.Point:
        return {"cpu": 1e-3 * point["N"] ** 2, "wall": 1.0, "memory": 5.0 * point["N"]}

    monkeypatch.setattr(growth, "_in_process", process)
    out = tmp_path / "growth.json"
    given = ["--out", str(out), "--axes", "N", "--scale", "0.1", "--work", str(tmp_path / "work")]
    assert growth.main(given) == 0
    report = json.loads(out.read_text())
    assert report["exponents"]["N"]["cpu"] == pytest.approx(2) and report["axes"]["N"][0]["tiles"] == 16
    assert report["exponents"]["N"]["memory"] == pytest.approx(1)
    assert "## N: CPU seconds grow with exponent 2.00, memory 1.00" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").is_file() and out.with_suffix(".svg").is_file()


def test_a_point_is_predicted(tmp_path: Path) -> None:
    path = str(tmp_path / "image.tif")
    growth.write_giant(Path(path), 9_000)
    found = growth.predict({**growth.BASE, "N": 4, "tile_size": 800}, [path], path, "lenet_relu")
    assert found["cpu"] > 0 and abs(found["memory"]) < 4000  # below 0 where earlier tests left much


@pytest.mark.parametrize(
    "name, small, crops",
    [
        ("abmil", {}, 20),
        ("abmil, gated", {}, 20),
        ("clam", {"width": 16, "hidden": 8}, 20),
        ("dsmil", {}, 20),
        ("abmilx", {"width": 16, "heads": 2}, 20),
        # landmarks that divide the tokens, and one head: else the authors' answer is another
        ("transmil", {"width": 16, "heads": 1, "landmarks": 5}, 9),
    ],
)
def test_pooling_answers_as_its_formulas_do(
    name: str, small: dict[str, int], crops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, how, plain = pooling.PLAIN[name]
    monkeypatch.setitem(pooling.PLAIN, name, (settings, how | small, plain))
    found = pooling.compare(name, crops=crops, dims=8, bags=2, repeats=1)
    assert found["apart"] < 1e-4 and found["ratio"] > 0


def test_ips_attends_as_written_plainly() -> None:
    torch.manual_seed(0)
    assert pooling.cross_attention(crops=20, dims=12, repeats=1)["apart"] < 1e-5


def test_reads_by_threads_are_counted(giant: Path) -> None:
    found = read_threads.measure(giant, reads=3, repeats=2)
    assert 0 < found["held"] < 1 and min(found.values()) > 0
