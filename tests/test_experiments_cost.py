"""Costs are what can be worked out by hand, and are told alike of every kind of network."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from zoomin.baselines import ATSConfig, CNNConfig
from zoomin.errors import ConfigError
from zoomin.experiments.cost import cost_of_step, main, noise, order_of_memory, ratio, task_of
from zoomin.experiments.counters import LiveMemory, SavedMemory, counted_flops, equation_10
from zoomin.model.config import ZoomInConfig
from zoomin.training.config import TrainConfig
from zoomin.training.recipe import read_recipe
from zoomin.training.recipe_files import find_recipe

ZOOM = ZoomInConfig(features="lenet_released", sampling="systematic", checkpoint="never")


def test_saved_memory_counts_storages_once_and_no_parameters():
    layer = nn.Linear(6, 4)
    x = torch.zeros(10, 6, requires_grad=True)
    with SavedMemory(layer) as saved:
        y = layer(x)
        z = y * y  # keeps y, twice
    assert saved.bytes == 4 * (10 * 6 + 10 * 4)
    z.sum().backward()
    with SavedMemory(layer) as saved, torch.no_grad():
        layer(x)
    assert saved.bytes == 0


def test_live_memory_tells_the_peak_and_forgets():
    with LiveMemory() as live:
        a = torch.zeros(50, dtype=torch.float64)
        b = a.view(5, 10)[1:]  # no memory of its own
        c = b + 1
        del a, b
    assert (live.peak, live.now) == (50 * 8 + 40 * 8, 40 * 8)
    assert c.shape == (4, 10)


def test_equation_10_is_half_of_what_torch_counts():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 25, 4)
    )
    with equation_10(net) as flops, counted_flops() as counted:
        net(torch.zeros(2, 3, 10, 10))
    assert flops() == 2 * (3 * 9 * 5 * 5 * 8 + 200 * 4)
    assert counted() == 2 * flops()
    assert not [layer for layer in net.modules() if layer._forward_hooks]
    grouped = nn.Conv2d(4, 8, 3, groups=4, bias=False)
    with equation_10(grouped) as flops:
        grouped(torch.zeros(1, 4, 5, 5))
    assert flops() == 9 * 3 * 3 * 8


def test_zoom_in_by_hand():
    """Ten sub-tiles and four tiles of an image of 500 pixels, the paper's geometry."""
    task = task_of(ZOOM, TrainConfig(entropy_strength=0.0))
    before = {name: value.clone() for name, value in task.net.state_dict().items()}
    cost = cost_of_step(task, noise(1, 500, 500), repeats=1, draws=1)
    assert (cost.method, cost.n_samples, cost.views) == ("zoom-in", 10, 10)
    assert cost.parameters == 2 * 881 + 45_984 + 98
    attention = 9 * (3 * 8 + 8 * 8 + 8)
    feature = 25 * (3 * 36 * 20**2 + 36 * 48 * 6**2)  # of 23 and 7, the rows that pooling does not drop
    flops = (4 * 25**2 + cost.tiles * 50**2) * attention + 10 * feature + 48 * 2
    assert cost.flops_equation_10 == flops
    assert cost.flops_counted == 2 * flops
    assert cost.order == cost.pixels == 4 * 25**2 + cost.tiles * 50**2 + 10 * 27**2
    entries = (4 * 25**2 + cost.tiles * 50**2) * 19  # 3 in, 8 and 8 between the convolutions
    f = 3 * 27**2 + 36 * 20**2 + 36 * 10**2 * 3 + 48 * 6**2 + 48 * 3**2 * 3  # indices are of eight bytes
    assert cost.saved_mb * 1e6 == pytest.approx(4 * (entries + 10 * f), rel=0.03)
    assert cost.peak_mb > cost.saved_mb
    assert cost.cuda_mb is None
    assert cost.step_ms > 0 and cost.forward_ms > 0
    assert all(torch.equal(value, before[name]) for name, value in task.net.state_dict().items())


def test_baselines_through_the_same_interface():
    ats = cost_of_step(task_of(ATSConfig(features="lenet_released")), noise(2, 500, 500), repeats=1, draws=1)
    cnn = cost_of_step(task_of(CNNConfig(side=64)), noise(2, 90, 100), repeats=1, draws=1)
    assert (ats.method, ats.views, ats.tiles, ats.order) == ("ats", 10, None, 100**2 + 10 * 27**2)
    assert (cnn.method, cnn.n_samples, cnn.order, cnn.pixels) == ("cnn", 0, 64**2, 64**2)
    assert ratio([ats, cnn], "cnn", "ats") == cnn.saved_mb / ats.saved_mb
    assert ratio([ats, cnn]) is None


def test_memory_of_one_stage_grows_with_the_image_and_of_two_stages_less():
    """The limit of the ratio is (s / s1)^2 = 4; supplement A's O(.) says it, and so does the measurement."""
    small, large = (500, 500), (40_000, 40_000)
    one, two = ATSConfig(), ZoomInConfig()
    assert order_of_memory(one, *small, 0.0) / order_of_memory(two, *small, 1.0) == pytest.approx(
        1.407, abs=1e-3
    )
    assert order_of_memory(one, *large, 0.0) / order_of_memory(two, *large, 10.0) == pytest.approx(
        4, abs=0.05
    )
    measured = [
        cost_of_step(task_of(config), noise(1, side, side), repeats=1, draws=1).saved_mb
        for side in (500, 1000)
        for config in (replace(one, features="lenet_released", n_samples=2), replace(ZOOM, n_samples=2))
    ]
    assert measured[2] / measured[3] > 1.2 * measured[0] / measured[1]


def test_recipes_are_measured_from_the_command_line(tmp_path):
    out = tmp_path / "new" / "cost.json"
    words = ["--recipe", "colon_cancer", "--side", "250", "--batch", "1", "--repeats", "1", "--draws", "1"]
    words += ["--out", str(out)]
    result = main([*words, "--set", "model.n_samples=3"])
    [row] = json.loads(out.read_text())["costs"]
    assert row == result["costs"][0]
    assert (row["recipe"], row["side"], row["n_samples"], row["tiles"]) == ("colon_cancer", 250, 3, 1)


def test_recipes_are_found_and_changed():
    changes = {"model.n_samples": 7, "data.classes": ["a", "b"]}
    run = read_recipe("colon_cancer_ats", changes)
    assert isinstance(run.model, ATSConfig)
    assert (run.model.n_samples, run.model.features, run.data.classes) == (7, "lenet_released", ["a", "b"])
    assert run == read_recipe(
        find_recipe("colon_cancer_ats"), {"model.n_samples": 7, "data.classes": ["a", "b"]}
    )
    with pytest.raises(ConfigError, match="colon_cancer"):
        find_recipe("colon_canzer")
    with pytest.raises(ConfigError, match="bogus"):
        read_recipe("colon_cancer", {"model.bogus": 7})
