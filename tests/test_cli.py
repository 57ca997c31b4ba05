from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image as PillowImage
from rich.text import Text

from zoomin import __version__
from zoomin.app import cli, console_tables, doctor
from zoomin.app.cli import COMMANDS, main
from zoomin.app.commands.command import Command, Group
from zoomin.app.commands.predict import say_predicted
from zoomin.app.demo import HEAVIEST, demo_config, run_demo
from zoomin.data.manifest import read_manifest
from zoomin.datasets.synthetic.needles import NeedleConfig
from zoomin.errors import WriteError
from zoomin.inference.predictions import Summary
from zoomin.runtime.extras import PACKAGES

TINY = [
    "--model.tile_size=32", "--model.sub_tile_size=9", "--model.n_samples=3", "--train.epochs=1",
    "--train.evaluation_replicates=2", "--train.device=cpu",
]  # fmt: skip


def write_images(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, (40 + 10 * number, 50, 3), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders below split folders."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        for k, name in enumerate(("cat", "dog")):
            write_images(root / split / name, count, seed=k)
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, made by the command line."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", f"--data.root={data}", f"--out={out}", *TINY]) == 0
    return out


def command_names(commands: Mapping[str, Command | Group], before: tuple[str, ...] = ()) -> list[str]:
    """Every command with the words before it, such as "data make needles"."""
    names = []
    for name, command in commands.items():
        words = (*before, name)
        names += command_names(command.commands, words) if isinstance(command, Group) else [" ".join(words)]
    return names


def zoomin(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user gives it."""
    return subprocess.run(
        [sys.executable, "-m", "zoomin.app.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --------------------------------------------------------------------------- help and versions


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", command_names(COMMANDS))
def test_each_command_helps_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: zoomin {name}" in shown
    assert f"examples:\n  zoomin {name}" in shown


def test_help_of_many_settings_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--model.name", "cnn", "--help"])
    short = capsys.readouterr().out
    assert "--data.root" in short and "--model.side" in short and "--data.threads" not in short
    assert "`zoomin train --help_all` explains" in short
    assert main(["train", "--model.name", "cnn", "--help_all"]) == 0
    every = capsys.readouterr().out
    assert "--data.threads" in every and len(every.splitlines()) > 2 * len(short.splitlines())


def test_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == main(["data", "make"]) == 0
    shown = capsys.readouterr().out
    assert "usage: zoomin data COMMAND" in shown
    assert "  make " in shown
    assert "  needles " in shown
    with pytest.raises(SystemExit) as stop:
        main(["data", "bake"])
    assert stop.value.code == 2
    assert "no command 'bake'. Did you mean make?" in capsys.readouterr().err


def test_help_is_quick() -> None:
    heavy = "torch lightning numpy matplotlib PIL sklearn timm rich".split()
    code = f"""
import sys
from zoomin.app.cli import main
main([])
print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("[]")


def test_help_of_a_command_needs_no_torch() -> None:
    """One process for all: what an earlier command imports may not be heavy either.

    But for commands whose settings stand beside the code that reads, draws or runs what they describe.
    """
    heavy = ("data prepare", "data features", "data make needles", "data make slides", "reproduce")
    light = [name for name in command_names(COMMANDS) if not name.startswith(heavy)]
    assert {"bench", "train", "predict", "explain", "view", "data check", "data convert"} <= {*light}
    code = f"""
import contextlib, io, sys
from zoomin.app.cli import main
for command in {light}:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main(command.split() + ["--help"])
    except SystemExit as stop:
        assert stop.code == 0, command
    found = [name for name in ("torch", "lightning", "timm", "matplotlib") if name in sys.modules]
    assert found == [], command
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"zoomin {__version__}\n"


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["trian"])
    assert stop.value.code == 2
    assert "no command 'trian'. Did you mean train?" in capsys.readouterr().err


# --------------------------------------------------------------------------- train


def test_train_leaves_a_run_that_can_be_given_again(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["tile_size"] == 32
    assert config["train"]["epochs"] == 1
    assert (run / "model" / "model.safetensors").is_file()
    assert json.loads((run / "metrics.json").read_text())["test"]["n_images"] == 6


def test_print_config_can_be_given_to_config(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", f"--config={run / 'config.yaml'}", "--model.n_samples=7", "--print_config"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    config = yaml.safe_load(printed)
    assert config["model"]["n_samples"] == 7
    assert config["model"]["tile_size"] == 32
    (tmp_path / "again.yaml").write_text(printed)
    with pytest.raises(SystemExit) as stop:
        main(["train", f"--config={tmp_path / 'again.yaml'}", "--print_config"])
    assert stop.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out) == config


def test_recipes_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    recipes = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        with pytest.raises(SystemExit) as stop:
            main(["train", f"--config={recipe}", "--print_config"])
        assert stop.value.code == 0, capsys.readouterr().err
        assert yaml.safe_load(capsys.readouterr().out)["model"]["n_classes"] >= 2


def test_resume_goes_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run / "config.yaml"
    again = ["train", f"--config={config}", f"--out={run}"]
    assert main(again) == 2
    assert "not empty" in capsys.readouterr().err
    assert main([*again, "--resume=true", "--train.epochs=2"]) == 0
    assert str(run) in capsys.readouterr().out
    assert len(rows(run / "metrics.csv")) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data.root=nowhere"], ["nowhere", "no such file or folder"]),
        (["--data.root={data}", "--model.n_samples=0"], ["n_samples"]),
        (
            ["--data.root={data}", "--model.tile_size=8", "--model.sub_tile_size=9"],
            ["sub_tile_size", "larger"],
        ),
        (["--data.root={data}", "--model.sampling=best"], ["unknown sampling 'best'", "multinomial"]),
        (["--data.root={data}", "--train.epochs=0"], ["epochs"]),
    ],
)
def test_wrong_input_is_told_in_a_line_or_two(
    arguments: list[str], words: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(data=data) for argument in arguments]
    assert main(["train", *filled, f"--out={tmp_path / 'run'}"]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words)
    assert message.startswith("zoomin train: ")
    assert len(message.splitlines()) <= 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data.root=x", "--model.n_smples=3"], "model.n_smples"),
        (["--data.root=x", "--train.epochs=many"], "train.epochs"),
        ([], "data.root"),
    ],
)
def test_wrong_options_are_named(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", *arguments])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert words in message
    assert len(message.splitlines()) < 12


def test_a_failure_has_no_traceback_but_on_demand(tmp_path: Path) -> None:
    arguments = ["predict", "a.png", "--run", "nowhere"]
    plain = zoomin(*arguments, cwd=tmp_path)
    assert (plain.returncode, plain.stdout) == (2, "")
    assert plain.stderr.startswith("zoomin predict: nowhere: no such folder.")
    assert "Traceback" not in plain.stderr
    debug = zoomin(*arguments, cwd=tmp_path, ZOOMIN_DEBUG="1")
    assert debug.returncode == 2
    assert "Traceback" in debug.stderr
    assert "CheckpointError" in debug.stderr
    assert debug.stderr.endswith(plain.stderr)


@pytest.mark.parametrize(
    ("name", "words"), [("train", "--resume true"), ("predict", ".part"), ("doctor", "same command again")]
)
def test_interruption_tells_how_to_resume(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(
        cli.COMMANDS, name, COMMANDS[name]._replace(build=lambda parser: None, run=interrupted)
    )
    assert main([name]) == 130
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (WriteError("cannot be written", where="a.csv"), 74, "zoomin doctor: a.csv: cannot be written."),
        (OSError(28, "No space left on device"), 74, "No space left on device. Check the disk"),
        (MemoryError(), 74, "there is not enough memory"),
        (KeyError("x"), 70, "an error of the program.\nTraceback"),
    ],
)
def test_every_error_has_an_exit_code(
    error: Exception,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(*arguments: object) -> int:
        raise error

    command = COMMANDS["doctor"]._replace(build=lambda parser: None, run=failing)
    monkeypatch.setitem(cli.COMMANDS, "doctor", command)
    assert main(["doctor"]) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_stopped_training_goes_on(name: str, data: Path, tmp_path: Path) -> None:
    """SIGUSR1 under SLURM made Lightning write a checkpoint of its own into the working directory."""
    filled = [f"--data.root={data}", f"--out={tmp_path / 'run'}", *TINY, "--train.epochs=400"]
    slurm = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "job"}
    job = subprocess.Popen(
        [sys.executable, "-m", "zoomin", "train", *filled],
        cwd=tmp_path,
        env={**os.environ, **slurm},
        stderr=subprocess.PIPE,
        text=True,
    )
    table, end = tmp_path / "run" / "metrics.csv", time.monotonic() + 300
    while not table.exists():
        assert job.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    job.send_signal(getattr(signal, name))
    _, err = job.communicate()
    assert job.returncode == 128 + getattr(signal, name), err
    assert f"zoomin train: stopped by {name}. Run the same command with --resume true" in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    done = len(rows(table))
    assert main(["train", *filled, f"--train.epochs={done + 1}", "--resume=true"]) == 0
    assert len(rows(table)) == done + 1


# --------------------------------------------------------------------------- crossval, evaluate, predict


def test_crossval(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "flat"
    for k, name in enumerate(("cat", "dog")):
        write_images(root / name, 4, seed=k)
    arguments = [f"--data.root={root}", f"--out={tmp_path / 'cv'}", "--cv.folds=2", *TINY]
    assert main(["crossval", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "honest" in shown
    assert "optimistic" in shown
    assert (tmp_path / "cv" / "crossval.json").is_file()


def test_evaluate_the_run_s_own_test_images(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", f"--run={run}"]) == 0
    said = capsys.readouterr()
    assert "accuracy" in said.out and "Predicting" in said.err
    assert main(["--quiet", "evaluate", f"--run={run}", f"--out={tmp_path}", "--json"]) == 0
    said = capsys.readouterr()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert json.loads(said.out) == metrics and not said.err
    assert "ZOOMIN_QUIET" not in os.environ
    assert metrics["n_images"] == 6
    assert {Path(row["image"]).parent.parent.name for row in rows(tmp_path / "predictions.csv")} == {"test"}


def test_evaluate_other_images(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", f"--run={run}", f"--data.root={data}", "--split=all", f"--out={tmp_path}"]) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["n_images"] == 18
    write_images(tmp_path / "other" / "bird", 1, seed=0)
    capsys.readouterr()
    assert main(["evaluate", f"--run={run}", f"--data.root={tmp_path / 'other'}"]) == 2
    message = capsys.readouterr().err
    assert "unknown class 'bird'" in message
    assert "cat" in message
    assert main(["evaluate", f"--run={run}", "--split=dev"]) == 2
    assert "unknown split 'dev'" in capsys.readouterr().err


def test_predict_files_folders_and_patterns(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    cats, dog = data / "test" / "cat", data / "train" / "dog" / "1.png"
    assert main(["predict", str(cats), str(dog), f"{data}/val/*/0.png", f"--run={run}", f"--out={out}"]) == 0
    found = rows(out)
    assert [Path(row["image"]).name for row in found] == [
        "0.png",
        "1.png",
        "2.png",
        "1.png",
        "0.png",
        "0.png",
    ]
    for row in found:
        assert row["status"] == "ok"
        assert float(row["prob_cat"]) + float(row["prob_dog"]) == pytest.approx(1, abs=1e-5)


def test_predict_a_manifest_without_labels(run: Path, data: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "list.csv", tmp_path / "predictions.csv"
    table.write_text(f"image\n{data / 'test' / 'cat' / '0.png'}\n")
    options = [f"--manifest={table}", f"--run={run / 'model'}", f"--out={out}", "--sampling=multinomial"]
    assert main(["predict", *options, "--replicates=3", "--seed=9"]) == 0
    (row,) = rows(out)
    assert (row["sampling"], row["replicates"], row["seed"]) == ("multinomial", "3", "9")


def test_predict_goes_on_after_a_bad_image(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    good, bad, out = str(data / "test" / "cat" / "0.png"), str(tmp_path / "text.png"), tmp_path / "out.csv"
    arguments = [f"--run={run}", f"--out={out}"]
    assert main(["predict", bad, good, *arguments]) == 0
    shown = capsys.readouterr()
    assert "1 of 2 images predicted" in shown.out
    assert "text.png" in shown.err
    assert [row["status"] for row in rows(out)] == ["error", "ok"]
    assert main(["predict", bad, good, "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["done"], found["groups"], found["out"]) == (1, None, str(out))
    failed, known = found["images"]
    assert (failed["status"], failed["prediction"], failed["prob_cat"]) == ("error", None, None)
    assert known["prob_cat"] + known["prob_dog"] == pytest.approx(1, abs=1e-5) and known["seed"] == 0
    assert found["counts"][known["prediction"]] == 1 and "text.png" in failed["error"]
    assert main(["predict", bad, good, "--strict", *arguments]) == 1
    assert main(["predict", bad, *arguments]) == 1
    assert main(["predict", good, "--strict", *arguments]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no images given"),
        (["*.nothing"], "no image found"),
        (["a.png", "--replicates=0"], "replicates is 0"),
        (["a.png", "--sampling=best"], "unknown sampling 'best'"),
    ],
)
def test_predict_refuses(
    arguments: list[str], words: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *arguments, f"--run={run}", f"--out={tmp_path / 'out.csv'}"]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------- data, doctor, demo


def test_make_needles(tmp_path: Path) -> None:
    options = ["--n_train=2", "--n_val=0", "--n_test=2", "--min_size=100", "--max_size=120"]
    assert main(["data", "make", "needles", f"--out={tmp_path / 'needles'}", *options]) == 0
    assert len(read_manifest(tmp_path / "needles" / "manifest.csv")) == 4
    assert main(["data", "make", "needles", f"--out={tmp_path / 'needles'}", "--min_needle=1"]) == 2


def test_doctor_finds_everything_in_order(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "torch" in shown
    assert "works" in shown
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Check("zoomin", "ok", "0.1")])
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "zoomin", "status": "ok", "detail": "0.1", "remedy": ""}
    ]


def test_doctor_lists_every_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each package of each extra: its version and what it opens, or the extra that installs it."""
    named = {name: package.extra for name, package in PACKAGES.items()}
    real = doctor.version
    there = {"fastslide": "0.8.1", "wsidicom": "0.1"}

    def version(name: str) -> str:
        if name in named and name not in there:
            raise PackageNotFoundError(name)
        return there.get(name) or real(name)

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(
        doctor, "requires", lambda name: [f'{name}>=0.36; extra == "{extra}"' if name == "wsidicom" else
                                          f'{name}; extra == "{extra}"' for name, extra in named.items()]
    )  # fmt: skip
    checks = {check.name: check for check in doctor._optional()}
    assert checks.keys() == named.keys()
    assert checks["fastslide"].status == "ok" and "0.8.1; opens Olympus VSI" in checks["fastslide"].detail
    assert checks["wsidicom"].status == "broken" and "0.1, needed >=0.36" in checks["wsidicom"].detail
    assert checks["s3fs"].status == "absent" and checks["s3fs"].remedy == "pip install 'zoomin-net[remote]'"
    assert "s3://" in checks["s3fs"].detail
    shown = console_tables.checks_table(list(checks.values())).columns[3].cells
    assert Text.from_markup(list(shown)[list(checks).index("s3fs")]).plain == checks["s3fs"].remedy


def test_doctor_tells_what_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def faint(*arguments: Any) -> None:
        raise OSError("no codec")

    monkeypatch.setitem(doctor._PICTURES, "PNG", (".png", faint))
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=999", "no-such-package>=1", "torch"])
    broken = {check.name: check for check in doctor.examine() if check.status == "broken"}
    assert set(broken) == {"numpy", "no-such-package", "read PNG"}
    assert broken["read PNG"].detail == "OSError: no codec"
    assert all(check.remedy for check in broken.values())
    assert main(["doctor"]) == 1
    assert "3 things are broken" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch"])
    assert main(["doctor"]) == 1 and "1 thing is broken" in capsys.readouterr().out


def test_counts_are_in_good_english(capsys: pytest.CaptureFixture[str]) -> None:
    say_predicted(Summary(8, (), {}, unlike=1, abstained=1), "out.csv")
    said = capsys.readouterr().out
    assert "1 image got no answer" in said and "1 image is unlike the training images" in said
    assert "of 8 images like those, fewer than one would be" in said


def test_demo_reports_and_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needles = NeedleConfig(n_train=8, n_val=4, n_test=6, min_size=100, max_size=130)
    _, config = demo_config(quick=True)
    train = {"epochs": 1, "evaluation_replicates": 1}
    small = config.__class__(config.data, config.model, config.train.__class__(**train, device="cpu"))
    monkeypatch.setattr("zoomin.app.demo.demo_config", lambda **options: (needles, small))
    said: list[str] = []
    result = run_demo(tmp_path / "report", tmp_path / "work", say=said.append, progress=False)
    assert result.metrics["n_images"] == 6
    assert 0 <= result.hit_share <= 1
    assert 0 < result.chance_share < 1
    assert len(rows(tmp_path / "report" / "predictions.csv")) == 6
    for name in ("metrics.json", "where_it_looked.png"):
        assert (tmp_path / "report" / name).stat().st_size > 0
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == 6  # one picture each
    assert f"{HEAVIEST} heaviest" in page
    again = run_demo(tmp_path / "report", tmp_path / "work", say=said.append, progress=False)
    assert again.run == result.run
    assert again.metrics == result.metrics


def test_where_results_go_is_checked_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    work = tmp_path / "work"
    assert main(["demo", "--out", str(tmp_path / "file"), "--work", str(work)]) == 74
    assert not work.exists()
    assert "a file, not a folder" in capsys.readouterr().err
    assert main(["plan", str(tmp_path / "missing"), "--out", str(tmp_path)]) == 74
    assert "a folder, not a file" in capsys.readouterr().err


def test_demo_settings_differ_by_seed_and_speed() -> None:
    needles, run = demo_config(seed=3)
    assert (needles.seed, run.seed) == (3, 3)
    quick, fast = demo_config(quick=True)
    assert quick.n_train * quick.max_size**2 < needles.n_train * needles.max_size**2 / 4
    assert fast.model == run.model


def test_demo_and_recipe_are_the_same() -> None:
    """What the demo shows can be trained from recipes/needles.yaml."""
    recipe = yaml.safe_load((Path(__file__).parent.parent / "recipes" / "needles.yaml").read_text())
    _, run = demo_config()
    for part in ("model", "train"):
        for name, value in recipe[part].items():
            assert getattr(getattr(run, part), name) == value, name
    assert run.data.batch_size == recipe["data"]["batch_size"]
