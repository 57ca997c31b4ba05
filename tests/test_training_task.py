from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from training_examples import make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.errors import ConfigError
from zoomin.training.config import TrainConfig
from zoomin.training.evaluation import evaluate
from zoomin.training.fit import new_task
from zoomin.training.matching import match_classes
from zoomin.training.records import EpochTable
from zoomin.training.task import EpochMeans, evaluation_keys, training_keys
from zoomin.training.trainer import train


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "images")


def trained(root, **settings):
    """The task after training on all images, and one row per epoch."""
    config = run_config(root, root, data_val_fraction=0.0, **settings)
    data = ZoomInDataModule(config.data, progress=False)
    config = replace(config, model=match_classes(config.model, data.classes))
    task, table = new_task(config, data), EpochTable()
    train(task, data, [], [table])
    return task, table.rows


def test_it_learns_a_handful_of_images_by_heart(images):
    _task, rows = trained(
        images, epochs=60, learning_rate=3e-3, data_batch_size=8, contrastive_from_epoch=None
    )
    assert rows[-1]["train_cross_entropy"] < 0.4 * rows[0]["train_cross_entropy"]
    assert rows[-1]["train_accuracy"] == 1.0


@pytest.mark.parametrize(("first", "expected"), [(None, []), (0, [0, 1, 2]), (2, [2])])
def test_the_contrastive_loss_starts_when_told(images, first, expected):
    _, rows = trained(images, contrastive_from_epoch=first)
    assert [row["epoch"] for row in rows if row["train_contrastive"] > 0] == expected


def test_without_a_negative_class_there_is_no_contrastive_loss(tmp_path, caplog):
    root = make_images(tmp_path / "three", n=9, classes=("a", "b", "c"))
    _, rows = trained(root, contrastive_from_epoch=0, epochs=1)
    assert rows[0]["train_contrastive"] == 0
    assert "contrastive loss is off" in caplog.text
    _, rows = trained(root, contrastive_from_epoch=0, epochs=1, negative_class=True)
    assert rows[0]["train_contrastive"] > 0


def test_the_entropy_term_has_its_strength_and_can_be_off(images):
    _, rows = trained(images, epochs=1, entropy_strength=0.0)
    assert rows[0]["train_entropy_term"] == 0
    _, rows = trained(images, epochs=1, entropy_strength=0.5)
    # Tiles 2 x 2 or 3 x 2, positions 12 x 12: near uniform at first, the tiles drawn are counted apart.
    assert 0 < rows[0]["train_tile_entropy"] <= math.log(6) + 1e-5
    assert rows[0]["train_position_entropy"] <= math.log(144) + 1e-5
    expected = rows[0]["train_tile_entropy"] + rows[0]["train_tiles"] * rows[0]["train_position_entropy"]
    assert rows[0]["train_entropy_term"] == pytest.approx(-0.5 * expected, rel=0.1)


def test_the_loss_is_the_sum_of_its_terms(images):
    _, rows = trained(images, contrastive_from_epoch=0, entropy_strength=0.1)
    for row in rows:
        terms = row["train_cross_entropy"] + row["train_contrastive"] + row["train_entropy_term"]
        assert row["train_loss"] == pytest.approx(terms, rel=1e-5)


def test_the_learning_rate_steps(images):
    _, rows = trained(images, epochs=5, lr_step=2, lr_gamma=0.5, learning_rate=1e-3)
    assert [row["lr"] for row in rows] == pytest.approx([1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4]) or [
        row["lr"] for row in rows
    ] == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4])


def test_no_weight_moves_without_its_gradient_and_all_move_with_it(images):
    config = run_config(images, images, data_val_fraction=0.0)
    before = new_task(config, ZoomInDataModule(config.data, progress=False)).net.state_dict()
    task, _ = trained(images, epochs=1)
    moved = {name for name, value in task.net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == set(before)


def test_the_same_seed_gives_the_same_weights_and_another_others(images):
    weights = [trained(images, run_seed=seed)[0].net.head.weight for seed in (4, 4, 5)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_training_leaves_the_global_random_state_alone(images):
    before = torch.get_rng_state()
    trained(images, epochs=1)
    assert torch.equal(before, torch.get_rng_state())


def test_class_weights_reach_the_loss(images):
    config = run_config(images, images, data_val_fraction=0.0, class_weights=(1.0, 3.0))
    task = new_task(config, ZoomInDataModule(config.data, progress=False))
    assert task.class_weights is not None
    assert task.class_weights.tolist() == [1.0, 3.0]
    with pytest.raises(ConfigError, match=r"train\.class_weights.* for 2 classes"):
        config = replace(config, train=replace(config.train, class_weights=(1.0, 2.0, 3.0)))
        new_task(config, ZoomInDataModule(config.data, progress=False))


def test_a_loss_that_is_no_number_stops_with_a_remedy(images):
    with pytest.raises(ConfigError, match=r"not finite at step \d+.*Lower train\.learning_rate"):
        trained(images, learning_rate=1e37, epochs=6)


@pytest.mark.parametrize("clip", [None, 5.0])
def test_bf16_trains(images, clip):
    _, rows = trained(images, precision="bf16-mixed", epochs=2, gradient_clip=clip)
    assert all(math.isfinite(row["train_loss"]) for row in rows)


def test_keys_differ_by_seed_step_and_place_and_by_nothing_else():
    keys = [training_keys(seed, step, 4) for seed in (0, 1) for step in (0, 1)]
    assert torch.cat(keys).unique().numel() == 16
    assert torch.equal(training_keys(0, 1, 4)[:2], training_keys(0, 1, 2))
    index = torch.tensor([5, 3])
    assert torch.equal(evaluation_keys(0, index), evaluation_keys(0, index.flip(0)).flip(0))


@pytest.mark.parametrize("sampling", ["multinomial", "systematic", "top"])
def test_judgement_does_not_depend_on_the_batch(images, sampling):
    found = []
    for batch_size in (1, 3, 8):
        config = run_config(images, images, data_val_fraction=0.0, data_batch_size=batch_size)
        data = ZoomInDataModule(config.data, progress=False)
        data.setup("fit")
        task = new_task(config, data)
        found.append(evaluate(task.net, data.predict_dataloader(), sampling=sampling, replicates=3, seed=1))
    for other in found[1:]:
        assert torch.equal(other.image, found[0].image)
        assert torch.allclose(other.answers, found[0].answers, atol=1e-6)


def test_means_weigh_batches_by_their_images():
    means = EpochMeans(("a",))
    means.update(torch.tensor([1.0]), 3)
    means.update(torch.tensor([3.0]), 1)
    assert means.compute() == {"a": 1.5}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"weight_decay": -1e-5}, "weight_decay"),
        ({"lr_step": 0}, "lr_step is 0"),
        ({"lr_gamma": 1.5}, "lr_gamma"),
        ({"gradient_clip": 0.0}, "gradient_clip"),
        ({"contrastive_from_epoch": -1}, "contrastive_from_epoch is -1"),
        ({"monitor": "loss"}, "monitor is 'loss'.*val_balanced_accuracy"),
        ({"validation_sampling": "best"}, "unknown sampling 'best'"),
        ({"evaluation_replicates": 0}, "evaluation_replicates is 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


def test_balanced_weights_make_classes_count_alike():
    weights = TrainConfig(class_weights="balanced").weights_of([30, 10, 0])
    assert weights is not None
    assert weights[0] * 30 == pytest.approx(weights[1] * 10)
    assert weights[2] == 0
