"""`zoomin bench` measures both sides and writes what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from zoomin.app.cli import main
from zoomin.errors import ConfigError
from zoomin.experiments.bench import Bench, Comparison
from zoomin.experiments.bench_config import BenchConfig


def test_bench_writes_its_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, threads = tmp_path / "a" / "bench.json", torch.get_num_threads()
    options = "--repeats 2 --threads 1 --parts train --features lenet_released --precisions float32"
    assert main(["bench", *options.split(), "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert {"date", "processor", "torch", "zoomin", "threads", "load"} <= report["machine"].keys()
    assert [row["job"] for row in report["comparisons"]] == [
        "training step, batch 5",
        "training step, batch 5, contrastive",
    ]
    for row in report["comparisons"]:
        assert row["ratio"] == pytest.approx(row["loop_ms"]["median"] / row["batched_ms"]["median"])
        assert row["loop_ms"]["min"] <= row["loop_ms"]["median"] <= row["loop_ms"]["max"]
        assert row["target"] == 2.5
    assert "Loop against batched network" in capsys.readouterr().out
    assert torch.get_num_threads() == threads


def test_both_sides_predict_and_train() -> None:
    bench = Bench("lenet_released", "bfloat16", "cpu", n_images=4)
    before = [p.clone() for p in (*bench.net.head.parameters(), *bench.plain.head.parameters())]
    bench.train_loop(torch.arange(4), contrastive=True)
    bench.train_batched(torch.arange(4), contrastive=True)
    after = [*bench.net.head.parameters(), *bench.plain.head.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    bench.predict_batched(batch=2)
    bench.predict_loop(batch=3)


def test_ratio_is_of_the_medians() -> None:
    row = Comparison("train", "", "lenet", "float32", [9.0, 10.0, 50.0], [4.0, 5.0, 6.0], 2.5)
    assert row.ratio == 2.0
    assert row.summary()["reached"] is False


def test_no_cuda_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["bench", "--device", "cuda"]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="repeats"):
        BenchConfig(repeats=0)
