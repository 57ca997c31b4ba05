"""The data module: every image opened and checked once, every batch decided by the seed."""

import math
import pickle
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from zoomin.data import store as store_module
from zoomin.data.batch import Batch
from zoomin.data.config import DataConfig
from zoomin.data.datamodule import BatchKey, ZoomInDataModule
from zoomin.data.manifest import Manifest, Record, read_manifest
from zoomin.data.store import PathImage, available_memory, open_store
from zoomin.errors import ConfigError, DataError
from zoomin.geometry import Region
from zoomin.images.augment import AugmentedBatch
from zoomin.images.augmentation import Augmentation
from zoomin.images.image import Started
from zoomin.model.config import ZoomInConfig

PLAIN = Augmentation()
STRONG = Augmentation(flips=True, quarter_turns=True, brightness=0.2, contrast=0.2, stain=0.1)


def write(folder, n=11, columns="image,label", row=lambda i: f"{i}.png,{'ab'[i % 2]}", size=(40, 30)):
    """n little images of noise, no two of one size, and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = rng.integers(0, 256, (size[0] + i, size[1] + 2 * i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "manifest.csv").write_text("\n".join([columns, *(row(i) for i in range(n))]) + "\n")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "data")


def module(folder, **options):
    return ZoomInDataModule(DataConfig(root=str(folder), **{"val_fraction": 0.2, **options}))


def everything(folder, **options):
    """A module that trains on all images."""
    return module(folder, val_fraction=0.0, **options)


def epoch_of(data, epoch):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def order(batches):
    return [batch.index.tolist() for batch in batches]


def rows_of(batches):
    return list(chain.from_iterable(order(batches)))


def pixels(batch):
    """The upper left corner of every image."""
    n = len(batch)
    regions = torch.tensor([[0, 0, 24, 24]], device=batch.index.device).expand(n, 4)
    return batch.images.read(torch.arange(n, device=batch.index.device), regions, 1.0)


def test_an_epoch_goes_once_through_the_training_images(folder):
    data = everything(folder, batch_size=5)
    data.setup("fit")
    batches = epoch_of(data, 0)
    assert [len(batch) for batch in batches] == [5, 5, 1] == [len(b.images) for b in batches]
    assert len(data.train_dataloader()) == 3
    assert sorted(rows_of(batches)) == list(range(11))
    for batch in batches:
        assert batch.labels.tolist() == [row % 2 for row in batch.index.tolist()]
        assert batch.images.sizes.tolist() == [[40 + row, 30 + 2 * row] for row in batch.index.tolist()]
        assert [name.split("/")[-1] for name in batch.images.names] == [f"{row}.png" for row in batch.index]


def test_pixels_belong_to_their_rows(folder):
    data = everything(folder, batch_size=4)
    for batch in data.predict_dataloader():
        for view, row in zip(pixels(batch), batch.index.tolist(), strict=True):
            with Image.open(folder / f"{row}.png") as image:
                expected = np.asarray(image)[:24, :24].transpose(2, 0, 1)
            np.testing.assert_array_equal(view.numpy(), expected)


def test_seed_and_epoch_decide_the_order(folder):
    one, same, other = (everything(folder, seed=seed) for seed in (3, 3, 4))
    epochs = [order(epoch_of(one, epoch)) for epoch in range(3)]
    assert epochs == [order(epoch_of(same, epoch)) for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert order(epoch_of(one, 1)) == epochs[1]  # whatever went before
    assert order(epoch_of(other, 0)) != epochs[0]
    assert order(epoch_of(one.with_seed(4), 0)) == order(epoch_of(other, 0))


@pytest.mark.parametrize("threads", [1, 3])
def test_nothing_depends_on_the_number_of_threads(folder, threads):
    batches = epoch_of(everything(folder, threads=threads), 2)
    reference = epoch_of(everything(folder, threads=4), 2)
    assert order(batches) == order(reference)
    for one, other in zip(batches, reference, strict=True):
        assert torch.equal(pixels(one), pixels(other))


def test_streamed_images_give_the_same_pixels(folder):
    resident, streamed = (everything(folder, resident=r) for r in ("always", "never"))
    assert resident.prepare().resident and not streamed.prepare().resident
    for one, other in zip(epoch_of(resident, 0), epoch_of(streamed, 0), strict=True):
        assert torch.equal(pixels(one), pixels(other))


def test_auto_keeps_what_fits(folder, monkeypatch):
    total = 4 * sum((40 + i) * (30 + 2 * i) for i in range(11))
    monkeypatch.setattr(store_module, "available_memory", lambda device: 4 * total)
    assert everything(folder).prepare().resident
    monkeypatch.setattr(store_module, "available_memory", lambda device: 4 * total - 4)
    assert not everything(folder).prepare().resident
    monkeypatch.undo()
    assert 2**26 < available_memory() < 2**50


def test_evaluation_keeps_the_order_of_the_manifest(folder):
    data = module(folder, val_fraction=0.4, test_fraction=0.3, batch_size=2)
    for name, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        rows = rows_of(loader)
        assert rows == sorted(rows) == data.splits[name].tolist() and len(loader) == math.ceil(len(rows) / 2)
    assert rows_of(data.predict_dataloader()) == list(range(11))
    assert list(everything(folder).val_dataloader()) == []


def test_the_manifests_split_is_kept_and_labels_may_lack_where_none_is_learnt(tmp_path):
    def row(i):
        return f"{i}.png,{'' if i > 8 else 'ab'[i % 2]},{'test' if i > 8 else 'val' if i > 6 else 'train'}"

    data = module(write(tmp_path / "data", columns="image,label,split", row=row))
    data.setup("fit")
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {
        "train": list(range(7)),
        "val": [7, 8],
        "test": [9, 10],
    }
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, -1, -1]
    with pytest.raises(DataError, match=r"9\.png \(row 11\) has no label"):
        data.setup("test")
    data.setup("predict")


def test_every_bad_image_is_listed_before_training(folder):
    (folder / "2.png").write_text("not a picture")
    whole = (folder / "5.png").read_bytes()
    (folder / "5.png").write_bytes(whole[: len(whole) // 2])
    (folder / "7.png").write_bytes(b"")
    for resident in ("always", "never"):
        with pytest.raises(DataError, match="3 of 11 images cannot be read") as error:
            everything(folder, resident=resident).setup("fit")
        for name in ("2.png (row 4)", "5.png (row 7)", "7.png (row 9)"):
            assert name in str(error.value)
        assert "3.png" not in str(error.value) and error.value.remedy


def test_images_outside_the_splits_are_not_opened(folder):
    (folder / "10.png").write_bytes(b"")
    manifest = read_manifest(folder / "manifest.csv")
    data = ZoomInDataModule(DataConfig(root=str(folder)), manifest, {"train": torch.arange(10)})
    data.setup("fit")
    assert not data.store.holds(torch.tensor([10]))


def test_one_class_cannot_be_learnt(tmp_path):
    data = module(write(tmp_path / "data", row=lambda i: f"{i}.png,only"))
    with pytest.raises(DataError, match="only the class 'only'"):
        data.setup("fit")


def test_a_class_that_only_the_validation_images_have_cannot_be_learnt(folder):
    manifest = read_manifest(folder / "manifest.csv")
    odd, even = torch.arange(1, 11, 2), torch.arange(0, 11, 2)
    data = ZoomInDataModule(DataConfig(root=str(folder)), manifest, {"train": even, "val": odd})
    with pytest.raises(DataError, match="only the class 'a'"):
        data.setup("fit")


def test_splits_that_cannot_be_used(folder):
    manifest = read_manifest(folder / "manifest.csv")

    def attempt(**splits):
        rows = {name: torch.tensor(rows, dtype=torch.int64) for name, rows in splits.items()}
        return ZoomInDataModule(DataConfig(root=str(folder)), manifest, rows)

    with pytest.raises(DataError, match=r"2\.png \(row 4\) is in two splits"):
        attempt(train=[0, 1, 2], val=[2, 3])
    with pytest.raises(DataError, match="a split names row 11 of 11"):
        attempt(train=[0, 11])
    with pytest.raises(DataError, match="unknown splits 'valid'"):
        attempt(train=[0], valid=[1])
    with pytest.raises(DataError, match="no image in any split"):
        attempt(train=[])


def test_folds_share_the_open_images(folder, monkeypatch):
    data = everything(folder)
    opened = data.prepare()
    monkeypatch.setattr("zoomin.data.datamodule.open_store", None)
    fold = data.with_splits({"train": torch.arange(8), "val": torch.arange(8, 11)})
    fold.setup("fit")
    assert fold.store is opened
    assert rows_of(fold.val_dataloader()) == [8, 9, 10]


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"threads": 0}, {"seed": -1}, {"val_fraction": 0.7}, {"test_fraction": -0.1}]
)
def test_numbers_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DataConfig(root="x", **wrong)


def test_the_configuration_comes_from_a_command_line():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=DataConfig)
    arguments = ["--data.root=x", "--data.classes=[b, a]", "--data.columns.label=class", "--data.seed=7"]
    config = parser.instantiate(parser.parse_args(arguments)).data
    assert config == replace(
        DataConfig("x", seed=7, classes=["b", "a"]), columns=replace(config.columns, label="class")
    )
    assert config.columns.label == "class"


def test_classes_of_the_users_choice(folder):
    data = module(folder, classes=["b", "a"])
    assert data.classes == ("b", "a") and data.labels[:2].tolist() == [1, 0]


def test_a_path_image_is_an_image_that_pickles(folder):
    manifest = read_manifest(folder / "manifest.csv")
    store = open_store(manifest.records, torch.tensor([4]), resident="never")
    assert len(store.images) == 1 and store.place.tolist()[4] == 0
    image = pickle.loads(pickle.dumps(PathImage(folder / "4.png", 44, 38, None, (255, 255, 255))))
    with Image.open(folder / "4.png") as expected:
        view = image.read([Region(0, 0, 38, 44)], 1.0)[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(view, np.asarray(expected))
    assert image.name == str(folder / "4.png")


class Elsewhere:
    """Images that can be told another device, since a test machine may have but one."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)
        self.sizes = torch.tensor([[4, 4]])
        self.names = ["x"]

    def __len__(self):
        return 1

    def read(self, image_index, regions, scale):
        return torch.zeros(len(regions), 3, 4, 4, dtype=torch.uint8)

    def start(self, image_index, regions, scale):
        return Started(lambda: self.read(image_index, regions, scale), lambda: None)

    def prefetch(self, image_index, regions, scale):
        pass

    def foreground(self, grid):
        return None

    def select(self, indices):
        return self

    def to(self, device):
        return Elsewhere(device)


def test_a_batch_moves_whole():
    batch = Batch(Elsewhere(), torch.tensor([1]), torch.tensor([7]))
    assert batch.to("cpu") is batch
    moved = batch.to("meta", non_blocking=True)
    assert moved.images.device == moved.labels.device == moved.index.device == torch.device("meta")
    assert len(moved) == 1 and batch.index.device.type == "cpu"


class Recorder(LightningModule):
    """Learns nothing, remembers which images it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, number):
        self.seen.append((self.current_epoch, number, batch.index.tolist(), pixels(batch).sum().item()))
        return self.weight * 1.0

    def validation_step(self, batch, number):
        assert isinstance(batch, Batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, tmp_path, epochs, resume=None, augmentation=PLAIN):
    recorder = Recorder()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(recorder, datamodule=module(folder, augmentation=augmentation), ckpt_path=resume)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return recorder.seen


def test_augmentation_is_decided_by_seed_epoch_and_batch(folder):
    one, same, other = (everything(folder, seed=seed, augmentation=STRONG) for seed in (3, 3, 4))
    first = [pixels(batch) for batch in epoch_of(one, 1)]
    assert all(map(torch.equal, first, [pixels(batch) for batch in epoch_of(same, 1)]))
    key = BatchKey((0, 1, 2, 3), epoch=0, number=0)
    reference = pixels(one.batch(key))
    for data, changed in ((one, key._replace(epoch=1)), (one, key._replace(number=1)), (other, key)):
        assert not torch.equal(reference, pixels(data.batch(changed)))


def test_augmentation_leaves_the_order_and_evaluation_alone(folder):
    plain, strong = (module(folder, augmentation=augmentation) for augmentation in (PLAIN, STRONG))
    assert order(epoch_of(plain, 0)) == order(epoch_of(strong, 0))
    assert all(isinstance(batch.images, AugmentedBatch) for batch in epoch_of(strong, 0))
    assert not any(isinstance(batch.images, AugmentedBatch) for batch in epoch_of(plain, 0))
    for name in ("val_dataloader", "test_dataloader", "predict_dataloader"):
        pairs = zip(getattr(plain, name)(), getattr(strong, name)(), strict=True)
        assert all(torch.equal(pixels(one), pixels(other)) for one, other in pairs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("augmentation", [PLAIN, STRONG], ids=["plain", "augmented"])
def test_a_trainer_gets_the_order_of_each_epoch_and_a_resumed_run_the_same(folder, tmp_path, augmentation):
    whole = fit(folder, tmp_path, epochs=4, augmentation=augmentation)
    first = fit(folder, tmp_path, epochs=2, augmentation=augmentation)
    last = tmp_path / "last.ckpt"
    second = fit(folder, tmp_path, epochs=4, resume=last, augmentation=augmentation)
    assert first + second == whole
    data = module(folder)
    for epoch in range(4):
        expected = order(epoch_of(data, epoch))
        assert [rows for at, _, rows, _ in whole if at == epoch] == expected
    assert order(epoch_of(data, 0)) != order(epoch_of(data, 1))


def test_labels_and_rows_of_a_key(folder):
    batch = everything(folder).batch(BatchKey((3, 0), epoch=-1, number=0))
    assert batch.index.tolist() == [3, 0] and batch.labels.tolist() == [1, 0]


def test_a_manifest_may_come_from_memory(folder):
    records = [Record(folder / f"{i}.png", "ab"[i % 2]) for i in range(6)]
    manifest = Manifest.of(records, folder)
    data = ZoomInDataModule(DataConfig(root="", val_fraction=0.0), manifest)
    assert len(next(iter(data.train_dataloader()))) == 5


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_overviews_of_the_next_batches_are_asked_for_ahead(folder, ahead, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "zoomin.data.datamodule.read_ahead",
        lambda images, *how: asked.append((list(images.names), *how)),
    )
    config = DataConfig(root=str(folder), val_fraction=0.0, batch_size=3, prefetch=ahead)
    data = ZoomInDataModule(config, model=ZoomInConfig(tile_size=32, sub_tile_size=9))
    seen = []
    for batch in data.predict_dataloader():
        seen.append(batch)
        wanted = min(4, len(seen) + ahead) if ahead else 0
        assert [names for names, *_ in asked] == [list(b.images.names) for b in data_batches(data)][:wanted]
    assert [len(batch) for batch in seen] == [3, 3, 3, 2] and {entry[1:] for entry in asked} <= {
        (32, 0.1, 32)
    }


def data_batches(data):
    rows = torch.arange(11).split(3)
    return [data.batch(BatchKey(tuple(part.tolist()), -1, number)) for number, part in enumerate(rows)]
