"""Table and figure of the learning curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from zoomin.experiments.learning_curve_report import figure, main, table


def _row(recipe: str, share: float, n_train: int, auroc: float, hits: float | None) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "options": [],
        "slides_config": {"roi_share": share},
        "n_train": n_train,
        "epochs": 3,
        "seed": 0,
        "auroc": auroc,
        "auroc_interval": [auroc - 0.1, min(1.0, auroc + 0.1)],
        "accuracy": 0.75,
        "top_sub_tiles_on_roi": hits,
        "weight_on_roi": hits,
        "train_seconds": 120,
        "date": "2026-01-31",
    }


ROWS = [
    _row("zoom", 0.003, 40, 0.6, 0.2),
    _row("zoom", 0.01, 40, 0.95, 0.9),
    _row("zoom", 0.01, 80, 0.97, 0.95),
    _row("cnn", 0.01, 40, 0.5, None),
]


def test_table_has_a_line_a_run_in_order() -> None:
    lines = table(ROWS).splitlines()[2:]
    assert [line.split(" | ")[:3] for line in lines] == [
        ["| cnn", "1", "40"],
        ["| zoom", "1", "40"],
        ["| zoom", "1", "80"],
        ["| zoom", "0.3", "40"],
    ]
    assert "0.950 (0.85 to 1.00) | 0.750 | 90 % | 90 % | 2 | 2026-01-31" in lines[1]
    assert "0.750 |  |  | 2" in lines[0]  # a baseline has no sub-tiles


def test_figure_has_a_line_a_recipe_and_number() -> None:
    drawn = figure(ROWS)
    _, right = drawn.axes
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert labels == ["cnn, 40 slides", "zoom, 40 slides", "zoom, 80 slides"]
    first = right.lines[0].get_xydata()
    assert first.tolist() == [[1.0, 90.0], [0.3, 20.0]]


def test_files_lie_beside_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    assert main([str(path)]) == 0
    assert "| zoom | 0.3 | 40 |" in (tmp_path / "curve.md").read_text(encoding="utf-8")
    with PillowImage.open(tmp_path / "curve.png") as picture:
        assert picture.width > 1000
    assert (tmp_path / "curve.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_one_share_makes_no_figure(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    path.write_text(json.dumps(ROWS[1:]), encoding="utf-8")
    assert main([str(path)]) == 0
    assert sorted(found.name for found in tmp_path.iterdir()) == ["parts.json", "parts.md"]
