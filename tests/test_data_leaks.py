"""What tells the classes apart besides the picture is told by name; what is alike is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from zoomin.app.cli import main
from zoomin.data.check import check_images, images_to_check
from zoomin.data.leaks import Leak, file_facts, leaks

Save = Callable[[Image.Image, Path, bool], Path]


def jpeg(image: Image.Image, path: Path, positive: bool) -> Path:
    path = path.with_suffix(".jpg")
    image.save(path, quality=90 if positive else 70)
    return path


def formats(image: Image.Image, path: Path, positive: bool) -> Path:
    path = path.with_suffix(".bmp" if positive else ".png")
    image.save(path)
    return path


def sizes(image: Image.Image, path: Path, positive: bool) -> Path:
    path = path.with_suffix(".png")
    image.resize((60, 48) if positive else (64, 48)).save(path)
    return path


def program(image: Image.Image, path: Path, positive: bool) -> Path:
    path, told = path.with_suffix(".png"), PngInfo()
    told.add_text("Software", "Scanner A" if positive else "Scanner B")
    image.save(path, pnginfo=told)
    return path


def modes(image: Image.Image, path: Path, positive: bool) -> Path:
    path = path.with_suffix(".png")
    (image.convert("RGBA") if positive else image).save(path)
    return path


def alike(image: Image.Image, path: Path, positive: bool) -> Path:
    path = path.with_suffix(".jpg")
    image.save(path, quality=80)
    return path


def data_set(folder: Path, save: Save, n: int = 12, swapped: int = 0) -> Path:
    """Pictures of noise; in `swapped` of each class the file is made as in the other one."""
    rng, rows = np.random.default_rng(0), ["image,label"]
    for number in range(2 * n):
        positive, place = number % 2 == 1, number // 2
        noise = Image.fromarray(rng.integers(90, 200, (48, 64, 3)).astype(np.uint8))
        path = save(noise, folder / f"{number}", positive != (place < swapped))
        rows.append(f"{path.name},{'pos' if positive else 'neg'}")
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    return folder / "m.csv"


def found(folder: Path, save: Save, **how: int) -> dict[str, Leak]:
    rows = [look.row for look in check_images(images_to_check([data_set(folder, save, **how)]))]
    return {leak.name: leak for leak in leaks(rows)}


@pytest.mark.parametrize(
    ("save", "name", "value", "higher"),
    [
        (jpeg, "JPEG quality", "", True),
        (jpeg, "file size", "", True),
        (formats, "format", "BMP", True),
        (sizes, "width", "", False),
        (program, "program", "Scanner A", True),
        (modes, "colour mode", "RGB", False),
    ],
)
def test_what_tells_the_classes_apart(
    tmp_path: Path, save: Save, name: str, value: str, higher: bool
) -> None:
    leak = found(tmp_path, save)[name]
    assert (leak.value, leak.label, leak.area, leak.higher) == (value, "pos", 1.0, higher)
    assert 0.7 < leak.low < 1.0
    assert name in str(leak) and "instead of what they show" in str(leak)


@pytest.mark.parametrize(
    ("save", "how"), [(alike, {}), (jpeg, {"n": 9}), (jpeg, {"n": 20, "swapped": 9}), (sizes, {"swapped": 5})]
)
def test_what_does_not(tmp_path: Path, save: Save, how: dict[str, int]) -> None:
    """Alike, too few images, or a difference that may be chance."""
    assert found(tmp_path, save, **how) == {}


@pytest.mark.parametrize("quality", [25, 50, 75, 92, 100])
def test_the_quality_of_a_jpeg(tmp_path: Path, quality: int) -> None:
    Image.new("RGB", (64, 48), (90, 140, 200)).save(tmp_path / "a.jpg", quality=quality)
    assert file_facts(tmp_path / "a.jpg")["JPEG quality"] == pytest.approx(quality, abs=1.5)


def test_data_check_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data_set(tmp_path, jpeg)
    main(["data", "check", str(path), "--out", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert "class 0, the negative one: 'neg'; class 1: 'pos'" in told
    assert "leak: JPEG quality is higher in 'pos'" in told
