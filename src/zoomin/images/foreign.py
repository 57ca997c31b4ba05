"""Files of formats that are not read here: what they are, and a remedy that works.

Told by their first bytes, so that a valid file is never called damaged or unknown.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import NamedTuple

from ..errors import ImageError

__all__ = [
    "ZARR_NODES",
    "ZARR_SUFFIXES",
    "JpegKind",
    "foreign_format",
    "jpeg_kind",
    "metadata_identity",
    "point_transform",
    "zarr_folder",
]

ZARR_NODES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")  # of which every group or array has one
ZARR_SUFFIXES = (".zarr", ".zarr.zip", ".ozx")  # of folders, and of archives of them

_BY_CODECS = (
    'Convert it: python -c "import imagecodecs, tifffile; '
    "tifffile.imwrite('OUT.tif', imagecodecs.imread('IN'), photometric='rgb')\" (or 'minisblack' for grey)."
)
_EXPORT = "Export it as TIFF or PNG with the program that made it."
_UNPACK = "Unpack it, and give what it holds."
_GDAL = "Convert it with a GDAL that knows it: gdal_translate -of COG IN OUT.tif."
_BIO = "Convert it: bioformats2raw IN OUT.zarr, or export OME-TIFF with the program that made it."
_DICOM = "a DICOM file without its preamble (DICM after 128 bytes)"
_PREAMBLE = (
    "Write it whole (pip install pydicom): ds = pydicom.dcmread(IN, force=True); "
    "ds.save_as(OUT, enforce_file_format=True)."
)
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\xff\x0a", "a JPEG XL image", _BY_CODECS),
    (4, b"JXL ", "a JPEG XL image", _BY_CODECS),
    (0, b"II\xbc", "a JPEG XR image", _BY_CODECS),
    (4, b"ftypavif", "an AVIF image", _BY_CODECS),
    (4, b"ftypavis", "an AVIF image", _BY_CODECS),
    (4, b"ftyphei", "an HEIC image", _BY_CODECS),
    (4, b"ftypmif1", "an HEIC image", _BY_CODECS),
    (0, b"8BPS", "a Photoshop document", _EXPORT),
    (0, b"%!PS", "a PostScript document", _EXPORT),
    (0, b"%PDF", "a PDF document", _EXPORT),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "Give the images that its features came from."),
    (0, b"PK\x03\x04", "a ZIP archive (or XLSX) without a Zarr", "Unpack it, or export a CSV or an image."),
    (0, b"\x1f\x8b", "a file compressed by gzip", "Unpack it: gunzip FILE."),
    (0, b"<VRTDataset", "a virtual raster of GDAL", "Make it one file: gdal_translate -of COG IN OUT.tif."),
    (0, b"SIMPLE  =", "a FITS image", _EXPORT),
    (344, b"n+1\0", "a NIfTI volume", "Export the slices to classify as PNG or TIFF."),
    (0, b"\x08\x00\x05\x00", _DICOM, _PREAMBLE),
    (0, b"\x08\x00\x08\x00", _DICOM, _PREAMBLE),
    (0, b"\x00\x08\x00\x05", _DICOM, _PREAMBLE),
    (0, b"\x02\x00\x00\x00UL", _DICOM, _PREAMBLE),
    (0, b"\x02\x00\x10\x00UI", _DICOM, _PREAMBLE),
    (0, b"version https://git-lfs", "a pointer of Git LFS instead of the file", "Fetch it: git lfs pull."),
    (0, b"BZh", "a file compressed by bzip2", _UNPACK),
    (0, b"\xfd7zXZ\0", "a file compressed by xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a file compressed by Zstandard", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2", _BIO),
    (0, b"p\0\0\0", "a Leica LIF", _BIO),
    (0, b"\xd0\xcf\x11\xe0", "a compound file, such as Olympus OIB or Zeiss ZVI", _BIO),
    (0, b"v/1\x01", "an OpenEXR image", _EXPORT),
    (0, b"qoif", "a QOI image", _BY_CODECS),
    (4, b"ftyp", "a film (MP4) or an image like one", _EXPORT),
    (0, b"\x1aE\xdf\xa3", "a film (Matroska, WebM)", _EXPORT),
    (0, b"NRRD", "an NRRD volume", _EXPORT),
    (0, b"NITF", "a NITF image", _GDAL),
    (0, b"GRIB", "a GRIB grid", _GDAL),
    (0, b"CDF\x01", "a NetCDF file", _GDAL),
    (0, b"CDF\x02", "a NetCDF file", _GDAL),
    (0, b"\x0e\x03\x13\x01", "an HDF4 file", _GDAL),
    (0, b"\x93NUMPY", "a NumPy array", "Open it with numpy and give it to zoomin.images.array.ArrayImage."),
)  # fmt: skip
_TILES = "Open the slide that its tiles were made from."
_INDICES: tuple[tuple[bytes, str, str, bytes], ...] = (  # text in them; name; instead; the files they name
    (b"schemas.microsoft.com/deepzoom", "the index of a Deep Zoom image (DZI)", _TILES, b""),
    (b"<IMAGE_PROPERTIES", "the index of a Zoomify image", _TILES, b""),
    (
        b"<ImageList",
        "the index of a fluorescence slide (Aperio AFI), a file for each channel",
        "Open one of these files",
        rb"<Path>([^<]+)",
    ),
    (
        b"[NanoZoomer Digital Pathology Image Set]",
        "the index of a set of slides (Hamamatsu NDPIS), a file for each channel",
        "Open one of these files",
        rb"(?m)^Image\d+\s*=\s*([^\r\n]+)",
    ),
    (
        b"/Schemas/OME/",
        "the companion of an OME-TIFF: metadata without pixels",
        "Open one of its TIFFs, and keep this file beside them",
        rb"FileName\s*=\s*[\"']([^\"']+)",
    ),
)
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_LOSSLESS, _JPEG_LS = (0xC3, 0xC7, 0xCB, 0xCF), 0xF7


class JpegKind(NamedTuple):
    """What the frame header of a JPEG says.

    Attributes:
        name: "JPEG", "lossless JPEG" or "JPEG-LS".
        bits: a sample.
        width: pixels.
        height: pixels.
        arithmetic: whether it is coded so, which needs less than one bit a block.
    """

    name: str
    bits: int
    width: int
    height: int
    arithmetic: bool = False


def foreign_format(head: bytes, path: Path) -> ImageError | None:
    """The error for a file of a known format that is not read; None where the format is not known."""
    if path.suffix.lower() == ".ims" and head.startswith(b"\x89HDF"):
        return ImageError("an Imaris file, which is not read", where=path, remedy=_BIO)
    for place, signature, name, remedy in _SIGNATURES:
        if head[place : place + len(signature)] == signature:
            return ImageError(f"{name}, which is not read", where=path, remedy=remedy)
    return _index(head, path)


def _index(head: bytes, path: Path) -> ImageError | None:
    """The error for a text that names the files of an image."""
    if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] not in (b"<", b"["):
        return None
    for text, name, instead, files in _INDICES:
        if text in head:
            found = re.findall(files, head) if files else []
            names = list(dict.fromkeys(one.decode("utf-8", errors="replace").strip() for one in found))
            listed = f": {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else ""
            stop = "" if instead.endswith(".") else "."
            return ImageError(name, where=path, remedy=f"{instead}{listed}{stop}")
    return None


def zarr_folder(path: Path) -> bool:
    """Whether a folder holds a Zarr group or array."""
    return any((path / name).is_file() for name in ZARR_NODES)


def metadata_identity(path: Path) -> tuple[int, int]:
    """Sizes and the last change of the metadata files of a Zarr folder: writing it anew changes them."""
    found = [(path / name).stat() for name in (*ZARR_NODES, ".zmetadata") if (path / name).is_file()]
    return sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0)


def jpeg_kind(path: Path) -> JpegKind | None:
    """The kind of a JPEG by its frame header; None where there is none.

    Args:
        path: of a file that begins like a JPEG.
    """
    with path.open("rb") as file:
        file.seek(2)
        while len(mark := file.read(2)) == 2:
            if mark[0] != 0xFF:
                return None
            code = mark[1]
            if code == 0xFF:
                file.seek(-1, 1)
                continue
            size = file.read(2)
            if len(size) < 2:
                return None
            (length,) = struct.unpack(">H", size)
            if code in _FRAMES or code == _JPEG_LS:
                frame = file.read(5)
                if len(frame) < 5:
                    return None
                bits, height, width = struct.unpack(">BHH", frame)
                name = "JPEG-LS" if code == _JPEG_LS else "lossless JPEG" if code in _LOSSLESS else "JPEG"
                return JpegKind(name, bits, width, height, arithmetic=0xC9 <= code <= 0xCF)
            if code == 0xDA:
                return None
            file.seek(max(0, length - 2), 1)
    return None


def point_transform(data: bytes) -> int:
    """By how many bits the samples of a lossless JPEG are shifted (Al of its first scan)."""
    start = data.find(b"\xff\xda")
    if start < 0 or len(data) < start + 5:
        return 0
    last = start + 7 + 2 * data[start + 4]
    return data[last] & 0x0F if last < len(data) else 0
