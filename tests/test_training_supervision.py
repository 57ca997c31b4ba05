"""Pixel annotations in the loss: the terms, where they are read, and whom they teach."""

import numpy as np
import pytest
import torch
from PIL import Image

from training_examples import MODEL, make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.annotations.reader import RoiReader
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.data.manifest import Manifest, Record
from zoomin.errors import ConfigError, DataError
from zoomin.images.augment import AugmentationDraw, AugmentedBatch
from zoomin.images.batch import as_batch
from zoomin.model.losses import roi_loss
from zoomin.training.fit import new_task
from zoomin.training.records import EpochTable
from zoomin.training.trainer import train


def annotated(folder, n=8, every=1):
    """The images of `make_images` with masks of their squares: those of every `every`-th square."""
    make_images(folder, n)
    records = []
    for number in range(n):
        kind = ("empty", "square")[number % 2]
        path = folder / kind / f"{number:03d}.png"
        mask = None
        if number % (2 * every) == 1:
            mask = folder / f"{number:03d}_mask.png"
            Image.fromarray(np.asarray(Image.open(path))[:, :, 1] == 255).save(mask)
        records.append(Record(path, kind, mask=mask, split="train"))
    return Manifest(tuple(records), ("empty", "square"), folder)


def softmax_logs(*rows):
    return torch.tensor(rows, dtype=torch.float64).log_softmax(1).requires_grad_()


def test_the_distance_and_its_gradient():
    """Against the derivation by hand: dL/dp = 2 (p - m), dp/dlog p = p, the mean over two images."""
    log_p = softmax_logs([0.3, -1.0, 0.2], [1.0, 0.0, -2.0], [0.0, 0.5, 0.1])
    roi = torch.tensor([[0.5, 0.0, 0.25], [0.0, 0.0, 0.0], [0.1, 0.0, 0.0]], dtype=torch.float64)
    image = torch.tensor([0, 0, 1])
    p = log_p.detach().exp()
    for target, wanted in (
        ("share", torch.tensor([[2 / 3, 0, 1 / 3], [0, 0, 0], [1, 0, 0]], dtype=torch.float64)),
        ("literal", torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.float64)),
    ):
        counts = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)  # the second row has no ROI
        loss = roi_loss(log_p, roi, image, 2, target)
        assert float(loss.detach()) == pytest.approx(float((counts * (p - wanted).square()).sum() / 2))
        (gradient,) = torch.autograd.grad(loss, log_p)
        torch.testing.assert_close(gradient, counts * 2 * (p - wanted) * p / 2)


def test_what_is_not_annotated_or_not_attended_adds_nothing():
    log_p = torch.tensor([[0.0, -torch.inf, 0.0], [0.0, 0.0, 0.0]]).log_softmax(1).requires_grad_()
    roi = torch.tensor([[0.0, 1.0, 0.0], [torch.nan] * 3])
    loss = roi_loss(log_p, roi, torch.tensor([0, 1]), 2)
    assert float(loss.detach()) == 0
    (gradient,) = torch.autograd.grad(loss, log_p)
    assert torch.equal(gradient, torch.zeros(2, 3))
    reached = roi_loss(log_p, torch.tensor([[0.4, 1.0, 0.4], [torch.nan] * 3]), torch.tensor([0, 1]), 2)
    assert float(reached.detach()) == pytest.approx(0, abs=1e-12)


def test_no_attention_does_better_than_the_share():
    """Descent on logits finds the share of ROI; the literal mask keeps it at a distance."""
    roi, image = torch.tensor([[0.2, 0.0, 0.6]], dtype=torch.float64), torch.tensor([0])
    least = {}
    for target in ("share", "literal"):
        logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([logits], lr=0.1)
        for _ in range(200):
            adam.zero_grad()
            loss = roi_loss(logits.log_softmax(1), roi, image, 1, target)
            loss.backward()
            adam.step()
        least[target] = float(loss.detach())
    assert least["share"] < 1e-3 and least["literal"] > 0.45


def test_the_roi_is_read_where_the_model_looks(tmp_path):
    """Images that show their own mask, in all eight orientations, at scales and places of both stages."""
    rng = np.random.default_rng(0)
    records, pixels = [], []
    for number, (height, width) in enumerate([(40, 56), (48, 32)] * 4):
        mask = rng.random((height // 8, width // 8)) < 0.4
        mask = np.kron(mask, np.ones((8, 8), dtype=bool))
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
        records.append(Record(tmp_path / f"{number}.png", "a", mask=tmp_path / f"{number}.png"))
        pixels.append(torch.from_numpy(np.stack([mask] * 3) * np.uint8(255)))
    from zoomin.images.array import ArrayImage

    images = as_batch([ArrayImage(p, background=(0, 0, 0)) for p in pixels])
    turned = AugmentedBatch(images, AugmentationDraw.of(list(range(8))))
    index = torch.arange(8).repeat(3)
    corner = torch.tensor([[0, 0], [13, 5], [24, 24]]).repeat_interleave(8, 0)
    regions = torch.cat([corner, torch.full((24, 2), 16)], 1)
    reader = RoiReader(records)
    for batch in (images, turned):
        for scale, shape in ((0.5, (8, 8)), (0.25, (4, 4)), (1 / 16, (1, 1))):
            shown = batch.read(index, regions, scale)[:, 0].float() / 255
            found = reader.read(batch, torch.arange(8), index, regions, shape)
            torch.testing.assert_close(found, shown, atol=0.5 / 255 + 1e-4, rtol=0)


def test_masks_that_are_not_used_are_closed(tmp_path, monkeypatch):
    monkeypatch.setattr("zoomin.annotations.reader._PIXELS", 250)
    records = []
    for number in range(4):
        Image.fromarray(np.full((10, 10), number % 2, dtype=bool)).save(tmp_path / f"{number}.png")
        records.append(Record(tmp_path / "i.png", "a", mask=tmp_path / f"{number}.png"))
    reader = RoiReader([*records, Record(tmp_path / "i.png", "a")])
    for row in (0, 1, 2, 0, 3):
        assert reader.open(row, 10, 10).empty == (row % 2 == 0)
    assert [row for row in range(4) if reader._opened.get(row) is not None] == [0, 3]
    assert reader.open(4, 10, 10) is None and not reader.has(4)


def trained(manifest, **settings):
    config = run_config(manifest.source, manifest.source, data_val_fraction=0.0, **settings)
    data = ZoomInDataModule(config.data, manifest, progress=False)
    task, table = new_task(config, data), EpochTable()
    train(task, data, [], [table])
    return task, table.rows


def roi_attention(task, manifest):
    """Attention of the first image's tiles and positions that goes to the ROI, on average over squares."""
    config = run_config(manifest.source, manifest.source, data_val_fraction=0.0)
    data = ZoomInDataModule(config.data, manifest, progress=False)
    reader, found = RoiReader(manifest.records), []
    rows = torch.tensor([row for row in range(len(manifest)) if reader.has(row)])
    images = data.store.select(rows)
    with torch.no_grad():
        _, tiles = task.net.attend(images)
    share = reader.read(images, rows, tiles.image, tiles.regions, tiles.map_size).flatten(1)
    weight = (tiles.log_alpha[:, None] + tiles.log_beta).exp()
    for place in range(len(rows)):
        found.append(float((share * weight)[tiles.image == place].sum()))
    return np.mean(found)


def test_annotations_draw_the_attention_to_the_roi(tmp_path):
    manifest = annotated(tmp_path)
    settings = dict(epochs=25, learning_rate=5e-3, data_batch_size=8, contrastive_from_epoch=None)
    plain, _ = trained(manifest, **settings)
    guided, rows = trained(manifest, tile_roi_strength=3.0, position_roi_strength=3.0, **settings)
    assert rows[-1]["train_tile_roi"] < 0.5 * rows[0]["train_tile_roi"]
    assert roi_attention(guided, manifest) > roi_attention(plain, manifest) + 0.2


def test_terms_are_off_by_default_and_part_of_the_loss_otherwise(tmp_path):
    manifest = annotated(tmp_path, every=2)
    _, rows = trained(manifest, epochs=1)
    assert rows[0]["train_tile_roi"] == rows[0]["train_position_roi"] == 0
    _, rows = trained(
        manifest, epochs=2, tile_roi_strength=0.5, position_roi_strength=0.25, roi_target="literal"
    )
    for row in rows:
        terms = ("cross_entropy", "contrastive", "entropy_term", "tile_roi", "position_roi")
        assert row["train_loss"] == pytest.approx(sum(row[f"train_{term}"] for term in terms), rel=1e-5)
        assert row["train_tile_roi"] > 0 and row["train_position_roi"] > 0


def test_annotations_that_are_asked_for_must_be_there(tmp_path):
    root = make_images(tmp_path / "images")
    config = run_config(root, root, tile_roi_strength=1.0)
    with pytest.raises(ConfigError, match="no training image has an annotation"):
        new_task(config, ZoomInDataModule(config.data, progress=False))
    manifest = annotated(tmp_path / "annotated")
    Image.new("1", (5, 9)).save(next(r.mask for r in manifest if r.mask))
    with pytest.raises(DataError, match="mask is 9 x 5 pixels"):
        trained(manifest, epochs=1, tile_roi_strength=1.0)
