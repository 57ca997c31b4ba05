"""Arrays of numbers in MATLAB files of versions 4 and 5: every size is checked against the bytes there are.

A file whose types are damaged ends SciPy's reader and the process with it, so what is needed is read here.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_arrays"]

_MOST = 1 << 29  # bytes of an array; the densest image in use has 10^5 nuclei
_FORMATS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_OLD_FORMATS = ("f8", "f4", "i4", "i2", "u2", "u1")
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC = range(6, 16)  # classes of arrays: not cells, structures, objects, text, sparse

Arrays = dict[str, NDArray[np.generic] | None]


def read_arrays(path: Path) -> Arrays:
    """The variables of a file by name; None for those that are not full arrays of real numbers.

    Raises:
        ValueError: if it is not such a file, or damaged.
        OSError: if it cannot be read.
    """
    data = path.read_bytes()
    try:
        if 0 in data[:4]:
            return dict(_old_arrays(data))
        order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
        if order is None or b"MATLAB 5" not in data[:116]:
            raise ValueError("neither version 4 nor 5; version 7.3 is another format: save with -v7")
        return dict(_arrays(data[128:], order))
    except (struct.error, zlib.error, UnicodeDecodeError, IndexError) as error:
        raise ValueError(f"damaged: {error}") from error


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the elements that follow each other."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # small: its content stands in the tag
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            end = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(data):
            raise ValueError(f"cut short: an element of {size} bytes, and {len(data) - start} are left")
        yield kind, data[start : start + size]
        at = end


def _arrays(data: bytes, order: str) -> Iterator[tuple[str, NDArray[np.generic] | None]]:
    for kind, content in _elements(data, order):
        if kind == _COMPRESSED:
            packed = zlib.decompressobj()
            whole = packed.decompress(content, _MOST)
            if packed.unconsumed_tail:
                raise ValueError(f"an array of more than {_MOST:,} bytes")
            yield from _arrays(whole, order)
        elif kind == _MATRIX:
            yield _array(content, order)


def _array(content: bytes, order: str) -> tuple[str, NDArray[np.generic] | None]:
    parts = _elements(content, order)
    wanted = [next(parts, (0, b"")) for _ in range(3)]
    (_, flags), (_, sizes), (_, name) = wanted
    kind = struct.unpack_from(order + "I", flags)[0] & 0xFF
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes[: len(sizes) // 4 * 4])
    if kind not in _NUMERIC:
        return name.decode(), None
    stored, numbers = next(parts, (0, b""))
    return name.decode(), _shaped(numbers, _FORMATS.get(stored, ""), order, shape)


def _shaped(data: bytes, kind: str, order: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Numbers column by column.

    Raises:
        ValueError: if there are more or fewer of them.
    """
    if not kind:
        raise ValueError("numbers of an unknown type")
    dtype = np.dtype(order + kind)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of the shape {shape} in {len(data)} bytes")
    found: NDArray[np.generic] = np.frombuffer(data, dtype).reshape(shape, order="F")
    return found


def _old_arrays(data: bytes) -> Iterator[tuple[str, NDArray[np.generic] | None]]:
    """Version 4: a header of five numbers, a name, and the numbers, one array after another."""
    at = 0
    while at < len(data):
        order = "<" if struct.unpack_from("<i", data, at)[0] in range(1000) else ">"
        kind, rows, columns, imaginary, length = struct.unpack_from(order + "5i", data, at)
        stored, text = divmod(kind % 100, 10)
        if stored >= len(_OLD_FORMATS) or min(rows, columns, length) < 0:
            raise ValueError(f"no header of an array at byte {at}")
        first = at + 20 + length
        size = rows * columns * np.dtype(_OLD_FORMATS[stored]).itemsize
        if first + size > len(data):
            raise ValueError(f"cut short: an array of {size} bytes at byte {at}")
        name = data[at + 20 : first].rstrip(b"\0").decode()
        numbers = data[first : first + size]
        yield name, None if text else _shaped(numbers, _OLD_FORMATS[stored], order, (rows, columns))
        at = first + size * (2 if imaginary else 1)
