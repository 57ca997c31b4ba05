"""`predict_into`: what is kept, what is done again, parts of a list, and what a killed job leaves."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoomin.app.cli import main
from zoomin.data.manifest import Record
from zoomin.errors import DataError, WriteError
from zoomin.inference import (
    InferenceConfig,
    distributed,
    find_images,
    merge_predictions,
    predict_into,
    shard_of,
)
from zoomin.model import ZoomIn, ZoomInConfig
from zoomin.runtime.locks import lock_file
from zoomin.runtime.parts import check_own_part

CONFIG = ZoomInConfig(tile_size=40, sub_tile_size=9, n_samples=6, class_names=("cat", "-dog"))


@pytest.fixture(scope="module")
def net() -> ZoomIn:
    torch.manual_seed(0)
    return ZoomIn(CONFIG).eval()


@pytest.fixture
def images(tmp_path: Path) -> list[Path | Record]:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"damaged")
    return find_images([folder])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are predicted, not kept; a list that says when to stop."""
    found: list[str] = []
    original = distributed.iter_predictions

    def spy(images, *args, **kwargs):
        for row in original(images, *args, **kwargs):
            found.append(Path(row.image).name)
            yield row

    monkeypatch.setattr(distributed, "iter_predictions", spy)
    return found


def damage_cell(path: Path, column: str) -> None:
    """Of the first row."""
    with path.open(newline="") as file:
        lines = list(csv.reader(file))
    place = next(place for place, name in enumerate(lines[0]) if name.startswith(column))
    lines[1][place] = "[[["
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def test_an_interrupted_job_goes_on_where_it_was(
    net: ZoomIn, images: list[Path | Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out, part = tmp_path / "whole.csv", tmp_path / "out.csv", tmp_path / "out.csv.part"
    config = InferenceConfig(batch_size=1)
    assert predict_into(images, net, whole, config).done == 5
    out.write_text("older")
    original = distributed.iter_predictions

    def stopped(given, *args, **kwargs):
        yield from list(original(given, *args, **kwargs))[:2]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(distributed, "iter_predictions", stopped)
        with pytest.raises(KeyboardInterrupt):
            predict_into(images, net, out, config)
        assert out.read_text() == "older" and len(rows(part)) == 2
        with part.open("a") as file:
            file.write(part.read_text().splitlines()[1][:30])  # half a row
        with pytest.raises(KeyboardInterrupt):
            predict_into(images, net, out, config, resume=True)
        assert len(rows(part)) == 4
    damage_cell(part, "prob_")
    summary = predict_into(images, net, out, config, resume=True)
    assert (summary.done, summary.kept, len(summary.failed)) == (5, 3, 1)
    assert out.read_text() == whole.read_text() and not part.exists()


def test_rows_are_kept_while_model_settings_and_file_are_the_same(
    net: ZoomIn,
    images: list[Path | Record],
    tmp_path: Path,
    asked: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out.csv"
    predict_into(images, net, out)
    asked.clear()
    predict_into(images, net, out, InferenceConfig(batch_size=2, threads=1), resume=True)
    assert asked == []
    Image.new("RGB", (50, 60)).save(str(images[1]))
    predict_into(list(reversed(images)), net, out, resume=True)
    assert asked == ["1.png"]
    assert [Path(row["image"]).name for row in rows(out)] == [f"{n}.png" for n in (5, 4, 3, 2, 1, 0)]
    asked.clear()
    summary = predict_into(images, net, out, resume=True, retry_failed=True)
    assert asked == ["3.png"] and summary.kept == 5 and "replaced" not in caplog.text
    asked.clear()
    predict_into(images, net, out, InferenceConfig(seed=1), resume=True)
    assert len(asked) == 6 and "6 of 6 rows are of another model or other settings" in caplog.text
    asked.clear()
    predict_into([Record(Path(str(image)), None, mpp=0.5) for image in images], net, out, resume=True)
    assert len(asked) == 6
    asked.clear()
    torch.manual_seed(1)
    predict_into(images, ZoomIn(CONFIG).eval(), out, resume=True)
    assert len(asked) == 6
    with lock_file(out), pytest.raises(WriteError, match="another job writes here"):
        predict_into(images, net, out)


def test_parts_of_a_list_are_the_whole(net: ZoomIn, images: list[Path | Record], tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.csv", [tmp_path / f"{n}.csv" for n in (1, 2, 3, 4)]
    config = InferenceConfig(batch_size=1)
    predict_into(images, net, whole, config)
    for n, part in enumerate(parts, 1):
        predict_into(shard_of(images, f"{n}/4"), net, part, config)
    summary = merge_predictions(parts, tmp_path / "merged.csv")
    assert (summary.done, len(summary.failed)) == (5, 1)
    assert (tmp_path / "merged.csv").read_text() == whole.read_text()
    damaged = tmp_path / "damaged.csv"
    for column in ("prob_", "ood_p_value"):
        damaged.write_text(parts[0].read_text())
        damage_cell(damaged, column)
        with pytest.raises(DataError, match="line 2 is damaged"):
            merge_predictions([damaged, *parts[1:]], tmp_path / "merged.csv")
    with pytest.raises(DataError, match=r"0\.png: the image is in two parts"):
        merge_predictions([*parts, parts[0]], tmp_path / "merged.csv")
    predict_into(shard_of(images, "2/4"), net, parts[1], InferenceConfig(seed=1))
    with pytest.raises(DataError, match="different models or settings"):
        merge_predictions(parts, tmp_path / "merged.csv")
    parts[0].rename(tmp_path / "1.csv.part")
    with pytest.raises(DataError, match=r"1\.csv: it is not complete.*--resume true"):
        merge_predictions(parts, tmp_path / "merged.csv")
    with pytest.raises(DataError, match="no such file"):
        merge_predictions([tmp_path / "5.csv"], tmp_path / "merged.csv")
    such = "such as 1/8"
    remedies = {"0/4": "1/4 to 4/4", "3/2": "Of 2 parts, give 1/2 to 2/2", "2/1": "1/1"}
    remedies |= {wrong: such for wrong in ("1/0", "a/b", "3")}
    for wrong, remedy in remedies.items():
        with pytest.raises(DataError, match=f"not a part of a list.*{remedy}"):
            shard_of(images, wrong)


def test_a_part_is_not_written_over_another(tmp_path: Path) -> None:
    table, whole = tmp_path / "out.csv", ["a", "=b", "c", "d"]
    for path in (table, tmp_path / "out.csv.part"):
        check_own_part(table, whole, shard_of(whole, "1/2"))
        path.write_text("image,status,made_from\n'=b,ok,1\nd,ok,1\n")
        check_own_part(table, whole, shard_of(whole, "2/2"))
        with pytest.raises(DataError, match=r"out\.csv.*another part of the list\. Give each part an --out"):
            check_own_part(table, whole, shard_of(whole, "1/2"))
        path.unlink()


def test_formulas_are_quoted_and_their_rows_kept(
    net: ZoomIn, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("=cmd.png", "-1"):
        Image.new("RGB", (50, 60)).save(name, "png")
    given: list[Path | Record] = [Path("=cmd.png"), Path("-1")]
    predict_into(given, net, "out.csv")
    assert [row["image"] for row in rows(Path("out.csv"))] == ["'=cmd.png", "-1"]
    asked.clear()
    summary = predict_into(given, net, "out.csv", resume=True)
    assert asked == [] and summary.kept == 2


def test_from_the_command_line(
    net: ZoomIn,
    images: list[Path | Record],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net.save_pretrained(tmp_path / "run" / "model")
    monkeypatch.chdir(tmp_path)
    same = ["images", "--run", "run", "--batch_size", "1"]
    assert main(["predict", *same, "--out", "whole.csv"]) == 0
    for shard in ("1/2", "2/2"):
        assert main(["predict", *same, "--shard", shard]) == 0
    capsys.readouterr()
    assert main(["merge", "predictions.1-of-2.csv", "predictions.2-of-2.csv"]) == 0
    assert "5 of 6 images predicted" in capsys.readouterr().out
    assert Path("predictions.csv").read_text() == Path("whole.csv").read_text()
    assert main(["merge", "predictions.1-of-2.csv"]) == 2
    assert "part 2 of 2 is missing" in capsys.readouterr().err
    assert main(["predict", *same, "--resume", "true"]) == 0
    assert "6 rows kept: predictions.csv" in capsys.readouterr().out
    assert main(["predict", *same, "--out", "images"]) == 74
    assert capsys.readouterr().err.startswith("zoomin predict: images: a folder, not a file.")


def test_a_job_that_is_terminated_says_how_to_go_on(
    net: ZoomIn, images: list[Path | Record], tmp_path: Path
) -> None:
    net.save_pretrained(tmp_path / "run" / "model")
    many = tmp_path / "many"
    many.mkdir()
    for n in range(3000):
        shutil.copyfile(str(images[0]), many / f"{n:04d}.png")
    command = [sys.executable, "-m", "zoomin", "predict", many, "--run", tmp_path / "run"]
    command += ["--out", tmp_path / "out.csv", "--batch_size", "1"]
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    part, end = tmp_path / "out.csv.part", time.monotonic() + 300
    while not part.exists() or part.stat().st_size < 1000:
        assert job.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    _, err = job.communicate()
    assert job.returncode == 143
    assert "zoomin predict: stopped by SIGTERM. The rows so far are in" in err and "--resume true" in err
    assert 0 < len(rows(part)) < 3000
    assert not list(tmp_path.glob(".out.csv*"))
