"""What the published data sets share: boxes beside a manifest, copies as PNG, missing parts, split sizes."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoomin.annotations.geojson import read_geojson
from zoomin.data.manifest import Record
from zoomin.datasets.boxes import as_png, read_marked_manifest, with_boxes
from zoomin.datasets.downloads import check_parts, find_folder, need_file
from zoomin.datasets.split_sizes import SplitSizes
from zoomin.errors import ConfigError, DataError


def write_layout(folder: Path, boxes: object) -> None:
    """A manifest of one image, and its boxes."""
    Image.new("RGB", (20, 10)).save(folder / "a.png")
    (folder / "manifest.csv").write_text("image,label\na.png,bad\n")
    (folder / "boxes.json").write_text(json.dumps(boxes))


def test_boxes_beside_a_manifest(tmp_path: Path) -> None:
    write_layout(tmp_path, {"images/a.png": [[1, 2, 3, 4, "crack"], [5, 6, 7, 8, 9]]})
    manifest, found = read_marked_manifest(tmp_path, ("good", "bad"))
    assert [record.label for record in manifest] == ["bad"]
    assert [(one.box, one.kind) for one in found["a.png"]] == [((1, 2, 3, 4), "crack"), ((5, 6, 7, 8), "9")]
    with pytest.raises(DataError, match="not an object of boxes"):
        read_marked_manifest(tmp_path, ("good", "bad"), kind=int)
    (tmp_path / "manifest.csv").unlink()
    with pytest.raises(DataError, match=r"manifest\.csv that belongs to boxes\.json"):
        read_marked_manifest(tmp_path, ("good", "bad"))


@pytest.mark.parametrize(
    "boxes", [[], {"a.png": [[1, 2, 3]]}, {"a.png": 5}, {"a.png": [[1, 2, 3, None, "x"]]}]
)
def test_boxes_of_another_form_are_refused(boxes: object, tmp_path: Path) -> None:
    write_layout(tmp_path, boxes)
    with pytest.raises(DataError, match=r"boxes\.json: not an object of boxes"):
        read_marked_manifest(tmp_path, ("good", "bad"))


def test_a_record_gets_its_boxes_as_roi(tmp_path: Path) -> None:
    record = Record(tmp_path / "(a).png", None, "board 1", "test", 0.5)
    marked = with_boxes(record, "bad", [(1.0, 2.0, 3.0, 5.0)], ["crack"], tmp_path)
    assert (marked.label, marked.group, marked.split, marked.mpp) == ("bad", "board 1", "test", 0.5)
    assert marked.annotation == tmp_path / "annotations" / "a.geojson"
    [outline] = read_geojson(marked.annotation)
    assert outline.polygons.bounds == (1, 2, 3, 5) and outline.name == "crack"
    assert with_boxes(record, "good", [], [], tmp_path).annotation is None


def test_copies_are_lossless_kept_and_only_of_known_formats(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    sources = [tmp_path / f"{name}.ppm" for name in "ab"]
    for path in sources:
        Image.fromarray(pixels).save(path)
    out = tmp_path / "images"
    copies = as_png(sources, out, "Download it.", lambda image: image.transpose(0), formats=("PPM",))
    assert [path.name for path in copies] == ["a.png", "b.png"]
    with Image.open(copies[0]) as image:
        assert image.format == "PNG" and (np.asarray(image) == pixels[:, ::-1]).all()
    copies[0].write_bytes(b"kept")
    assert as_png(sources, out, "Download it.") == copies and copies[0].read_bytes() == b"kept"
    Image.fromarray(pixels).save(tmp_path / "c.ppm", format="PNG")
    with pytest.raises(DataError, match=r"c\.ppm: cannot be decoded .*Download it\."):
        as_png([tmp_path / "c.ppm"], out, "Download it.", formats=("PPM",))
    assert not (out / "c.png").exists()


def test_missing_and_misnamed_parts_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted, found = ["img1.bmp", "img2.bmp", "img3.bmp"], ["img1.bmp", "img_2.bmp", "notes.txt"]
    with pytest.raises(
        DataError, match=r"2 of 3 images are missing: img2.bmp, img3.bmp; misnamed\? img_2.bmp"
    ):
        check_parts(tmp_path, wanted, found, what="images", remedy="Get them.")
    with caplog.at_level(logging.WARNING):
        kept = check_parts(tmp_path, wanted, found, what="images", remedy="Get them.", partial=True)
    assert kept == ["img1.bmp"]
    assert "2 unknown images are not used: img_2.bmp, notes.txt" in caplog.text
    with pytest.raises(DataError, match="3 of 3 images are missing"):  # nothing is there: no part of anything
        check_parts(tmp_path, wanted, [], what="images", remedy="Get them.", partial=True)


def test_a_folder_is_found_by_its_marks_here_or_one_below(tmp_path: Path) -> None:
    (tmp_path / "unpacked" / "DMED").mkdir(parents=True)
    (tmp_path / "readme.txt").touch()
    assert find_folder(tmp_path, ["DMED"], what="HEI-MED", remedy="Get it.") == tmp_path / "unpacked"
    with pytest.raises(DataError, match=r"none of PCBData; the folder holds readme.txt, unpacked/"):
        find_folder(tmp_path, ["PCBData"], what="DeepPCB", remedy="Get it.")
    assert need_file([tmp_path / "no", tmp_path / "readme.txt"], "Get it.").name == "readme.txt"


@dataclass(frozen=True)
class Dots(SplitSizes):
    """A child with a setting and defaults of its own."""

    n_val: int = 0
    size: int = 3

    def __post_init__(self) -> None:
        """Check the values."""
        self.check({"size": (self.size >= 1, "at least 1")})


def test_split_sizes_are_laid_out_in_order_and_checked() -> None:
    sizes = Dots(n_train=2, n_test=1, seed=4)
    assert sizes.counts == {"train": 2, "val": 0, "test": 1}
    assert sizes.places == [("train", 0), ("train", 1), ("test", 0)]
    for wrong in ({"n_train": -1}, {"seed": -1}, {"size": 0}):
        [name] = wrong
        with pytest.raises(ConfigError, match=f"{name} is {wrong[name]}. It must be at least"):
            Dots(**wrong)
