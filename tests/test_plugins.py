"""Plug-ins: what another package brings works by name, and one that is broken is reported by its name.

Nothing is installed: a `dist-info` folder on the path is what `pip install` leaves behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from zoomin.baselines import CNN
from zoomin.classifiers import BASELINES
from zoomin.errors import ConfigError
from zoomin.runtime import plugins
from zoomin.runtime.plugins import PlugIn, Registry

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "examples" / "plugin_package"

BROKEN = {
    "zoomin.readers": {"absent": "no_such_module:READER", "angry": "angry:READER", "wrong": "json:loads"},
    "zoomin.networks": {"features.lenet": "angry:Net", "plain": "angry:Net", "features.flat": "angry:Flat"},
    "zoomin.baselines": {"cnn": "angry:Net", "text": "json:loads"},
    "zoomin.datasets": {"gone": "no_such_module:DATA_SET"},
}
ANGRY = """
from zoomin.images.open_image import Reader
import torch
def fail(*args, **options):
    raise OSError("I am angry")
READER = Reader("angry", fail, fail, suffixes=(".angry",))
Net = torch.nn.Identity
class Flat(torch.nn.Module):
    def forward(self, views):
        return views
"""


def write_dist_info(folder, name, version, points):
    """What pip leaves behind of a package with entry points."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in rows.items()) for group, rows in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))


def run(code, *folders, cwd):
    """What a fresh interpreter prints as JSON, with these folders on its path; and its stderr."""
    path = os.pathsep.join(map(str, (REPOSITORY / "src", *folders)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture
def installed(tmp_path):
    """Folders that stand for an installed example package."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    write_dist_info(tmp_path / "site", project["name"], project["version"], project["entry-points"])
    return PACKAGE / "src", tmp_path / "site"


USE = """
import contextlib, io, json
from pathlib import Path
from zoomin import open_image, ZoomIn, ZoomInConfig
from zoomin.app.cli import main
from zoomin.classifiers import load
from zoomin.data.find import open_dataset
from zoomin.data.folders import list_images

said = io.StringIO()
with contextlib.redirect_stdout(said):
    codes = [
        main(["data", "make", "dots", "--out", "made"]),
        main(["train", "--data.root", "made", "--model.features", "dots", "--model.tile_attention", "dots",
              "--model.tile_size", "48", "--model.sub_tile_size", "15", "--model.tile_scale", "0.25",
              "--model.n_samples", "2", "--train.epochs", "1", "--out", "run"]),
        main("train --data.root made --model.name brightness --train.epochs 1 --out mean".split()),
        main(["predict", "made", "--run", "run", "--out", "predictions.csv"]),
        main(["data", "prepare", "dots", "--source", "made"]),
    ]
from zoomin.app.doctor import _plug_ins
manifest = open_dataset("made")
image = open_image(manifest.records[0].image, mpp=0.5)
print(json.dumps({
    "codes": codes, "classes": manifest.classes, "listed": len(list_images(Path("made"))),
    "image": [type(image).__name__, image.height, image.width, image.mpp],
    "models": [type(load(f"{run}/model")).__name__ for run in ("run", "mean")],
    "network": type(load("run/model").features).__name__,
    "rows": len(Path("predictions.csv").read_text().splitlines()),
    "doctor": [[check.name, check.status, check.detail] for check in _plug_ins()],
}))
"""


def test_a_package_brings_a_format_networks_a_baseline_and_a_data_set(installed, tmp_path):
    found, errors = run(USE, *installed, cwd=tmp_path)
    assert found["codes"] == [0, 0, 0, 0, 2]
    assert "this data set is read as it was downloaded" in errors and "left out" not in errors
    assert found["classes"] == ["dark", "bright"] and found["listed"] == 12 and found["rows"] == 13
    assert found["image"] == ["DotsImage", 96, 128, 0.5]
    assert found["models"] == ["ZoomIn", "Brightness"] and found["network"] == "DotFeatures"
    assert [row[:2] for row in found["doctor"]] == [
        ["zoomin.readers dots", "ok"],
        ["zoomin.networks attention.dots", "ok"],
        ["zoomin.networks features.dots", "ok"],
        ["zoomin.baselines brightness", "ok"],
        ["zoomin.datasets dots", "ok"],
    ]
    assert found["doctor"][0][2] == "zoomin-dots 1.0: zoomin_dots.reader:READER"


SURVIVE = """
import json
from pathlib import Path
from PIL import Image
from zoomin import ZoomIn, ZoomInConfig, open_image
from zoomin.app.doctor import _plug_ins
from zoomin.classifiers import BASELINES
from zoomin.data.find import open_dataset

for kind in "ab":
    Path("made", kind).mkdir(parents=True)
    Image.new("RGB", (9, 7)).save(f"made/{kind}/1.png")
opened = [open_image("made/a/1.png").width for _ in range(2)]
said = []
for name in ("flat", "none"):
    try:
        ZoomIn(ZoomInConfig(features=name))
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps({
    "opened": opened, "images": len(open_dataset("made")), "said": said,
    "lenet": type(ZoomIn(ZoomInConfig()).features).__module__, "baselines": sorted(BASELINES.items())[1][0],
    "doctor": {check.name: check.detail for check in _plug_ins()},
    "statuses": sorted({check.status for check in _plug_ins()}),
}))
"""


def test_broken_plug_ins_are_reported_and_disturb_nothing(tmp_path):
    write_dist_info(tmp_path / "site", "zoomin-broken", "0.3", BROKEN)
    (tmp_path / "site" / "angry.py").write_text(ANGRY)
    found, errors = run(SURVIVE, tmp_path / "site", cwd=tmp_path)
    assert found["opened"] == [9, 9] and found["images"] == 2
    assert found["lenet"] == "zoomin.model.networks.features"
    for name in ("absent", "angry", "wrong"):
        said = f"left out: the plug-in '{name}' (zoomin.readers) of zoomin-broken 0.3 does not work ("
        assert errors.count(said) == 1, name
    assert "OSError: I am angry" in errors and "the plug-in 'gone' (zoomin.datasets)" in errors
    flat, none = found["said"]
    assert flat.startswith("ConfigError: features: the feature network 'flat' gives the shape (2, 3, 27, 27)")
    assert "unknown feature network 'none'" in none and "flat" in none
    assert "If another package brings it, install that package; zoomin doctor" in none
    assert found["statuses"] == ["broken", "ok"]  # "angry" is a reader; only its use shows what it does
    for name, why in {
        "zoomin.readers absent": "No module named 'no_such_module'",
        "zoomin.readers wrong": "not a zoomin.images.open_image.Reader",
        "zoomin.networks features.lenet": "the name 'lenet' is taken by zoomin",
        "zoomin.networks plain": "starts with neither features. nor attention.",
        "zoomin.baselines cnn": "the name 'cnn' is taken by zoomin",
        "zoomin.baselines text": "not a subclass of zoomin.baselines.Baseline",
        "zoomin.datasets gone": "No module named 'no_such_module'",
    }.items():
        assert why in found["doctor"][name]


def test_looking_for_plug_ins_imports_nothing_heavy():
    code = """
import json, sys, zoomin.runtime.plugins as p
found = [p.plug_ins(group) for group in p.GROUPS]
print(json.dumps([name in sys.modules for name in ("torch", "numpy")]))
"""
    assert run(code, cwd=REPOSITORY)[0] == [False, False]


def test_the_first_of_two_packages_has_the_name(monkeypatch):
    two = tuple(PlugIn("zoomin.baselines", "mean", "json:loads", package) for package in ("a 1", "b 1"))
    monkeypatch.setattr(plugins, "plug_ins", lambda group: two)
    registry = Registry("zoomin.baselines", {}, callable, "a function")
    assert list(registry) == ["mean"] and len(registry) == 1 and registry["mean"] is json.loads
    assert [registry.problem(each) for each in two] == ["", "the name 'mean' is taken by a 1"]


def test_a_registry_is_a_mapping():
    assert BASELINES["cnn"] is CNN and "cnn" in BASELINES and "none" not in BASELINES
    assert list(BASELINES) == list(BASELINES.built_in) == [name for name, _ in BASELINES.items()]
    assert BASELINES.get("none") is None and len(BASELINES.values()) == len(BASELINES)
    with pytest.raises(KeyError):
        BASELINES["none"]
    with pytest.raises(ConfigError, match=r"the plug-in 'x' .* of a 1 does not work .*no_such_module"):
        PlugIn("zoomin.baselines", "x", "no_such_module:X", "a 1").load()
