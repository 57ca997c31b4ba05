"""Open whatever annotation an image has."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..images.formats.decode import format_of
from ..images.georeference import Georeference
from ..images.image import Image
from .asap import read_asap
from .frames import Frame, apart, meets
from .geojson import read_geojson
from .mask import MaskAnnotation
from .nuclei import NucleiAnnotation, read_centres
from .polygons import PolygonAnnotation
from .rescaled import BoxAnnotation, RescaledAnnotation

__all__ = ["Annotated", "annotation_of", "open_annotation"]

_START = 512  # bytes that tell the kind
_MATLAB = (b"MATLAB", b"\x89HDF")
_UTF16 = (b"\xff\xfe<\0", b"\xfe\xff\0<")  # XML whose mark tells its encoding
_NUMPY = b"\x93NUMPY"


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
    place: Georeference | None = None,
) -> BoxAnnotation | None:
    """The ROI of an image: its mask, else its annotation, else None. The content says what kind it is.

    Args:
        record: names the files.
        height: of the stored image, level-0 pixels, in which the file speaks.
        width: likewise.
        frame: height and width of the image as it is read, where it is brought to another resolution.
        place: where the stored image lies on a map, for GeoJSON in map coordinates.

    Returns:
        An annotation, empty where the file holds no ROI; None where no file is named.

    Raises:
        DataError: if the file is missing, of an unknown kind, cannot be read, or does not meet the image.
    """
    found: BoxAnnotation
    if record.mask is not None:
        found = MaskAnnotation(record.mask, height, width, place=place)
    elif record.annotation is None:
        return None
    else:
        found = _open(record.annotation, Frame(height, width, place))
    return found if frame in (None, (height, width)) else RescaledAnnotation(found, *frame)


def annotation_of(record: Annotated, image: Image) -> BoxAnnotation | None:
    """The ROI of an open image, in the pixels that it is read at; see `open_annotation`.

    Raises:
        DataError: likewise.
    """
    file = Frame.of(image)
    size = image.height, image.width
    return open_annotation(record, file.height, file.width, frame=size, place=file.georeference)


def _check_meets(places: NDArray[np.float64], path: Path, frame: Frame) -> None:
    if len(places) and not meets(places, frame):
        raise apart(path, frame, {"level-0 pixels": places})


def _open(path: Path, frame: Frame) -> BoxAnnotation:
    height, width = frame.height, frame.width
    if not path.is_file():
        raise DataError("no such annotation", where=path, remedy="Check the path.")
    with path.open("rb") as file:
        start = file.read(_START)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n\x1e")
    if start.startswith(_MATLAB) or path.suffix.lower() == ".mat":
        centres = read_centres(path)
        _check_meets(centres, path, frame)
        return NucleiAnnotation(centres, height, width, name=str(path))
    if format_of(start) is not None or start.startswith(_NUMPY):
        return MaskAnnotation(path, height, width, place=frame.georeference)
    if text.startswith((b"{", b"[")):
        return PolygonAnnotation(read_geojson(path, frame=frame), height, width, name=str(path))
    if text.startswith((b"<", *_UTF16)):
        outlines = read_asap(path)
        bounds = np.array([o.polygons.bounds for o in outlines if not o.polygons.is_empty]).reshape(-1, 2)
        _check_meets(bounds, path, frame)
        return PolygonAnnotation(outlines, height, width, name=str(path))
    raise DataError(
        f"neither nucleus centres, a mask, GeoJSON nor XML (the file starts with {start[:12]!r})",
        where=path,
        remedy="Give nucleus centres (.mat), a mask (PNG, TIFF, .npy), GeoJSON, or the XML of ASAP.",
    )
