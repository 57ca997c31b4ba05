"""The few elements of a DICOM file that say what it is, and of which slide (DICOM PS3.5, 7 and 10)."""

from __future__ import annotations

import mmap
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ...errors import ImageError
from ...runtime.extras import extra_named

__all__ = ["DicomHeader", "is_dicom", "named_as_dicom", "places_frames", "read_dicom_header"]

_START = 132  # preamble and DICM
_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR, which lists other files
_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_WANTED = [
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "ContainerIdentifier",
    "Modality",
    "BitsAllocated",
    "PhotometricInterpretation",
    "TotalPixelMatrixFocalPlanes",
    "NumberOfOpticalPaths",
    "PlanarConfiguration",
    "DimensionOrganizationType",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixRows",
    "Columns",
    "Rows",
    "NumberOfFrames",
]
_POSITIONS = b"\x48\x00\x1a\x02SQ"  # how a PlanePositionSlideSequence begins, little-endian, explicit
_MOST_HEADER = 1 << 28  # bytes that are searched for it


def named_as_dicom(path: Path) -> bool:
    """Whether a name is one that DICOM files have: `.dcm`, `.ima`, or an identifier, whose end is a number.

    Example:
        >>> [named_as_dicom(Path(name)) for name in ("a.dcm", "1.2.840.10008", "IM_0001", "a.png")]
        [True, True, True, False]
    """
    suffix = path.suffix.lower()
    return suffix in (".dcm", ".dicom", ".ima", "") or suffix[1:].isdecimal()


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as file:
            return file.read(_START)[-4:] == b"DICM"
    except OSError:
        return False


class DicomHeader(NamedTuple):
    """What a file is part of.

    Attributes:
        series: SeriesInstanceUID, which all files of a slide share; "" where it is missing.
        instance: SOPInstanceUID: of this file.
        storage: SOP class; "" where it is missing.
        image_type: such as ORIGINAL, PRIMARY, VOLUME, NONE.
        syntax: transfer syntax: how elements and pixels are encoded.
        modality: such as SM (slide microscopy), CT, MR.
        bits: a sample is stored in, None if unknown.
        colours: photometric interpretation.
        planes: focal planes of the slide.
        paths: optical paths, such as fluorescence channels.
        container: identifier of the glass slide.
        planar: 1 where samples are stored plane by plane.
        tiling: TILED_FULL, or TILED_SPARSE, where each frame says where it lies.
        pixels: of the whole level, 0 if unknown.
        crowded: whether the file holds more frames than tiles of the level: planes that it does not tell.
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
    container: str = ""
    planar: int = 0
    tiling: str = ""
    pixels: int = 0
    crowded: bool = False

    @property
    def is_slide(self) -> bool:
        """Whether it is a file of a whole-slide image."""
        return self.storage == _SLIDE

    @property
    def is_directory(self) -> bool:
        """Whether it lists other files, and is no image."""
        return self.storage == _DIRECTORY

    @property
    def is_volume(self) -> bool:
        """Whether it holds a level of the slide at full or lower resolution: no label, no overview."""
        return "VOLUME" in self.image_type


def read_dicom_header(path: Path) -> DicomHeader | None:
    """The header of a DICOM file; None for any other file, or where it cannot be read.

    Raises:
        ImageError: if pydicom, of the extra `slides`, is not installed.
    """
    if not is_dicom(path):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return _header(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 14)
def _header(path: Path, size: int, changed: int) -> DicomHeader | None:
    """The same; kept, because the files of a folder are compared with each other for every slide in it."""
    with extra_named(path, ImageError):
        import pydicom  # only DICOM needs it

    try:
        found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_WANTED)
        width, height = (int(found.get(f"TotalPixelMatrix{side}", 0)) for side in ("Columns", "Rows"))
        tiles = (-(-width // (found.get("Columns") or 1))) * -(-height // (found.get("Rows") or 1))
        return DicomHeader(
            series=str(found.get("SeriesInstanceUID", "")),
            instance=str(found.get("SOPInstanceUID", "")),
            storage=str(found.get("SOPClassUID") or found.file_meta.get("MediaStorageSOPClassUID") or ""),
            image_type=tuple(found.get("ImageType", ())),
            syntax=str(found.file_meta.get("TransferSyntaxUID", "")),
            modality=str(found.get("Modality", "")),
            bits=found.get("BitsAllocated"),
            colours=str(found.get("PhotometricInterpretation", "")),
            planes=int(found.get("TotalPixelMatrixFocalPlanes", 1)),
            paths=int(found.get("NumberOfOpticalPaths", 1)),
            container=str(found.get("ContainerIdentifier", "")),
            planar=int(found.get("PlanarConfiguration") or 0),
            tiling=str(found.get("DimensionOrganizationType", "")),
            pixels=width * height,
            crowded=int(found.get("NumberOfFrames") or 1) > max(tiles, 1),
        )
    except Exception:
        return None


def places_frames(path: Path) -> bool:
    """Whether the header of a sparsely tiled slide says anywhere where a frame lies."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(_POSITIONS, 0, _MOST_HEADER) >= 0
