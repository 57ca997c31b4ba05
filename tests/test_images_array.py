"""Images in memory against a slow reference: the mean of every box, pixel by pixel."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from zoomin.errors import ConfigError, ImageError
from zoomin.geometry import Region, view_size
from zoomin.images.array import ArrayImage, images_of
from zoomin.images.averaging import average_boxes, exact_scale, whole_view
from zoomin.images.image import Image
from zoomin.images.pixels import over_background, to_bytes

BACKGROUND = (200, 10, 77)


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def mean_of_box(pixels, y, x, box_y, box_x, background):
    """The exact mean over rows [y, y + box_y) and columns [x, x + box_x), fractions and border included."""
    total = np.zeros(3, dtype=object)
    for i in range(math.floor(y), math.ceil(y + box_y)):
        share_y = min(y + box_y, i + 1) - max(y, i)
        for j in range(math.floor(x), math.ceil(x + box_x)):
            share = share_y * (min(x + box_x, j + 1) - max(x, j))
            inside = 0 <= i < pixels.shape[0] and 0 <= j < pixels.shape[1]
            colour = pixels[i, j].tolist() if inside else background
            total += np.array([share * value for value in colour], dtype=object)
    return [math.floor(value / (box_y * box_x) + Fraction(1, 2)) for value in total]


def slow_read(pixels, region, scale, background=BACKGROUND):
    rows, columns = view_size(region.height, scale), view_size(region.width, scale)
    box_y, box_x = Fraction(region.height, rows), Fraction(region.width, columns)
    view = [
        [mean_of_box(pixels, region.y + i * box_y, region.x + j * box_x, box_y, box_x, background)
         for j in range(columns)]
        for i in range(rows)
    ]  # fmt: skip
    return torch.tensor(view, dtype=torch.uint8).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("region", "scale"),
    [
        (Region(0, 0, 30, 20), 1.0),
        (Region(5, 3, 10, 10), 0.5),
        (Region(0, 0, 25, 25), 0.1),
        (Region(2, 1, 13, 9), 0.3),
        (Region(-4, -7, 17, 23), 0.4),
        (Region(22, 14, 20, 20), 1 / 3),
        (Region(-3, -3, 40, 30), 0.7),
        (Region(100, 100, 10, 10), 0.2),
        (Region(-50, 2, 10, 10), 1.0),
        (Region(3, 3, 4, 4), 0.01),
    ],
)
def test_read_is_the_mean_of_every_box(region, scale):
    pixels = noise(20, 30)
    view = ArrayImage(pixels, background=BACKGROUND).read([region], scale)
    assert torch.equal(view[0], slow_read(pixels, region, scale))


def test_many_regions_read_as_one_by_one():
    image = ArrayImage(noise(40, 50), background=BACKGROUND)
    regions = [Region(x, y, 20, 10) for x in (-5, 0, 37) for y in (-20, 3, 35, 90)]
    together = image.read(regions, 0.3)
    assert together.shape == (12, 3, 3, 6) and together.dtype == torch.uint8
    assert torch.equal(together, torch.cat([image.read([region], 0.3) for region in regions]))


def test_large_regions_go_in_chunks(monkeypatch):
    image = ArrayImage(noise(40, 50), background=BACKGROUND)
    regions = [Region(x, -3, 20, 30) for x in range(-10, 50, 7)]
    whole = image.read(regions, 0.5)
    monkeypatch.setattr("zoomin.images.array._CHUNK", 1)
    assert torch.equal(image.read(regions, 0.5), whole)


def test_halves_are_rounded_up():
    image = ArrayImage(np.array([[0, 1], [0, 1]], dtype=np.uint8))
    assert image.read([Region(0, 0, 2, 2)], 0.5).unique().tolist() == [1]


def test_sums_that_exceed_32_bits_are_exact():
    pixels = torch.full((1, 1, 1, 1), 200, dtype=torch.uint8).expand(1, 1, 5000, 5000)
    view = average_boxes(pixels, (1, 1), (Fraction(5000), Fraction(5000)))
    assert view.tolist() == [[[[200]]]]


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.1, 0.3, 1 / 3, 0.77])
def test_a_level_covers_the_image_and_blends_its_border(scale):
    pixels = noise(23, 31)
    view = ArrayImage(pixels, background=BACKGROUND).level(scale)
    box = 1 / exact_scale(scale)
    rows, columns = math.ceil(23 / box), math.ceil(31 / box)
    assert view.shape == (3, rows, columns)
    for i in range(rows):
        for j in range(columns):
            expected = mean_of_box(pixels, i * box, j * box, box, box, BACKGROUND)
            assert view[:, i, j].tolist() == expected


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.77])
def test_a_level_does_not_depend_on_its_blocks(scale, monkeypatch):
    pixels, colour = torch.from_numpy(noise(70, 41)), torch.tensor(BACKGROUND, dtype=torch.uint8)
    whole = whole_view(pixels, colour, scale)
    monkeypatch.setattr("zoomin.images.averaging._BLOCK", 1)
    assert torch.equal(whole_view(pixels, colour, scale), whole)


def test_layouts_of_pixels():
    pixels = noise(4, 6)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    assert torch.equal(ArrayImage(pixels).pixels, planes)
    assert torch.equal(ArrayImage(planes).pixels, planes)
    grey = ArrayImage(pixels[..., 0])
    assert torch.equal(grey.pixels, planes[:1].expand(3, -1, -1))
    alpha = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [10, 20, 30, 128]]], dtype=np.uint8)
    seen = ArrayImage(alpha, background=(0, 100, 255)).pixels[:, 0].T.tolist()
    assert seen == [[10, 20, 30], [0, 100, 255], [5, 60, 142]]


def test_what_an_image_says_of_itself():
    image = ArrayImage(noise(4, 6), mpp=0.5, background=BACKGROUND, name="a")
    assert isinstance(image, Image)
    assert (image.height, image.width, image.mpp, image.background, image.name) == (
        4,
        6,
        0.5,
        BACKGROUND,
        "a",
    )


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 6), dtype=np.float32),
        np.zeros((4, 6, 2), dtype=np.uint8),
        np.zeros((4,), dtype=np.uint8),
        np.zeros((0, 6, 3), dtype=np.uint8),
        torch.zeros(3, 4, 6),
        torch.zeros(4, 6, dtype=torch.uint8),
    ],
)
def test_pixels_that_are_no_image(pixels):
    with pytest.raises(ImageError, match="bad"):
        ArrayImage(pixels, name="bad")


def test_regions_that_cannot_be_read():
    image = ArrayImage(noise(4, 6))
    with pytest.raises(ImageError, match="different sizes"):
        image.read([Region(0, 0, 2, 2), Region(0, 0, 2, 3)], 1.0)
    with pytest.raises(ImageError, match="0 x 2"):
        image.read([Region(0, 0, 0, 2)], 1.0)
    for scale in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(ConfigError, match="outside"):
            image.read([Region(0, 0, 2, 2)], scale)
    assert image.read([], 0.5).shape[0] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_tensor_and_a_file_become_bytes_alike(dtype):
    pixels = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    [image] = images_of(pixels)
    expected = to_bytes(pixels[0].double().numpy())
    assert np.array_equal(image.read([Region(0, 0, 50, 40)], 1.0)[0].numpy(), expected)


def test_opacity_is_the_same_for_tensors_arrays_and_files():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    shown = over_background(pixels[..., :3], pixels[..., 3], (10, 200, 30))
    for given in (pixels, torch.from_numpy(pixels).permute(2, 0, 1)):
        image = ArrayImage(given, background=(10, 200, 30))
        assert np.array_equal(image.pixels.permute(1, 2, 0).numpy(), shown)
