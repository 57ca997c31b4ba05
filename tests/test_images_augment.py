"""Augmented batches: what is read is a crop of the image that was flipped, turned and recoloured whole."""

from __future__ import annotations

import pytest
import torch

from zoomin.errors import ConfigError, ImageError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.augment import AugmentationDraw, AugmentedBatch, augment_batch
from zoomin.images.augmentation import Augmentation
from zoomin.images.batch import ResidentImages, StreamedImages
from zoomin.images.image import ImageBatch

BACKGROUND = (9, 200, 90)


def noise(height, width, generator):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def changed(pixels, orientation):
    """An image in an orientation: transposed, then upside down, then mirrored."""
    pixels = pixels.transpose(1, 2) if orientation & 4 else pixels
    pixels = pixels.flip(1) if orientation & 2 else pixels
    return pixels.flip(2) if orientation & 1 else pixels


def draw_of(n, **changes):
    return AugmentationDraw(**{**vars(AugmentationDraw.of([0] * n)), **changes})


@pytest.mark.parametrize("kind", [ResidentImages, StreamedImages])
@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize("size", [(100, 100), (60, 140), (150, 40)])
@pytest.mark.parametrize("orientation", range(8))
def test_views_are_crops_of_the_changed_image(orientation, size, scale, kind, generator):
    pixels = noise(*size, generator)
    batch = kind([ArrayImage(pixels, background=BACKGROUND)])
    augmented = AugmentedBatch(batch, AugmentationDraw.of([orientation]))
    whole = ArrayImage(changed(pixels, orientation), background=BACKGROUND)
    assert augmented.sizes.tolist() == [[whole.height, whole.width]]
    regions = [Region(x, y, 50, 50) for x in (-20, 0, 70, 500) for y in (-30, 10, 40)]
    views = augmented.read(torch.zeros(len(regions), dtype=torch.int64), torch.tensor(regions), scale)
    assert torch.equal(views, whole.read(regions, scale))


def test_every_image_has_its_own_orientation(generator):
    images = [ArrayImage(noise(30 + i, 40, generator)) for i in range(8)]
    order = torch.randperm(8, generator=generator)
    augmented = AugmentedBatch(ResidentImages(images), AugmentationDraw.of(order))
    index = torch.arange(8).repeat(2)
    regions = torch.tensor([[3, 5, 16, 16]] * 8 + [[-4, 20, 16, 16]] * 8)
    views = augmented.read(index, regions, 1.0)
    for view, i, region in zip(views, index.tolist(), regions.tolist(), strict=True):
        whole = ArrayImage(changed(images[i].pixels, int(order[i])))
        assert torch.equal(view, whole.read([Region(*region)], 1.0)[0])


def test_regions_lie_where_their_pixels_come_from(generator):
    pixels = noise(30, 50, generator)
    batch = ResidentImages([ArrayImage(pixels)] * 8)
    augmented = AugmentedBatch(batch, AugmentationDraw.of(range(8)))
    index = torch.arange(8)
    regions = torch.tensor([[4, 7, 12, 6]] * 8)
    source = augmented.source_regions(index, regions)
    assert source[:, 2:].tolist() == [[12, 6]] * 4 + [[6, 12]] * 4
    for i, (x, y, w, h) in enumerate(source.tolist()):
        part = changed(pixels[:, y : y + h, x : x + w], i)
        assert torch.equal(part, changed(pixels, i)[:, 7:13, 4:16])


def test_turned_images_are_read_in_squares_only(generator):
    batch = ResidentImages([ArrayImage(noise(30, 50, generator))])
    oblong = torch.tensor([[0, 0, 8, 4]])
    index = torch.tensor([0])
    with pytest.raises(ConfigError, match="quarter"):
        AugmentedBatch(batch, AugmentationDraw.of([4])).read(index, oblong, 1.0)
    flipped = AugmentedBatch(batch, AugmentationDraw.of([3])).read(index, oblong, 1.0)
    assert torch.equal(flipped, batch.read(index, torch.tensor([[42, 26, 8, 4]]), 1.0).flip(2, 3))
    with pytest.raises(ImageError, match="different sizes"):
        AugmentedBatch(batch, AugmentationDraw.of([4])).read(
            torch.tensor([0, 0]), torch.tensor([[0, 0, 8, 8], [0, 0, 4, 4]]), 1.0
        )


def test_nothing_is_on_by_default(generator):
    batch = ResidentImages([ArrayImage(noise(30, 50, generator))])
    state = generator.get_state()
    assert augment_batch(batch, Augmentation(), generator) is batch
    assert torch.equal(generator.get_state(), state) and not Augmentation().active
    assert isinstance(augment_batch(batch, Augmentation(stain=0.1), generator), ImageBatch)


@pytest.mark.parametrize(
    ("options", "orientations"),
    [
        ({}, {0}),
        ({"flips": True}, {0, 1, 2, 3}),
        ({"quarter_turns": True}, {0, 3, 5, 6}),
        ({"flips": True, "quarter_turns": True}, set(range(8))),
    ],
)
def test_the_orientations_drawn_are_those_allowed_alike(options, orientations, generator):
    drawn = AugmentationDraw.sample(Augmentation(**options), 8000, generator).orientation
    counts = torch.bincount(drawn, minlength=8)
    assert set(counts.nonzero().flatten().tolist()) == orientations
    share = counts[counts > 0] / 8000
    expected = 1 / len(orientations)
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / 8000) ** 0.5 + 1e-12).all()


def test_quarter_turns_are_rotations(generator):
    pixels = noise(20, 20, generator)
    turned = [changed(pixels, code) for code in (0, 6, 3, 5)]
    for k, view in enumerate(turned):
        assert torch.equal(view, torch.rot90(pixels, k, (1, 2)))


def test_strengths_bound_what_is_drawn(generator):
    drawn = AugmentationDraw.sample(Augmentation(brightness=0.2, contrast=0.4, stain=0.1), 2000, generator)
    for values, centre, strength in (
        (drawn.brightness, 1, 0.2),
        (drawn.contrast, 1, 0.4),
        (drawn.stain_scale, 1, 0.1),
        (drawn.stain_shift, 0, 0.1),
    ):
        away = (values - centre).abs()
        assert 0.98 * strength < away.max() <= strength + 1e-6
        assert abs(float(values.mean()) - centre) < 0.05 * strength


def test_one_change_leaves_the_others_as_drawn():
    def sample(**options):
        return AugmentationDraw.sample(Augmentation(**options), 50, torch.Generator().manual_seed(3))

    assert torch.equal(
        sample(flips=True).orientation, sample(flips=True, stain=0.1, contrast=0.1).orientation
    )
    assert torch.equal(sample(stain=0.1).stain_scale, sample(stain=0.1, quarter_turns=True).stain_scale)


def every_grey_and_noise(generator):
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16)
    return torch.cat([ramp, noise(16, 16, generator)], 2)


def read_whole(images, draw, width=32):
    augmented = AugmentedBatch(ResidentImages(images), draw)
    index = torch.arange(len(images))
    return augmented.read(index, torch.tensor([[0, 0, width, 16]] * len(images)), 1.0)


def test_colours_of_strength_zero_are_the_identity(generator):
    pixels = every_grey_and_noise(generator)
    almost = 1 + torch.tensor([1e-7])  # switches the computation on
    for draw in (
        draw_of(1),
        draw_of(1, brightness=almost),
        draw_of(1, contrast=almost),
        draw_of(1, stain_scale=almost.expand(1, 3)),
    ):
        assert torch.equal(read_whole([ArrayImage(pixels)], draw)[0], pixels)


def test_brightness_multiplies_as_drawn(generator):
    image = ArrayImage(noise(16, 32, generator) // 2)
    factors = torch.tensor([0.7, 1.0, 1.6])
    views = read_whole([image] * 3, draw_of(3, brightness=factors)).double()
    means = views.flatten(1).mean(1)
    assert torch.allclose(means, image.pixels.double().mean() * factors.double(), atol=0.1)


def test_contrast_multiplies_the_distance_from_mid_grey(generator):
    image = ArrayImage(noise(16, 32, generator) // 4 + 96)
    factors = torch.tensor([0.5, 1.0, 1.5])
    views = read_whole([image] * 3, draw_of(3, contrast=factors)).double()
    expected = (image.pixels.double() - 127.5) * factors.view(3, 1, 1, 1) + 127.5
    assert (views - expected).abs().max() <= 0.51


def test_stain_changes_the_amounts_of_the_stains_as_drawn():
    """Pixels mixed from known amounts come out as those of the changed amounts."""
    stains = torch.tensor([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]]).double()
    stains = stains / stains.norm(dim=1, keepdim=True)
    amounts = torch.rand(512, 3, generator=torch.Generator().manual_seed(1)).double() * 0.3 + 0.1

    def seen(amounts):
        return (256 * 10 ** -(amounts @ stains) - 1).T.reshape(3, 16, 32)

    scale, shift = torch.tensor([[1.2, 0.9, 1.1]]), torch.tensor([[-0.02, 0.05, 0.03]])
    image = ArrayImage(seen(amounts).round().clamp(0, 255).to(torch.uint8))
    view = read_whole([image], draw_of(1, stain_scale=scale, stain_shift=shift))[0].double()
    assert (view - seen(amounts * scale.double() + shift.double())).abs().max() < 2.5


def test_stain_is_as_exact_under_autocast(generator):
    image = ArrayImage(every_grey_and_noise(generator))
    draw = AugmentationDraw.sample(Augmentation(stain=0.2), 1, generator)
    plain = read_whole([image], draw)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(read_whole([image], draw), plain)


def test_colours_agree_at_every_scale_and_beyond_the_border(generator):
    image = ArrayImage(torch.full((3, 40, 40), 90, dtype=torch.uint8), background=(90, 90, 90))
    augmented = AugmentedBatch(
        ResidentImages([image]),
        AugmentationDraw.sample(Augmentation(brightness=0.3, contrast=0.3, stain=0.2), 1, generator),
    )
    colours = set()
    for scale in (1.0, 0.5, 0.1):
        views = augmented.read(torch.tensor([0, 0]), torch.tensor([[0, 0, 20, 20], [-50, 0, 20, 20]]), scale)
        colours |= {tuple(colour) for colour in views.permute(0, 2, 3, 1).reshape(-1, 3).tolist()}
    assert len(colours) == 1 and colours != {(90, 90, 90)}


def test_extreme_colours_stay_in_range(generator):
    pixels = every_grey_and_noise(generator)
    for sign in (-1, 1):
        draw = draw_of(
            1,
            brightness=torch.tensor([1 + 0.99 * sign]),
            contrast=torch.tensor([1 + 0.99 * sign]),
            stain_scale=torch.full((1, 3), 1 + 0.99 * sign),
            stain_shift=torch.full((1, 3), 0.99 * sign),
        )
        view = read_whole([ArrayImage(pixels)], draw)
        assert view.dtype == torch.uint8 and view.shape == (1, 3, 16, 32)


def test_the_same_seed_gives_the_same_views(generator):
    batch = ResidentImages([ArrayImage(noise(40, 40, generator)) for _ in range(4)])
    every = Augmentation(flips=True, quarter_turns=True, brightness=0.2, contrast=0.2, stain=0.1)
    index, regions = torch.arange(4), torch.tensor([[5, 5, 20, 20]] * 4)

    def read(seed):
        return augment_batch(batch, every, torch.Generator().manual_seed(seed)).read(index, regions, 0.5)

    assert torch.equal(read(1), read(1)) and not torch.equal(read(1), read(2))


def test_the_face_of_an_augmented_batch(generator):
    batch = ResidentImages([ArrayImage(noise(40, 30, generator), name=name) for name in "ab"])
    augmented = AugmentedBatch(batch, AugmentationDraw.of([4, 0]))
    assert isinstance(augmented, ImageBatch) and len(augmented) == 2
    assert list(augmented.names) == ["a", "b"] and augmented.device == torch.device("cpu")
    assert augmented.sizes.tolist() == [[30, 40], [40, 30]]
    assert augmented.to("cpu").sizes.tolist() == augmented.sizes.tolist()
    nothing = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4, dtype=torch.int64)
    assert augmented.read(*nothing, 0.5).shape[:2] == (0, 3)


@pytest.mark.parametrize("options", [{"brightness": -0.1}, {"contrast": 1.0}, {"stain": float("nan")}])
def test_strengths_out_of_range(options):
    with pytest.raises(ConfigError, match=f"augmentation.{next(iter(options))}"):
        Augmentation(**options)


def test_a_draw_of_another_batch(generator):
    batch = ResidentImages([ArrayImage(noise(40, 30, generator))])
    with pytest.raises(ConfigError, match="2 for 1"):
        AugmentedBatch(batch, AugmentationDraw.of([0, 0]))


def test_an_image_is_shifted_before_it_is_turned(generator):
    pixels = noise(40, 60, generator)
    draw = draw_of(1, shift=torch.tensor([[3, -2]]))
    augmented = AugmentedBatch(ResidentImages([ArrayImage(pixels, background=BACKGROUND)]), draw)
    region = torch.tensor([[10, 10, 8, 8]])
    [view] = augmented.read(torch.tensor([0]), region, 1.0)
    assert torch.equal(view, pixels[:, 12:20, 7:15])
    [corner] = augmented.read(torch.tensor([0]), torch.tensor([[0, 0, 2, 2]]), 1.0)
    assert corner[:, 0, 0].tolist() == list(BACKGROUND)
    turned = AugmentedBatch(
        ResidentImages([ArrayImage(pixels, background=BACKGROUND)]),
        draw_of(1, shift=torch.tensor([[3, -2]]), orientation=torch.tensor([1])),
    )
    [mirrored] = turned.read(torch.tensor([0]), torch.tensor([[42, 10, 8, 8]]), 1.0)
    assert torch.equal(mirrored, view.flip(2))


def test_shifts_stay_within_their_limit(generator):
    draw = AugmentationDraw.sample(Augmentation(shift=4), 200, generator)
    assert draw.shift.abs().max() == 4
    assert draw.shift.float().mean().abs() < 1
    still = AugmentationDraw.sample(Augmentation(flips=True), 5, torch.Generator().manual_seed(0))
    assert still.orientation.tolist() == [1, 2, 0, 0, 0]  # as before there were shifts
    with pytest.raises(ConfigError, match="shift"):
        Augmentation(shift=-1)
