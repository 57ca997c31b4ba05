"""Temperatures: fitted to images held out, kept in the head, told in words."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from training_examples import make_images, one_thread, run_config  # noqa: F401 (a fixture)
from zoomin import explain, load_model, predict
from zoomin.app.commands.train import advice
from zoomin.model.targets import Target, target_named
from zoomin.training.calibration import FEWEST, fit_temperature
from zoomin.training.checkpoints import load_weights
from zoomin.training.fit import fit

TWO = target_named("classes", ["empty", "square"])


@pytest.mark.parametrize(
    "target", [TWO, target_named("grade", ["0", "1"]), target_named("labels", ["a", "b"])]
)
@pytest.mark.parametrize("wrong", [0.25, 4.0])
def test_the_temperature_undoes_what_logits_were_multiplied_by(target: Target, wrong: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 2, generator=generator)
    p = target.answers(logits)
    draws = torch.bernoulli(p, generator=generator) if target.kind == "labels" else None
    truth = torch.multinomial(p, 1, generator=generator)[:, 0] if draws is None else draws
    found = fit_temperature(wrong * logits, truth, target)
    assert found.value == pytest.approx(wrong, rel=0.1) and found.images == 4000
    assert found.loss_after is not None and found.loss is not None and found.loss_after < found.loss
    expected = float(target.loss((wrong * logits / found.value).double(), truth))
    assert found.loss_after == pytest.approx(expected, rel=1e-6)


def test_all_right_does_not_make_certain() -> None:
    """The loss alone would divide by next to nothing."""
    truth = torch.arange(FEWEST) % 2
    logits = torch.nn.functional.one_hot(truth, 2).float()
    assert 0.1 < fit_temperature(logits, truth, TWO).value < 1


def test_where_it_is_not_fitted_it_is_1_and_says_why() -> None:
    few = fit_temperature(torch.zeros(FEWEST - 1, 2), torch.zeros(FEWEST - 1).long(), TWO)
    assert few.value == 1 and f"{FEWEST - 1} labelled validation images" in few.why_not
    unknown = torch.full((30,), -1)
    assert fit_temperature(torch.zeros(30, 2), unknown, TWO).why_not.startswith("0 labelled")
    value = target_named("value", ["mm"])
    assert "value" in fit_temperature(torch.zeros(30, 1), torch.zeros(30), value).why_not


def test_a_run_keeps_the_temperature_in_its_head(tmp_path: Path) -> None:
    """The saved head is that of the checkpoint, divided; parts of an answer still sum to its logits."""
    root = make_images(tmp_path / "images", 40)
    result = fit(run_config(root, tmp_path / "run", data_val_fraction=0.5, epochs=2), progress=False)
    found = json.loads((result.folder / "metrics.json").read_text())["calibration"]
    assert found["images"] == 20 and not found["why_not"] and found["loss_after"] <= found["loss"]
    net, raw = load_model(result.folder), load_model(result.folder)
    load_weights(raw, result.folder / "checkpoints" / "best.ckpt")
    torch.testing.assert_close(net.head.weight * found["value"], raw.head.weight)
    torch.testing.assert_close(net.head.bias * found["value"], raw.head.bias)
    image = str(next(root.glob("square/*.png")))
    [one], [row] = explain([image], net, seed=1), predict([image], net, seed=1)
    torch.testing.assert_close(one.bias + one.contribution.sum(0), one.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.baseline + one.added.sum(0), one.logits, atol=1e-5, rtol=1e-5)
    assert row.probabilities == pytest.approx(one.logits.softmax(0).tolist(), abs=1e-6)
    [before] = predict([image], raw, seed=1)
    logit, old = (math.log(p[1] / p[0]) for p in (row.probabilities, before.probabilities))
    assert logit == pytest.approx(old / found["value"], rel=1e-3)
    [line] = advice(result.metrics)
    assert "calibrated on 20 validation images" in line and f"{found['value']:.2f}" in line


def test_without_calibration_the_head_stays(tmp_path: Path) -> None:
    """So it does where there are few images; both are told."""
    root = make_images(tmp_path / "images")
    few = fit(run_config(root, tmp_path / "few", epochs=1), progress=False)
    off = fit(run_config(root, tmp_path / "off", epochs=1, calibrate=False), progress=False)
    none = fit(run_config(root, tmp_path / "none", epochs=1, data_val_fraction=0.0), progress=False)
    for result, why in ((few, "it takes 20"), (off, "train.calibrate"), (none, "no validation images")):
        assert result.metrics["calibration"]["value"] == 1
        assert why in result.metrics["calibration"]["why_not"] and why in advice(result.metrics)[0]
    weights = [load_model(result.folder).head.weight for result in (few, off)]
    assert torch.equal(*weights)
