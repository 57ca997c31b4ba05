"""The published data sets: miniatures in native layout, selection rules, what is said of a bad download."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from zoomin.annotations.open_annotation import open_annotation
from zoomin.app.commands.data import MAKE, PREPARE
from zoomin.data.manifest import read_manifest
from zoomin.datasets.camelyon16 import PARTIALLY_ANNOTATED, Camelyon16Config, find_slides, prepare_camelyon16
from zoomin.datasets.deep_pcb import KINDS, DeepPcbConfig, prepare_deep_pcb
from zoomin.datasets.fmow import CATEGORIES, FmowConfig, prepare_fmow
from zoomin.datasets.hei_med import prepare_hei_med
from zoomin.datasets.journal import Journal
from zoomin.datasets.miniatures import MINIATURES, make_miniature
from zoomin.datasets.needle_camelyon import NeedleCamelyonConfig, prepare_needle_camelyon, tissue_share
from zoomin.datasets.needle_mnist import (
    Digits,
    NeedleMnistConfig,
    _pools,
    draw_canvas,
    prepare_needle_mnist,
    read_idx,
)
from zoomin.datasets.prepared import NoSettings
from zoomin.datasets.registry import PUBLISHED
from zoomin.datasets.traffic_signs import GtsdbConfig, prepare_gtsdb, prepare_swedish
from zoomin.errors import ConfigError, DataError
from zoomin.geometry import Region
from zoomin.images.open_image import open_image

SMALL = {
    "needle-mnist": NeedleMnistConfig(n_train=4, n_val=2, n_test=2, canvas=256),
    "needle-camelyon": NeedleCamelyonConfig(4, 2, 2, 0, 3, 2, 2, crop=512),
}


@pytest.fixture(scope="session")
def downloads(tmp_path_factory):
    """The miniature of every download."""
    root = tmp_path_factory.mktemp("downloads")
    return {name: make_miniature(name, root / name) for name in MINIATURES}


@pytest.fixture
def copy(downloads, tmp_path):
    """A miniature to be spoilt."""

    def of(name):
        return shutil.copytree(downloads[name], tmp_path / "download")

    return of


def prepared(name, downloads, out):
    data_set = PUBLISHED[name]
    config = SMALL.get(name) or data_set.config()
    return data_set.prepare(downloads[data_set.miniature], out, config, partial=True)


COUNTS = {
    "colon-cancer": {"-": (5, 5)},
    "needle-mnist": {"train": (2, 2), "val": (1, 1), "test": (1, 1)},
    "needle-camelyon": {"train": (2, 2), "val": (1, 1), "test": (1, 1)},
    "swedish-signs": {"train": (2, 2, 2, 2), "test": (2, 2, 2, 2)},
    "gtsdb": {"train": (3, 3, 3, 3), "test": (2, 2, 2, 2)},
    "fmow": {"train": (3,) * 10, "test": (1,) * 10},
    "camelyon16": {"train": (3, 4), "test": (1, 1)},
    "hei-med": {"train": (4, 2), "test": (2, 2)},
    "deep-pcb": {"train": (2, 2), "val": (2, 2), "test": (2, 2)},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_miniature_becomes_a_manifest_that_reads(name, downloads, tmp_path):
    """Every image opens, and annotations mark the objects that decide the label, and nothing but them."""
    found = prepared(name, downloads, tmp_path / "out")
    assert {split: tuple(counts.values()) for split, counts in found.counts.items()} == COUNTS[name]
    manifest = read_manifest(tmp_path / "out" / "manifest.csv", classes=found.manifest.classes)
    assert len(manifest) == len(found.manifest)
    marked = 0
    for record in manifest:
        image = open_image(record.image, mpp=record.mpp)
        roi = open_annotation(record, image.height, image.width)
        if roi is None:
            continue
        share = roi.read([Region(0, 0, image.width, image.height)], 0.1)[0]
        assert share.max() <= 1
        negative = record.label == manifest.classes[0] and name != "fmow"
        assert roi.empty == negative
        marked += not negative
        if name in ("needle-camelyon", "camelyon16"):
            assert_distinct(image, roi)
    assert marked >= 2
    note = json.loads((tmp_path / "out" / "data_set.json").read_text())
    assert note["data_set"] == name and note["images"] == found.counts


def assert_distinct(image, roi):
    """The pixels inside the ROI differ from those outside by more than chance."""
    whole = [Region(0, 0, image.width, image.height)]
    view = image.read(whole, 0.25)[0].float().mean(0)
    share = roi.read(whole, 0.25)[0]
    inside, outside = view[share > 0.9], view[(share == 0) & (view < 235) & (view > 0)]
    assert abs(float(inside.mean() - outside.mean())) > 5


def test_names_agree():
    assert list(PREPARE.commands) == list(PUBLISHED) == list(MAKE.commands)[2:]
    assert {data_set.miniature for data_set in PUBLISHED.values()} == set(MINIATURES)


@pytest.mark.parametrize("name", ["needle-mnist", "needle-camelyon"])
def test_the_same_seed_makes_the_same_data(name, downloads, tmp_path):
    for out in ("a", "b"):
        prepared(name, downloads, tmp_path / out)
    files = [sorted(p.relative_to(tmp_path / out) for p in (tmp_path / out).rglob("*.*")) for out in "ab"]
    assert files[0] == files[1]
    for file in files[0]:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_source_that_gained_files_is_another(tmp_path):
    Journal(tmp_path, "download", SMALL["needle-mnist"], ["a", "b"])
    Journal(tmp_path, "download", SMALL["needle-mnist"], ["a", "b"])
    with pytest.raises(DataError, match="started with another content of the source"):
        Journal(tmp_path, "download", SMALL["needle-mnist"], ["a", "b", "c"])


@pytest.mark.parametrize("name", ["needle-mnist", "needle-camelyon"])
def test_what_was_interrupted_goes_on(name, downloads, tmp_path, monkeypatch):
    whole = prepared(name, downloads, tmp_path / "whole")
    save, saved = PillowImage.Image.save, []

    def until_the_fourth(self, fp, *args, **kwargs):
        if len(saved) >= 3:
            raise KeyboardInterrupt
        saved.append(Path(fp).name)
        save(self, fp, *args, **kwargs)

    monkeypatch.setattr(PillowImage.Image, "save", until_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        prepared(name, downloads, tmp_path / "out")
    again = []

    def noted(self, fp, *args, **kwargs):
        again.append(Path(fp).name)
        save(self, fp, *args, **kwargs)

    monkeypatch.setattr(PillowImage.Image, "save", noted)
    with (tmp_path / "out" / "unfinished.jsonl").open("a") as file:
        file.write('{"name": "cut o')
    with pytest.raises(DataError, match="started with another seed"):
        PUBLISHED[name].prepare(
            downloads[PUBLISHED[name].miniature], tmp_path / "out", replace(SMALL[name], seed=5), partial=True
        )
    done = prepared(name, downloads, tmp_path / "out")
    assert len(again) == len(whole.manifest) - len(saved) and not set(again) & set(saved)
    assert not (tmp_path / "out" / "unfinished.jsonl").exists()
    for here, there in zip(done.manifest, whole.manifest, strict=True):
        assert here.image.read_bytes() == there.image.read_bytes()
        assert (here.label, here.split, here.group, here.mpp) == (
            there.label,
            there.split,
            there.group,
            there.mpp,
        )
        assert (here.annotation is None) == (there.annotation is None)


def test_out_must_be_new_or_prepared(downloads, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(DataError, match="something other than a prepared data set"):
        prepared("gtsdb", downloads, tmp_path / "mine")
    with pytest.raises(DataError, match="not an empty folder"):
        make_miniature("mnist", tmp_path / "mine")


# --------------------------------------------------------------------------- bad downloads


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("colon-cancer", "missing of the 100 colon-cancer images: img11"),
        ("gtsdb", "880 of 900 GTSDB images are missing: 00012.ppm.*--partial true"),
        ("camelyon16", "156 of 159 normal training slides are missing: normal_004"),
        ("needle-camelyon", "156 of 159 normal training slides are missing"),
        ("fmow", r"30 training images .*, 1500 are to be drawn.*--n_train"),
    ],
)
def test_what_is_missing_is_counted(name, complaint, downloads, tmp_path):
    data_set = PUBLISHED[name]
    with pytest.raises(DataError, match=complaint):
        data_set.prepare(downloads[data_set.miniature], tmp_path / "out", data_set.config(), partial=False)


@pytest.mark.parametrize("name", PUBLISHED)
def test_another_folder_is_told_from_a_download(name, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").touch()
    data_set = PUBLISHED[name]
    for folder in ("holiday", "none"):
        with pytest.raises(DataError, match=folder):
            data_set.prepare(tmp_path / folder, tmp_path / "out", data_set.config(), partial=True)


def test_misnamed_parts_are_guessed(copy, tmp_path):
    root = copy("fmow")
    (root / "train" / "car_dealership").rename(root / "train" / "cardealership")
    with pytest.raises(DataError, match=r"misnamed. cardealership may be car_dealership"):
        prepare_fmow(root, tmp_path / "out", FmowConfig(n_train=10))


def test_extra_parts_are_told(copy, tmp_path, caplog):
    root = copy("gtsdb")
    (root / "FullIJCNN2013" / "copy of 00001.ppm").touch()
    prepare_gtsdb(root, tmp_path / "out", GtsdbConfig(), partial=True)
    assert "1 unknown GTSDB images are not used: copy of 00001.ppm" in caplog.text


@pytest.mark.parametrize(
    ("name", "file", "text", "complaint"),
    [
        ("gtsdb", "FullIJCNN2013/gt.txt", "00000.ppm;1;2;3\n", "line 1 is not name;x1"),
        ("swedish-signs", "Set1/annotations.txt", "a.jpg VISIBLE\n", "line 1 is not `file: VIS"),
        ("swedish-signs", "Set1/annotations.txt", "a.jpg:SEEN, 1, 2, 3, 4, X, 50_SIGN;\n", "line 1 is not"),
        ("swedish-signs", "Set2/annotations.txt", "\n", "no image is listed"),
        ("swedish-signs", "Set2/annotations.txt", None, "annotations.txt: the file is missing"),
        ("fmow", "val/barn/barn_3/barn_3_0_rgb.json", "{}", "gsd or bounding_boxes"),
        ("camelyon16", "testing/reference.csv", "test_001,Maybe\n", "line 1 is not `test_001,Normal`"),
        (
            "camelyon16",
            "testing/reference.csv",
            "test_001,Normal\n",
            "1 of 2 rows of reference.csv are missing",
        ),
        ("camelyon16", "testing/reference.csv", None, "reference.csv: the file is missing"),
        ("camelyon16", "training/lesion_annotations/tumor_002.xml", None, "Unpack lesion_annotations.zip"),
        ("needle-mnist", "t10k-labels-idx1-ubyte.gz", None, "t10k-labels-idx1-ubyte.gz: the file is missing"),
        ("needle-mnist", "train-images-idx3-ubyte.gz", "text", "not an idx file"),
        ("hei-med", "DMED/(00000003).map.gz", "text", "not a map of segments"),
        ("hei-med", "DMED/(00000003).GND", "3\nExudate 1\n", "1 of 3 segments are named"),
        ("hei-med", "DMED/(00000003).GND", None, "GND: the file is missing"),
        ("deep-pcb", "PCBData/group00041/00041_not/00041000.txt", "1 2 3\n", "line 1 is not x1 y1 x2 y2"),
        ("deep-pcb", "PCBData/group00041/00041_not/00041000.txt", "1 2 3 4 7\n", "line 1 is not x1 y1 x2"),
        ("deep-pcb", "PCBData/group12300/12300/12300001_temp.jpg", "text", "cannot be decoded"),
    ],
)
def test_damaged_parts_are_named(name, file, text, complaint, copy, tmp_path):
    data_set = PUBLISHED[name]
    root = copy(data_set.miniature)
    path = root / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match=complaint):
        data_set.prepare(root, tmp_path / "out", SMALL.get(name) or data_set.config(), partial=True)


# --------------------------------------------------------------------------- traffic signs


@pytest.mark.data("gtsdb")
def test_the_given_road_scenes(data_root, tmp_path):
    """313 German scenes with boxes.json: 191 for training, 122 for testing, as their README says."""
    found = prepare_gtsdb(data_root / "gtsdb", tmp_path, GtsdbConfig())
    assert {split: sum(counts.values()) for split, counts in found.counts.items()} == {
        "train": 191,
        "test": 122,
    }
    assert found.class_weights == (0.1843, 2.3639, 1.5183, 3.1653)
    signs = [record for record in found.manifest if record.annotation]
    assert len(signs) == 154 and {record.label for record in signs} == {"50", "70", "80"}
    record = next(r for r in signs if r.image.name == "00003.jpg")
    roi = open_annotation(record, 800, 1360)
    assert roi.roi.bounds == (742, 443, 765, 466)


@pytest.mark.data("gtsdb")
def test_any_sign_of_the_given_road_scenes(data_root, tmp_path):
    """The same images with two classes; the ROI is of every sign, not of speed limits alone."""
    found = prepare_gtsdb(data_root / "gtsdb", tmp_path, GtsdbConfig("any"))
    assert found.counts == {"train": {"empty": 94, "sign": 97}, "test": {"empty": 65, "sign": 57}}
    assert found.class_weights is None
    record = next(r for r in found.manifest if r.image.name == "00003.jpg")
    assert open_annotation(record, 800, 1360).roi.bounds == (737, 412, 769, 489)


def test_any_sign_keeps_all_scenes(downloads, tmp_path):
    found = prepare_gtsdb(downloads["gtsdb"], tmp_path / "out", GtsdbConfig("any"), partial=True)
    assert found.counts == {"train": {"empty": 3, "sign": 9}, "test": {"empty": 2, "sign": 6}}


def test_rules_of_the_swedish_signs(copy, tmp_path):
    """Visibility before size; what is not visible, or uncertain, or another sign, is left out."""
    root = copy("swedish-signs")
    sign = "{}, {}, 10.0, 0.0, 0.0, PROHIBITORY, {};".format
    cases = {
        "empty.jpg": ("", "empty"),
        "other.jpg": (sign("VISIBLE", 10.0, "PRIORITY_ROAD"), None),
        "misc.jpg": (sign("VISIBLE", 10.0, "50_SIGN") + "MISC_SIGNS;", None),
        "blurred.jpg": (sign("BLURRED", 10.0, "80_SIGN"), None),
        "visible.jpg": (sign("BLURRED", 90.0, "80_SIGN") + sign("VISIBLE", 5.0, "70_SIGN"), "70"),
        "largest.jpg": (sign("VISIBLE", 8.0, "80_SIGN") + sign("VISIBLE", 9.0, "50_SIGN"), "50"),
        "with_other.jpg": (sign("VISIBLE", 90.0, "STOP") + sign("VISIBLE", 9.0, "80_SIGN"), "80"),
        "hidden.jpg": (sign("OCCLUDED", 9.0, "80_SIGN") + sign("SIDE_ROAD", 9.0, "50_SIGN"), None),
    }
    folder = root / "Set1" / "Set1Part0"
    some = next(folder.glob("*.jpg"))
    for name in cases:
        shutil.copy(some, folder / name)
    table = root / "Set1" / "annotations.txt"
    table.write_text("".join(f"{name}:{text}\n" for name, (text, _) in cases.items()))
    found = prepare_swedish(root, tmp_path / "out", NoSettings(), partial=True)
    labels = {record.image.name: record.label for record in found.manifest if record.split == "train"}
    assert labels == {name: label for name, (_, label) in cases.items() if label is not None}
    largest = next(r for r in found.manifest if r.image.name == "largest.jpg")
    assert open_annotation(largest, 400, 680).roi.bounds == (0, 0, 9, 10)
    with pytest.raises(DataError, match=r"images of Set2 are missing: lost\.jpg"):
        with (root / "Set2" / "annotations.txt").open("a") as file:
            file.write("lost.jpg:\n")
        prepare_swedish(root, tmp_path / "out", NoSettings())


# --------------------------------------------------------------------------- NeedleMNIST


# --------------------------------------------------------------------------- fundus photographs, boards


@pytest.mark.data("hei_med")
def test_the_given_fundus_photographs(data_root, tmp_path):
    found = prepare_hei_med(data_root / "hei_med", tmp_path, NoSettings())
    assert found.counts == {
        "train": {"no_exudate": 55, "exudate": 25},
        "val": {"no_exudate": 14, "exudate": 7},
        "test": {"no_exudate": 46, "exudate": 22},
    }
    record = next(r for r in found.manifest if r.image.name == "00003.jpg")
    assert open_annotation(record, 1958, 2196).roi.bounds[1] == 153


def test_a_label_and_boxes_that_disagree_are_refused(tmp_path):
    (tmp_path / "images").mkdir()
    PillowImage.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "manifest.csv").write_text("image,label\nimages/a.png,exudate\n")
    for text, complaint in (("{}", "labelled exudate, with 0 boxes"), ("[", "not an object of boxes")):
        (tmp_path / "boxes.json").write_text(text)
        with pytest.raises(DataError, match=complaint):
            prepare_hei_med(tmp_path, tmp_path / "out", NoSettings())


@pytest.mark.data("deep_pcb")
def test_the_given_boards(data_root, tmp_path):
    """No board is in two splits; half of the images of each split have a defect."""
    found = prepare_deep_pcb(data_root / "deep_pcb", tmp_path / "any", DeepPcbConfig())
    sizes = {"train": 817, "val": 205, "test": 478}
    assert found.counts == {name: {"clean": n, "defect": n} for name, n in sizes.items()}
    splits = {record.group: record.split for record in found.manifest}
    assert all(splits[record.group] == record.split for record in found.manifest)
    assert len(splits) == 11 and sum(split == "test" for split in splits.values()) == 3


def test_boards_are_black_and_white(downloads, tmp_path):
    """What compression adds, and tells the label by, is gone; a kind is a task of its own."""
    found = prepare_deep_pcb(downloads["deep-pcb"], tmp_path / "out", DeepPcbConfig(), partial=True)
    for record in found.manifest:
        with PillowImage.open(record.image) as image:
            assert image.mode == "1" and image.format == "PNG"
        assert record.group == f"group{record.image.name[:5]}"
        assert (record.label == "defect") == record.image.stem.endswith("_test")
    kinds = {}
    for kind in KINDS:
        one = prepare_deep_pcb(downloads["deep-pcb"], tmp_path / kind, DeepPcbConfig(kind), partial=True)
        kinds[kind] = sum(record.label == "defect" for record in one.manifest)
    assert sum(kinds.values()) == 12  # two different ones in each of six


def test_canvases_follow_the_published_rules():
    """One 3 wholly inside a cell, in positive images alone; as many digits, anywhere."""
    needles = np.full((1, 28, 28), 200, dtype=np.uint8)
    others = np.full((1, 28, 28), 90, dtype=np.uint8)
    config = NeedleMnistConfig(canvas=320, digits=30)
    cells, cut = set(), False
    for number in range(60):
        pixels, box = draw_canvas(config, Digits(needles, others), "train", number)
        assert pixels.shape == (320, 320)
        assert (pixels == 200).sum() == (784 if number % 2 else 0) and (box is not None) == bool(number % 2)
        assert 8_000 < (pixels == 90).sum() <= 30 * 784
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        cut |= bool((edge == 90).any())
        if box is not None:
            x1, y1, x2, y2 = map(int, box)
            assert (
                (pixels[y1:y2, x1:x2] == 200).all()
                and x1 // 64 == (x2 - 1) // 64
                and y1 // 64 == (y2 - 1) // 64
            )
            cells.add((x1 // 64, y1 // 64))
    assert cut and len(cells) > 12
    assert NeedleMnistConfig().count == 401 and NeedleMnistConfig(canvas=512).count == 101


@pytest.mark.data("mnist")
def test_the_real_digits(data_root, tmp_path):
    images = read_idx(data_root / "mnist" / "t10k-images-idx3-ubyte.gz")
    assert images.shape == (10_000, 28, 28)
    config = NeedleMnistConfig(n_train=2, n_val=1, n_test=1)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: the file is missing.*--partial true"):
        prepare_needle_mnist(data_root / "mnist", tmp_path, config)
    found = prepare_needle_mnist(data_root / "mnist", tmp_path, config, partial=True)
    image = open_image(found.manifest.records[1].image)
    assert (image.height, image.width) == (1024, 1024)
    shown = image.read([Region(0, 0, 1024, 1024)], 1.0)[0, 0]
    assert 0.02 < float((shown > 100).float().mean()) < 0.1  # a seventh of a digit is ink


def test_splits_share_no_digit(downloads):
    pools = _pools(downloads["mnist"], partial=False)
    counts = {split: len(pool.needles) + len(pool.others) for split, pool in pools.items()}
    assert counts == {"train": 500, "val": 100, "test": 200}


# --------------------------------------------------------------------------- Camelyon16


def test_partially_annotated_slides_are_known(downloads, tmp_path):
    assert len(PARTIALLY_ANNOTATED) == 21
    found = prepare_camelyon16(downloads["camelyon16"], tmp_path / "a", Camelyon16Config(), partial=True)
    kept = prepare_camelyon16(downloads["camelyon16"], tmp_path / "b", Camelyon16Config(True), partial=True)
    without, with_it = (next(r for r in p.manifest if r.image.stem == "tumor_010") for p in (found, kept))
    assert without.annotation is None and with_it.annotation is not None and without.label == "tumor"
    assert "left without annotation: tumor_010" in found.notes[0]
    mpp = open_image(without.image).mpp
    assert mpp == pytest.approx(0.243, rel=1e-3)


def test_needles_of_camelyon(downloads, tmp_path):
    """Positive crops hold a metastasis; no slide is in two splits; partially annotated ones are in none."""
    found = prepared("needle-camelyon", downloads, tmp_path)
    by_group = {}
    for record in found.manifest:
        by_group.setdefault(record.group, set()).add(record.split)
        image = open_image(record.image)
        assert (image.height, image.width) == (512, 512)
        view = image.read([Region(0, 0, 512, 512)], 1 / 16)
        if record.label == "negative":
            assert record.annotation is None and not record.group.startswith("tumor")
            assert float(tissue_share(view)) >= 0.49
        else:
            roi = open_annotation(record, 512, 512)
            assert roi.area > 40**2 / 3 and record.group != "tumor_010"
    assert all(len(splits) == 1 for splits in by_group.values())
    slides = find_slides(downloads["camelyon16"], partial=True)
    assert {s.image.stem for s in slides} >= set(by_group)


def test_too_few_metastases(downloads, tmp_path):
    config = NeedleCamelyonConfig(2, 2, 2, 0, 300, 1, 1, crop=10)
    with pytest.raises(DataError, match="too few metastases that fit into 10 pixels: train 0 of 300"):
        prepare_needle_camelyon(downloads["camelyon16"], tmp_path, config, partial=True)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (NeedleMnistConfig, {"canvas": 20}),
        (NeedleMnistConfig, {"cell": 20}),
        (NeedleMnistConfig, {"digits": 0}),
        (NeedleCamelyonConfig, {"crop": 0}),
        (NeedleCamelyonConfig, {"n_val": -1}),
        (NeedleCamelyonConfig, {"tissue": 2.0}),
        (FmowConfig, {"n_train": 0}),
    ],
)
def test_settings_that_cannot_be(config, wrong):
    with pytest.raises(ConfigError):
        config(**wrong)


def test_the_places_of_fmow(downloads, tmp_path):
    """Places are groups; the resolution comes from the ground sample distance; training images are drawn."""
    found = prepare_fmow(downloads["fmow"], tmp_path, FmowConfig(n_train=12), partial=True)
    assert sum(found.counts["train"].values()) == 12 and found.manifest.classes == CATEGORIES
    record = found.manifest.records[0]
    assert record.group == record.image.parent.name and record.mpp == 500_000
    roi = open_annotation(record, 220, 260)
    assert roi.area == 60 * 40


def test_prepare_tells_how_to_go_on(downloads, tmp_path, capsys):
    """The command that is printed is one that the program understands, class names of digits included."""
    from zoomin.app.cli import COMMANDS, _choose, _parser, main

    out = str(tmp_path / "out")
    source = str(downloads["swedish-signs"])
    words = ["data", "prepare", "swedish-signs", "--source", source, "--out", out, "--partial", "true"]
    assert main(words) == 0
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if line.startswith("Train with: "))
    weights = next(line for line in told.splitlines() if "class_weights" in line).partition(": ")[2]
    name, command, rest = _choose(shlex.split(f"{line.partition(': zoomin ')[2]} {weights}"))
    assert command is COMMANDS["train"]
    options = _parser(name, command).parse_args(rest)
    assert options.data.classes == ["empty", "50", "70", "80"]
    assert options.train.class_weights == (0.1843, 2.3639, 1.5183, 3.1653)
    assert main(["data", "prepare", "gtsdb", "--source", str(tmp_path), "--out", out]) == 2
    assert "GTSDB not found" in capsys.readouterr().err
