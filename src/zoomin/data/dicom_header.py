"""The few elements of a DICOM file that tell which slide it belongs to (DICOM PS3.5, sections 7 and 10)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

__all__ = ["DicomHeader", "read_dicom_header"]

_BYTES = 1 << 20  # in which the elements are sought: they stand before the pixels and the frames
_START = 132  # preamble and DICM
_DEFLATED, _IMPLICIT, _BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_TRANSFER_SYNTAX, _IMAGE_TYPE, _CLASS = (0x0002, 0x0010), (0x0008, 0x0008), (0x0008, 0x0016)
_INSTANCE, _SERIES = (0x0008, 0x0018), (0x0020, 0x000E)
_WANTED = (_IMAGE_TYPE, _CLASS, _INSTANCE, _SERIES)
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED = 0xFFFFFFFF
_ITEM_END, _SEQUENCE_END = 0xE00D, 0xE0DD

Tag = tuple[int, int]


class DicomHeader(NamedTuple):
    """What a file is part of.

    Attributes:
        series: SeriesInstanceUID: all files of a slide share it.
        instance: SOPInstanceUID: of this file.
        storage: SOP class.
        image_type: such as ORIGINAL, PRIMARY, VOLUME, NONE.
    """

    series: str
    instance: str
    storage: str
    image_type: tuple[str, ...]

    @property
    def is_slide(self) -> bool:
        """Whether it is a file of a whole-slide image."""
        return self.storage == _SLIDE

    @property
    def is_volume(self) -> bool:
        """Whether it holds a level of the slide at full or lower resolution: no label, no overview."""
        return "VOLUME" in self.image_type


class _Elements(NamedTuple):
    """How elements are written."""

    data: bytes
    order: str
    explicit: bool

    def head(self, at: int) -> tuple[Tag, int, int]:
        """Tag, start of the value and its length."""
        group, element = struct.unpack_from(f"{self.order}HH", self.data, at)
        if self.explicit and group != 0xFFFE:
            if self.data[at + 4 : at + 6] in _LONG:
                return (group, element), at + 12, struct.unpack_from(f"{self.order}I", self.data, at + 8)[0]
            return (group, element), at + 8, struct.unpack_from(f"{self.order}H", self.data, at + 6)[0]
        return (group, element), at + 8, struct.unpack_from(f"{self.order}I", self.data, at + 4)[0]

    def after(self, start: int, length: int, depth: int = 0) -> int:
        """Where the next element begins; sequences of undefined length are walked through."""
        if length != _UNDEFINED:
            return start + length
        if depth > 32:
            raise ValueError("sequences nested without end")
        while True:
            tag, start, length = self.head(start)
            if tag in ((0xFFFE, _SEQUENCE_END), (0xFFFE, _ITEM_END)):
                return start
            start = self.after(start, length, depth + 1)


def read_dicom_header(path: Path) -> DicomHeader | None:
    """The header of a DICOM file; None of any other file, or where it cannot be told."""
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES)
        if data[128:_START] != b"DICM":
            return None
        found = _read(data)
    except (OSError, ValueError, struct.error, zlib.error):
        return None  # whoever opens the image says what is wrong with it
    if _SERIES not in found or _CLASS not in found:
        return None
    kinds = tuple(found.get(_IMAGE_TYPE, "").split("\\"))
    return DicomHeader(found[_SERIES], found.get(_INSTANCE, ""), found[_CLASS], kinds)


def _read(data: bytes) -> dict[Tag, str]:
    meta, at, syntax = _Elements(data, "<", True), _START, ""
    while struct.unpack_from("<H", data, at)[0] == 0x0002:
        tag, start, length = meta.head(at)
        at = meta.after(start, length)
        if tag == _TRANSFER_SYNTAX:
            syntax = _text(data[start:at])
    if syntax == _DEFLATED:
        data, at = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at:], _BYTES), 0
    elements = _Elements(data, ">" if syntax == _BIG else "<", syntax != _IMPLICIT)
    found: dict[Tag, str] = {}
    while len(found) < len(_WANTED):
        tag, start, length = elements.head(at)
        if tag > _SERIES:
            break
        at = elements.after(start, length)
        if tag in _WANTED:
            found[tag] = _text(data[start:at])
    return found


def _text(value: bytes) -> str:
    return value.decode("ascii", errors="replace").strip(" \0")
