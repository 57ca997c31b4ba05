"""The head that begins by logistic regression on the sub-tiles."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from training_examples import MODEL, make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.errors import ConfigError
from zoomin.training.config import WarmUp
from zoomin.training.fit import fit, new_task
from zoomin.training.head_start import fit_linear
from zoomin.training.task import evaluation_keys
from zoomin.training.warm_up import warm_up


def examples(n: int = 90, dims: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    features = torch.randn(n, dims, generator=generator)
    features[torch.arange(n), labels] += 1.0
    return features * torch.tensor([0.1, 1.0, 10.0, 3.0, 1.0]) + 7.0, labels


def test_the_fit_is_that_of_scikit_learn() -> None:
    features, labels = examples()
    layer, l2 = nn.Linear(5, 3), 0.02
    weight = 1.0 + torch.arange(90) % 2
    weight = weight / weight.sum()
    losses = fit_linear(layer, features, labels, weight, l2)
    assert losses[-1] < losses[0] == pytest.approx(np.log(3), abs=1e-5)
    standard = ((features - features.mean(0)) / features.std(0, correction=0)).numpy()
    theirs = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=1000)
    theirs.fit(standard, labels.numpy(), sample_weight=weight.numpy())
    ours = layer(features).softmax(1).detach().numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(standard), atol=1e-3)


def test_a_channel_that_never_changes_does_no_harm() -> None:
    features, labels = examples()
    features[:, 3] = 2.0
    layer = nn.Linear(5, 3)
    fit_linear(layer, features, labels, torch.full((90,), 1 / 90), 0.01)
    assert bool(layer.weight.isfinite().all()) and bool(layer.bias.isfinite().all())


def test_images_are_told_apart_from_the_first_epoch_on(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=16)
    config = run_config(root, tmp_path / "run", data_val_fraction=0.0)
    data = ZoomInDataModule(config.data, progress=False)
    data.setup("fit")
    task = new_task(config, data).train()
    statistics = {name: value.clone() for name, value in task.net.named_buffers()}
    before = {name: value.clone() for name, value in task.net.named_parameters()}
    steps = warm_up(task.net, data, WarmUp(head_l2=0.01), seed=1)
    assert {step.stage for step in steps} == {3}
    assert task.net.training and task.net.head.training and task.net.features.training
    for name, value in task.net.named_buffers():
        assert torch.equal(value, statistics[name]), name
    changed = {n for n, value in task.net.named_parameters() if not torch.equal(value, before[n])}
    assert changed == {"head.weight", "head.bias"}
    right = 0
    with torch.no_grad():
        for batch in data.train_dataloader():
            out = task.net.eval()(batch.images, keys=evaluation_keys(0, batch.index), replicates=8)
            right += int((out.logits.argmax(1) == batch.labels).sum())
    assert right >= 12  # of 16, with uniform attention yet


def test_a_run_begins_the_head_after_the_attention(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=8)
    how = WarmUp(steps=2, position_steps=1, batch_size=4, head_l2=0.1)
    runs = [
        fit(run_config(root, tmp_path / name, epochs=1, warm_up=how), progress=False) for name in ("a", "b")
    ]
    tables = [(run.folder / "warm_up.csv").read_text(encoding="utf-8") for run in runs]
    assert tables[0] == tables[1]
    stages = [row["stage"] for row in csv.DictReader(tables[0].splitlines())]
    assert stages == sorted(stages) and set(stages) == {"1", "2", "3"}


def test_the_penalty_is_positive() -> None:
    with pytest.raises(ConfigError, match=r"train\.warm_up\.head_l2"):
        WarmUp(head_l2=0.0)


def test_baselines_have_no_warm_up(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", n=8)
    config = run_config(root, tmp_path / "run", warm_up=WarmUp(head_l2=0.1))
    from zoomin.baselines.cnn import CNNConfig

    with pytest.raises(ConfigError, match=r"train\.warm_up"):
        fit(replace(config, model=CNNConfig(n_classes=MODEL.n_classes)), progress=False)
