"""Features of training images: of those that can be read, spread over the list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training_examples import MODEL, make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.data import store
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.images.cache import Cache
from zoomin.images.open_image import open_image
from zoomin.images.resident import ResidentImages
from zoomin.model.zoom_in import ZoomIn
from zoomin.training import features as module
from zoomin.training.features import training_features
from zoomin.training.task import evaluation_keys


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ZoomIn, ZoomInDataModule]:
    """A network and eight images, six of them for training, each decoded at every read."""
    monkeypatch.setattr(store, "_DECODED", Cache(0))
    root = make_images(tmp_path / "images")
    config = replace(run_config(root, root).data, resident="never")
    data = ZoomInDataModule(config, progress=False, model=MODEL)
    data.setup("fit")
    torch.manual_seed(0)
    return ZoomIn(MODEL), data


def expected(net: ZoomIn, data: ZoomInDataModule, rows: list[int]) -> torch.Tensor:
    """The mean over some rows, one image at a time."""
    features = []
    with torch.no_grad():
        for row in rows:
            images = ResidentImages([open_image(data.manifest.records[row].image)])
            features.append(net.eval()(images, keys=evaluation_keys(3, torch.tensor([row]))).features)
    return torch.cat(features).mean(0)


def test_it_has_the_features_of_the_training_images(case: tuple[ZoomIn, ZoomInDataModule]) -> None:
    net, data = case
    rows = data.splits["train"].tolist()
    found = training_features(net.train(), data, 3).mean(0)
    torch.testing.assert_close(found, expected(net, data, sorted(rows)), rtol=1e-5, atol=1e-6)
    assert not net.training and set(data.splits["train"].tolist()) == set(rows)


def test_of_many_images_some_are_taken(
    case: tuple[ZoomIn, ZoomInDataModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, data = case
    monkeypatch.setattr(module, "MOST", 2)
    rows = data.splits["train"].tolist()[::3]
    assert len(rows) == 2
    torch.testing.assert_close(
        training_features(net, data, 3).mean(0), expected(net, data, rows), rtol=1e-5, atol=1e-6
    )


def test_what_cannot_be_read_is_left_out(case: tuple[ZoomIn, ZoomInDataModule]) -> None:
    net, data = case
    first, *others = sorted(data.splits["train"].tolist())
    data.manifest.records[first].image.unlink()
    torch.testing.assert_close(
        training_features(net, data, 3).mean(0), expected(net, data, others), rtol=1e-5, atol=1e-6
    )
    for row in others:
        data.manifest.records[row].image.unlink()
    assert len(training_features(net, data, 3)) == 0
