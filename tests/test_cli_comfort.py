"""Mistyped words, recipes by name, and a text for every setting."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from zoomin import __version__
from zoomin.app.cli import COMMANDS, _parser, _with_recipes, main
from zoomin.app.commands.command import Command, Group
from zoomin.app.completion import completion_script
from zoomin.classifiers import BASELINES
from zoomin.errors import ConfigError
from zoomin.training.recipe_files import explain_recipe, find_recipe, recipe_names

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def commands(known: Mapping[str, Command | Group], before: str = "") -> Iterator[tuple[str, Command]]:
    for name, command in known.items():
        whole = f"{before} {name}".lstrip()
        if isinstance(command, Group):
            yield from commands(command.commands, whole)
        else:
            yield whole, command


def test_every_setting_has_a_text() -> None:
    """Of settings of dataclasses, it stands under the field, inherited ones too."""
    for name, command in commands(COMMANDS):
        kinds = [[], *(["--model.name", model] for model in BASELINES)] if name == "train" else [[]]
        for words in kinds:
            actions = _parser(name, command, words)._actions
            bare = [action.dest for action in actions if not (action.help or "").strip()]
            assert bare == [], f"zoomin {name} {' '.join(words)}"


def test_texts_come_from_the_fields() -> None:
    helps = {
        action.dest: action.help for action in _parser("train", dict(commands(COMMANDS))["train"])._actions
    }
    assert helps["model.tile_size"].startswith("Side of a tile, what stage 1 draws, in level-0 pixels.")
    assert helps["model.foreground.min_share"].startswith("Smallest share of a tile")
    assert helps["train.warm_up.starts"].startswith("Detectors trained side by side")
    clam = _parser("train", dict(commands(COMMANDS))["train"], ["--model.name", "clam"])._actions
    inherited = {action.dest: action.help for action in clam}
    assert inherited["model.crop_size"].startswith("Side of the crops")
    assert inherited["model.chunk_size"].startswith("Maximum number of views per network call")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trian", "no command 'trian'. Did you mean train?"),
        ("data mkae", "zoomin data: error: no command 'mkae'. Did you mean make?"),
        ("zzz", "no command 'zzz'. Known: demo, recipes, init,"),
        ("predict --rn x", "unrecognized arguments: --rn. Did you mean --run?"),
        ("train --data.root x --model.tile_sise=3", "Did you mean --model.tile_size or --"),
        (
            "train --config bad.yaml --data.root x",
            "does not accept option 'tile_sise'. Did you mean model.tile_size",
        ),
    ],
)
def test_did_you_mean(words, said, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("model:\n  tile_sise: 3\n")
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


class Stop(BaseException):
    """What a command would do is not done here."""


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("predict --run r --resume a.png", "resume", True),
        ("predict a.png --run r --resume", "resume", True),
        ("predict a.png --run r --resume --retry_failed", "retry_failed", True),
        ("predict a.png --run r --resume false", "resume", False),
        ("predict --run r --resume=false a.png", "resume", False),
        ("predict a.png --run r --strict", "strict", True),
        ("predict a.png --run r --strict true", "strict", True),
        ("explain --run r --resume", "resume", True),
        ("train --config colon_cancer --data.root x --resume", "resume", True),
        ("train --config colon_cancer --model.normalize_features --seed 3", "model.normalize_features", True),
        ("demo --quick", "quick", True),
    ],
)
def test_what_is_true_or_false_needs_no_value(words, name, value, monkeypatch) -> None:
    seen = []

    def stop(parser, options) -> int:
        seen.append(options[name])
        raise Stop

    command = words.split()[0]
    monkeypatch.setitem(COMMANDS, command, COMMANDS[command]._replace(run=stop))
    with pytest.raises(Stop):
        main(words.split())
    assert seen == [value]


def test_a_value_that_is_neither_is_named(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--data.root", "x", "--config", "colon_cancer", "--resume", "ture"])
    assert "Expected a <class 'bool'>. Got value: ture" in " ".join(capsys.readouterr().err.split())


def test_recipes_are_listed_and_explained(capsys) -> None:
    assert main(["recipes"]) == 0
    shown = capsys.readouterr().out
    names = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    assert [name for name in names if f"\n{name} " not in f"\n{shown}"] == []
    assert all(explain_recipe(name) for name in recipe_names())
    assert main(["recipes", "colon_cancer"]) == 0
    shown = capsys.readouterr().out
    assert (
        "colon_cancer.yaml" in shown
        and "\nColon cancer (CRCHistoPhenotypes_2016_04_28), the paper's setting" in shown
    )
    assert main(["recipes", "colon_cancr"]) == 2
    assert "colon_cancr: no such recipe. Did you mean colon_cancer or" in capsys.readouterr().err


def test_init_writes_a_recipe_to_edit(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "needles"]) == 0
    assert yaml.safe_load(Path("needles.yaml").read_text()) == yaml.safe_load(
        (RECIPES / "needles.yaml").read_text()
    )
    assert "zoomin train --config needles.yaml --data.root IMAGES" in capsys.readouterr().out
    assert main(["init", "needles"]) == 2
    assert "needles.yaml: the file exists already. Give another --out." in capsys.readouterr().err
    assert main(["init", "needles", "--out", "deep/mine.yaml"]) == 0 and Path("deep/mine.yaml").is_file()


def test_a_recipe_by_name_from_anywhere(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["train", "--config", "colon_cancer_clam", "--data.root", "images", "--print_config"])
    assert stop.value.code == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"]["name"] == "clam" and shown["data"]["root"] == "images"
    file = str(find_recipe("needles"))
    assert str(find_recipe("recipes/needles.yaml")) == file  # as documents name it, wherever zoomin is called
    assert _with_recipes(["--config=needles", "--out", "needles"]) == [f"--config={file}", "--out", "needles"]
    for absent in ("no/needles", "needles.yml"):
        with pytest.raises(ConfigError, match=r"no such recipe\. Did you mean needles"):
            _with_recipes(["--config", absent])
    assert _with_recipes(["--config", file])[1] == file
    Path("needles").write_text("model: {}")
    assert _with_recipes(["--config", "needles"]) == ["--config", "needles"]  # a file here comes first
    with pytest.raises(ConfigError, match="Did you mean needles"):
        _with_recipes(["--config", "needle"])


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["doc"], {"doctor"}),
        (["data", "ma"], {"make"}),
        (["data", "make", ""], {"needles"}),
        (["doctor", "--j"], {"--json"}),
        (["init", "--o"], {"--out"}),
        (["init", "three"], {"three_stages"}),
        (["doctor", ""], set()),  # then the shell completes files
        (["init", "--out", "--j"], set()),
    ],
)
def test_a_shell_completes(words: list[str], offered: set[str]) -> None:
    make = Group("", {"make": Group("", {"needles": COMMANDS["doctor"]})})
    some = Group("", {"init": COMMANDS["init"], "doctor": COMMANDS["doctor"], "data": make})
    script = completion_script("bash", some, _parser, recipe_names())
    line = " ".join(map(repr, ["zoomin", *words]))
    ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; _zoomin; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True)
    assert not done.stderr and set(done.stdout.split()) == offered
    assert completion_script("zsh", some, _parser, []).splitlines()[1].endswith("bashcompinit")


def test_python_m_zoomin_and_its_version() -> None:
    done = subprocess.run([sys.executable, "-m", "zoomin", "-V"], capture_output=True, text=True, check=True)
    assert done.stdout == f"zoomin {__version__}\n"


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    """`zoomin recipes | head -1`: the pipe is closed before anything is written."""
    command = [sys.executable, "-c", "from zoomin.app.cli import main; raise SystemExit(main(['recipes']))"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


def test_recipes_that_cannot_be_read_are_named(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", "needls.yaml", "--data.root", "x"]) == 2
    assert "needls.yaml: no such recipe. Did you mean needles" in capsys.readouterr().err
    Path("broken.yaml").write_text("model: [1\n")
    assert main(["train", "--config=broken.yaml", "--data.root", "x"]) == 2
    error = capsys.readouterr().err
    assert "broken.yaml: not a readable YAML file" in error and "Fix the recipe." in error
