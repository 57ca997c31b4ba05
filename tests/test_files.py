"""Whole files: nothing half-written under the final name, nothing left beside it, errors with a remedy."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zoomin.errors import DataError, WriteError
from zoomin.files import (
    read_json,
    remove_leftovers,
    telling,
    whole_file,
    whole_text,
    write_csv,
    write_json,
    write_rows,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "one\r\n")
    write_text(path, "two\n")
    assert path.read_bytes() == b"two\n" and names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_file_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(error), whole_text(path) as file:
        file.write("half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_kept_parts_hold_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(ValueError), whole_text(path, keep=True) as file:
        file.write("half")
        raise ValueError
    assert names(tmp_path) == ["a.csv.part"] and (tmp_path / "a.csv.part").read_text() == "half"
    with whole_text(path, keep=True) as file:
        file.write("whole")
    assert names(tmp_path) == ["a.csv"] and path.read_text() == "whole"


def test_leftovers_go_and_kept_parts_and_other_files_stay(tmp_path: Path) -> None:
    stay = ["a.csv", "a.csv.part", "b.csv.0123abcd.part", "a.csv.0123abcd", "a.csv.0123ABCD.part"]
    for name in [*stay, "a.csv.89abcdef.part"]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "a.csv")
    assert names(tmp_path) == sorted(stay)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(set(stay) - {"b.csv.0123abcd.part"})
    remove_leftovers(tmp_path / "not there")


def test_modes_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "a.safetensors") as part:
            save_file({"a": torch.zeros(2)}, part)
            part.chmod(0o600)
        assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_the_file_behind_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    write_text(tmp_path / "there" / "a.txt", "old")
    (tmp_path / "link").symlink_to(tmp_path / "there" / "a.txt")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "a.txt").read_text() == "new"
    read, write = os.pipe()
    write_text(f"/dev/fd/{write}", "through a pipe")
    assert os.read(read, 99) == b"through a pipe"
    os.close(read)
    os.close(write)


def test_names_of_any_length(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 250), "text")
    assert names(tmp_path) == ["n" * 250]


def test_file_and_folder_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(str(Path(f"/dev/fd/{fd}").resolve())))
    write_text(tmp_path / "a.txt", "text")
    assert len(flushed) == 2 and flushed[0].endswith(".part") and flushed[1] == str(tmp_path.resolve())
    with whole_file(tmp_path / "b.txt", sync=False):
        pass
    assert len(flushed) == 2


FULL = """
import resource, signal, sys
import torch
from pathlib import Path
from zoomin.errors import WriteError
from zoomin.files import whole_file, write_text

folder = Path(sys.argv[1])
values = {"a": torch.zeros(100_000)}
import h5py, numpy as np
from safetensors.torch import save_file
def hdf5(part):
    with h5py.File(part, "w") as file:
        file["a"] = np.random.default_rng(0).random(100_000)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
for name, write in {
    "text": lambda part: part.write_text("x" * 100_000),
    "torch": lambda part: torch.save(values, part),
    "safetensors": lambda part: save_file(values, part),
    "hdf5": hdf5,
}.items():
    try:
        with whole_file(folder / name) as part:
            write(part)
    except WriteError as error:
        print(name, error.what, error.remedy, sep="|")
"""


def test_a_disk_that_fills_up_while_a_library_writes(tmp_path: Path) -> None:
    """The limit of a file's size stands in for the disk's."""
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True)
    told = [line.split("|") for line in done.stdout.splitlines()]
    assert [name for name, *_ in told] == ["text", "torch", "safetensors", "hdf5"], done.stderr
    assert {tuple(rest) for _, *rest in told} == {
        ("cannot be written: the disk is full", "Free some space, or write elsewhere.")
    }
    assert names(tmp_path) == []


def test_folders_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/a\.txt: cannot be written \(.*\)\. Write to another folder"):
        write_text(tmp_path / "file" / "a.txt", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match="directory"):
        write_text(tmp_path / "folder", "text")
    assert names(tmp_path) == ["file", "folder"]

    def read_only(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(WriteError, match="Read-only file system"):
        write_text(tmp_path / "a.txt", "text")


def test_a_relative_name_of_a_folder_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries tell the absolute name of the file that they could not make."""
    monkeypatch.chdir(tmp_path)
    failed = OSError(errno.EROFS, "Read-only file system", str(tmp_path / ".a.lock"))
    with pytest.raises(WriteError, match=r"^a: cannot be written \(.*\)\. Write to another"):
        with telling(Path("a"), Path(".a.lock")):
            raise failed


def test_errors_of_others_pass(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), whole_file(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "Permission denied", "/some/source")
    assert names(tmp_path) == []


def test_json_and_tables(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"path": Path("a"), "pair": (1, 2)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"path": "a", "pair": [1, 2]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    write_csv(tmp_path / "a.csv", ["a", "b"], [[1, None], ["x,y", "é"]])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == 'a,b\n1,\n"x,y",é\n'
    write_rows(tmp_path / "a.csv", [{"a": 1}, {"b": 2, "a": 3}])
    assert (tmp_path / "a.csv").read_text() == "a,b\n1,\n3,2\n"
    assert names(tmp_path) == ["a.csv", "a.json"]


def test_a_json_object_is_read_or_its_absence_or_damage_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_json(path) == {}
    for text, found in (('{"a": 1}', {"a": 1}), ("[1]", {})):
        path.write_text(text)
        assert read_json(path) == found
    path.write_text("[1")
    with pytest.raises(DataError, match=r"a\.json: damaged .*Delete it"):
        read_json(path)
    assert read_json(path, strict=False) == {}
