"""Inference in other processes gives what one process gives, and errors of images stay those of images."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zoomin.app.cli import main
from zoomin.data.find import open_dataset
from zoomin.errors import ImageError, UnexpectedError
from zoomin.inference import InferenceConfig, evaluate, iter_predictions
from zoomin.inference.distributed import _alone, _Inference, iter_numbered
from zoomin.inference.prediction import predictions_of
from zoomin.inference.sources import name_of
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.runtime.executor import Executor, Lost
from zoomin.runtime.image_work import Answer, Guarded, Worker

CONFIG = ZoomInConfig(tile_size=40, sub_tile_size=9, n_samples=6, class_names=("cat", "dog"))


@pytest.fixture(scope="module")
def net() -> ZoomIn:
    torch.manual_seed(0)
    return ZoomIn(CONFIG).eval()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number in range(4):
        folder = tmp_path / "images" / CONFIG.class_names[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (60, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "images" / "dog" / "3.png").write_bytes(b"damaged")
    return tmp_path / "images"


def test_whoever_computes_the_table_is_the_same(
    net: ZoomIn, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net.save_pretrained(tmp_path / "run" / "model")
    words = ["predict", str(images), f"--run={tmp_path / 'run'}"]
    assert main([*words, "--batch_size=1", f"--out={tmp_path / 'whole.csv'}"]) == 0
    capfd.readouterr()
    out = tmp_path / "out.csv"
    assert main([*words, "--jobs=2", f"--out={out}"]) == 0
    said = capfd.readouterr()
    assert said.out == f"3 of 4 images predicted ({counts(out)}): {out}\n"
    assert "Predicting: 4 of 4" in said.err and "1 failed" in said.err
    assert out.read_text() == (tmp_path / "whole.csv").read_text()
    assert main([*words, "--jobs=2", f"--out={out}", "--resume=true"]) == 0
    assert "4 rows kept" in capfd.readouterr().out


def counts(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        labels = [row["prediction"] for row in csv.DictReader(file)]
    return ", ".join(f"{labels.count(name)} {name}" for name in CONFIG.class_names)


class ScriptedExecutor(Executor):
    """Workers that answer what they are told to."""

    answers: tuple[Any, ...] = ()

    def work(self, start: Any, tasks: Any, *, gpus: bool = False) -> Iterator[tuple[int, Any]]:
        yield from reversed(list(enumerate(self.answers)))


def test_evaluate_puts_answers_where_they_belong(
    net: ZoomIn, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, config = open_dataset(images), InferenceConfig(batch_size=1)
    rows = list(iter_predictions(manifest, net, config))
    monkeypatch.setattr(ScriptedExecutor, "answers", tuple(Answer(row, "", ()) for row in rows))
    assert evaluate(manifest, net, config, executor=ScriptedExecutor(jobs=2)) == evaluate(
        manifest, net, config
    )


def test_errors_and_warnings_of_workers_arrive(
    net: ZoomIn, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = ImageError("damaged", where="b.png")
    monkeypatch.setattr(
        ScriptedExecutor,
        "answers",
        (Lost("by SIGKILL"), Answer(known, "", ("slow disk",)), Answer(known, "", ("slow disk",))),
    )
    with caplog.at_level(logging.WARNING, "zoomin"):
        rows = dict(
            iter_numbered(["a.png", "b.png", "c.png"], net, InferenceConfig(), ScriptedExecutor(jobs=2))
        )
    assert [rows[n].status for n in range(3)] == ["error"] * 3
    assert rows[0].image == "a.png" and "died by SIGKILL, 2 times" in rows[0].error
    assert caplog.messages == ["slow disk"]
    unexpected = UnexpectedError("KeyError", where="b.png")
    monkeypatch.setattr(ScriptedExecutor, "answers", (Answer(unexpected, "Traceback: in line 7", ()),) * 25)
    with pytest.raises(Exception, match="Traceback: in line 7"):
        list(iter_numbered(["b.png"] * 25, net, InferenceConfig(), ScriptedExecutor(jobs=2)))


def test_a_worker_keeps_what_the_library_says(net: ZoomIn, images: Path) -> None:
    net.readers = ("openslide",)  # not that of JPEG
    for number in (0, 2):
        with Image.open(images / "cat" / f"{number}.png") as image:
            image.save(images / f"{number}.jpg")  # with loss: decoders differ
    config = InferenceConfig(batch_size=1)
    answers = partial(predictions_of, model=net, config=config)
    try:
        start = partial(_Inference, net, config, answers, _alone, Worker(net.device))
        worker = Guarded(start, name_of, str(Path.cwd()), 0)
        first, second = (worker(images / f"{number}.jpg") for number in (0, 2))
    finally:
        net.readers = ()
    assert len(first.log_lines) == 1 and "the training images by openslide" in first.log_lines[0]
    assert second.log_lines == () and second.found.status == "ok"
    assert isinstance(worker(images / "dog" / "3.png").found, ImageError)
