"""Generated slides: what they state is what is painted, and texture alone, or shape, tells the class."""

import hashlib
import json
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
import torch
from PIL import Image
from shapely.geometry import box, shape

from zoomin.annotations.open_annotation import open_annotation
from zoomin.app.cli import main
from zoomin.data.find import open_dataset
from zoomin.data.manifest import Record
from zoomin.datasets.synthetic import slides as module
from zoomin.datasets.synthetic.slide_layout import cell_size
from zoomin.datasets.synthetic.slides import SlideConfig, make_slides
from zoomin.datasets.synthetic.textures import load_textures, split_textures, textures_of
from zoomin.errors import ConfigError, DataError, WriteError
from zoomin.geometry import Region

SMALL = SlideConfig(n_train=2, n_val=0, n_test=2, width=1500, height=1300, texture_size=64)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Source images: grey ones, and coloured ones as needles."""
    root, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(0)
    for kind, count in (("background", 9), ("needle", 6)):
        (root / kind).mkdir()
        for number in range(count):
            pixels = rng.integers(90, 150, (80, 100, 1)).repeat(3, 2)
            if kind == "needle":
                pixels = pixels + np.array([90, 0, -80])
            Image.fromarray(pixels.astype(np.uint8)).save(root / kind / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def made(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides") / "out"
    return make_slides(folder, coloured(images), progress=True)


def coloured(images, **changes):
    given = {"background": str(images / "background"), "needles": str(images / "needle")}
    return replace(SMALL, **given, **changes)


def pixels_of(path):
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")).astype(int)


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_manifest_and_files_fit_together(made):
    manifest = open_dataset(made.source)
    assert manifest.records == made.records
    assert [(r.split, r.label) for r in manifest] == [
        (split, label) for split in ("train", "test") for label in ("negative", "positive")
    ]
    for record in manifest:
        assert record.mpp == 0.5 and record.group == record.image.stem
        assert (record.annotation is not None) == (record.label == "positive")
        with openslide.OpenSlide(record.image) as slide:
            assert slide.dimensions == (1500, 1300)
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
    assert json.loads((made.source.parent / "slides.json").read_text())["config"]["width"] == 1500


def test_needles_lie_where_the_outlines_say_and_cover_their_share(made):
    for record in made:
        pixels = pixels_of(record.image)
        is_needle = pixels[..., 0] - pixels[..., 2] > 85  # halfway from grey to the needles' colour
        share = is_needle.mean()
        if record.label == "negative":
            assert share < 1e-3
            continue
        assert share == pytest.approx(SMALL.roi_share, rel=0.1)
        roi = open_annotation(record, 1300, 1500)
        assert roi is not None
        mask = roi.read([Region(0, 0, 1500, 1300)], 1.0)[0].numpy() > 0.5
        assert mask.mean() == pytest.approx(SMALL.roi_share, rel=0.03)
        assert (mask & is_needle).sum() > 0.93 * max(mask.sum(), is_needle.sum())
        outlines = json.loads(record.annotation.read_text())["features"]
        assert all(box(0, 0, 1500, 1300).contains(shape(f["geometry"])) for f in outlines)
        assert {f["properties"]["classification"]["name"] for f in outlines} == {"needle"}


def test_tissue_covers_its_share(made):
    for record in made:
        pixels = pixels_of(record.image)
        assert (pixels.min(2) < 200).mean() == pytest.approx(SMALL.tissue_share, abs=0.03)


def test_needles_and_decoys_have_one_law(made):
    for record in made:
        facts = json.loads((made.source.parent / "records" / f"{record.image.stem}.json").read_text())
        kinds = [blob["kind"] for blob in facts["blobs"]]
        positive = record.label == "positive"
        assert kinds == ["needle" if positive else "decoy"] * 3 + ["decoy"] * 3
        assert sum(b["pixels"] for b in facts["blobs"][:3]) == pytest.approx(0.01 * 1500 * 1300, rel=0.03)
        assert all(b["source"] not in facts["pieces"] for b in facts["blobs"])
        assert facts["roi_share"] == pytest.approx(0.01 if positive else 0, rel=0.03)


@pytest.fixture(scope="module")
def rings(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rings") / "out"
    return make_slides(folder, coloured(images, differ_by="shape", roi_share=0.02, blobs=2, decoys=2))


def test_needles_of_another_shape_have_the_decoys_textures(rings):
    """Sources, number and area of blobs are of one law in both classes; needles alone enclose a hole."""
    for record in rings:
        facts = json.loads((rings.source.parent / "records" / f"{record.image.stem}.json").read_text())
        assert all("needle" in blob["source"] for blob in facts["blobs"]) and len(facts["blobs"]) == 4
        painted = pixels_of(record.image)
        coloured_share = ((painted[..., 0] - painted[..., 2]) > 60).mean()
        assert coloured_share == pytest.approx(
            sum(b["pixels"] for b in facts["blobs"]) / 1500 / 1300, rel=0.15
        )
        if record.label == "negative":
            continue
        assert facts["roi_share"] == pytest.approx(0.02, rel=0.1)
        outlines = json.loads(record.annotation.read_text())["features"]
        whole = [shape(feature["geometry"]) for feature in outlines]
        assert sum(polygon.area for polygon in whole) == pytest.approx(0.02 * 1500 * 1300, rel=0.1)
        hull = sum(polygon.convex_hull.area for polygon in whole)
        assert hull > 1.4 * sum(polygon.area for polygon in whole), "a ring, or most of one"


def test_folders_of_before_go_on(images, tmp_path):
    """slides.json of earlier versions does not say what needles differ by: by texture."""
    config = coloured(images, n_train=1, n_test=0, width=512, height=512, roi_share=0.03)
    make_slides(tmp_path / "out", config)
    told = json.loads((tmp_path / "out" / "slides.json").read_text())
    del told["config"]["differ_by"]
    (tmp_path / "out" / "slides.json").write_text(json.dumps(told))
    assert len(make_slides(tmp_path / "out", config)) == 1
    with pytest.raises(DataError, match="something other"):
        make_slides(tmp_path / "out", replace(config, differ_by="shape"))


def test_no_source_is_seen_by_two_splits(made, images):
    sources = json.loads((made.source.parent / "slides.json").read_text())["sources"]
    assert set(sources) == {"train", "test"}
    for kind, count in (("background", 9), ("needle", 6)):
        train, test = (set(sources[split][kind]) for split in ("train", "test"))
        assert train and test and not train & test
        assert len(train | test) == count
    for record in made:
        facts = json.loads((made.source.parent / "records" / f"{record.image.stem}.json").read_text())
        used = {*facts["pieces"], *(blob["source"] for blob in facts["blobs"])}
        assert used <= {*sources[record.split]["background"], *sources[record.split]["needle"]}


def test_groups_of_sources_stay_whole():
    found = [
        ("needle" if i % 2 else "background", Record(Path(f"{i}.png"), None, group=f"g{i // 6}"))
        for i in range(60)
    ]
    splits = split_textures(found, {"train": 1, "val": 1, "test": 1}, 0)
    assert len({(record.group, split) for (_, record), split in zip(found, splits, strict=True)}) == 10
    assert set(splits) == {"train", "val", "test"}
    given = [(kind, replace(source, split="test")) for kind, source in found]
    assert set(split_textures(given, {"test": 1}, 0)) == {"test"}


def test_a_seed_decides_every_byte_whatever_the_processes(made, images, tmp_path):
    make_slides(tmp_path / "a", coloured(images), jobs=2)
    assert digest(tmp_path / "a") == digest(made.source.parent)
    make_slides(tmp_path / "c", coloured(images, seed=1, n_train=1, n_test=0))
    assert digest(tmp_path / "c")["slides/train_0000.tif"] not in digest(tmp_path / "a").values()


def test_finished_slides_are_kept_and_more_are_added(images, tmp_path, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_json", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_slides(tmp_path, coloured(images, n_test=0))
    (tmp_path / "slides.json.0123abcd.part").touch()  # killed, it would have left this
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_pyramid", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_slides(tmp_path, coloured(images, n_test=0))
    assert not list((tmp_path / "slides").glob("*.tif"))
    first = make_slides(tmp_path, coloured(images, n_train=1, n_test=0)).records[0].image
    before = first.stat().st_mtime_ns
    grown = make_slides(tmp_path, coloured(images, n_train=3, n_test=0))
    assert first.stat().st_mtime_ns == before
    assert [record.label for record in grown] == ["negative", "positive", "negative"]
    with pytest.raises(DataError, match="contains something other"):
        make_slides(tmp_path, coloured(images, seed=5))


def test_procedural_textures_need_nothing_at_hand(tmp_path, capsys):
    words = ["--width", "900", "--height", "700", "--n_train", "2", "--n_val", "0", "--n_test", "0"]
    assert main(["data", "make", "slides", "--out", str(tmp_path / "s"), *words]) == 0
    assert "2 slides" in capsys.readouterr().out
    assert len(open_dataset(tmp_path / "s")) == 2


@pytest.mark.data("CRCHistoPhenotypes_2016_04_28")
def test_real_tissue_gives_epithelium_as_needles(data_root):
    found = textures_of(data_root / "CRCHistoPhenotypes_2016_04_28", None, None)
    few = [f for f in found if f[0] == "background"][2:8] + [f for f in found if f[0] == "needle"][:3]
    textures = load_textures(few, 250, {"train": 1}, 0)
    assert {t.kind for t in textures} == {"background", "needle"}
    by_name = {"/".join(record.image.parts[-2:]): record for _, record in few}
    for texture in textures:
        assert texture.mpp == 0.55 and 1 <= len(texture.crops) <= 4
        if texture.kind == "needle":
            whole = np.asarray(Image.open(by_name[texture.name].image).convert("RGB"))
            roi = open_annotation(by_name[texture.name], 500, 500)
            assert roi is not None
            mean = roi.read([Region(0, 0, 500, 500)], 0.5).mean()
            places = [
                Region(x, y, 250, 250)
                for y in range(0, 251)
                for x in range(0, 251)
                if (whole[y, x] == texture.crops[0, 0, 0]).all()
                and (whole[y : y + 250, x : x + 250] == texture.crops[0]).all()
            ]
            assert places and roi.read(places[:1], 0.5).mean() >= torch.as_tensor(mean)


def test_what_cannot_be_made_is_refused(images, tmp_path, monkeypatch):
    (tmp_path / "few").mkdir()
    with pytest.raises(DataError, match="no image found"):
        make_slides(tmp_path / "a", replace(coloured(images), needles=str(tmp_path / "few")))
    (tmp_path / "few" / "0.png").write_bytes((images / "needle" / "0.png").read_bytes())
    with pytest.raises(DataError, match="0 needle sources for the test slides"):
        make_slides(tmp_path / "a", replace(coloured(images), needles=str(tmp_path / "few")))
    with pytest.raises(DataError, match="only one kind"):
        make_slides(tmp_path / "a", replace(SMALL, needles=str(images)))
    with pytest.raises(DataError, match="given in two ways"):
        make_slides(tmp_path / "a", coloured(images, textures=str(images)))
    with pytest.raises(DataError, match="too small for a crop"):
        make_slides(tmp_path / "a", coloured(images, texture_size=90))
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="a file, not a folder"):
        make_slides(tmp_path / "file", coloured(images))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage(10, 10, 1000))
    with pytest.raises(WriteError, match=r"0\.0 MB are free"):
        make_slides(tmp_path / "b", coloured(images))


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_train": -1},
        {"width": 100},
        {"roi_share": 0.0},
        {"roi_share": 0.2},
        {"roi_share": 1e-6},
        {"blobs": 0},
        {"tissue_share": 1.0},
        {"sources": 0},
        {"mpp": 0.0},
        {"tile": 100},
        {"quality": 101},
        {"seed": -1},
    ],
)
def test_a_slide_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        replace(SMALL, **wrong)


def test_cells_fit_the_blobs_and_the_memory():
    assert cell_size(20_000, 20_000, 1e6, 256) == 16
    assert cell_size(20_000, 20_000, 12_000.0, 256) == 8
    assert cell_size(100_000, 100_000, 1e6, 256) == 32
    assert cell_size(1_000_000, 1_000_000, 1e9, 256) == 256
