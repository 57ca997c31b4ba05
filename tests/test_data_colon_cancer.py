"""The colon-cancer images as downloaded, and the authors' folds."""

import shutil

import numpy as np
import pytest
from scipy.io import savemat

from zoomin.annotations import matlab
from zoomin.annotations.nuclei import read_centres
from zoomin.datasets.colon_cancer import (
    colon_cancer_folds,
    find_colon_cancer,
    fold_indices,
    read_colon_cancer,
)
from zoomin.errors import DataError

DOWNLOAD = "CRCHistoPhenotypes_2016_04_28"
pytestmark = pytest.mark.data(DOWNLOAD, "colon_cancer_folds")


@pytest.fixture
def partial(tmp_path, data_root):
    """The first twelve images as they are downloaded."""
    folder = tmp_path / DOWNLOAD / "Classification"
    for k in range(1, 13):
        shutil.copytree(data_root / DOWNLOAD / "Classification" / f"img{k}", folder / f"img{k}")
    return folder


@pytest.mark.parametrize("below", ["", DOWNLOAD, f"{DOWNLOAD}/Classification"])
def test_100_images_51_positive_in_the_order_of_their_numbers(data_root, below):
    manifest = read_colon_cancer(data_root / below)
    assert manifest.counts() == {"negative": 49, "positive": 51}
    assert manifest.classes == ("negative", "positive")
    assert [r.image.name for r in manifest] == [f"img{k}.bmp" for k in range(1, 101)]
    assert all(r.image.is_file() for r in manifest)


def test_centres_lie_inside_the_images_and_decide_the_label(data_root):
    manifest = read_colon_cancer(data_root)
    for record, target in zip(manifest, manifest.targets().tolist(), strict=True):
        centres = read_centres(record.annotation)
        assert (len(centres) > 0) == bool(target)
        assert centres.size == 0 or (centres.min() >= 0 and centres.max() <= 500)


def test_the_authors_folds(data_root):
    manifest = read_colon_cancer(data_root)
    folds = colon_cancer_folds(data_root / "colon_cancer_folds", manifest)
    assert [sum(f.labels[name] for name in f.valid) for f in folds] == [6, 6, 3, 5, 8, 6, 7, 6, 4, 0]
    assert folds[0].valid == tuple(f"img{k}.bmp" for k in range(1, 11))
    indices = fold_indices(manifest, folds)
    held = np.sort(np.concatenate([held.numpy() for _, held in indices]))
    assert held.tolist() == list(range(100))
    for fold, (train, valid) in zip(folds, indices, strict=True):
        assert len(train) == 90 and not set(train.tolist()) & set(valid.tolist())
        assert manifest.records[valid[0]].image.name == fold.valid[0]


def test_fewer_images_only_where_allowed(partial):
    with pytest.raises(DataError, match=r"missing .*img13, img14, img15, img16, img17 and 83 more"):
        read_colon_cancer(partial)
    assert len(read_colon_cancer(partial, allow_partial=True)) == 12


@pytest.mark.parametrize("name", ["img3/img3.bmp", "img3/img3_others.mat", "img12/img12_epithelial.mat"])
def test_a_missing_file_is_named(partial, name):
    (partial / name).unlink()
    with pytest.raises(DataError, match=name):
        read_colon_cancer(partial, allow_partial=True)


def test_annotations_that_cannot_be_read_are_named(partial, monkeypatch):
    path = partial / "img1" / "img1_epithelial.mat"
    path.write_text("no matlab")
    with pytest.raises(DataError, match=r"img1_epithelial\.mat: not a readable MATLAB file"):
        read_colon_cancer(partial, allow_partial=True)
    savemat(path, {"other": np.zeros(3)})
    with pytest.raises(DataError, match="no variable 'detection'; the variables are: other"):
        read_colon_cancer(partial, allow_partial=True)
    savemat(path, {"detection": np.zeros((2, 3))})
    with pytest.raises(DataError, match=r"shape \(2, 3\)"):
        read_colon_cancer(partial, allow_partial=True)
    savemat(path, {"detection": np.zeros((2, 2))}, do_compression=True)
    monkeypatch.setattr(matlab, "_MOST", 32)
    with pytest.raises(DataError, match=r"not a readable MATLAB file \(an array of more than 32 bytes\)"):
        read_colon_cancer(partial, allow_partial=True)
    path.unlink()
    with pytest.raises(DataError, match="no such annotation"):
        read_centres(path)


def test_another_folder_is_told_what_is_missing(tmp_path):
    assert find_colon_cancer(tmp_path) is None
    with pytest.raises(DataError, match=r"no Classification.*Download"):
        read_colon_cancer(tmp_path)


def test_folds_that_cannot_be_used(tmp_path, partial, data_root):
    manifest = read_colon_cancer(partial, allow_partial=True)
    with pytest.raises(DataError, match=r"no labels_histo_train_fold_1\.csv"):
        colon_cancer_folds(tmp_path)
    train, valid = (tmp_path / f"labels_histo_{part}_fold_1.csv" for part in ("train", "valid"))
    train.write_text("img1.bmp,0\n\nimg5.bmp,1\n")
    with pytest.raises(DataError, match="one half of a fold is missing"):
        colon_cancer_folds(tmp_path)
    valid.write_text("img2.bmp,0\n")
    assert colon_cancer_folds(tmp_path, manifest)[0].train == ("img1.bmp", "img5.bmp")
    valid.write_text("img2.bmp,1\n")
    with pytest.raises(DataError, match=r"fold 1 labels img2\.bmp 1, its nuclei say 0"):
        colon_cancer_folds(tmp_path, manifest)
    valid.write_text("img99.bmp,0\n")
    with pytest.raises(DataError, match=r"fold 1 names img99\.bmp"):
        colon_cancer_folds(tmp_path, manifest)
    valid.write_text("img1.bmp,0\n")
    with pytest.raises(DataError, match=r"img1\.bmp is both trained on and held out in fold 1"):
        colon_cancer_folds(tmp_path)
    valid.write_text("img2.bmp,maybe\n")
    with pytest.raises(DataError, match="line 1 is not"):
        colon_cancer_folds(tmp_path)
