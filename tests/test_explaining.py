from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from explanation_examples import bright_net, dark_image, save_image
from zoomin.app.cli import main
from zoomin.data.manifest import Record
from zoomin.errors import ConfigError, DataError, WriteError
from zoomin.explanation import Entry, Explanation, Index, read_index
from zoomin.explanation.export_config import ExportConfig
from zoomin.explanation.exports import is_exported
from zoomin.explanation.index import append_entry, folder_name, is_finished, write_index
from zoomin.inference import InferenceConfig, explain, explain_folder, predict
from zoomin.inference.explain_folder import explain_into, images_to_explain
from zoomin.model import ZoomIn

HOW = InferenceConfig(sampling="systematic", replicates=2, seed=3)
BARE = ExportConfig(geojson=False, heat_map=False, pictures=False)


@pytest.fixture(scope="module")
def net() -> ZoomIn:
    return bright_net()


@pytest.fixture(scope="module")
def run(net: ZoomIn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ZoomIn(net.config).save_pretrained(tmp_path_factory.mktemp("run") / "model").parent


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Two images of one name, and a file that is none."""
    for folder in "ab":
        save_image(dark_image(60, 80, (30.5, 20.5)), tmp_path / folder / "ä 1.png")
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    return [tmp_path / "a" / "ä 1.png", bad, tmp_path / "b" / "ä 1.png"]


def test_one_bad_image_is_recorded_and_the_job_goes_on(
    net: ZoomIn, images: list[Path], tmp_path: Path
) -> None:
    summary = explain_into(images, net, tmp_path / "out", HOW, BARE)
    assert (summary.explained, summary.kept) == (2, 0)
    assert [name for name, _ in summary.failed] == [str(images[1])]
    index = read_index(tmp_path / "out")
    assert [entry.status for entry in index.entries] == ["ok", "error", "ok"]
    bad = index.entries[1]
    assert "not an image" in bad.error
    assert (bad.folder, bad.prediction, bad.standard_error) == (None, None, None)
    assert len({entry.folder for entry in index.entries}) == 3
    for path, entry in zip(images, index.entries, strict=True):
        if entry.folder is not None:
            assert entry.folder == folder_name(path)
            assert entry.folder.isascii() and " " not in entry.folder
            one = Explanation.load(tmp_path / "out" / entry.folder)
            assert (one.image, one.label) == (str(path), entry.prediction)
            assert entry.probabilities == pytest.approx(
                dict(zip(one.classes, one.probabilities.tolist(), strict=True))
            )


def test_explains_what_predict_answers(net: ZoomIn, images: list[Path], tmp_path: Path) -> None:
    explain_into(images[:1], net, tmp_path / "out", HOW, BARE)
    [entry] = read_index(tmp_path / "out").entries
    [row] = predict(images[:1], net, sampling="systematic", replicates=2, seed=3)
    assert entry.prediction == row.label
    assert list(entry.probabilities.values()) == pytest.approx(list(row.probabilities), abs=1e-6)
    assert entry.standard_error == pytest.approx(row.standard_error, abs=1e-6)


def test_everything_is_written(net: ZoomIn, images: list[Path], tmp_path: Path) -> None:
    summary = explain_into(images[:1], net, tmp_path / "out", HOW)
    [folder] = [path for path in summary.folder.iterdir() if path.is_dir()]
    assert {path.name for path in folder.iterdir()} == {
        "explanation.json",
        "arrays.npz",
        "overview.png",
        "crops",
        "explanation.geojson",
        "attention.ome.tif",
        "overlay.png",
        "top.png",
        "panel.png",
    }
    assert is_exported(folder, ExportConfig())
    explain_into(images[:1], net, tmp_path / "out", HOW, BARE)  # nothing of the old one stays
    assert not is_exported(folder, ExportConfig(pictures=False, heat_map=False))
    assert not (folder / "panel.png").exists()


def test_resume_keeps_what_is_the_same(net: ZoomIn, images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"

    def go(how: InferenceConfig = HOW, exports: ExportConfig = BARE) -> tuple[int, int]:
        summary = explain_into(images, net, out, how, exports, resume=True)
        return summary.explained, summary.kept

    assert go() == (2, 0)
    assert go() == (0, 2)
    (out / "index.json").unlink()  # as after a crash
    assert go() == (0, 2)
    assert [entry.status for entry in read_index(out).entries].count("ok") == 2
    only = replace(BARE, geojson=True)
    assert go(exports=only) == (0, 2)
    assert is_exported(out / folder_name(images[0]), only)
    save_image(dark_image(60, 80, (50.5, 20.5)), images[0])
    assert go() == (1, 1)
    assert go(replace(HOW, seed=4)) == (2, 0)
    assert go(replace(HOW, seed=4, n_samples=7)) == (2, 0)
    (out / folder_name(images[2]) / "arrays.npz").write_bytes(b"torn")
    assert go(replace(HOW, seed=4, n_samples=7)) == (1, 1)


def test_explanations_of_other_images_stay(net: ZoomIn, images: list[Path], tmp_path: Path) -> None:
    explain_into(images[:1], net, tmp_path / "out", HOW, BARE)
    explain_into(images[2:], net, tmp_path / "out", HOW, BARE)
    assert [entry.image for entry in read_index(tmp_path / "out").entries] == [str(images[0]), str(images[2])]


def test_explanations_of_another_model_are_refused(net: ZoomIn, images: list[Path], tmp_path: Path) -> None:
    explain_into(images[:1], net, tmp_path / "out", HOW, BARE)
    other = bright_net()
    torch.nn.init.ones_(other.head.bias)
    with pytest.raises(ConfigError, match=r"from another model.*another --out"):
        explain_into(images[:1], other, tmp_path / "out", HOW, BARE)


def test_an_image_deleted_meanwhile_is_told(net: ZoomIn, images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    explain_into(images[:1], net, out, HOW, BARE)
    images[0].unlink()
    assert Explanation.load(out / folder_name(images[0])).source.changed() == "gone"
    summary = explain_into(images[:1], net, out, HOW, BARE, resume=True)
    assert (summary.explained, summary.kept, len(summary.failed)) == (0, 0, 1)
    assert "no such file" in summary.failed[0][1]


def test_truth_and_roi_come_from_the_manifest(net: ZoomIn, images: list[Path], tmp_path: Path) -> None:
    mask = save_image((dark_image(60, 80, (30.5, 20.5)) > 100).astype(np.uint8) * 255, tmp_path / "mask.png")
    records = [
        Record(images[0], "bright", mask=mask),
        Record(images[1], "bright"),
        Record(images[2], None, mask=images[1]),
    ]
    pictures = ExportConfig(geojson=False, heat_map=False)
    summary = explain_into(records, net, tmp_path / "out", HOW, pictures)
    entries = read_index(tmp_path / "out").entries
    assert [entry.truth for entry in entries] == ["bright", "bright", None]
    assert Explanation.load(tmp_path / "out" / str(entries[0].folder)).truth == "bright"
    [(image, warning)] = summary.warnings  # the ROI is no image; the explanation is worth having without it
    assert image == str(images[2])
    assert "show no ROI" in warning
    assert entries[2].status == "ok"


def test_coordinates_that_an_image_cannot_have_are_a_warning(
    net: ZoomIn, images: list[Path], tmp_path: Path
) -> None:
    summary = explain_into(
        images[:1], net, tmp_path / "out", HOW, replace(BARE, geojson=True, coordinates="map")
    )
    assert summary.explained == 1
    assert "no georeference" in summary.warnings[0][1]


def test_export_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="coordinates is 'x'"):
        ExportConfig(coordinates="x")
    with pytest.raises(ConfigError, match="top is -1"):
        ExportConfig(top=-1)
    with pytest.raises(ConfigError, match="heat_map_side is 2"):
        ExportConfig(heat_map_side=2)


def test_index_tells_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no explanations here.*zoomin explain"):
        read_index(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(DataError, match="damaged"):
        read_index(tmp_path)
    with pytest.raises(ConfigError, match="another model"):
        Index("a", ("x", "y")).check_model("b", tmp_path)


def test_split_needs_labels_and_a_run(run: Path, images: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.csv in this run"):
        images_to_explain([], run, None, "test")
    table = tmp_path / "list.csv"
    table.write_text(
        f"image,label,split\n{images[0]},bright,train\n{images[2]},dark,test\n", encoding="utf-8"
    )
    [chosen] = images_to_explain([], run, table, "test")
    assert isinstance(chosen, Record) and chosen.label == "dark"
    assert len(images_to_explain([images[0]], run, table, "test")) == 2
    table.write_text(f"image\n{images[0]}\n", encoding="utf-8")
    assert len(images_to_explain([], run, table)) == 1
    with pytest.raises(DataError, match="no column 'label'"):
        images_to_explain([], run, table, "all")


def test_failures_are_kept_until_they_are_retried(net: ZoomIn, images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    explain_into(images, net, out, HOW, BARE)
    assert explain_into(images, net, out, HOW, BARE, resume=True).kept_failures == 1
    again = explain_into(images, net, out, HOW, BARE, resume=True, retry_failed=True)
    assert (again.kept, again.kept_failures, len(again.failed)) == (2, 0, 1)
    assert explain_into(images, net, out, replace(HOW, seed=4), BARE, resume=True).kept_failures == 0
    save_image(dark_image(60, 80, (30.5, 20.5)), images[1])
    assert explain_into(images, net, out, replace(HOW, seed=4), BARE, resume=True).explained == 1


def test_what_a_killed_job_found_is_known(
    net: ZoomIn, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, added = tmp_path / "out", tmp_path / "out" / "index.json.part"
    killed: list[str] = []
    lines: list[str] = []

    def keep(index: Index, folder: Path, *, finished: bool) -> None:
        write_index(index, folder, finished=finished)
        if added.exists():
            killed.append((out / "index.json").read_text())

    def remember(entry: Entry, folder: Path) -> None:
        append_entry(entry, folder)
        lines.append(added.read_text())

    monkeypatch.setattr(explain_folder, "write_index", keep)
    monkeypatch.setattr(explain_folder, "append_entry", remember)
    explain_into(images, net, out, HOW, BARE)
    assert not added.exists()
    (out / "index.json").write_text(killed[0])  # as at the beginning
    added.write_text(lines[-1] + '{"image": "half')
    assert not is_finished(out)
    summary = explain_into(images, net, out, HOW, BARE, resume=True)
    assert (summary.kept, summary.kept_failures, summary.explained) == (2, 1, 0)
    assert [entry.image for entry in read_index(out).entries] == list(map(str, images)) and is_finished(out)


def test_whatever_a_picture_fails_with_the_others_go_on(
    net: ZoomIn, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pictures(one: Explanation, folder: Path, *_: object) -> None:
        if "a" in Path(one.image).parent.name:
            raise SyntaxError("broken font")

    monkeypatch.setattr(explain_folder, "write_exports", pictures)
    summary = explain_into(images, net, tmp_path / "out", HOW, BARE)
    assert [Path(name).name for name, _ in summary.failed] == ["ä 1.png", "bad.png"]
    assert "SyntaxError: broken font" in summary.failed[0][1]

    def full(*_: object) -> None:
        raise WriteError("the disk is full", where="panel.png")

    monkeypatch.setattr(explain_folder, "write_exports", full)
    with pytest.raises(WriteError, match="the disk is full"):
        explain_into(images, net, tmp_path / "out", HOW, BARE)


def test_workers_and_parts_make_the_same_explanations(
    run: Path,
    images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["explain", *map(str, images), "--run", str(run), "--pictures", "false", "--batch_size", "1"]
    assert main([*words, "--out", "whole"]) == 0
    assert main([*words, "--out", "workers", "--jobs", "2"]) == 0
    for shard in ("1/2", "2/2"):
        main([*words, "--out", f"part.{shard.replace('/', '-of-')}", "--shard", shard])
    capsys.readouterr()
    parts = ["part.1-of-2", "part.2-of-2"]
    assert main(["merge", *parts, "--out", "merged"]) == 0
    assert capsys.readouterr().out == "2 of 3 images explained: merged\n"
    whole = read_index(tmp_path / "whole")
    entries = {entry.image: entry for entry in whole.entries}
    assert read_index(tmp_path / "merged") == whole
    assert {entry.image: entry for entry in read_index(tmp_path / "workers").entries} == entries
    for path in (tmp_path / "whole").rglob("*.*"):
        if path.is_file() and path.suffix != ".json":
            inside = path.relative_to(tmp_path / "whole")
            assert (tmp_path / "merged" / inside).is_file() and (tmp_path / "workers" / inside).is_file()
    assert main(["merge", *parts, "--out", "part.1-of-2"]) == 2
    assert "this is one of the parts" in capsys.readouterr().err
    assert main(["merge", parts[0], parts[0], "--out", "merged"]) == 2
    (tmp_path / parts[1] / "index.json.part").touch()
    assert main(["merge", *parts, "--out", "merged"]) == 2
    assert "it is not complete" in capsys.readouterr().err


def test_python_surface(net: ZoomIn, images: list[Path], tmp_path: Path) -> None:
    [one] = explain(images[0], net, sampling="top")
    one.save(tmp_path / "one")
    again = Explanation.load(tmp_path / "one")
    assert again.to_geojson() == one.to_geojson()
    again.figure().savefig(tmp_path / "panel.png")
    assert (tmp_path / "panel.png").stat().st_size > 10_000


# --------------------------------------------------------------------------- the command line


def test_command_explains_and_goes_on(
    run: Path, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", *map(str, images), "--run", str(run), "--pictures", "false", "--replicates", "2"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "2 of 3 images explained" in told.out
    assert "bad.png" in told.err
    assert [entry.status for entry in read_index(run / "explanations").entries] == ["ok", "error", "ok"]
    assert main([*words, "--resume", "true", "--strict"]) == 1
    assert "2 of 3 images explained, 2 of them before" in capsys.readouterr().out
    assert main(["explain", str(images[1]), "--run", str(run), "--out", str(tmp_path / "only_bad")]) == 1
    folder = run / "explanations" / folder_name(images[0])
    assert json.loads((folder / "explanation.geojson").read_text())["type"] == "FeatureCollection"


def test_warnings_are_not_counted_as_failures(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abcdefg":
        save_image(dark_image(60, 80, (30.5, 20.5)), tmp_path / "seven" / f"{name}.png")
    out = tmp_path / "out"
    words = ["--coordinates", "map", "--pictures", "false", "--heat_map", "false", "--out", str(out)]
    assert main(["explain", str(tmp_path / "seven"), "--run", str(run), *words]) == 0
    told = capsys.readouterr()
    assert "7 of 7 images explained" in told.out
    assert f"and 2 more warnings; see {out / 'index.json'}" in told.err and "failed" not in told.err


def test_command_tells_what_is_missing(
    run: Path, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(images[0]), "--run", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "young" / "checkpoints").mkdir(parents=True)
    assert main(["explain", str(images[0]), "--run", str(tmp_path / "young")]) == 2
    assert "no model/ yet" in capsys.readouterr().err
    assert main(["explain", "--run", str(run)]) == 2
    assert "no images given" in capsys.readouterr().err
