"""The few elements of a DICOM file that tell what it is, and of which slide (DICOM PS3.5, 7 and 10)."""

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
_MODALITY, _BITS, _COLOURS = (0x0008, 0x0060), (0x0028, 0x0100), (0x0028, 0x0004)
_PLANES, _PATHS, _PIXELS = (0x0048, 0x0303), (0x0048, 0x0302), (0x7FE0, 0x0010)
_WANTED = (_IMAGE_TYPE, _CLASS, _INSTANCE, _SERIES, _MODALITY, _BITS, _COLOURS, _PLANES, _PATHS)
_NUMBERS = {_BITS: "H", _PATHS: "I", _PLANES: "I"}
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
        syntax: transfer syntax: how elements and pixels are encoded.
        modality: such as SM (slide microscopy), CT, MR.
        bits: a sample is stored in, None where it is not told.
        colours: photometric interpretation.
        planes: focal planes of the slide.
        paths: optical paths, such as fluorescence channels.
    """

    series: str
    instance: str
    storage: str
    image_type: tuple[str, ...]
    syntax: str = ""
    modality: str = ""
    bits: int | None = None
    colours: str = ""
    planes: int = 1
    paths: int = 1

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
    return DicomHeader(
        series=found[_SERIES],
        instance=found.get(_INSTANCE, ""),
        storage=found[_CLASS],
        image_type=tuple(found.get(_IMAGE_TYPE, "").split("\\")),
        syntax=found.get(_TRANSFER_SYNTAX, ""),
        modality=found.get(_MODALITY, ""),
        bits=int(found[_BITS]) if _BITS in found else None,
        colours=found.get(_COLOURS, ""),
        planes=int(found.get(_PLANES, 1)),
        paths=int(found.get(_PATHS, 1)),
    )


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
    found: dict[Tag, str] = {_TRANSFER_SYNTAX: syntax}
    while at + 8 <= len(data):
        tag, start, length = elements.head(at)
        if tag >= _PIXELS:
            break
        try:
            at = elements.after(start, length)
        except struct.error:  # a table of frames longer than what was read: what comes behind it stays untold
            break
        if tag in _NUMBERS and length >= struct.calcsize(_NUMBERS[tag]):
            found[tag] = str(struct.unpack_from(elements.order + _NUMBERS[tag], data, start)[0])
        elif tag in _WANTED:
            found[tag] = _text(data[start:at])
    return found


def _text(value: bytes) -> str:
    return value.decode("ascii", errors="replace").strip(" \0")
