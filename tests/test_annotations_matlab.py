"""MATLAB files: the arrays that SciPy writes, and files that are damaged."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from zoomin.annotations.matlab import read_arrays
from zoomin.annotations.nuclei import read_centres
from zoomin.errors import DataError


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int32, np.int16, np.uint8])
def test_arrays_as_scipy_writes_and_reads_them(version, packed, kind, tmp_path):
    path = tmp_path / "a.mat"
    for rows in (0, 1, 5):
        array = np.random.default_rng(0).uniform(0, 90, (rows, 2)).astype(kind)
        more = {} if version == "4" else {"structure": {"a": 1}, "name": "text"}
        savemat(path, {"a": np.arange(3), **more, "detection": array}, format=version, do_compression=packed)
        found = read_arrays(path)
        assert np.array_equal(found["detection"], loadmat(path)["detection"])
        assert found.keys() == {"a", "detection", *more} and all(found[name] is None for name in more)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (144, 0, "holds no numbers"),  # no class of an array
        (160, 1 << 30, "of the shape"),  # more rows than there are numbers
        (132, 1 << 31, "cut short"),
        (192, 0, "unknown type"),
    ],
)
def test_damaged_numbers_are_refused(place, value, says, tmp_path):
    """Some of these end the process in which SciPy reads them."""
    path = tmp_path / "a.mat"
    savemat(path, {"detection": np.ones((9, 2))})
    data = bytearray(path.read_bytes())
    data[place : place + 4] = struct.pack("<I", value)
    path.write_bytes(data)
    with pytest.raises(DataError, match=says) as caught:
        read_centres(path)
    assert caught.value.remedy and str(path) in str(caught.value)


def test_other_files_and_other_variables(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, by HDF5".ljust(512))
    with pytest.raises(DataError, match=r"version 7\.3 is another format"):
        read_centres(path)
    savemat(path, {"detection": "text"})
    with pytest.raises(DataError, match="holds no numbers"):
        read_centres(path)
    savemat(path, {"detection": np.array([[1.0, np.nan]])})
    with pytest.raises(DataError, match="not a number"):
        read_centres(path)
