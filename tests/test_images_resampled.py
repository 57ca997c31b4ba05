"""Images brought to one resolution: exact averages, the way back, and what is needed for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from zoomin.data.manifest import Record
from zoomin.data.store import PathImage, open_store
from zoomin.errors import ConfigError, ImageError
from zoomin.geometry import Region
from zoomin.images.array import ArrayImage
from zoomin.images.foreground import Foreground
from zoomin.images.physical import microns
from zoomin.images.resampled import ResampledImage, at_mpp
from zoomin.images.stored import identity_of
from zoomin.inference import predict
from zoomin.model import ZoomIn
from zoomin.model.config import ZoomInConfig


def picture(height: int = 80, width: int = 100, mpp: float | None = 0.25) -> ArrayImage:
    pixels = torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(1))
    return ArrayImage(pixels.to(torch.uint8), mpp=mpp, background=(10, 20, 30), name="picture")


def test_whole_factors_average_the_pixels() -> None:
    image = at_mpp(picture(), 0.5)
    assert (image.height, image.width, image.mpp) == (40, 50, 0.5)
    whole = image.read([Region(0, 0, 50, 40)], 1.0)[0].float()
    expected = torch.nn.functional.avg_pool2d(picture().pixels.float(), 2)
    assert float((whole - expected).abs().max()) <= 0.5
    assert torch.equal(image.read([Region(4, 6, 20, 20)], 0.5), picture().read([Region(8, 12, 40, 40)], 0.25))


def test_fractional_factors_are_not_rounded() -> None:
    """0.37 microns: pixel (i, j) is the mean of the box of 1.48 x 1.48 file pixels, summed finely."""
    image = at_mpp(picture(), 0.37)
    assert isinstance(image, ResampledImage)
    fine = picture().pixels.double().repeat_interleave(25, 1).repeat_interleave(25, 2)  # 1.48 * 25 = 37
    expected = torch.nn.functional.avg_pool2d(fine[:, : 50 * 37, : 60 * 37], 37)
    read = image.read([Region(0, 0, 60, 50)], 1.0)[0].double()
    assert float((read - expected).abs().max()) <= 0.51
    assert (image.height, image.width) == (54, 68)


def test_beyond_the_border_lies_the_background() -> None:
    read = at_mpp(picture(), 0.5).read([Region(50, 40, 4, 4), Region(-9, -9, 4, 4)], 1.0)
    assert read.flatten(2).float().mean(2).tolist() == [[10.0, 20.0, 30.0]] * 2


def test_the_way_back_and_what_is_passed_through(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    PillowImage.fromarray(picture().pixels.permute(1, 2, 0).numpy()).save(file)
    source = PathImage(file, 80, 100, 0.25, (10, 20, 30), 0.25, identity_of(file))
    image = at_mpp(source, 0.3)
    assert isinstance(image, ResampledImage)
    assert image.source is source
    back = image.to_source(torch.tensor([[10, 20, 30, 40]]))
    torch.testing.assert_close(back, torch.tensor([[12.0, 24.0, 36.0, 48.0]], dtype=torch.float64))
    assert image.identity not in (None, source.identity, at_mpp(source, 0.5).identity)
    assert image.decoded_pixels == 8000
    same = at_mpp(picture(), 0.3).read([Region(0, 0, 64, 64)], 0.25)
    assert torch.equal(image.read([Region(0, 0, 64, 64)], 0.25), same)


def test_an_image_at_that_resolution_is_left_alone() -> None:
    image = picture()
    assert at_mpp(image, 0.25) is image
    assert at_mpp(image, None) is image
    assert at_mpp(image, 0.2510) is image  # below half a pixel over 100
    assert at_mpp(image, 0.26) is not image


def test_a_missing_resolution_is_told_with_the_remedy() -> None:
    with pytest.raises(ImageError, match=r"picture: .*not known.*column mpp.*--data\.mpp"):
        at_mpp(picture(mpp=None), 0.5)


# --------------------------------------------------------------------------- configuration


def test_lengths_have_units() -> None:
    assert [microns(x) for x in (0.25, "0.25", "0.25um", "0.25 µm", "250nm", "10m", "1 km", "30cm")] == [
        0.25, 0.25, 0.25, 0.25, 0.25, 1e7, 1e9, 3e5,
    ]  # fmt: skip
    for wrong in ("ten", "-1", "0", "nan", "3 ft", "um", "inf"):
        with pytest.raises(ConfigError, match="valid pixel size"):
            microns(wrong)


def test_scales_can_be_said_in_microns() -> None:
    config = ZoomInConfig(mpp=0.5, tile_mpp="16um", sub_tile_mpp=4.0)
    assert (config.resolution, config.tile_scale, config.sub_tile_scale) == (0.5, 1 / 32, 1 / 8)
    assert ZoomInConfig.from_dict(config.to_dict()) == config
    metres = ZoomInConfig(mpp="0.5m", tile_mpp="5m")
    assert (metres.resolution, metres.tile_scale) == (500_000.0, 0.1)
    with pytest.raises(ConfigError, match="Give mpp too"):
        ZoomInConfig(tile_mpp=8.0)
    with pytest.raises(ConfigError, match="Give one of the two"):
        ZoomInConfig(mpp=0.5, tile_mpp=8.0, tile_scale=0.3)
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        ZoomInConfig(mpp=0.5, tile_mpp=0.25)


# --------------------------------------------------------------------------- models see one resolution


def network(**settings: object) -> ZoomIn:
    small = {"tile_size": 20, "sub_tile_size": 9, "tile_scale": 0.5, "sub_tile_scale": 0.5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ZoomIn(ZoomInConfig(**small, **settings)).eval()


def test_scanners_of_two_resolutions_give_one_answer() -> None:
    """The same scene at 0.25 and 0.5 microns per pixel, with a network that works at 0.5."""
    fine = picture()
    coarse = ArrayImage(fine.read([Region(0, 0, 100, 80)], 0.5)[0], mpp=0.5, background=fine.background)
    net = network(mpp=0.5)
    a, b = net([fine], sampling="exact"), net([coarse], sampling="exact")
    assert a.attention.log_alpha.shape == b.attention.log_alpha.shape == (1, 6)
    torch.testing.assert_close(a.logits, b.logits, atol=1e-3, rtol=1e-3)
    rows = predict([fine, coarse], net)
    assert rows[0].probabilities == pytest.approx(rows[1].probabilities, abs=1e-4)


def test_stores_hold_images_at_the_resolution_of_the_model(tmp_path: Path) -> None:
    picture().pixels.permute(1, 2, 0)
    for name in ("a", "b"):
        PillowImage.fromarray(picture().pixels.permute(1, 2, 0).numpy()).save(tmp_path / f"{name}.png")
    records = [Record(tmp_path / "a.png", "x", mpp=0.25), Record(tmp_path / "b.png", "y")]
    model = ZoomInConfig(mpp=0.5, foreground=Foreground("otsu"))
    rows = torch.arange(2)
    views = []
    for resident in ("always", "never"):
        store = open_store(records, rows, resident=resident, model=model, mpp=1.0, progress=False)
        assert store.images.sizes.tolist() == [[40, 50], [160, 200]]
        assert store.file_frames == {0: (80, 100, None), 1: (80, 100, None)}
        views.append(store.images.read(rows, torch.tensor([[0, 0, 40, 40]] * 2), 0.5))
    assert int((views[0].int() - views[1].int()).abs().max()) <= 1
    rows_of = predict(tmp_path.glob("*.png"), network(mpp=0.5), mpp="0.25um")
    assert [row.status for row in rows_of] == ["ok", "ok"]
    unknown = predict(tmp_path.glob("*.png"), network(mpp=0.5))
    assert {row.status for row in unknown} == {"error"}
    assert "--mpp" in unknown[0].error
