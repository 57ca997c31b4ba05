"""Tiny images and configurations for the tests of training: a bright square decides the class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zoomin.data.config import DataConfig
from zoomin.model.config import ZoomInConfig
from zoomin.training.config import RunConfig, TrainConfig

MODEL = ZoomInConfig(
    tile_size=24, sub_tile_size=19, tile_scale=0.5, sub_tile_scale=0.5, n_samples=4, features="lenet_released"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_images(
    folder: Path, n: int = 8, classes: tuple[str, ...] = ("empty", "square"), size: int = 48
) -> Path:
    """Write n images, classes in turn, of slightly different sizes, in a folder for each class."""
    rng = np.random.default_rng(0)
    for number in range(n):
        kind = number % len(classes)
        pixels = rng.integers(0, 60, (size + number % 3, size, 3), dtype=np.uint8)
        if kind:
            y, x = rng.integers(0, size - 16, 2)
            pixels[y : y + 16, x : x + 16, kind % 3] = 255
        (folder / classes[kind]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / classes[kind] / f"{number:03d}.png")
    return folder


def run_config(root: Path, out: Path, **settings: Any) -> RunConfig:
    """A run of seconds; `settings` go to the training, `data_NAME` and `run_NAME` where they say."""
    data = {name[5:]: settings.pop(name) for name in list(settings) if name.startswith("data_")}
    run = {name[4:]: settings.pop(name) for name in list(settings) if name.startswith("run_")}
    base = {"epochs": 3, "contrastive_from_epoch": 1, "device": "cpu", "evaluation_replicates": 2}
    config = RunConfig(
        data=DataConfig(str(root), **{"batch_size": 3, "val_fraction": 0.25, "threads": 1, **data}),
        model=MODEL,
        train=TrainConfig(**{**base, **settings}),
        out=str(out),
    )
    return replace(config, **run)
