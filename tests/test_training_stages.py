"""A model of three stages from images to explanations, and what has two stages only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training_examples import MODEL, make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin.data.config import DataConfig
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.errors import ConfigError
from zoomin.experiments.reference import prepare
from zoomin.images.array import ArrayImage
from zoomin.inference import explain
from zoomin.model import BlockStage, ZoomIn
from zoomin.model.losses import entropy, entropy_loss
from zoomin.training.config import RunConfig, WarmUp
from zoomin.training.fit import fit
from zoomin.training.frozen.learn import make_embedder
from zoomin.training.frozen_config import FrozenConfig
from zoomin.training.recipe import read_recipe

BLOCKS = (BlockStage(48, 0.25, "lenet_relu"),)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), n=16, size=120)


def config(images: Path, out: Path, **settings: object) -> RunConfig:
    run = run_config(images, out, data_test_fraction=0.25, **settings)
    return replace(run, model=replace(run.model, blocks=BLOCKS))


def test_three_stages_train_and_explain_end_to_end(images: Path, tmp_path: Path) -> None:
    warm_up = WarmUp(steps=3, position_steps=2, batch_size=4)
    result = fit(config(images, tmp_path / "run", warm_up=warm_up), progress=False)
    saved = json.loads((result.folder / "model" / "config.json").read_text())
    assert saved["blocks"] == [{"size": 48, "scale": 0.25, "attention": "lenet_relu"}]
    net = ZoomIn.from_pretrained(result.folder / "model")
    torch.manual_seed(0)
    fresh = ZoomIn(net.config)
    for name, weight in net.block_attention.state_dict().items():
        assert not torch.equal(weight, fresh.block_attention.state_dict()[name]), name
    [one] = explain(next(images.glob("square/*.png")), net, sampling="systematic", seed=1)
    torch.testing.assert_close(one.bias + one.contribution.sum(0), one.logits, atol=1e-5, rtol=1e-5)
    assert len(one.blocks[0].crops) > 0


def test_every_stage_has_a_part_in_the_entropy() -> None:
    """Uniform attention at every stage: each row has the most entropy that it can have."""
    net = ZoomIn(replace(MODEL, blocks=BLOCKS, tile_attention="uniform", sampling="exact"))
    for parameter in (*net.block_attention.parameters(), *net.position_attention.parameters()):
        parameter.detach().zero_()
    with torch.no_grad():
        out = net([ArrayImage(torch.zeros(3, 96, 96, dtype=torch.uint8))])
    first, *between = [(stage.log_p, stage.image) for stage in out.stages]
    found = entropy_loss(first[0], out.tiles.log_beta, out.tiles.image, 1.0, between)
    positions = float(entropy(out.tiles.log_beta).sum())
    cells = torch.tensor(4.0).log()
    assert -float(found) == pytest.approx(float(cells + 4 * cells) + positions, rel=1e-5)


def test_blocks_are_read_from_recipes_and_options() -> None:
    recipe = read_recipe("three_stages")
    assert recipe.model.blocks == (BlockStage(400, 0.1, "lenet_relu"),)
    own = read_recipe("needles", {"model.blocks": [{"size": 200, "scale": 0.1}]})
    assert own.model.blocks == (BlockStage(200, 0.1),)


def test_what_has_two_stages_only_says_so(images: Path, tmp_path: Path) -> None:
    several = WarmUp(steps=2, starts=2)
    with pytest.raises(ConfigError, match="models of two stages"):
        fit(config(images, tmp_path / "run", warm_up=several, freeze_trunks=True), progress=False)
    net = ZoomIn(replace(MODEL, blocks=BLOCKS))
    with pytest.raises(ConfigError, match="two stages"):
        prepare(net, ArrayImage(torch.zeros(3, 96, 96, dtype=torch.uint8)))
    data = ZoomInDataModule(DataConfig(str(images)))
    taught = replace(MODEL, blocks=BLOCKS, features="timm:tf_efficientnet_lite0")
    with pytest.raises(ConfigError, match="stages above the tiles are not taught"):
        make_embedder(taught, FrozenConfig(), data)
