"""The learning curve: a recipe trained on slides of one share and evaluated on others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoomin.datasets.synthetic.slides import SlideConfig, make_slides
from zoomin.experiments import learning_curve

RECIPE = """
model:
  tile_size: 200
  sub_tile_size: 32
  tile_scale: 0.25
  sub_tile_scale: 0.25
  n_samples: 4
data:
  root: slides
  batch_size: 2
train:
  epochs: 1
  contrastive_from_epoch: null
  evaluation_replicates: 1
out: run
"""


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides") / "share_5.00"
    config = SlideConfig(n_train=6, n_val=0, n_test=2, width=600, height=600, roi_share=0.05)
    make_slides(folder, config, progress=False)
    return folder


def test_a_run_is_trained_judged_and_not_repeated(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "curve.json"
    recipe.write_text(RECIPE, encoding="utf-8")
    words = [str(slides), "--recipe", str(recipe), "--out", str(out), "--runs", str(tmp_path / "runs")]
    assert learning_curve.main([*words, "--n_train", "4", "--resume", "true", "--model.n_samples", "3"]) == 0
    [row] = json.loads(out.read_text(encoding="utf-8"))
    assert (row["run"], row["n_train"], row["n_images"], row["epochs"]) == ("tiny-share_5.00-4-0", 4, 2, 1)
    assert row["options"] == ["--model.n_samples", "3"]
    assert row["slides_config"]["roi_share"] == 0.05 and "textures" not in row["slides_config"]
    assert 0 <= row["top_sub_tiles_on_roi"] <= 1 and 0 <= row["weight_on_roi"] <= 1
    assert (tmp_path / "runs" / row["run"] / "metrics.csv").is_file()

    monkeypatch.setattr(learning_curve, "fit", lambda config: pytest.fail("trained again"))
    assert learning_curve.main([*words, "--n_train", "4"]) == 0
    assert len(json.loads(out.read_text(encoding="utf-8"))) == 1
