"""What people write into a label column, what becomes of it, and that the negative class is named."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoomin.data.check import images_to_check
from zoomin.data.find import open_dataset
from zoomin.data.labels import (
    WRITTEN,
    Written,
    describe_classes,
    labels_table,
    sounds_negative,
    unusual_order,
)
from zoomin.data.manifest import read_manifest, write_manifest
from zoomin.errors import DataError
from zoomin.inference import find_images
from zoomin.training.matching import log_classes


def manifest(folder: Path, cells: list[str], extra: str = "") -> Path:
    header, rows = "image,label" + (f",{extra.partition('=')[0]}" if extra else ""), []
    for place, cell in enumerate(cells):
        Image.fromarray(np.full((6, 8, 3), 90 + place, np.uint8)).save(folder / f"{place}.png")
        rows.append(f'{place}.png,"{cell}"' + (f",{extra.partition('=')[2]}" if extra else ""))
    (folder / "m.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / "m.csv"


def test_labels_that_differ_in_case_are_doubted_without_an_order(caplog: pytest.LogCaptureFixture) -> None:
    log_classes(["Rust", "none", "rust"], is_ordered=False)
    assert "'Rust' and 'rust' differ in nothing but their case" in caplog.text
    caplog.clear()
    log_classes(["Rust", "normal"], is_ordered=False)
    assert caplog.text == ""


@pytest.mark.parametrize("written", WRITTEN, ids=lambda w: " ".join(w.cells))
def test_the_table_is_what_happens(tmp_path: Path, written: Written) -> None:
    found = read_manifest(manifest(tmp_path, [*written.cells, "", "NA"]))
    assert found.classes == written.classes
    assert [record.label for record in found][-2:] == [None, None]
    if not written.classes:
        assert all(record.label is None for record in found)
    write_manifest(found, tmp_path / "again.csv")
    assert read_manifest(tmp_path / "again.csv").records == found.records


def test_the_guide_holds_the_table() -> None:
    guide = Path(__file__).parent.parent / "docs" / "your_data.md"
    assert labels_table() in guide.read_text(encoding="utf-8")


def test_minus_one_is_the_negative_class_and_na_is_missing(tmp_path: Path) -> None:
    assert read_manifest(manifest(tmp_path, ["-1", "1"] * 4)).classes == ("-1", "1")
    found = read_manifest(manifest(tmp_path, "0 1 0 1 NA NA NaN NaN".split()))
    assert found.classes == ("0", "1")
    assert [record.label for record in found] == ["0", "1", "0", "1", None, None, None, None]
    with pytest.raises(DataError, match="has no label"):
        found.targets()


def test_folders_are_in_the_same_order(tmp_path: Path) -> None:
    for name in ("1", "-1"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / name / "a.png")
    assert open_dataset(tmp_path).classes == ("-1", "1")


def test_numbers_of_a_model_and_of_a_list_are_the_same_class(tmp_path: Path) -> None:
    found = read_manifest(manifest(tmp_path, ["1.0", "0.0", "1", "0"]))
    assert found.counts() == {"0": 2, "1": 2}
    assert found.with_classes(["0.0", "1.0"]).targets().tolist() == [1, 0, 1, 0]
    assert read_manifest(tmp_path / "m.csv", classes=["0.0", "1.0"]).targets().tolist() == [1, 0, 1, 0]


def test_a_class_named_none_where_it_is_named(tmp_path: Path) -> None:
    path = manifest(tmp_path, ["none", "tumor", "none", "polyp"])
    assert read_manifest(path).classes == ("polyp", "tumor")
    assert read_manifest(path, classes=["none", "polyp", "tumor"]).targets().tolist() == [0, 2, 0, 1]


@pytest.mark.parametrize("extra", ["group=nan", "split=NA", "mpp=NaN", "annotation=none", "foreground=N/A"])
def test_not_known_in_other_columns(tmp_path: Path, extra: str) -> None:
    """Patients "nan" would all be one patient."""
    name = extra.partition("=")[0]
    assert all(getattr(r, name) is None for r in read_manifest(manifest(tmp_path, ["a", "b"], extra)))


def test_the_negative_class_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from zoomin.training.matching import log_classes

    assert describe_classes(["-1", "1"]) == "class 0, the negative one: '-1'; class 1: '1'"
    with caplog.at_level(logging.INFO):
        log_classes(["cancer", "healthy"])
    assert "class 0, the negative one: 'cancer'" in caplog.text
    assert "'cancer' is the negative class, not 'healthy'" in caplog.text
    assert unusual_order(["normal", "tumor"]) == unusual_order(["a", "b"]) == ""
    assert "differ in nothing but their case" in unusual_order(["Pos", "neg", "pos"])


def test_predict_takes_a_list(tmp_path: Path) -> None:
    path = manifest(tmp_path, ["a", "b"])
    assert [record.label for record in find_images([path])] == ["a", "b"]
    assert len(find_images([path, tmp_path / "0.png"])) == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"PK\x03\x04rest", "Excel or OpenDocument workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel workbook"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (b"PAR1", "Parquet"),
    ],
)
def test_a_workbook_named_csv_is_called_one(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    for read in (read_manifest, lambda path: find_images([path]), lambda path: images_to_check([path])):
        with pytest.raises(DataError, match=f"{complaint}.*Save the table as CSV"):
            read(tmp_path / "list.csv")


@pytest.mark.parametrize("name", ["list.xlsx", "list.ods", "list.parquet"])
def test_a_workbook_is_no_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04rest")
    for read in (open_dataset, lambda path: find_images([path]), lambda path: images_to_check([path])):
        with pytest.raises(DataError, match=r"a workbook, not a CSV.*Save it as CSV"):
            read(tmp_path / name)


def test_unicode_text_of_spreadsheets(tmp_path: Path) -> None:
    manifest(tmp_path, ["a", "b"])
    (tmp_path / "u.csv").write_bytes("image\tlabel\n0.png\tnein\n1.png\tja\n".encode("utf-16"))
    assert read_manifest(tmp_path / "u.csv").classes == ("ja", "nein")


@pytest.mark.parametrize(
    ("name", "negative"),
    [
        ("non-tumor", True),
        ("nontumour", True),
        ("Non metastatic", True),
        ("NON_VIABLE", True),
        ("nonviable", True),
        ("no tumor", True),
        ("nonkeratinizing", False),
        ("nonagon", False),
        ("nona", False),
    ],
)
def test_words_that_only_begin_with_non_are_not_negative(name: str, *, negative: bool) -> None:
    assert sounds_negative(name) is negative


def test_classes_of_a_model_are_found_however_they_are_written(tmp_path: Path) -> None:
    found = read_manifest(manifest(tmp_path, ["TRUE", "false", "TRUE"]), classes=["False", "True"])
    assert [record.label for record in found] == ["True", "False", "True"]
    assert read_manifest(manifest(tmp_path, ["TRUE", "FALSE"])).classes == ("FALSE", "TRUE")
    assert read_manifest(manifest(tmp_path, ["a  b", "c"]), classes=["c", "a  b"]).counts() == {
        "c": 1,
        "a  b": 1,
    }


@pytest.mark.parametrize(
    "negative", ["nein", "absence", "\u9634\u6027", "\u9670\u6027", "gutartig", "negatief"]
)
def test_negative_classes_of_other_languages_are_named(negative: str) -> None:
    assert unusual_order(["a", negative]).startswith(f"'a' is the negative class, not {negative!r}")


def test_groups_are_numbers_however_they_are_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ["0.png,0,1,train", "1.png,1,1.0,test", "2.png,1,2,train"]
    (tmp_path / "m.csv").write_text("\n".join(["image,label,group,split", *rows]), encoding="utf-8")
    with pytest.raises(DataError, match="the group '1' is in two splits"):
        read_manifest(tmp_path / "m.csv", files_required=False)
    for one, other in (("7", "007"), ("P1", "p1")):
        text = f"image,label,group\na.png,0,{one}\nb.png,1,{other}\n"
        (tmp_path / "g.csv").write_text(text, encoding="utf-8")
        caplog.clear()
        found = read_manifest(tmp_path / "g.csv", files_required=False)
        assert [record.group for record in found] == [one, other]
        assert f"the groups '{one}' and '{other}' differ in nothing but" in caplog.text
