"""The benchmark of giant slides, in its small mode: what it counts is what happens."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import gigapixel
import gigapixel_jobs
from gigapixel_jobs import decode, encode, many, predict, tissue_tiles
from zoomin.datasets.synthetic.slides import SlideConfig, make_slides
from zoomin.images.open_image import open_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gigapixel")


@pytest.fixture(scope="module")
def slide(folder):
    config = SlideConfig(n_train=0, n_val=0, n_test=2, width=2000, height=2000, texture_size=64)
    return str(make_slides(folder / "2000", config).records[1].image)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    for name, value in {"tile_size": 640, "n_samples": 5}.items():
        monkeypatch.setitem(gigapixel_jobs.GEOMETRY, name, value)
    monkeypatch.setattr(gigapixel_jobs, "_WARM_UP", 2)


def test_prediction_decodes_a_part_of_the_slide(slide):
    found = predict(slide, networks="lenet_relu", repeats=2)
    assert found["status"] == "ok" and len(found["seconds"]) == len(found["processor_seconds"]) == 2
    assert (found["width"], found["height"]) == (2000, 2000)
    assert found["stored_pixels"] == sum(side**2 for side in (2000, 1000, 500, 250))
    assert 0 < found["decoded_share"] < 1
    assert found["peak_mb"] >= found["before_mb"] > 50


def test_decoding_reads_all_the_tissue_once(slide):
    parts = [decode(slide, part=part, parts=2) for part in range(2)]
    tiles = sum(row["tiles"] for row in parts)
    assert tiles == parts[0]["tissue_tiles"] == len(tissue_tiles(open_image(slide), 256))
    assert parts[0]["tissue_share"] == pytest.approx(0.4, abs=0.08)
    inside = sum(row["decoded_pixels"] for row in parts)
    assert 0.7 * tiles * 256**2 <= inside <= tiles * 256**2  # blocks at the border are cut


def test_encoding_takes_every_tile_of_the_tissue(slide):
    found = encode(slide, part=1, parts=20)
    assert found["tissue_tiles"] == len(tissue_tiles(open_image(slide), 224))
    assert found["tiles"] == -(-(found["tissue_tiles"] - 1) // 20) and found["processor_seconds"] > 0


def test_memory_is_watched_over_many_predictions(slide):
    found = many([slide], count=4, networks="lenet_relu", n=3)
    assert found["status"] == "ok" and found["predictions"] == 4
    assert found["growth"] == pytest.approx(found["end_mb"] / found["after_warm_up_mb"] - 1)


def test_what_cannot_be_read_is_a_row(tmp_path, capsys):
    (tmp_path / "a.svs").write_text("no slide")
    words = json.dumps({"job": "predict", "image": str(tmp_path / "a.svs"), "networks": "lenet_relu"})
    assert gigapixel_jobs.main([words]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "error"


def test_small_mode_writes_json_and_markdown(slide, folder, tmp_path, capsys, monkeypatch):
    def here(job, options, **settings):  # the jobs of the processes, without the processes
        return gigapixel_jobs.JOBS[job](**settings)

    monkeypatch.setattr(gigapixel, "_run", here)
    monkeypatch.setattr(gigapixel, "_slide", lambda options, size: slide)
    Image.fromarray(np.full((90, 90, 3), 200, dtype=np.uint8)).save(tmp_path / "real.png")
    out = tmp_path / "out" / "gigapixel.json"
    words = "--sizes 2000 --rounds 1 --decode_share 0.5 --many 2 --networks lenet_relu".split()
    argv = [*words, "--folder", str(folder), "--real", str(tmp_path), "--out", str(out)]
    assert gigapixel.main(argv) == 0
    report = json.loads(out.read_text())
    row = report["sizes"]["2000"]
    assert row["decoded_part"] == pytest.approx(0.5, abs=0.2)
    assert row["times_faster"] == pytest.approx(row["decode_seconds"] / row["seconds"])
    smaller = "times_faster, networks lenet_relu"
    assert set(report["targets"]) == {*gigapixel.TARGETS, smaller} - {"memory_spread"}
    seconds = report["variants"]["networks lenet_relu"]["seconds"][0]
    assert report["targets"][smaller]["measured"] == pytest.approx(row["decode_seconds"] / seconds)
    assert report["targets"]["decoded_share"]["reached"] is False
    looked, whole = (report["variants"][f"networks {name}"] for name in ("in bfloat16", "lenet_relu"))
    assert looked["probability"] == pytest.approx(whole["probability"], abs=0.01)
    glass = report["variants"]["the glass looked at too"]
    assert glass["views_pixels"] > whole["views_pixels"]
    assert report["real"]["real.png"]["status"] == "no foreground"
    text = out.with_suffix(".md").read_text()
    assert "| 2,000 x 2,000 |" in text and "MISSED" in text and "real.png" in text
    assert text.strip() in capsys.readouterr().out
