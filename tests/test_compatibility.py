"""What earlier versions saved, loads, and answers as it did: models, run folders, predictions, explanations.

The files were written by those versions (`compatibility/make.py`). What one machine computes twice is
compared exactly: a model from the old files and the same model saved anew are equal in every bit, weights and
answers, and so is an explanation. Answers that the old version computed are compared to the sixth decimal, as
predictions are written: they come from another machine, and the order in which the sums of a convolution are
added, hence their last bits, depends on the processor, the number of threads and the release of PyTorch.
"""

from __future__ import annotations

import base64
import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from compatibility.make import ARRAYS, FOLDER, PICTURES, RUN, SIZES, pixels_of, weights_of
from training_examples import make_images, run_config
from zoomin.explanation import Explanation
from zoomin.inference import evaluation_manifest, load_model, predict
from zoomin.model.storage import model_fingerprint
from zoomin.training.checkpoints import LAST
from zoomin.training.fit import fit
from zoomin.training.recipe import read_recipe
from zoomin.training.run_folder import differing_settings, plain

VERSIONS = sorted(path.name for path in FOLDER.iterdir() if (path / RUN).is_file())
MODELS = sorted(
    path.stem for path in FOLDER.glob("90ae2b5/*.json") if path.stem not in ("explanation", Path(RUN).stem)
)
pytestmark = pytest.mark.parametrize("version", VERSIONS)


def read(version: str, name: str) -> dict:
    return json.loads((FOLDER / version / name).read_text())


def saved_model(version: str, name: str, folder: Path) -> Path:
    saved = read(version, f"{name}.json")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(saved["config.json"]))
    save_file(weights_of(saved["shapes"]), folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_models_answer_as_they_did(version: str, name: str, tmp_path: Path) -> None:
    model = load_model(saved_model(version, name, tmp_path))
    for answer in read(version, f"{name}.json")["answers"]:
        for size, before in zip(SIZES, answer["rows"], strict=True):
            [now] = predict(pixels_of(*size)[None], model, **answer["settings"])
            found = json.loads(json.dumps(vars(now)))
            for key, value in before.items():
                expected = value
                if key in ("probabilities", "standard_error"):
                    expected = pytest.approx(value, abs=1e-6, nan_ok=True)
                assert found[key] == expected, (key, answer["settings"])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_saved_anew_is_the_same_to_the_last_bit(
    version: str, name: str, tmp_path: Path
) -> None:
    old = load_model(saved_model(version, name, tmp_path / "old"))
    new = load_model(old.save_pretrained(tmp_path / "new"))
    before, after = old.state_dict(), new.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[weight], after[weight]) for weight in before)
    assert new.config == old.config
    assert model_fingerprint(new, new.config) == model_fingerprint(old, old.config)
    for answer in read(version, f"{name}.json")["answers"]:
        for size in SIZES:
            answers = [predict(pixels_of(*size)[None], model, **answer["settings"]) for model in (old, new)]
            assert repr(answers[0]) == repr(answers[1])  # of every digit; NaN equals NaN


def test_an_explanation_that_is_saved_anew_is_the_same_to_the_last_bit(version: str, tmp_path: Path) -> None:
    old = Explanation.load(saved_explanation(version, tmp_path / "old"))
    old.save(tmp_path / "new")
    new = Explanation.load(tmp_path / "new")
    for name in read(version, "explanation.json")[ARRAYS]:
        assert torch.equal(getattr(old, name), getattr(new, name)), name
    assert torch.equal(old.overview, new.overview)
    assert (old.source, old.provenance, old.image, old.classes) == (
        *(new.source, new.provenance, new.image, new.classes),
    )


def saved_explanation(version: str, folder: Path) -> Path:
    saved = read(version, "explanation.json")
    folder.mkdir(exist_ok=True)
    (folder / "explanation.json").write_text(json.dumps(saved["explanation.json"]))
    arrays = {name: np.array(one["values"], one["type"]) for name, one in saved[ARRAYS].items()}
    np.savez_compressed(folder / "arrays.npz", **arrays)
    for name, text in saved[PICTURES].items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(base64.b64decode(text))
    return folder


def test_explanations_load(version: str, tmp_path: Path) -> None:
    saved = read(version, "explanation.json")
    one, document = Explanation.load(saved_explanation(version, tmp_path)), saved["explanation.json"]
    assert (one.image, one.label, one.tile_size) == (document["image"], document["prediction"], 40)
    for name, array in saved[ARRAYS].items():
        assert torch.equal(getattr(one, name), torch.from_numpy(np.array(array["values"], array["type"]))), (
            name
        )
    assert one.probabilities.tolist() == pytest.approx(list(document["probabilities"].values()), abs=1e-6)
    assert len(one.crops) + len(one.tile_crops) + 1 == len(saved[PICTURES])
    model = load_model(saved_model(version, "zoom_in", tmp_path))
    assert model_fingerprint(model, model.config) == one.provenance.model  # kept by explain --resume


def test_settings_of_runs_are_those_of_today(version: str, tmp_path: Path) -> None:
    """What an earlier version did not know stands at its default: its runs and cross-validations resume."""
    recipe = tmp_path / "config.yaml"
    recipe.write_text(read(version, RUN)["config.yaml"].replace("FOLDER", str(tmp_path)))
    then, now = yaml.safe_load(recipe.read_text()), plain(read_recipe(recipe))
    assert "frozen" not in then and "blocks" not in then["model"]
    assert differing_settings(then, now) == []
    now["model"]["gate_copies"] = 5
    assert differing_settings(then, now) == ["model.gate_copies (0, now 5)"]


def test_runs_of_which_checkpoints_keep_no_rows_resume(version: str, tmp_path: Path) -> None:
    """As those of the earlier version: their rows are in the table of epochs alone."""
    config = run_config(make_images(tmp_path / "data"), tmp_path / "run", epochs=1, contrastive_from_epoch=0)
    rows = fit(config, progress=False).history
    last = tmp_path / "run" / LAST
    checkpoint = torch.load(last, weights_only=True)
    del checkpoint["zoomin"]["rows"], checkpoint["zoomin"]["config"]["frozen"]
    torch.save(checkpoint, last)
    again = fit(replace(config, resume=True, train=replace(config.train, epochs=2)), progress=False).history
    assert [row["epoch"] for row in again] == [0, 1]
    assert list(again[:1]) == list(rows)


def test_run_folders_are_read(version: str, tmp_path: Path) -> None:
    for name, text in read(version, RUN).items():
        (tmp_path / name).write_text(text.replace("FOLDER", str(tmp_path)))
    for row in csv.DictReader((tmp_path / "manifest.csv").open()):
        path = tmp_path / row["image"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    before = yaml.safe_load((tmp_path / "config.yaml").read_text())
    after = plain(read_recipe(tmp_path / "config.yaml"))
    assert missing(before, after) == []
    assert len(evaluation_manifest(tmp_path, split="train")) == 6
    assert len(evaluation_manifest(tmp_path, split="val")) == 2
    columns = list(csv.DictReader((tmp_path / "predictions.csv").open()).__next__())
    assert columns[:4] == ["image", "prediction", "prob_empty", "prob_square"]
    [row] = csv.DictReader((tmp_path / "metrics.csv").open())
    assert math.isfinite(float(row["train_loss"]))


def missing(before: object, after: object, where: str = "") -> list[str]:
    """Settings that have another value, or are gone; new ones may be there."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            text
            for key, value in before.items()
            for text in missing(value, after.get(key, "gone"), f"{where}.{key}")
        ]
    return [] if before == after else [f"{where}: {before!r} is now {after!r}"]
