"""Every image is looked over: facts, problems with their remedies, cost, a contact sheet, an exit code."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from test_data_slide_files import dicom
from zoomin.app.cli import main
from zoomin.data import check
from zoomin.data.check import check_images, images_to_check, manifest_problems
from zoomin.data.contact_sheet import ContactSheet
from zoomin.data.find import open_dataset
from zoomin.data.manifest import Record
from zoomin.data.slide_files import parts_of
from zoomin.errors import ScatteredSlideError
from zoomin.images.foreground import Foreground
from zoomin.model.config import ZoomInConfig

SIDE = 220


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A slide, glass, a text that is named as an image, and a manifest that lists a missing file too."""
    glass = np.full((120, 160, 3), 242, dtype=np.uint8)
    slide = glass.copy()
    slide[40:80, 40:120] = (180, 90, 150)
    PillowImage.fromarray(slide).save(tmp_path / "Präparat 1.png")
    PillowImage.fromarray(glass).save(tmp_path / "glass.png")
    (tmp_path / "bad.svs").write_text("no slide")
    lines = [
        "image,label,group,split,mpp",
        "Präparat 1.png,tumour,p1,train,0.5",
        "glass.png,normal,p1,test,0.5",
        "bad.svs,normal,p2,train,",
        "gone.png,,p3,test,",
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_each_image_has_its_row(folder: Path) -> None:
    looks = list(check_images(images_to_check([folder / "manifest.csv"])))
    slide, glass, bad, gone = (look.row for look in looks)
    assert (slide.width, slide.height, slide.levels, slide.mpp, slide.format) == (160, 120, 1, 0.5, "PNG")
    assert slide.tissue == pytest.approx(40 * 80 / (120 * 160), rel=0.05)
    assert slide.problem == ""
    assert glass.problem == "no foreground found"
    assert bad.problem and bad.remedy and gone.problem and gone.remedy
    assert [look.overview is None for look in looks] == [False, False, True, True]


def test_whatever_a_reader_raises_is_told_in_the_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reader(*args: object) -> None:
        raise KeyError("openslide.level[0].width")

    monkeypatch.setattr(check, "open_record", reader)
    [found] = check_images([Record(folder / "glass.png", None)])
    assert found.row.problem == "cannot be read (KeyError: 'openslide.level[0].width')"
    assert "please report it" in found.row.remedy


def test_cost_and_resolution_for_a_model(folder: Path) -> None:
    records = [Record(folder / "Präparat 1.png", None)]
    settings = {"tile_size": 40, "tile_scale": 0.5, "sub_tile_size": 10, "n_samples": 5}
    model = ZoomInConfig(**settings, foreground=Foreground("otsu"))
    [look] = check_images(records, model)
    assert (look.row.tiles, look.row.views) == (2, 2 + 2 + 5)
    assert look.row.megabytes == pytest.approx(3 * (2 * 20**2 + 2 * 8**2 + 5 * 10**2) / 1e6)
    [unknown] = check_images(records, ZoomInConfig(**settings, mpp=0.5))
    assert "not known" in unknown.row.problem
    [coarse] = check_images(records, ZoomInConfig(**settings, mpp=0.5), mpp=1.0)
    assert "coarser" in coarse.row.problem


def test_the_list_itself_is_checked(folder: Path) -> None:
    problems = manifest_problems(images_to_check([folder / "manifest.csv"]))
    assert len(problems) == 2
    assert "'p1'" in problems[0]
    assert "1 of 4 images have no label" in problems[1]
    assert manifest_problems(images_to_check([folder])) == problems


def test_contact_sheet_is_paged_and_marks_problems(folder: Path) -> None:
    looks = list(check_images(images_to_check([folder / "manifest.csv"])))
    sheet = ContactSheet(folder / "sheets")
    for look in looks * 8:
        sheet.add(look)
    pages = sheet.finish()
    assert [page.name for page in pages] == ["sheet_001.png", "sheet_002.png"]
    pixels = np.asarray(PillowImage.open(pages[0]).convert("RGB")).astype(int)
    red = (pixels[:, :, 0] > 180) & (pixels[:, :, 1:] < 40).all(2)
    green = (pixels[:, :, 1] > 140) & (pixels[:, :, 0] < 40)
    first, second = np.s_[10 : 10 + SIDE, 10 : 10 + SIDE], np.s_[10 : 10 + SIDE, 20 + SIDE : 20 + 2 * SIDE]
    assert green[first].sum() > 100 and not red[first].any()
    assert red[second].sum() > 4 * SIDE and not green[second].any()


def test_the_command_and_its_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    assert main(["data", "check", str(folder / "manifest.csv"), f"--out={out}"]) == 1
    with (out / "check.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["tumour", "normal", "normal", ""]
    shown = capsys.readouterr()
    assert "4 images, 3 with a problem" in shown.out
    assert "manifest: 1 groups are in several splits" in shown.out
    assert "bad.svs" in shown.err
    recipe = folder / "recipe.yaml"
    recipe.write_text("model: {tile_size: 40, sub_tile_size: 9}\ndata: {root: x, batch_size: 2}\nout: y\n")
    options = [f"--config={recipe}", f"--out={folder / 'second'}", "--model.foreground.method=otsu"]
    assert main(["data", "check", str(folder / "Präparat 1.png"), *options]) == 0
    assert "1 images, 0 with a problem" in capsys.readouterr().out


def test_a_recipe_gives_the_images_and_the_model_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the file of a run, and of a baseline; the check does not write where the run does."""
    monkeypatch.chdir(folder)
    recipe = folder / "recipe.yaml"
    for text in ("model: {tile_size: 40, sub_tile_size: 9}", "model: {name: clam, branches: multi}"):
        recipe.write_text(
            f"{text}\ndata: {{root: 'Präparat 1.png'}}\nfrozen: {{enabled: true}}\nout: run\nresume: true\n",
            encoding="utf-8",
        )
        assert main(["data", "check", "Präparat 1.png", "--config", "recipe.yaml"]) == 0
    assert (folder / "check" / "check.csv").is_file() and not (folder / "run").exists()
    recipe.write_text("dta: {root: x}\n")
    assert main(["data", "check", "--config", "recipe.yaml"]) == 2
    assert "recipe.yaml: no section 'dta' in a recipe. Did you mean data?" in capsys.readouterr().err


def test_json_holds_all_that_was_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(folder / "manifest.csv"), "--out", str(folder / "out"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    slide, _, bad, _ = found["images"]
    assert slide["levels"] == [{"width": 160, "height": 120}] and slide["mpp_source"] == "stated"
    assert (slide["series"], slide["associated"], slide["icc"], slide["companions"]) == (1, [], "", [])
    assert bad["problem"] and bad["remedy"] and bad["levels"] == []
    assert "1 groups are in several splits" in found["problems"][0]
    assert found["classes"] == ["normal", "tumour"] and found["leaks"] == []
    assert found["counts"]["train"] == {"tumour": 1, "normal": 1}


def test_companions_are_the_other_files_of_the_slide(tmp_path: Path) -> None:
    pixels = np.zeros((2, 64, 64), np.uint8)
    names = ["a.ome.tif", "b.ome.tif"]
    uuids = {name: f"urn:uuid:00000000-0000-4000-8000-00000000000{i}" for i, name in enumerate(names)}
    planes = "".join(
        f'<TiffData IFD="0" PlaneCount="1" FirstC="{i}"><UUID FileName="{name}">{uuids[name]}</UUID>'
        "</TiffData>"
        for i, name in enumerate(names)
    )
    for i, name in enumerate(names):
        text = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuids[name]}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
            f'Type="uint8" SizeX="64" SizeY="64" SizeC="2" SizeZ="1" SizeT="1">{planes}'
            "</Pixels></Image></OME>"
        )
        tifffile.imwrite(tmp_path / name, pixels[i], description=text, metadata=None)
    PillowImage.new("RGB", (20, 20)).save(tmp_path / "other.png")
    assert parts_of([tmp_path / "a.ome.tif", tmp_path / "other.png"]) == {
        tmp_path / "a.ome.tif": (tmp_path / "b.ome.tif",),
        tmp_path / "other.png": (),
    }


@pytest.mark.parametrize("kind", ["levels", "link"])
def test_a_slide_in_two_class_folders_is_told_as_training_tells_it(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("neg", "pos"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    PillowImage.new("RGB", (20, 20)).save(tmp_path / "set/neg/a.png")
    if kind == "link":
        (tmp_path / "set/pos/b.png").symlink_to(tmp_path / "set/neg/a.png")
    else:
        for level, folder in enumerate(("neg", "pos")):
            dicom(tmp_path / "set" / folder / "x.dcm", "1.1", f"1.1.{level}", pixels=64 >> level)
    with pytest.raises(ScatteredSlideError, match="in the folders of two classes"):
        open_dataset(tmp_path / "set")
    records = images_to_check([tmp_path / "set"])
    assert {record.label for record in records} == {"neg", "pos"}
    (problem,) = manifest_problems(records)
    assert "further files of a slide" in problem and "put all its files into one folder" in problem
    assert main(["data", "check", str(tmp_path / "set"), "--out", str(tmp_path / "out")]) == 1
    assert "manifest: 1 images are further files" in capsys.readouterr().out


def test_companions_of_a_dicom_slide_in_folders_of_their_own(tmp_path: Path) -> None:
    files = [
        dicom(tmp_path / slide / place, series, f"{series}.{level}", pixels=64 >> level)
        for slide, series in (("s1", "1.1"), ("s2", "1.2"))
        for level, place in enumerate(("0/x.dcm", "1/x.dcm", "2/x.dcm"))
    ]
    assert parts_of([files[0], files[3]]) == {files[0]: tuple(files[1:3]), files[3]: tuple(files[4:])}
    files = [
        dicom(tmp_path / "s3" / place, "1.3", f"1.3.{level}", pixels=64 >> level)
        for level, place in enumerate(("x.dcm", "low/y.dcm"))
    ]
    assert parts_of([files[0]]) == {files[0]: (files[1],)}


@pytest.mark.parametrize("name", ["IM_0001", "1.2.840.10008", "a.dcm"])
def test_the_format_is_that_of_the_content(tmp_path: Path, name: str) -> None:
    (found,) = check_images([Record(dicom(tmp_path / name, "1.1", "1.1.1"), label=None)])
    assert found.row.format == "DICOM"
    (tmp_path / "text").write_text("no image")
    (found,) = check_images([Record(tmp_path / "text", label=None)])
    assert found.row.format == "" and "text, not an image" in found.row.problem
