"""Arrays of an .npz file that may be damaged, or declare more than there is."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["read_npz_file"]

_DEFLATE = 1100  # times: no ZIP file stores numbers in less
_DAMAGE = (
    *(ValueError, KeyError, TypeError, EOFError, MemoryError, NotImplementedError, RuntimeError),
    *(OverflowError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error),
)


def read_npz_file(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a file, by name.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged, or an array declares more numbers than its bytes can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _check_declared(archive, info)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _check_declared(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        old = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize > _DEFLATE * max(1, info.compress_size):
        raise ValueError(f"an array declares the shape {shape} in {info.compress_size} bytes")
