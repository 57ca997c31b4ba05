"""Attention against the ROI: frames, exact areas, borders; an explanation and the network agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from zoomin.annotations.mask import MaskAnnotation
from zoomin.annotations.rescaled import RescaledAnnotation
from zoomin.app.cli import main
from zoomin.data.manifest import Manifest, Record, write_manifest
from zoomin.images.array import ArrayImage
from zoomin.inference import attention_on_roi as module
from zoomin.inference.attention_on_roi import (
    attention_on_roi,
    explanation_on_roi,
    gather,
    image_and_roi,
    measure_records,
)
from zoomin.inference.explanations import explain
from zoomin.model import ZoomIn, ZoomInConfig

CONFIG = ZoomInConfig(tile_size=32, sub_tile_size=9, tile_scale=0.5, sub_tile_scale=0.5)


def net(**settings: Any) -> ZoomIn:
    torch.manual_seed(0)
    return ZoomIn(replace(CONFIG, **settings)).eval()


def uniform(model: ZoomIn) -> ZoomIn:
    """Networks whose last layers answer the same everywhere."""
    with torch.no_grad():
        for network in (model.tile_attention, model.position_attention):
            for parameter in network.parameters():
                parameter.zero_()
    return model


def picture(height: int, width: int, mpp: float | None = None) -> ArrayImage:
    pixels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(1))
    return ArrayImage(pixels.to(torch.uint8), mpp=mpp, name="a")


def left_half(height: int, width: int) -> MaskAnnotation:
    mask = np.zeros((height, width), dtype=bool)
    mask[:, : width // 2] = True
    return MaskAnnotation(mask, height, width)


@pytest.mark.parametrize("image_mpp", [0.5, 1.0])
def test_the_area_is_that_of_the_file_at_any_resolution_of_the_model(image_mpp: float) -> None:
    """The ROI speaks of the file's pixels; the model works in its own."""
    model, image = net(mpp=1.0), picture(128, 256, mpp=image_mpp)
    found = attention_on_roi(model, image, left_half(128, 256))
    assert found is not None
    assert found.area == 0.5
    tiles = 32 if image_mpp == 1.0 else 8
    assert len(found.tiles) == tiles and found.tiles[:, 1].sum() == tiles / 2
    assert found.tiles[:, 0].mean() == pytest.approx(1.0, abs=1e-5)
    same = attention_on_roi(model, image, RescaledAnnotation(left_half(128, 256), *model_frame(image_mpp)))
    assert same is not None and (same.area, same.attention) == (found.area, found.attention)


def model_frame(mpp: float) -> tuple[int, int]:
    return round(128 * mpp), round(256 * mpp)


def test_uniform_attention_is_chance() -> None:
    found = attention_on_roi(uniform(net()), picture(64, 128), left_half(64, 128))
    assert found is not None
    assert found.ratio == pytest.approx(1.0, abs=1e-5) and found.attention == pytest.approx(0.5, abs=1e-5)
    assert torch.allclose(found.positions[:, 0], torch.ones(len(found.positions)), atol=1e-4)


def test_the_shares_are_those_of_a_loop_over_pixels() -> None:
    model, image, roi = net(), picture(70, 90), left_half(70, 90)
    found = attention_on_roi(model, image, roi)
    assert found is not None and found.area == 0.5
    tiles = [(y, x) for y in range(0, 70, 32) for x in range(0, 90, 32)]
    mask = torch.zeros(70, 90)
    mask[:, :45] = 1
    assert found.tiles[:, 1].tolist() == pytest.approx(
        [float(mask[y : y + 32, x : x + 32].mean()) for y, x in tiles]
    )
    _, every = model.attend([image])
    u, v = model.map_size
    expected, positions = 0.0, 0
    for (y, x), log_alpha, log_beta in zip(tiles, every.log_alpha, every.log_beta, strict=True):
        beta = log_beta.detach().exp().reshape(u, v)
        for i, j in np.ndindex(u, v):
            columns = np.linspace(x + j * 32 / v, x + (j + 1) * 32 / v, 101)[:-1] + 0.16 / v
            inside = float(((columns < 45) & (y + (i + 0.5) * 32 / u < 70)).mean())
            expected += float(log_alpha.exp() * beta[i, j]) * inside
            positions += y + (i + 0.5) * 32 / u < 70 and x + (j + 0.5) * 32 / v < 90
    assert found.attention == pytest.approx(expected, abs=5e-3)
    assert len(found.positions) == positions


def test_of_very_many_tiles_the_insides_count_as_even(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image, roi = net(), picture(64, 128), left_half(64, 128)
    monkeypatch.setattr(module, "MOST", 7)
    found = attention_on_roi(model, image, roi)
    assert found is not None and len(found.positions) == 0
    assert found.attention == pytest.approx(float((found.tiles[:, 0] * found.tiles[:, 1]).mean()))
    assert found.to_dict(points=False)["position_spearman"] is None


@pytest.mark.parametrize("mpp", [None, 1.0])
def test_an_exact_explanation_says_what_the_network_says(mpp: float | None) -> None:
    model, image, roi = net(mpp=mpp), picture(50, 76, mpp=0.5), left_half(50, 76)
    [explanation] = explain([image], model, sampling="exact", exact_budget=10**6)
    mine, whole = explanation_on_roi(explanation, roi), attention_on_roi(model, image, roi)
    assert mine is not None and whole is not None
    assert mine.area == pytest.approx(whole.area) == pytest.approx(0.5)
    assert mine.attention == pytest.approx(whole.attention, abs=1e-5)
    assert torch.allclose(mine.tiles, whole.tiles, atol=1e-4)
    assert len(mine.positions) == len(whole.positions)
    assert torch.allclose(mine.positions.sort(0)[0], whole.positions.sort(0)[0], atol=1e-3)


def test_undrawn_tiles_count_as_even() -> None:
    model, image, roi = net(), picture(96, 160), left_half(96, 160)
    [explanation] = explain([image], model, sampling="top", n_samples=3)
    found = explanation_on_roi(explanation, roi)
    assert found is not None and len(explanation.tiles) < 15
    assert len(found.tiles) == 15
    heat = explanation.heat_map(96, 160)
    assert found.attention == pytest.approx(float(heat[:, :80].sum() / heat.sum()), abs=1e-4)


def test_images_without_roi_are_left_out(tmp_path: Path) -> None:
    records = []
    for name, mask in (("a", True), ("b", False), ("c", None)):
        PillowImage.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / f"{name}.png")
        if mask is not None:
            drawn = np.zeros((64, 64), np.uint8)
            drawn[:, :32] = mask
            PillowImage.fromarray(drawn).save(tmp_path / f"{name}_mask.png")
        path = tmp_path / f"{name}_mask.png" if mask is not None else None
        records.append(Record(tmp_path / f"{name}.png", "x" if mask else "y", mpp=0.5, mask=path))
    model = net(mpp=1.0, class_names=("x", "y"))
    found = measure_records(model, records)
    assert [Path(image.image).name for image in found.images] == ["a.png"]
    assert found.images[0].area == 0.5
    image, roi = image_and_roi(records[0], model.config)
    assert roi is not None and (image.height, roi.height) == (32, 32)
    told = found.to_dict()
    assert (told["n_images"], told["mean_ratio"], told["median_ratio"]) == (1, *[found.images[0].ratio] * 2)
    assert told["pooled_ratio"] == pytest.approx(found.images[0].ratio)
    assert "tiles" not in told["images"][0]
    none = gather([None])
    assert none.to_dict()["mean_ratio"] is None and none.tile_spearman is None

    model.save_pretrained(tmp_path / "run" / "model")
    write_manifest(Manifest(tuple(records), ("x", "y"), tmp_path), tmp_path / "list.csv")
    words = ["evaluate", "--run", str(tmp_path / "run"), "--data.root", str(tmp_path / "list.csv")]
    words += ["--attention_on_roi", "true", "--out", str(tmp_path / "out"), "--replicates", "1"]
    assert main(words) == 0
    written = json.loads((tmp_path / "out" / "attention_on_roi.json").read_text())
    assert written["images"][0]["roi_share"] == 0.5
    write_manifest(Manifest(tuple(records[1:]), ("x", "y"), tmp_path), tmp_path / "list.csv")
    assert main(words) == 2
