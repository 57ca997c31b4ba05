"""Tissue is found on glass, on black, faint, everywhere and nowhere; tiles of it are told in every batch."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from zoomin.errors import ConfigError
from zoomin.geometry import TileGrid
from zoomin.images.array import ArrayImage
from zoomin.images.augment import AugmentationDraw, AugmentedBatch
from zoomin.images.batch import ResidentImages, StreamedImages
from zoomin.images.foreground import Foreground
from zoomin.images.tissue import OverviewMask, tissue_mask

OTSU = Foreground("otsu")
PINK, GLASS = (190, 110, 170), (243, 240, 242)
BOX = np.s_[60:140, 50:180]


def slide(colour: tuple[int, int, int] | None = PINK, noise: float = 1.5) -> NDArray[np.uint8]:
    """200 x 300 pixels of glass with one piece of textured tissue in BOX."""
    rng = np.random.default_rng(0)
    pixels = np.empty((200, 300, 3))
    pixels[:] = GLASS
    if colour is not None:
        pixels[BOX] = colour
        pixels[BOX] += rng.normal(0, 12, pixels[BOX].shape[:2])[..., None]
    pixels += rng.normal(0, noise, pixels.shape)
    return pixels.round().clip(0, 255).astype(np.uint8)


def found(pixels: NDArray[np.uint8], config: Foreground = OTSU) -> NDArray[np.bool_]:
    return tissue_mask(torch.from_numpy(pixels).permute(2, 0, 1), config)


def overlap(mask: NDArray[np.bool_]) -> float:
    """Intersection over union with the true tissue."""
    truth = np.zeros_like(mask)
    truth[BOX] = True
    return float((mask & truth).sum() / (mask | truth).sum())


# --------------------------------------------------------------------------- what tissue is


@pytest.mark.parametrize("colour", [PINK, (110, 80, 150), (225, 215, 222), (160, 110, 70)])
def test_stained_tissue_on_glass(colour: tuple[int, int, int]) -> None:
    """Eosin, haematoxylin, pale stroma, DAB."""
    assert overlap(found(slide(colour))) > 0.95


def test_faint_tissue_is_told_from_noise() -> None:
    assert overlap(found(slide((238, 229, 236)))) > 0.8


def test_glass_alone_holds_nothing() -> None:
    assert found(slide(None)).sum() == 0
    assert found(np.full((90, 90, 3), 255, dtype=np.uint8)).sum() == 0
    assert found(np.zeros((90, 90, 3), dtype=np.uint8)).sum() == 0


def test_tissue_everywhere() -> None:
    """Otsu would part dark nuclei from pale stroma; there is no glass, so everything counts."""
    rng = np.random.default_rng(1)
    pixels = np.where(rng.random((100, 100, 1)) < 0.3, (90, 60, 140), (220, 170, 205)).astype(np.uint8)
    assert found(pixels).mean() > 0.99


def test_black_borders_and_ink_are_not_tissue() -> None:
    pixels = slide()
    pixels[:20], pixels[:, -30:] = 0, 4
    pixels[170:178, 40:200] = (35, 32, 40)
    assert overlap(found(pixels)) > 0.95


@pytest.mark.parametrize("ink", [(60, 140, 90), (40, 70, 160), (30, 160, 190)])
def test_pens_are_not_tissue_unless_they_are_the_stain(ink: tuple[int, int, int]) -> None:
    pixels = slide()
    pixels[150:156, 20:280] = ink
    assert overlap(found(pixels)) > 0.95
    assert found(pixels, Foreground("otsu", pens=False))[152, 100:200].all()
    assert overlap(found(slide(ink))) > 0.95


def test_fluorescence_on_black() -> None:
    pixels = np.zeros((200, 300, 3), dtype=np.uint8)
    pixels[BOX] = (10, 30, 160)
    assert overlap(found(pixels)) > 0.95


def test_specks_and_small_holes_are_ignored() -> None:
    pixels = slide()
    pixels[10:12, 10:12] = PINK
    pixels[100:104, 100:104] = GLASS
    mask = found(pixels)
    assert not mask[:40].any()
    assert mask[101, 101]


def test_a_threshold_takes_the_place_of_otsus() -> None:
    assert found(slide((225, 215, 222)), Foreground("otsu", threshold=0.2)).sum() == 0


@pytest.mark.data("CRCHistoPhenotypes_2016_04_28")
def test_colon_cancer_tissue_is_not_lost(data_root) -> None:
    """Images full of tissue: nearly every tile of 100 pixels counts, whatever Otsu's threshold is."""
    folder = data_root / "CRCHistoPhenotypes_2016_04_28" / "Classification"
    for number, least in ((17, 25), (25, 25), (90, 25), (74, 10)):
        with PillowImage.open(folder / f"img{number}" / f"img{number}.bmp") as picture:
            image = ArrayImage(np.asarray(picture.convert("RGB")))
        grid = TileGrid.of(torch.tensor([[500, 500]]), 100)
        assert int(OverviewMask(image, OTSU).tiles(grid.regions).sum()) >= least


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (8, 8)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    image = ArrayImage(np.full((*size, 3), PINK, dtype=np.uint8))
    assert OverviewMask(image, OTSU).pixels.all()


# --------------------------------------------------------------------------- tiles


def test_share_is_of_what_lies_inside_the_image() -> None:
    image = ArrayImage(slide(noise=0))
    mask = OverviewMask(image, Foreground("otsu", min_share=0.5))
    regions = torch.tensor([[50, 60, 130, 80], [50, 60, 130, 160], [0, 0, 40, 40], [900, 900, 10, 10]])
    shares = mask.shares(regions)
    torch.testing.assert_close(shares, torch.tensor([1.0, 80 / 140, 0.0, 0.0]), atol=0.02, rtol=0)
    assert mask.tiles(regions).tolist() == [True, True, False, False]
    again = pickle.loads(pickle.dumps(mask))
    assert again.tiles(regions).tolist() == [True, True, False, False]


def test_overview_is_small_and_the_image_is_let_go() -> None:
    image = ArrayImage(np.repeat(np.repeat(slide(noise=0), 4, 0), 4, 1))
    mask = OverviewMask(image, Foreground("otsu", side=300))
    assert mask.pixels.shape == (200, 300)
    assert overlap(mask.pixels) > 0.97
    assert mask._image is None


def test_a_tile_without_any_foreground_never_counts() -> None:
    mask = OverviewMask(ArrayImage(slide(None)), Foreground("otsu", min_share=0.0))
    assert not mask.tiles(torch.tensor([[0, 0, 300, 200]])).any()


@pytest.mark.parametrize("kind", ["resident", "streamed"])
def test_batches_tell_the_tiles_of_each_image(kind: str) -> None:
    images = [ArrayImage(slide()), ArrayImage(slide()[:, :100]), ArrayImage(slide(None))]
    masks = [OverviewMask(images[0], OTSU), None, OverviewMask(images[2], OTSU)]
    batch = ResidentImages(images, masks=masks) if kind == "resident" else StreamedImages(images, masks=masks)
    for chosen in (batch, batch.to("cpu"), batch.select([2, 0, 1]).select([1, 2, 0])):
        tiles = chosen.foreground(TileGrid.of(chosen.sizes, 50))
        assert tiles is not None
        first, second, third = tiles.split([24, 8, 24])
        assert first.view(4, 6).nonzero().tolist() == [[i, j] for i in (1, 2) for j in (1, 2, 3)]
        assert second.all()
        assert not third.any()
    plain = ResidentImages(images) if kind == "resident" else StreamedImages(images)
    assert plain.foreground(TileGrid.of(plain.sizes, 50)) is None


@pytest.mark.parametrize("orientation", range(8))
def test_augmented_images_turn_their_foreground(orientation: int) -> None:
    """The same as the foreground of the turned pixels."""
    image = ArrayImage(slide(noise=0))
    batch = ResidentImages([image], masks=[OverviewMask(image, OTSU)])
    changed = AugmentedBatch(batch, AugmentationDraw.of([orientation]))
    grid = TileGrid.of(changed.sizes, 70)
    whole = image.pixels.mT if orientation & 4 else image.pixels
    whole = whole.flip([d for d, bit in ((1, 2), (2, 1)) if orientation & bit])
    turned = OverviewMask(ArrayImage(whole.contiguous()), OTSU)
    tiles = changed.foreground(grid)
    assert tiles is not None
    assert tiles.tolist() == turned.tiles(grid.regions).tolist()


@pytest.mark.parametrize("wrong", [{"min_share": 1.5}, {"side": 3}, {"threshold": -1.0}, {"min_area": -1}])
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Foreground(**wrong)
