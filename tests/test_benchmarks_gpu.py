"""The benchmark of GPUs runs on a CPU: what it compares agrees, and a part that fails stops no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gpu
from zoomin.baselines import ATSConfig
from zoomin.model.config import ZoomInConfig


def test_a_device_agrees_with_itself() -> None:
    small = ZoomInConfig(tile_size=60, sub_tile_size=20)
    found = gpu._differences(small, 120, "cpu")
    assert found == {"logits": 0.0, "loss": 0.0, "gradient": 0.0, "same_places": True}
    assert gpu._differences(ATSConfig(sub_tile_size=20), 120, "cpu")["same_places"]


def test_files_and_memory_are_measured() -> None:
    rows = {row["method"]: row for row in gpu.throughput("cpu", quick=True)}
    assert len(rows) == 4 and all(row["memory_per_s"] > 0 for row in rows.values())
    assert all(row["files_per_s"] > 0 for name, row in rows.items() if name != "the trunk on every tile")


def test_a_part_that_fails_is_recorded_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(device: str, quick: bool) -> list[gpu.Row]:
        """A part that fails."""
        raise RuntimeError("out of memory")

    def works(device: str, quick: bool) -> list[gpu.Row]:
        """A part that works."""
        return [{"job": "step", "ms": {"median": 2.0, "min": 1.0, "max": 3.0}}, {"job": "other"}]

    monkeypatch.setattr(gpu, "PARTS", {"fails": fails, "works": works})
    assert gpu.main(["--device", "cpu", "--quick", "--parts", "fails", "works", "--out", str(tmp_path)]) == 1
    assert "fails: 0 s FAILED" in capsys.readouterr().out
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert "out of memory" in report["parts"]["fails"]["error"]
    assert "| step | 2 (1 to 3) |" in (tmp_path / "gpu.md").read_text()
    monkeypatch.setattr(gpu, "LIMIT", -1.0)
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path)]) == 0
    assert "Left out: no time was left" in (tmp_path / "gpu.md").read_text()
