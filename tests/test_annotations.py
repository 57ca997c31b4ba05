"""Annotations: the share of ROI in every view pixel, exactly, whatever the region and scale."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from zoomin.annotations.annotation import Annotation
from zoomin.annotations.mask import MaskAnnotation
from zoomin.annotations.nuclei import NucleiAnnotation, read_centres
from zoomin.annotations.open_annotation import open_annotation
from zoomin.data.manifest import Record
from zoomin.errors import DataError
from zoomin.geometry import Region, view_size

FINE = 12  # points a level-0 pixel in each direction, for the oracle


def random_mask(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width)) < 0.3


def shares(mask, region, scale):
    """The share of ROI by exact overlap of each view pixel with each level-0 pixel, in plain loops."""
    rows, columns = view_size(region.height, scale), view_size(region.width, scale)
    result = np.zeros((rows, columns))
    for i in range(rows):
        y0, y1 = region.y + i * region.height / rows, region.y + (i + 1) * region.height / rows
        for j in range(columns):
            x0, x1 = region.x + j * region.width / columns, region.x + (j + 1) * region.width / columns
            for y, x in zip(*np.nonzero(mask), strict=True):
                down = max(0.0, min(y1, y + 1) - max(y0, y))
                across = max(0.0, min(x1, x + 1) - max(x0, x))
                result[i, j] += down * across / ((y1 - y0) * (x1 - x0))
    return result


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3, 0.13, 0.02])
def test_share_is_the_exact_area(scale):
    mask = random_mask(17, 23)
    regions = [Region(0, 0, 11, 9), Region(5, 6, 11, 9), Region(-4, -3, 11, 9), Region(18, 12, 11, 9)]
    found = MaskAnnotation(mask, 17, 23).read(regions, scale)
    expected = np.stack([shares(mask, region, scale) for region in regions])
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_at_full_scale_the_mask_comes_back():
    mask = random_mask(9, 14)
    found = MaskAnnotation(mask, 9, 14).read([Region(0, 0, 14, 9)], 1.0)[0]
    np.testing.assert_array_equal(found.numpy(), mask.astype(np.float32))


def test_far_outside_there_is_no_roi():
    annotation = MaskAnnotation(np.ones((8, 8), dtype=bool), 8, 8)
    regions = [Region(100, 0, 4, 4), Region(-50, -50, 4, 4), Region(8, 8, 4, 4), Region(6, 2, 4, 4)]
    found = annotation.read(regions, 0.25)[:, 0, 0]
    assert found.tolist() == [0, 0, 0, 0.5]


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(24, 36, 4), (25, 37, 4), (30, 18, 2), (310, 500, 16)]
)
@pytest.mark.parametrize("rounding", [np.ceil, np.floor])
def test_a_smaller_mask_stands_for_its_enlargement(height, width, factor, rounding):
    small = random_mask(int(rounding(height / factor)), int(rounding(width / factor)), seed=2)
    large = np.zeros((height + factor, width + factor), dtype=bool)
    blown = np.kron(small, np.ones((factor, factor), dtype=bool))
    large[: blown.shape[0], : blown.shape[1]] = blown
    regions = [Region(0, 0, 12, 12), Region(3, 7, 12, 12), Region(width - 9, height - 9, 12, 12)]
    found = MaskAnnotation(small, height, width).read(regions, 0.5)
    expected = MaskAnnotation(large[:height, :width], height, width).read(regions, 0.5)
    torch.testing.assert_close(found, expected)


def test_a_mask_at_a_broken_factor_covers_the_whole_image():
    found = MaskAnnotation(np.ones((40, 60), dtype=bool), 100, 150).read([Region(0, 0, 150, 100)], 0.1)
    torch.testing.assert_close(found, torch.ones(1, 10, 15))


@pytest.mark.parametrize("shape", [(10, 20), (21, 10), (5, 10), (0, 0), (20, 10, 3), (20,)])
def test_a_mask_of_another_image_is_refused(shape):
    with pytest.raises(DataError, match="20 x 10"):
        MaskAnnotation(np.zeros(shape, dtype=np.uint8), 20, 10)


def test_regions_of_two_sizes_are_refused():
    annotation = MaskAnnotation(np.zeros((8, 8), dtype=bool), 8, 8)
    with pytest.raises(DataError, match="2 sizes of region"):
        annotation.read([Region(0, 0, 4, 4), Region(0, 0, 4, 5)], 1.0)


MODES = {
    "bool": lambda m: Image.fromarray(m),
    "grey": lambda m: Image.fromarray(m.astype(np.uint8)),
    "16 bit": lambda m: Image.fromarray(m.astype(np.uint16) * 300),
    "colour": lambda m: Image.fromarray(np.stack([m * 0, m * 0, m * 7], 2).astype(np.uint8)),
    "transparent": lambda m: Image.fromarray(
        np.stack([m * 9, m * 0, m * 0, m * 0 + 255], 2).astype(np.uint8)
    ),
    "grey and alpha": lambda m: Image.fromarray(np.stack([m * 9, m * 0 + 255], 2).astype(np.uint8), "LA"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_mask_files_of_every_kind(tmp_path, mode, suffix):
    mask = random_mask(12, 9)
    path = tmp_path / f"mask{suffix}"
    MODES[mode](mask).save(path)
    annotation = pickle.loads(pickle.dumps(MaskAnnotation(path, 12, 9)))
    found = annotation.read([Region(0, 0, 9, 12)], 1.0)[0]
    np.testing.assert_array_equal(found.numpy(), mask.astype(np.float32))


def test_palette_masks_count_by_index(tmp_path):
    mask = random_mask(12, 9)
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 255, 0, 0])
    image.save(tmp_path / "mask.png")
    found = MaskAnnotation(tmp_path / "mask.png", 12, 9).read([Region(0, 0, 9, 12)], 1.0)[0]
    np.testing.assert_array_equal(found.numpy(), mask.astype(np.float32))


def test_mask_files_that_cannot_be_read(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(random_mask(50, 50)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("text.png", "cut.png", "none.png"):
        with pytest.raises(DataError, match=name):
            MaskAnnotation(tmp_path / name, 50, 50).read([Region(0, 0, 5, 5)], 1.0)
    with pytest.raises(DataError, match=r"whole\.png: the mask is 50 x 50"):
        MaskAnnotation(tmp_path / "whole.png", 50, 40).read([Region(0, 0, 5, 5)], 1.0)


def test_discs_stand_where_their_centres_are():
    centres = np.array([[10.0, 30.0], [0.0, 0.0], [49.5, 39.5]])
    annotation = NucleiAnnotation(centres, height=40, width=50, radius=4.0)
    assert isinstance(annotation, Annotation)
    found = annotation.read([Region(0, 0, 50, 40)], 1.0)[0].numpy()
    y, x = np.mgrid[:40, :50] + 0.5
    expected = np.any([np.hypot(x - cx, y - cy) <= 4 for cx, cy in centres], axis=0)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert not annotation.empty


def test_no_centres_no_roi():
    annotation = NucleiAnnotation(np.zeros((0, 2)), height=40, width=50)
    assert annotation.empty
    assert annotation.read([Region(0, 0, 50, 40)], 0.1).sum() == 0


def test_centres_that_cannot_be():
    with pytest.raises(DataError, match=r"shape \(3,\)"):
        NucleiAnnotation(np.zeros(3), 10, 10)
    with pytest.raises(DataError, match="radius of 0"):
        NucleiAnnotation(np.zeros((1, 2)), 10, 10, radius=0.0)


def test_the_annotation_is_chosen_by_what_the_record_names(tmp_path):
    Image.fromarray(np.ones((20, 20), dtype=bool)).save(tmp_path / "m.png")
    savemat(tmp_path / "n.mat", {"detection": np.array([[5, 5]], dtype=np.uint8)})
    image = tmp_path / "i.png"
    assert open_annotation(Record(image, None), 20, 20) is None
    by_mask = open_annotation(
        Record(image, None, mask=tmp_path / "m.png", annotation=tmp_path / "n.mat"), 20, 20
    )
    assert isinstance(by_mask, MaskAnnotation)
    assert isinstance(
        open_annotation(Record(image, None, annotation=tmp_path / "m.png"), 20, 20), MaskAnnotation
    )
    nuclei = open_annotation(Record(image, None, annotation=tmp_path / "n.mat"), 20, 20)
    assert isinstance(nuclei, NucleiAnnotation) and nuclei.centres.tolist() == [[5.0, 5.0]]
    with pytest.raises(DataError, match=r"a\.xml: no such annotation"):
        open_annotation(Record(image, None, annotation=tmp_path / "a.xml"), 20, 20)
    (tmp_path / "a.txt").write_text("by hand")
    with pytest.raises(DataError, match=r"a\.txt: neither nucleus centres.*Give nucleus centres"):
        open_annotation(Record(image, None, annotation=tmp_path / "a.txt"), 20, 20)


@pytest.mark.data("CRCHistoPhenotypes_2016_04_28")
def test_real_nuclei_cover_their_centres(data_root):
    folder = data_root / "CRCHistoPhenotypes_2016_04_28" / "Classification" / "img5"
    centres = read_centres(folder / "img5_epithelial.mat")
    record = Record(folder / "img5.bmp", "positive", annotation=folder / "img5_epithelial.mat")
    annotation = open_annotation(record, 500, 500)
    boxes = [Region(int(x) - 2, int(y) - 2, 5, 5) for x, y in centres if 3 < min(x, y) and max(x, y) < 497]
    assert len(boxes) > 30
    assert annotation.read(boxes, 1.0).min() == 1
    view = annotation.read([Region(0, 0, 500, 500)], 0.1)
    assert view.shape == (1, 50, 50) and 0.05 < view.mean() < 0.9
