"""The benchmark of data loading runs, and its table says what the steps say."""

from __future__ import annotations

import json

import pytest

from data_loading import SIDES, Step, main, summarise


def test_a_small_run_measures_all_sides(tmp_path):
    options = "--count 2 --side 600 --tile 300 --n-samples 1 --batch-size 1 --epochs 2 --rounds 1 --threads 1"
    assert main([*options.split(), "--out", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    rows = {(row["part"], row["side"]): row for row in report["rows"]}
    assert {side for _, side in rows} == set(SIDES) and all(row["steps"] == 2 for row in rows.values())
    later = {side: rows["later epochs", side]["decoded_pixels"] for side in SIDES}
    assert later["cache"] == later["cache and prefetch"] < later["neither"]
    assert all(0 < row["waiting_share"] < 1 for row in rows.values())


def test_shares_are_of_all_time():
    steps = [
        Step(side, epoch, seconds, 1.0, 10) for side in SIDES for epoch in (0, 1) for seconds in (2.0, 8.0)
    ]
    row = summarise(steps)[0]
    assert (
        row["waiting_share"] == pytest.approx(0.2) and row["step_ms"] == 5000 and row["decoded_pixels"] == 10
    )
