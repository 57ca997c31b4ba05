"""Explanations of models with stages above the tiles: the chain from the overview to the sub-tile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from zoomin.explanation import Explanation
from zoomin.explanation.blocks import block_attention
from zoomin.inference import explain
from zoomin.model import BlockStage, ZoomIn, ZoomInConfig

STAGES: dict[str, tuple[BlockStage, ...]] = {
    "two": (),
    "three": (BlockStage(80, 0.1),),
    "four": (BlockStage(160, 0.1), BlockStage(80, 0.1)),
}


def network(blocks: tuple[BlockStage, ...], **settings: Any) -> ZoomIn:
    torch.manual_seed(0)
    sizes = {"tile_size": 40, "sub_tile_size": 9, "n_samples": 6}
    return ZoomIn(ZoomInConfig(**sizes, blocks=blocks, **settings)).eval()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "a.png"
    noise = np.random.default_rng(0).integers(256, size=(190, 330, 3), dtype=np.uint8)
    PillowImage.fromarray(noise).save(path)
    return path


@pytest.fixture(scope="module")
def explanation(image: Path) -> Explanation:
    [one] = explain(image, network(STAGES["four"]), sampling="systematic", replicates=2, seed=7)
    return one


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize(
    ("target", "n_classes"), [("classes", 3), ("labels", 2), ("value", 1), ("grade", 4), ("survival", 1)]
)
@pytest.mark.parametrize("sampling", ["multinomial", "top"])
def test_contributions_and_bias_sum_to_the_logits(
    stages: str, target: Any, n_classes: int, sampling: str, image: Path
) -> None:
    net = network(STAGES[stages], target=target, n_classes=n_classes)
    [one] = explain(image, net, sampling=sampling, replicates=2, seed=7)
    torch.testing.assert_close(one.bias + one.contribution.sum(0), one.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.baseline + one.added.sum(0), one.logits, atol=1e-5, rtol=1e-5)
    assert float(one.attention.sum()) == pytest.approx(1, abs=1e-5)
    assert len(one.blocks) == len(STAGES[stages])


def test_every_sub_tile_lies_in_a_drawn_tile_in_drawn_blocks(explanation: Explanation) -> None:
    assert [stage.size for stage in explanation.blocks] == [160, 80]
    held = explanation.tiles
    for stage in reversed(explanation.blocks):
        around = stage.regions[stage.holding(held)]
        assert (around[:, :2] <= held[:, :2]).all()
        assert (held[:, :2] + held[:, 2:] <= around[:, :2] + around[:, 2:]).all()
        torch.testing.assert_close(stage.inside.sum((1, 2)), torch.ones(len(stage.regions)))
        assert (stage.alpha.diff() <= 0).all()
        whole = block_attention(explanation.attention, round(stage.size / explanation.tile_size))
        place = (stage.regions[:, :2] / stage.size).long()
        torch.testing.assert_close(whole[place[:, 1], place[:, 0]], stage.alpha)
        held = stage.regions


def test_attention_multiplies_along_the_path(explanation: Explanation) -> None:
    stage = explanation.blocks[-1]
    block = stage.holding(explanation.tiles)
    cell = ((explanation.tiles[:, :2] - stage.regions[block, :2]) / explanation.tile_size).long()
    product = stage.alpha[block] * stage.inside[block, cell[:, 1], cell[:, 0]]
    torch.testing.assert_close(explanation.alpha, product, atol=1e-6, rtol=1e-4)


def test_the_files_carry_the_chain(explanation: Explanation, tmp_path: Path) -> None:
    document = json.loads(explanation.save(tmp_path / "one").read_text(encoding="utf-8"))
    assert [stage["size"] for stage in document["blocks"]] == [160, 80]
    last = document["blocks"][-1]
    tile = document["tiles"][0]
    holder = last["drawn"][tile["blocks"][-1] - 1]
    assert holder["x"] <= tile["x"] < holder["x"] + holder["width"]
    assert (tmp_path / "one" / holder["crop"]).is_file()
    again = Explanation.load(tmp_path / "one")
    for old, new in zip(explanation.blocks, again.blocks, strict=True):
        assert old.size == new.size
        for name in ("regions", "alpha", "inside", "crops"):
            assert torch.equal(getattr(old, name), getattr(new, name)), name
    features = again.to_geojson()["features"]
    names = [feature["properties"]["name"] for feature in features]
    assert names[0] == "block 1.1"
    drawn = sum(len(stage.regions) for stage in explanation.blocks)
    assert sum(name.startswith("block ") for name in names) == drawn


def test_saving_two_stages_over_four_leaves_no_crop_of_a_block(
    explanation: Explanation, image: Path, tmp_path: Path
) -> None:
    explanation.save(tmp_path)
    assert list((tmp_path / "crops").glob("block_*"))
    [two] = explain(image, network(()), seed=7)
    document = json.loads(two.save(tmp_path).read_text(encoding="utf-8"))
    assert "blocks" not in document
    assert not list((tmp_path / "crops").glob("block_*"))
    assert Explanation.load(tmp_path).blocks == ()


def test_the_panel_shows_every_stage(explanation: Explanation) -> None:
    figure = explanation.figure()
    texts = [part._suptitle.get_text() for part in figure.subfigs]
    assert sum(text.startswith("Blocks of highest attention") for text in texts) == 2
    assert "attention over the blocks inside them" in texts[1]
    assert "attention over the tiles inside them" in texts[2]
    assert "of 15 blocks" in texts[0]
    figure.canvas.draw()
    assert min(axes.title.get_window_extent().x0 for axes in figure.subfigs[0].axes) >= 0  # none is cut
    titles = [axes.get_title() for axes in figure.subfigs[0].axes]
    assert titles[1:4] == [
        "attention over 2 x 3 blocks",
        "attention over 3 x 5 blocks",
        "attention over 5 x 9 tiles",
    ]
