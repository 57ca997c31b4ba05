"""Every baseline sees the channels that the data name, as Zoom-In does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch

from training_examples import one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.baselines import ABMILConfig, ATSConfig, CLAMConfig, CNNConfig, IPSConfig
from zoomin.baselines.abmilx import ABMILXConfig
from zoomin.baselines.dsmil import DSMILConfig
from zoomin.baselines.mrmil import MRMILConfig
from zoomin.baselines.transmil import TransMILConfig
from zoomin.baselines.zoommil import ZoomMILConfig
from zoomin.classifiers import BASELINES, build, load_model
from zoomin.errors import ConfigError
from zoomin.images.open_image import open_channels
from zoomin.inference import predict
from zoomin.training.fit import fit

SEEN = {"channels": ("4", "1", "5", "2"), "mean": (900.0,) * 4, "std": (300.0,) * 4}
EVERY = [
    ABMILConfig(crop_size=20, **SEEN),
    ABMILXConfig(crop_size=20, width=32, heads=4, **SEEN),
    ATSConfig(scale=0.5, sub_tile_size=15, n_samples=3, **SEEN),
    CLAMConfig(crop_size=20, width=12, hidden=8, instances=1, **SEEN),
    CNNConfig(side=32, **SEEN),
    DSMILConfig(crop_size=20, query_width=8, **SEEN),
    IPSConfig(tile_size=20, memory=3, scanned=2, heads=2, head_width=8, **SEEN),
    MRMILConfig(tile_size=40, low_scale=0.5, crop_size=20, kept=2, **SEEN),
    TransMILConfig(crop_size=20, **SEEN),
    ZoomMILConfig(**SEEN),
]


def bands(path, square=False, seed=0):
    """Five bands of 16 bits, 64 x 64; a square in the fourth."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(800, 1000, (64, 64, 5)).astype(np.uint16)
    y, x = rng.integers(0, 40, 2)
    pixels[y : y + 24, x : x + 24, 3 if square else 2] += 3000
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig", tile=(32, 32))
    return path


def test_every_baseline_is_here():
    assert {config.name for config in EVERY} == set(BASELINES.built_in)


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.name)
def test_a_baseline_sees_named_channels(config, tmp_path):
    """Its answer depends on a channel that it sees, not on one that it does not; its gradients are whole."""
    net = build(config).eval()
    first = bands(tmp_path / "a.tif")
    images = [open_channels(first, config.channels) for _ in range(2)]
    keys = torch.arange(2)
    out = net(images, keys=keys, labels=torch.tensor([0, 1]))
    (out.logits.sum() + out.penalty).backward()
    firsts = [p.grad for p in net.parameters() if p.ndim == 4 and p.shape[1] == 4]
    assert firsts and all(grad is not None and grad.isfinite().all() for grad in firsts)
    with torch.no_grad():
        whole = net(images, keys=keys).logits
        pixels = tifffile.imread(first)
        for band, seen in ((2, False), (3, True)):
            changed = pixels.copy()
            changed[..., band] += 700
            tifffile.imwrite(
                tmp_path / "b.tif", changed, photometric="minisblack", planarconfig="contig", tile=(32, 32)
            )
            other = net([open_channels(tmp_path / "b.tif", config.channels)] * 2, keys=keys).logits
            assert torch.equal(whole, other) != seen


def test_a_baseline_is_trained_on_channels_and_predicts(tmp_path):
    for number in range(12):
        bands(
            tmp_path / "data" / ("empty", "square")[number % 2] / f"{number:02d}.tif", number % 2 == 1, number
        )
    config = run_config(
        tmp_path / "data", tmp_path / "run", epochs=6, learning_rate=0.01, data_channels=[4, 1]
    )
    fit(replace(config, model=ABMILConfig(crop_size=32)), progress=False)
    net = load_model(tmp_path / "run" / "model")
    assert net.config.channels == ("4", "1") and 800 < net.config.mean[0] < 1600
    paths = sorted((tmp_path / "data").glob("*/*.tif"))
    rows = list(predict(paths, net))
    assert sum(row.label == path.parent.name for row, path in zip(rows, paths, strict=True)) >= 10


def test_stored_features_see_no_channels(tmp_path):
    for number in range(8):
        bands(tmp_path / "data" / "ab"[number % 2] / f"{number}.tif")
    config = run_config(tmp_path / "data", tmp_path / "run", data_channels=[4])
    model = ABMILConfig(features=f"stored:{tmp_path}")
    with pytest.raises(ConfigError, match="a network on stored features sees no channels"):
        fit(replace(config, model=model), progress=False)
    with pytest.raises(ConfigError, match="3 numbers, std 3, for 2 channels"):
        CNNConfig(channels=("1", "2"))
