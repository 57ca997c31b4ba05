"""Manifests: what is accepted, what is written back, and every way in which a list of images can be wrong."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from zoomin.data.find import open_dataset
from zoomin.data.folders import list_images, read_folders
from zoomin.data.labels import natural_order
from zoomin.data.manifest import (
    Manifest,
    ManifestColumns,
    Record,
    read_manifest,
    write_manifest,
)
from zoomin.data.trainable import check_trainable
from zoomin.errors import DataError


def make(folder, text, files=("a.png", "b.png", "c.png"), encoding="utf-8"):
    """A manifest with these lines beside empty files of these names."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_any_common_csv_is_read(tmp_path, encoding, delimiter, newline):
    lines = ["image,label,group", '"sub dir/Präparat 1.png",Tumör,p1', "", "b.png , normal ,"]
    text = newline.join(lines).replace(",", delimiter)
    manifest = read_manifest(make(tmp_path, text, ("sub dir/Präparat 1.png", "b.png"), encoding))
    first, second = manifest.records
    assert first == Record(tmp_path / "sub dir/Präparat 1.png", "Tumör", group="p1")
    assert second == Record(tmp_path / "b.png", "normal")
    assert (first.row, second.row) == (2, 4)
    assert manifest.classes == ("normal", "Tumör")


def test_a_quoted_path_may_hold_the_separator(tmp_path):
    manifest = read_manifest(make(tmp_path, 'image,label\n"a,b.png",x\n', ["a,b.png"]))
    assert manifest.records[0].image.name == "a,b.png"


def test_a_comma_in_a_file_of_semicolons_is_part_of_the_path(tmp_path):
    manifest = read_manifest(make(tmp_path, "image;label\na,b.png;x\n", ["a,b.png"]))
    assert manifest.records[0] == Record(tmp_path / "a,b.png", "x")


def test_all_columns_under_names_of_the_users_choice(tmp_path):
    columns = ManifestColumns("file", "class", "patient", "fold", "microns", "nuclei", "roi")
    text = "roi,nuclei,microns,fold,patient,class,file\nm.png,n.mat,0.25,Validation,p,x,a.png\n"
    manifest = read_manifest(make(tmp_path, text, ("a.png", "m.png", "n.mat")), columns)
    expected = Record(tmp_path / "a.png", "x", "p", "val", 0.25, tmp_path / "n.mat", tmp_path / "m.png")
    assert manifest.records == (expected,)


def test_classes_are_in_natural_order_or_in_the_one_given(tmp_path):
    path = make(tmp_path, "image,label\na.png,10\nb.png,2\nc.png,1\n")
    assert read_manifest(path).classes == ("1", "2", "10")
    assert read_manifest(path).targets().tolist() == [2, 1, 0]
    given = read_manifest(path, classes=["2", "10", "1", "unseen"])
    assert given.classes == ("2", "10", "1", "unseen")
    assert given.targets().tolist() == [1, 0, 2]
    assert given.counts() == {"2": 1, "10": 1, "1": 1, "unseen": 0}


def test_natural_order_does_not_stumble_over_mixed_names():
    assert natural_order(["10", "a", "2", "a10", "a9", "", "²"]) == ["", "2", "10", "a", "a9", "a10", "²"]


def test_subset_keeps_classes_and_takes_tensors_or_lists(tmp_path):
    manifest = read_manifest(make(tmp_path, "image,label\na.png,x\nb.png,y\nc.png,x\n"))
    assert [r.image.name for r in manifest.subset(torch.tensor([2, 0]))] == ["c.png", "a.png"]
    assert manifest.subset([1]).classes == ("x", "y")


def test_a_written_manifest_reads_back_and_moves_with_its_images(tmp_path):
    text = "image,label,group,split,mpp,mask\nd/ä.png,x,p1,train,0.5,d/m.png\nb.png,y,,test,,\n"
    manifest = read_manifest(make(tmp_path / "one", text, ("d/ä.png", "d/m.png", "b.png")))
    write_manifest(manifest, tmp_path / "one" / "copy.csv")
    assert read_manifest(tmp_path / "one" / "copy.csv").records == manifest.records
    assert str(tmp_path) not in (tmp_path / "one" / "copy.csv").read_text(encoding="utf-8")
    write_manifest(manifest, tmp_path / "elsewhere" / "run" / "copy.csv")
    assert read_manifest(tmp_path / "elsewhere" / "run" / "copy.csv").records == manifest.records
    (tmp_path / "one").rename(tmp_path / "two")
    moved = read_manifest(tmp_path / "two" / "copy.csv")
    assert moved.records[0].image == tmp_path / "two" / "d/ä.png"


def test_a_relative_root_is_written_relative_too(tmp_path, monkeypatch):
    make(tmp_path, "image,label\na.png,x\n")
    monkeypatch.chdir(tmp_path)
    write_manifest(read_manifest("list.csv"), "copy.csv")
    assert Path("copy.csv").read_text() == "image,label\na.png,x\n"


def test_a_column_of_groups_that_is_not_there(tmp_path):
    path = make(tmp_path, "image,label\na.png,x\n")
    with pytest.raises(DataError, match=r"'patient'.*--group_by for predict and evaluate, --data"):
        read_manifest(path, ManifestColumns(group="patient"))


WRONG = {
    "no image column": (
        "file,label\na.png,x\n",
        ["no column 'image'", "'label'", "--data.columns.image"],
    ),
    "no label column": (
        "image,class\na.png,x\n",
        ["no column 'label'", "'class'", "--data.columns.label"],
    ),
    "a column twice": ("image,label,label\na.png,x,y\n", ["'label' appears twice"]),
    "no rows": ("image,label\n\n", ["no image is listed"]),
    "long path": (f"image,label\na.png,x\n{'a' * 300}.png,y\n", ["row 3 names a file in more than 255"]),
    "no path": ("image,label\na.png,x\n,y\n", ["row 3 names no image"]),
    "a cell too many": ("image,label\na,b.png,x\n", ["row 2 has 3 cells for 2 columns", "Quote"]),
    "an image twice": ("image,label\na.png,x\nb.png,y\n./a.png,x\n", ["a.png", "rows 2 and 4"]),
    "an unknown split": ("image,label,split\na.png,x,dev\n", ["row 2", "'dev'", "train, val or test"]),
    "a group in two splits": (
        "image,label,group,split\na.png,x,p,train\nb.png,x,p,test\n",
        ["group 'p'", "a.png (row 2) in train", "b.png (row 3) in test"],
    ),
    "mpp no number": ("image,label,mpp\na.png,x,0.5\nb.png,x,fine\n", ["row 3", "'fine'", "positive number"]),
    "mpp zero": ("image,label,mpp\na.png,x,0\n", ["row 2", "'0'"]),
    "mpp negative": ("image,label,mpp\na.png,x,-0.5\n", ["row 2", "'-0.5'"]),
    "mpp infinite": ("image,label,mpp\na.png,x,inf\n", ["row 2", "'inf'"]),
    "no image file": ("image,label\na.png,x\nz.png,y\n", ["1 of 2 image files", "z.png (row 3)"]),
    "no mask file": ("image,label,mask\na.png,x,z.png\n", ["1 of 1 mask files", "z.png (row 2)"]),
    "a URL twice": (
        "image,label\nhttps://h.org/a.tif,x\nhttps://h.org/a.tif,y\n",
        ["https://h.org/a.tif is listed twice"],
    ),
    "a scheme that is not read": (
        "image,label\nftp://h.org/a.tif,x\n",
        ["row 2", "ftp://h.org/a.tif", "scheme ftp is not read", "Use https, s3, gs or az"],
    ),
    "an open quote": ('image,label\n"a.png,x\n' + "x" * 200_000 + "\n", ["row", "cannot be read"]),
}


@pytest.mark.parametrize(("text", "parts"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_with_file_and_row(tmp_path, text, parts):
    path = make(tmp_path, text)
    with pytest.raises(DataError) as error:
        read_manifest(path)
    message = str(error.value)
    assert message.startswith(str(path)) and error.value.remedy
    for part in parts:
        assert part in message


def test_many_missing_images_are_counted_not_all_listed(tmp_path):
    rows = "".join(f"m{i}.png,x\n" for i in range(12))
    with pytest.raises(DataError, match=r"12 of 13 image files .*m0\.png.*m4\.png.*and 7 more") as error:
        read_manifest(make(tmp_path, f"image,label\na.png,x\n{rows}"))
    assert "m5.png" not in str(error.value)


def test_a_column_that_the_user_named_must_exist(tmp_path):
    path = make(tmp_path, "image,label\na.png,x\n")
    with pytest.raises(DataError, match=r"no column 'patient'.*columns\.group"):
        read_manifest(path, ManifestColumns(group="patient"))


def test_files_that_are_no_csv(tmp_path):
    with pytest.raises(DataError, match="no such manifest"):
        read_manifest(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="a folder, not a CSV"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match="the file is empty"):
        read_manifest(make(tmp_path, " \n"))
    with pytest.raises(DataError, match="not a UTF-8 text"):
        read_manifest(make(tmp_path, "image,label\nä.png,x\n", encoding="latin-1"))
    (tmp_path / "binary.csv").write_bytes(b"image\x00,label\n\x00")
    with pytest.raises(DataError):
        read_manifest(tmp_path / "binary.csv")


def test_labels_may_be_missing_where_none_are_needed(tmp_path):
    path = make(tmp_path, "image\na.png\nb.png\n")
    manifest = read_manifest(path, labels_required=False)
    assert [record.label for record in manifest] == [None, None] and manifest.classes == ()
    with pytest.raises(DataError, match=r"a\.png \(row 2\) has no label"):
        manifest.targets()


def test_a_missing_label_is_named(tmp_path):
    manifest = read_manifest(make(tmp_path, "image,label\na.png,x\nb.png,\n"))
    with pytest.raises(DataError, match=r"b\.png \(row 3\) has no label"):
        manifest.targets()
    with pytest.raises(DataError, match="has no label"):
        check_trainable(manifest)


def test_an_unknown_class_is_named_with_the_known_ones(tmp_path):
    path = make(tmp_path, "image,label\na.png,x\nb.png,z\n")
    for attempt in (
        lambda: read_manifest(path, classes=["x", "y"]),
        lambda: read_manifest(path).with_classes(["x", "y"]),
        lambda: replace(read_manifest(path), classes=("x", "y")).targets(),
    ):
        with pytest.raises(DataError, match=r"b\.png \(row 3\) has the unknown class 'z'; known: 'x', 'y'"):
            attempt()
    with pytest.raises(DataError, match="class 'x' is named twice"):
        read_manifest(path).with_classes(["x", "z", "x"])


def test_what_cannot_be_learnt_is_refused(tmp_path):
    def listing(*labels, classes=None):
        return Manifest.of([Record(Path(f"{i}.png"), x) for i, x in enumerate(labels)], Path("x"), classes)

    check_trainable(listing("a", "a", "b", "b"))
    with pytest.raises(DataError, match="only the class 'a' in 2 images"):
        check_trainable(listing("a", "a"))
    with pytest.raises(DataError, match="no class in 0 images"):
        check_trainable(listing())
    with pytest.raises(DataError, match="'b' has 1"):
        check_trainable(listing("a", "a", "b"))
    with pytest.raises(DataError, match="'c' has 0"):
        check_trainable(listing("a", "a", "b", "b", classes=["a", "b", "c"]))


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_class_folders(tmp_path):
    touch(tmp_path, "cat 2/b10.PNG", "cat 2/b9.jpeg", "cat 10/deep/er/c.TIF", "cat 10/notes.txt")
    touch(tmp_path, ".cache/x.png", "cat 2/.hidden.png", "cat 2/.thumbs/y.png", "README.md")
    manifest = read_folders(tmp_path)
    assert manifest.classes == ("cat 2", "cat 10")
    found = [(r.image.relative_to(tmp_path).as_posix(), r.label, r.split) for r in manifest]
    assert found == [
        ("cat 2/b9.jpeg", "cat 2", None),
        ("cat 2/b10.PNG", "cat 2", None),
        ("cat 10/deep/er/c.TIF", "cat 10", None),
    ]


def test_class_folders_below_split_folders(tmp_path):
    touch(tmp_path, "train/a/1.png", "train/b/2.png", "valid/a/3.png", "Test/b/4.png")
    assert {(r.label, r.split) for r in read_folders(tmp_path)} == {
        ("a", "train"),
        ("b", "train"),
        ("a", "val"),
        ("b", "test"),
    }


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_folders(tmp_path / "nothing")
    touch(tmp_path, "one/a/1.png", "one/b/notes.txt")
    with pytest.raises(DataError, match="holds no image") as error:
        read_folders(tmp_path / "one")
    assert error.value.where.endswith("b")
    touch(tmp_path, "two/train/a/1.png", "two/extra/2.png")
    with pytest.raises(DataError, match="mixed with others: extra"):
        read_folders(tmp_path / "two")
    touch(tmp_path, "three/a/1.png", "three/loose.png")
    with pytest.raises(DataError, match=r"outside the class folders, the first is loose\.png"):
        read_folders(tmp_path / "three")
    touch(tmp_path, "four/train/a/1.png", "four/train/loose.png")
    with pytest.raises(DataError, match=r"outside the class folders, the first is loose\.png"):
        read_folders(tmp_path / "four")
    (tmp_path / "five").mkdir()
    with pytest.raises(DataError, match=r"no image found.*Accepted are"):
        read_folders(tmp_path / "five")


def test_a_flat_folder_will_do_where_no_labels_are_needed(tmp_path):
    touch(tmp_path, "2.png", "10.png")
    manifest = open_dataset(tmp_path, labels_required=False)
    assert [(r.image.name, r.label) for r in manifest] == [("2.png", None), ("10.png", None)]
    assert [p.name for p in list_images(tmp_path)] == ["2.png", "10.png"]


def test_the_layout_is_found(tmp_path):
    touch(tmp_path, "folders/a/1.png", "folders/b/2.png")
    assert open_dataset(tmp_path / "folders").classes == ("a", "b")
    assert open_dataset(tmp_path / "folders", classes=["b", "a"]).targets().tolist() == [1, 0]
    path = make(tmp_path / "table", "image,label\na.png,x\n")
    assert open_dataset(path).source == path
    path.rename(path.with_name("manifest.csv"))
    touch(tmp_path, "table/a/1.png")
    assert open_dataset(tmp_path / "table").classes == ("x",)


@pytest.mark.data("CRCHistoPhenotypes_2016_04_28", "gtsdb")
def test_the_layout_of_downloads_is_found(data_root):
    assert open_dataset(str(data_root / "CRCHistoPhenotypes_2016_04_28")).classes == ("negative", "positive")
    signs = open_dataset(data_root / "gtsdb")
    assert len(signs) == 313 and signs.classes == ("50", "70", "80", "empty")
    assert open_dataset(data_root / "gtsdb", classes=["empty", "50", "70", "80"]).classes[0] == "empty"


def test_what_is_no_data_set_is_told_with_the_accepted_layouts(tmp_path):
    touch(tmp_path, "picture.png", "odd/notes.txt", "odd/sub/x.txt")
    with pytest.raises(DataError, match=r"no such file or folder.*Accepted are"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"not a CSV.*Accepted are"):
        open_dataset(tmp_path / "picture.png")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"the folder holds nothing.*Accepted are"):
        open_dataset(tmp_path / "bare")
    touch(tmp_path, "texts/notes.txt")
    with pytest.raises(DataError, match=r"the folder holds notes\.txt.*Accepted are"):
        open_dataset(tmp_path / "texts")


@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32-le"])
@pytest.mark.parametrize("first", ["", "sep={}\r\n", '"sep={}"\r\n', "SEP={}\n", "\r\nsep={}\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_any_separator_stated_or_not(tmp_path, mark, encoding, first, separator):
    """Excel writes and obeys a first line sep=; rows keep the numbers of their lines."""
    if encoding != "utf-8" and not mark:
        mark = "\ufeff"  # UTF-16 without it is refused
    if first.startswith("\r\n"):
        first = first.removeprefix("\r\n").replace("\n", f"{separator}{separator}\n")  # resaved as cells
    (tmp_path / "a,b.png").touch()
    text = f'image{separator}label\r\n"a,b.png"{separator}n\u00e9g\r\nc.png{separator}pos\r\n'
    (tmp_path / "c.png").touch()
    (tmp_path / "m.csv").write_bytes((mark + first.format(separator) + text).encode(encoding))
    records = read_manifest(tmp_path / "m.csv").records
    assert [(r.image.name, r.label) for r in records] == [("a,b.png", "n\u00e9g"), ("c.png", "pos")]
    assert records[0].row == (3 if first else 2)


def test_a_stated_separator_that_is_not_used(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "m.csv").write_text("sep=,\nimage;label\na.png;neg\n")
    assert read_manifest(tmp_path / "m.csv").records[0].label == "neg"
    (tmp_path / "m.csv").write_text("sep=;\n")
    with pytest.raises(DataError, match="no column 'image'"):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes("image,label\na.png,neg\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"zero bytes.*Save the CSV as UTF-8"):
        read_manifest(tmp_path / "m.csv")


def test_formulas_are_quoted_in_what_is_written_and_read_as_they_were(tmp_path):
    (tmp_path / "list.csv").write_text("image,label\n=cmd.png,@a\nb.png,-1\n")
    for name in ("=cmd.png", "b.png"):
        (tmp_path / name).touch()
    manifest = read_manifest(tmp_path / "list.csv")
    write_manifest(manifest, tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_text() == "image,label\n'=cmd.png,'@a\nb.png,-1\n"
    again = read_manifest(tmp_path / "copy.csv")
    assert [(r.image, r.label) for r in again] == [(r.image, r.label) for r in manifest]


def test_empty_cells_behind_the_last_column_are_nothing(tmp_path):
    (tmp_path / "m.csv").write_text("image,label\na.png,1,\nb.png,0, ,\n")
    found = read_manifest(tmp_path / "m.csv", files_required=False)
    assert [record.label for record in found] == ["1", "0"]
