"""Open whatever annotation an image has."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from ..errors import DataError
from .asap import read_asap
from .geojson import MapFrame, read_geojson
from .mask import MaskAnnotation
from .nuclei import NucleiAnnotation, read_centres
from .polygons import PolygonAnnotation
from .rescaled import BoxAnnotation, RescaledAnnotation

__all__ = ["Annotated", "open_annotation"]

_START = 512  # bytes that tell the kind
_MATLAB = (b"MATLAB", b"\x89HDF")
_PICTURES = (
    b"\x89PNG",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"BM",
    b"GIF8",
    b"\xff\xd8\xff",
    b"P4",
    b"P5",
)


@runtime_checkable
class Annotated(Protocol):
    """Something that may name annotation files, such as a record of a manifest.

    Attributes:
        annotation: path of nucleus centres, polygons or a mask, or None.
        mask: path of a mask image, or None.
    """

    @property
    def annotation(self) -> Path | None: ...  # noqa: D102
    @property
    def mask(self) -> Path | None: ...  # noqa: D102


def open_annotation(
    record: Annotated,
    height: int,
    width: int,
    *,
    frame: tuple[int, int] | None = None,
    place: MapFrame | None = None,
) -> BoxAnnotation | None:
    """The ROI of an image: its mask, else its annotation, else None. The content says what kind it is.

    Args:
        record: names the files.
        height: of the stored image, level-0 pixels, in which the file speaks.
        width: likewise.
        frame: height and width of the image as it is read, where it is brought to another resolution.
        place: where the image lies on a map, for GeoJSON in map coordinates.

    Returns:
        An annotation, empty where the file holds no ROI; None where no file is named.

    Raises:
        DataError: if the file is missing, of an unknown kind, or cannot be read.
    """
    found: BoxAnnotation
    if record.mask is not None:
        found = MaskAnnotation(record.mask, height, width)
    elif record.annotation is None:
        return None
    else:
        found = _open(record.annotation, height, width, place)
    return found if frame in (None, (height, width)) else RescaledAnnotation(found, *frame)


def _open(path: Path, height: int, width: int, place: MapFrame | None) -> BoxAnnotation:
    if not path.is_file():
        raise DataError("no such annotation", where=path, remedy="Check the path.")
    with path.open("rb") as file:
        start = file.read(_START)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_MATLAB) or path.suffix.lower() == ".mat":
        return NucleiAnnotation(read_centres(path), height, width, name=str(path))
    if start.startswith(_PICTURES):
        return MaskAnnotation(path, height, width)
    if text.startswith((b"{", b"[")):
        return PolygonAnnotation(read_geojson(path, frame=place), height, width, name=str(path))
    if text.startswith(b"<"):
        return PolygonAnnotation(read_asap(path), height, width, name=str(path))
    raise DataError(
        f"neither nucleus centres, a mask, GeoJSON nor XML (the file starts with {start[:12]!r})",
        where=path,
        remedy="Give nucleus centres (.mat), a mask image (PNG, TIFF), GeoJSON, or the XML of ASAP.",
    )
