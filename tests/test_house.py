"""The habits of the house: light imports, no side effects, checked shapes, tidy files."""

from __future__ import annotations

import ast
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import networkx as nx
import pytest
import torch
import yaml
from jaxtyping import TypeCheckError

import zoomin
from zoomin import errors
from zoomin.geometry import sub_tile_regions

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src" / "zoomin"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
)
IMPORTS = grimp.build_graph("zoomin", cache_dir=None)
FILE_NAMES = {"csv", "html", "json", "md", "png", "safetensors", "svg", "txt", "yaml"}


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return done.stdout


def own_files() -> list[Path]:
    """Files that git tracks or would track: all but the ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_import_zoomin_is_light() -> None:
    heavy = "torch lightning openslide rasterio PIL tifffile timm matplotlib sklearn".split()
    code = f"import sys, zoomin; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_face_is_complete_and_brings_no_lightning() -> None:
    """One process for all names: what an earlier name imports may not be heavy either."""
    heavy = "lightning pytorch_lightning openslide rasterio matplotlib".split()
    code = f"""
import sys, zoomin
for name in ("ZoomIn", "open_image", "predict"):
    getattr(zoomin, name)
    assert [m for m in {heavy} if m in sys.modules] == [], name
assert [name for name in zoomin.__all__ if not callable(getattr(zoomin, name))] == []
"""
    assert run_python(code) == ""


def test_importing_everything_does_nothing() -> None:
    code = f"""
import os, random
import numpy, torch
import lightning.pytorch, torchmetrics  # what others do when imported is theirs
before = torch.get_rng_state(), numpy.random.get_state()[1].copy(), random.getstate()
settings = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), os.getcwd()
import importlib
for name in {MODULES}:
    importlib.import_module(name)
assert torch.equal(before[0], torch.get_rng_state()), "torch's random state"
assert (before[1] == numpy.random.get_state()[1]).all(), "numpy's random state"
assert before[2] == random.getstate(), "random's state"
assert settings == (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), os.getcwd())
assert not torch.cuda.is_initialized(), "a device"
"""
    assert run_python(code) == ""


def test_every_module_stands_on_a_floor() -> None:
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    floors = next(c for c in config["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    placed = {name for layer in floors["layers"] for name in re.findall(r"[\w.]+", layer)}
    packages = {name for name in MODULES if (SOURCE.parent / name.replace(".", "/")).is_dir()}
    homeless = [
        name
        for name in set(MODULES) - packages
        if not any(name == place or name.startswith(place + ".") for place in placed)
    ]
    assert homeless == [], "name them in the layers of [tool.importlinter] in pyproject.toml"


def test_no_import_circles() -> None:
    """Imports for type annotations count too; import-linter leaves them out."""
    graph = nx.DiGraph(
        (name, imported)
        for name in IMPORTS.modules
        for imported in IMPORTS.find_modules_directly_imported_by(name)
    )
    circles = [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]
    assert circles == []


def test_nothing_imports_the_face() -> None:
    assert IMPORTS.find_modules_that_directly_import("zoomin") == set()


def test_names_in_docstrings_exist() -> None:
    """Dotted names in backticks that begin with a module of ours: a name in it, a setting, or a file."""
    trees = {name: ast.parse(_file(name).read_text(encoding="utf-8")) for name in MODULES}
    settings = {field for tree in trees.values() for field in _fields(tree)}
    stems = {name.rpartition(".")[2] for name in MODULES}
    unknown = []
    for module, tree in trees.items():
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        for dotted in re.findall(
            r"`((?:\w+\.)+\w+)(?:\(\))?`", "\n".join(t for t in texts if isinstance(t, str))
        ):
            first, *rest = dotted.removeprefix("zoomin.").split(".")
            if first not in stems or not rest or rest[-1] in {"py", *FILE_NAMES} or rest[0] in settings:
                continue
            places = [name for name in MODULES if name.rpartition(".")[2] == first]
            if not any(_resolves(trees, place, rest) for place in places):
                unknown.append(f"{module}: {dotted}")
    assert unknown == []


def _file(module: str) -> Path:
    path = SOURCE.parent / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _fields(tree: ast.Module) -> set[str]:
    """The annotated names in the classes of a file: fields of configurations are settings."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    fields = [node.target for one in classes for node in one.body if isinstance(node, ast.AnnAssign)]
    return {target.id for target in fields if isinstance(target, ast.Name)}


def _resolves(trees: dict[str, ast.Module], module: str, names: list[str]) -> bool:
    """Whether names lead from a module to another one, or to what its file defines or imports."""
    if names and f"{module}.{names[0]}" in trees:
        return _resolves(trees, f"{module}.{names[0]}", names[1:])
    body: list[ast.stmt] = trees[module].body
    for name in names:
        found = [node for node in body if name in _bound(node)]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return True


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement binds."""
    if isinstance(node, ast.ImportFrom | ast.Import):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.If):
        return {name for inner in node.body for name in _bound(inner)}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
    return {name for target in targets if (name := getattr(target, "id", getattr(target, "name", None)))}


def test_one_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == zoomin.__version__
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "zoomin._version.__version__"}


def test_shapes_are_checked() -> None:
    tiles = torch.tensor([[0, 0, 250, 250]])
    position = torch.tensor([0])
    assert sub_tile_regions(tiles, position, (50, 50), 27).shape == (1, 4)
    with pytest.raises(TypeCheckError):
        sub_tile_regions(tiles[:, :3], position, (50, 50), 27)
    with pytest.raises(TypeCheckError):
        sub_tile_regions(tiles, torch.tensor([0, 1]), (50, 50), 27)
    with pytest.raises(TypeCheckError):
        sub_tile_regions(tiles.float(), position, (50, 50), 27)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if not name.startswith("require")])
def test_errors_speak_and_pickle(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("the file is empty", where=Path("a.png"), remedy="Remove it.")
    assert str(error) == "a.png: the file is empty. Remove it."
    assert str(kind("no image")) == "no image."
    assert isinstance(error, errors.ZoomInError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.what, again.where, again.remedy) == (
        str(error),
        "the file is empty",
        "a.png",
        "Remove it.",
    )


def test_files_are_short() -> None:
    lengths = {
        str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in SOURCE.rglob("*.py")
    }
    assert len(lengths) == len(MODULES)
    assert {name: length for name, length in lengths.items() if length > 450} == {}


def test_files_name_no_machine() -> None:
    home = re.compile(rb"(?<![\w.])/(home|Users|root|work|tmp|private|mnt)/\w")
    found = {}
    for path in own_files():
        match = home.search(path.read_bytes())
        if match:
            found[str(path.relative_to(REPOSITORY))] = match.group().decode()
    assert found == {}


def test_no_stray_files() -> None:
    locks = {"poetry.lock", "uv.lock", "Pipfile.lock", "pdm.lock", "package-lock.json", ".DS_Store"}
    binary = {".lock", ".ckpt", ".pt", ".pth", ".safetensors", ".pyc", ".orig", ".rej"}
    names = [path.relative_to(REPOSITORY) for path in own_files()]
    assert [str(name) for name in names if name.name in locks or name.suffix in binary] == []


def test_recipes_parse() -> None:
    recipes = sorted((REPOSITORY / "recipes").rglob("*.yaml"))
    parsed = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in recipes}
    assert parsed
    assert [name for name, recipe in parsed.items() if not isinstance(recipe, dict) or not recipe] == []
