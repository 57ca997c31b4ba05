"""Generated needles: the same for a seed, marked by their masks, hidden from global colour."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from zoomin.data.find import open_dataset
from zoomin.datasets.synthetic.needles import NeedleConfig, draw_needles, make_needles
from zoomin.errors import ConfigError, DataError

SMALL = NeedleConfig(n_train=8, n_val=4, n_test=4, min_size=200, max_size=300)


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_seed_decides_every_byte(tmp_path):
    for name, config in (("a", SMALL), ("b", SMALL), ("c", replace(SMALL, seed=1))):
        make_needles(tmp_path / name, config)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    other = digest(tmp_path / "c")
    assert all(other[name] != value for name, value in digest(tmp_path / "a").items() if "images" in name)


def test_images_masks_and_manifest_fit_together(tmp_path):
    made = make_needles(tmp_path, SMALL, progress=True)
    manifest = open_dataset(tmp_path)
    assert manifest.records == made.records and manifest.classes == ("negative", "positive")
    assert manifest.counts() == {"negative": 8, "positive": 8}
    assert [r.split for r in manifest] == ["train"] * 8 + ["val"] * 4 + ["test"] * 4
    sizes = set()
    for record, target in zip(manifest, manifest.targets().tolist(), strict=True):
        image, mask = Image.open(record.image), np.asarray(Image.open(record.mask))
        assert image.mode == "RGB" and (image.height, image.width) == mask.shape
        assert all(200 <= side <= 300 for side in mask.shape)
        assert bool(mask.any()) == bool(target)
        sizes.add(mask.shape)
    assert any(height != width for height, width in sizes) and len(sizes) > 4
    for name in {record.group for record in manifest}:
        members = [record for record in manifest if record.group == name]
        assert len({record.split for record in members}) == 1
        assert sum(record.label == "positive" for record in members) * 2 == len(members)


def test_needles_are_blue_and_tiny():
    for number in range(1, 12, 2):
        image, mask = draw_needles(NeedleConfig(), "train", number)
        assert 0 < mask.mean() < 0.015
        red, green, blue = image[mask].mean(0)
        assert blue > red + 30 and blue > green + 30


def test_colour_of_the_whole_image_does_not_tell(tmp_path):
    drawn = [draw_needles(NeedleConfig(min_size=400, max_size=500), "train", n)[0] for n in range(160)]
    colours = np.array([image.reshape(-1, 3).mean(0) for image in drawn])
    labels = np.arange(160) % 2
    model = make_pipeline(StandardScaler(), LogisticRegression(C=100))
    assert cross_val_score(model, colours, labels, cv=5).mean() < 0.75


def test_needles_that_are_there_are_kept_and_an_interrupted_drawing_is_finished(tmp_path):
    made = make_needles(tmp_path, SMALL)
    before = made.records[0].image.stat().st_mtime_ns
    assert make_needles(tmp_path, SMALL).records == made.records
    assert made.records[0].image.stat().st_mtime_ns == before
    (tmp_path / "manifest.csv").unlink()
    made.records[0].image.unlink()
    assert make_needles(tmp_path, SMALL).records == made.records
    assert made.records[0].image.is_file()


def test_other_things_are_not_overwritten(tmp_path):
    make_needles(tmp_path / "needles", SMALL)
    with pytest.raises(DataError, match="contains something other"):
        make_needles(tmp_path / "needles", replace(SMALL, seed=2))
    with pytest.raises(DataError, match="contains something other"):
        make_needles(tmp_path, SMALL)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="a file, not a folder"):
        make_needles(tmp_path / "file", SMALL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_train": -1},
        {"max_size": 100},
        {"min_size": 40},
        {"min_needles": 0},
        {"max_needles": 0},
        {"min_needle": 2},
        {"max_needle": 3},
        {"distractors": -1.0},
        {"group_size": 3},
        {"seed": -1},
    ],
)
def test_a_drawing_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        NeedleConfig(**wrong)
