"""Background gets no attention: under every design the estimate is that of the foreground alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from problems import picture, small_network
from zoomin.data.batch import Batch
from zoomin.images.array import ArrayImage
from zoomin.images.batch import ResidentImages, StreamedImages
from zoomin.images.foreground import Foreground
from zoomin.images.image import ImageBatch
from zoomin.inference import predict
from zoomin.inference.predictions import write_predictions
from zoomin.model import ZoomIn
from zoomin.model.config import ZoomInConfig
from zoomin.model.output import ZoomInOutput
from zoomin.model.sampling import DESIGNS
from zoomin.model.targets import target_named
from zoomin.training.config import TrainConfig
from zoomin.training.zoom_in_task import ZoomInTask

SIZES = [(33, 47), (20, 40), (16, 16), (16, 48)]  # 9, 6, 1 and 3 tiles of 16 pixels
KEPT = [[1, 4, 8], [0, 5], [0], [2]]


class Listed:
    """A mask that names the tiles."""

    def __init__(self, kept: list[int]) -> None:
        self.kept = kept

    def tiles(self, regions: Tensor) -> Tensor:
        tiles = torch.zeros(len(regions), dtype=torch.bool)
        tiles[self.kept] = True
        return tiles


def images() -> list[ArrayImage]:
    return [ArrayImage(picture(h, w, seed), name=f"{h} x {w}") for seed, (h, w) in enumerate(SIZES)]


def batch(kept: list[list[int]] = KEPT, streamed: bool = False) -> ImageBatch:
    masks = [Listed(one) for one in kept]
    if streamed:
        return StreamedImages(images(), masks=masks)
    return ResidentImages(images(), masks=masks)


def tiles_read(out: ZoomInOutput, image: int) -> set[int]:
    return set(out.tiles.index[out.tiles.image == image].tolist())


def masked_features(net: ZoomIn, complement: bool) -> Tensor:
    """From the exact output of every tile: alpha renormalised over the foreground, or its complement."""
    with torch.no_grad():
        out = net(images(), sampling="exact", contrast=torch.ones(len(SIZES), dtype=torch.bool))
    rows = []
    for image, kept in enumerate(KEPT):
        alpha = out.attention.alpha[image, kept]
        alpha = alpha / alpha.sum()
        beta = out.tiles.log_beta.exp()
        if complement:
            alpha = (1 - alpha) / (len(kept) - 1) if len(kept) > 1 else alpha
            inside = out.tiles.log_beta.isfinite()
            cells = inside.sum(1, keepdim=True)
            flipped = torch.where(inside, (1 - beta) / (cells - 1).clamp(min=1), 0.0)
            beta = torch.where(cells > 1, flipped, beta)
        feature = torch.zeros(out.features.shape[1])
        for tile, weight in zip(kept, alpha, strict=True):
            row = int(((out.tiles.image == image) & (out.tiles.index == tile)).nonzero()[0, 0])
            mine = out.sub_tiles.tile == row
            feature += weight * beta[row, out.sub_tiles.position[mine]] @ out.sub_tiles.features[mine]
        rows.append(feature)
    return torch.stack(rows)


@pytest.mark.parametrize("streamed", [False, True])
def test_exact_is_the_sum_over_the_foreground(streamed: bool) -> None:
    net = small_network()
    contrast = torch.ones(len(SIZES), dtype=torch.bool)
    with torch.no_grad():
        out = net(batch(streamed=streamed), sampling="exact", contrast=contrast)
    torch.testing.assert_close(out.features, masked_features(net, False), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(out.contrast_features, masked_features(net, True), atol=1e-5, rtol=1e-4)
    for image, kept in enumerate(KEPT):
        assert out.attention.alpha[image].nonzero()[:, 0].tolist() == kept
        assert tiles_read(out, image) == set(kept)
    torch.testing.assert_close(out.attention.alpha.sum(1), torch.ones(len(SIZES)))


@pytest.mark.parametrize("sampling", list(DESIGNS))
@pytest.mark.parametrize("n", [1, 7, 500])
def test_no_design_reads_background(sampling: str, n: int) -> None:
    net = small_network()
    contrast = torch.ones(len(SIZES), dtype=torch.bool)
    out = net(batch(), sampling=sampling, n_samples=n, replicates=3, contrast=contrast)
    assert bool(out.logits.isfinite().all() & out.contrast_logits.isfinite().all())
    for image, kept in enumerate(KEPT):
        assert tiles_read(out, image) <= set(kept)
    (out.logits.sum() + out.contrast_logits.sum()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in net.parameters())
    if n == 500 and sampling != "multinomial":
        torch.testing.assert_close(out.features, masked_features(net, False), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sampling", [name for name, row in DESIGNS.items() if row.random])
def test_random_designs_are_unbiased_on_the_foreground(sampling: str) -> None:
    net = small_network()
    with torch.no_grad():
        out = net(batch(), sampling=sampling, n_samples=3, replicates=400)
    error = out.replicates.std(0) / 400**0.5
    away = (out.features - masked_features(net, False)).abs()
    assert bool((away <= 5 * error + 1e-5).all())


def test_an_image_without_foreground_is_looked_at_whole_and_named() -> None:
    net = small_network()
    kept = [[], *KEPT[1:]]
    with torch.no_grad():
        out = net(batch(kept), sampling="exact")
        plain = net(images(), sampling="exact")
    assert out.attention.no_foreground == (0,)
    torch.testing.assert_close(out.features[0], plain.features[0], atol=1e-6, rtol=1e-5)
    assert plain.attention.no_foreground == ()


def test_attend_covers_every_tile() -> None:
    attention, tiles = small_network().attend(batch())
    assert len(tiles.image) == 19
    assert attention.alpha[0].nonzero()[:, 0].tolist() == KEPT[0]


def glass_and_tissue() -> tuple[ArrayImage, ArrayImage]:
    glass = torch.full((3, 64, 64), 245, dtype=torch.uint8)
    slide = glass.clone()
    slide[:, 20:44, 36:60] = torch.tensor([180, 90, 150], dtype=torch.uint8)[:, None, None]
    return ArrayImage(slide, name="slide"), ArrayImage(glass, name="glass")


def otsu_network() -> ZoomIn:
    settings = {"tile_size": 16, "sub_tile_size": 9, "tile_scale": 0.5, "sub_tile_scale": 0.5}
    return ZoomIn(ZoomInConfig(**settings, foreground=Foreground("otsu")))


def test_a_network_finds_the_tissue_of_plain_images() -> None:
    net = otsu_network()
    for given in (list(glass_and_tissue()), torch.stack([image.pixels for image in glass_and_tissue()])):
        out = net(given, sampling="top")
        assert out.attention.map(0).nonzero().tolist() == [[i, j] for i in (1, 2) for j in (2, 3)]
        assert out.attention.no_foreground == (1,)


def test_the_foreground_is_part_of_a_saved_model(tmp_path: Path) -> None:
    net = otsu_network()
    again = ZoomIn.from_pretrained(net.save_pretrained(tmp_path / "model"))
    assert again.config == net.config


def test_predictions_say_where_there_was_none(tmp_path: Path) -> None:
    rows = predict(glass_and_tissue(), otsu_network())
    assert [row.status for row in rows] == ["ok", "no foreground"]
    assert rows[0].pixels_read < rows[1].pixels_read
    assert all(row.label is not None for row in rows)
    summary = write_predictions(rows, target_named("classes", ["0", "1"]), tmp_path / "predictions.csv")
    assert (summary.done, summary.failed) == (2, ())


def test_training_warns_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    net = otsu_network()
    task = ZoomInTask(net, TrainConfig())
    images = ResidentImages(glass_and_tissue(), masks=[None, Listed([])])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            out = net(images)
            task._note_empty(Batch(images, torch.tensor([0, 1]), torch.tensor([0, 1])), out)
    assert [record.message.split(":")[0] for record in caplog.records] == ["glass"]
