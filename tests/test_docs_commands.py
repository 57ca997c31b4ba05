"""Every command line in the README and the guide is one that the program of today understands."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from zoomin.app.cli import COMMANDS, EVERYWHERE, _choose, _parser, _with_recipes
from zoomin.app.commands.command import Command, Group
from zoomin.classifiers import BASELINES

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
FILES = {"model.py", "model.safetensors"}
BLOCK = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines(page: Path) -> Iterator[list[str]]:
    """The words of every command in the shell blocks of a page, comments left out."""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                yield words


COMMAND_LINES = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words)[:80]}") for page in PAGES for words in lines(page)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the recipes, where configurations that are named come into being."""
    shutil.copytree(REPOSITORY / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zoomin.training.recipe.plan_defaults", lambda parser, words: [])  # no images here
    return tmp_path


@pytest.mark.parametrize("words", COMMAND_LINES)
def test_command_is_understood(words: list[str], folder: Path) -> None:
    if words[0] == "zoomin":
        for option, value in pairwise(words):
            if option == "--config" and Path(value).suffix and not Path(value).exists():
                Path(value).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy("recipes/needles.yaml", value)
        understood(words[1:])
    elif words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words[1:] if "=" not in word and word not in targets] == []
    elif words[:2] == ["python", "-m"] and words[2].startswith("zoomin"):
        assert find_spec(words[2]) is not None


def test_lists_are_quoted() -> None:
    """zsh ends with "no matches found" at a bare [a,b], and bash takes it for a file called a or b."""
    texts = [*PAGES, *(REPOSITORY / "results").rglob("README.md"), *(REPOSITORY / "recipes").glob("*.yaml")]
    texts += (REPOSITORY / "src").rglob("*.py")
    bare = re.compile(r"--[a-z_.]+[ =]\[[\w.]")
    found = [f"{path.name}: {line}" for path in texts for line in path.read_text("utf-8").splitlines()]
    assert [line for line in found if bare.search(line)] == []


def understood(words: list[str]) -> None:
    """Parse as the program does; options that do not exist, and wrong values, exit with 2."""
    try:
        name, chosen, rest = _choose([word for word in words if word not in EVERYWHERE])
        rest = _with_recipes(rest)
        if isinstance(chosen, Command):
            _parser(name, chosen, rest).parse_args(rest)
    except SystemExit as stop:
        assert stop.code == 0, f"zoomin {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_in_the_text_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for name in re.findall(r"`zoomin ([a-z][a-z-]*(?: [a-z][a-z-]*)*)", text):
        known: dict[str, Command | Group] = COMMANDS
        for word in name.split():
            assert word in known, f"zoomin {name}"
            step = known[word]
            if not isinstance(step, Group):
                break
            known = dict(step.commands)


def test_examples_in_the_help_are_understood(folder: Path) -> None:
    def examples(commands: dict[str, Command | Group]) -> Iterator[str]:
        for command in commands.values():
            if isinstance(command, Group):
                yield from examples(dict(command.commands))
            else:
                yield from command.examples.splitlines()

    Path("runs/first").mkdir(parents=True)
    shutil.copy("recipes/needles.yaml", "runs/first/config.yaml")
    shutil.copy("recipes/needles.yaml", "mine.yaml")  # of zoomin init
    for example in examples(COMMANDS):
        words = shlex.split(example.partition(" > ")[0], comments=True)
        understood(words[words.index("zoomin") + 1 :])  # also where a tunnel stands before it


def test_options_in_tables_of_the_guide_exist() -> None:
    """Settings such as `model.tile_size` that the guide names are settings of `zoomin crossval`."""
    chosen = COMMANDS["crossval"]
    assert isinstance(chosen, Command)
    known = set(_parser("crossval", chosen).get_defaults(skip_validation=True).keys())
    for model in BASELINES:
        words = ["--model.name", model]
        known |= set(_parser("crossval", chosen, words).get_defaults(skip_validation=True).keys())
    named = {
        name
        for page in PAGES
        for name in re.findall(r"`(?:--)?((?:model|train|data|cv)\.[a-z0-9_.]+)", page.read_text("utf-8"))
    }
    assert sorted(name for name in named if name not in known and name not in FILES) == []
    assert len(named) > 5


def test_recipes_named_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"recipes/[\w]+\.yaml", page.read_text(encoding="utf-8")):
            assert yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))
