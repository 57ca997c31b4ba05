"""Tables of an experiment: means over folds, then over seeds; what is missing or failed is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from torch import nn

from zoomin.experiments.columns import COLUMNS
from zoomin.experiments.experiment import Experiment, Outcome, Setting
from zoomin.experiments.memory_watch import MemoryWatch
from zoomin.experiments.result_tables import columns_of, write_tables


def result(seed: int, accuracy: float, **more: Any) -> dict[str, Any]:
    """What a training leaves behind, as far as tables read it."""
    scores = {"honest": {"accuracy": accuracy, "auroc": None}, "best": {"accuracy": 1.0}}
    return {"seed": seed, "scores": scores, "measured": {"cost": {"saved_mb": 2.5}}, **more}


MEASURED = Setting(
    "zoom-in", "Zoom-In, N = 10", "colon_cancer", published={"best_accuracy": 95.0, "best_accuracy_sd": 2.6}
)
BROKEN = Setting("cnn", "a CNN", "colon_cancer_cnn", {"model.side": 9})
ABSENT = Setting("ips", "IPS", "colon_cancer_ips")
EXPERIMENT = Experiment(
    *("colon-cancer", "Colon cancer", "section 4.1", (MEASURED, BROKEN, ABSENT)),
    columns=("best_accuracy", "accuracy", "auroc", "saved_mb", "cuda_mb"),
    draw=lambda outcomes: pytest.fail("no figure is asked for"),
    notes=("The folds are small.",),
)


def outcomes(folder: Path) -> list[Outcome]:
    """Two seeds of two folds, a row that failed, one that was not run."""
    found = [result(0, 0.8), result(0, 0.6), result(1, 0.9), result(1, 0.9)]
    return [
        Outcome(MEASURED, found, 30, {}, 5, folder),
        Outcome(BROKEN, [], 30, {"cnn/seed0_fold01": "RuntimeError: no memory left"}, 5, folder),
        Outcome(ABSENT, [], 30, {}, 5, folder),
    ]


def test_folds_are_averaged_before_seeds(tmp_path: Path) -> None:
    measured = COLUMNS["accuracy"].measure(outcomes(tmp_path)[0])
    assert measured is not None and measured.seeds == pytest.approx((70.0, 90.0))
    assert str(measured) == "80.0 ± 14.1"
    assert COLUMNS["accuracy"].measure(outcomes(tmp_path)[1]) is None


def test_columns_without_numbers_are_left_out(tmp_path: Path) -> None:
    assert columns_of(EXPERIMENT, outcomes(tmp_path)) == ("best_accuracy", "accuracy", "saved_mb")


def test_the_three_tables_agree(tmp_path: Path) -> None:
    write_tables(tmp_path, EXPERIMENT, outcomes(tmp_path), "mini")
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| Zoom-In, N = 10 | 95 ± 2.6 | 100.0 ± 0.0 | 80.0 ± 14.1 | 2.50 ± 0.00 | 5 | 4 of 30 |" in text
    assert "Not run: IPS." in text and "- `cnn/seed0_fold01`: RuntimeError: no memory left" in text
    assert "**Miniature**" in text and "- The folds are small." in text
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["setting"]: row for row in csv.DictReader(file)}
    assert float(rows["zoom-in"]["accuracy"]) == pytest.approx(80) and rows["zoom-in"]["accuracy_sd"] != ""
    assert (rows["cnn"]["accuracy"], rows["cnn"]["failed"]) == ("", "1")
    document = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert document["rows"][0]["measured"]["accuracy"]["seeds"] == pytest.approx([70.0, 90.0])
    assert document["rows"][1]["changes"] == {"model.side": 9}
    write_tables(tmp_path, EXPERIMENT, outcomes(tmp_path), "paper")
    assert "Miniature" not in (tmp_path / "table.md").read_text(encoding="utf-8")


class Layer(lightning.LightningModule):
    """A layer whose activations are known: 4 bytes for each number of its input, and of the rectifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.logged = nn.Linear(4, 2), dict[str, float]()

    def log_dict(self, dictionary: Any, *args: object, **kwargs: object) -> None:
        self.logged.update(dictionary)


class Labels:
    """As much of a batch as is counted."""

    labels = torch.zeros(5)


def test_memory_is_watched_per_image_and_epoch_and_not_after_an_error() -> None:
    watch, module, trainer = MemoryWatch(), Layer(), lightning.Trainer.__new__(lightning.Trainer)

    def step(images: int) -> torch.Tensor:
        return module.layer(torch.zeros(images, 4)).relu().sum()

    for _ in range(2):
        watch.on_train_batch_start(trainer, module, Labels, 0)
        loss = step(5)
        watch.on_before_backward(trainer, module, loss)
        step(100)  # what belongs to no forward pass
        watch.on_train_batch_end(trainer, module, None, Labels, 0)
    watch.on_train_epoch_end(trainer, module)
    assert module.logged == {"train_saved_mb": pytest.approx(4 * (4 + 2) / 1e6)}
    watch.on_train_batch_start(trainer, module, Labels, 0)
    watch.on_exception(trainer, module, RuntimeError())
    step(100)
    watch.on_train_epoch_end(trainer, module)
    assert module.logged == {"train_saved_mb": 0.0}
