"""TIFFs of any number of channels: bands of one directory, or a directory for each channel.

The first are multispectral GeoTIFFs, the second multiplex OME-TIFF, QPTIFF and ImageJ files. Samples are
decoded by tifffile, block by block; where the image lies on a map is GDAL's answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ...errors import ImageError
from ..cache import HANDLES
from ..georeference import Georeference
from ..ground import mpp_of_map
from ..physical import check_mpp
from ..pixels import Pixels
from ..stored import FileIdentity, Level, check_unchanged, identity_of, undecoded
from ..windows import Window
from .channels import check_numbers
from .gdal import opened, side_car
from .map_place import georeference_of
from .ome_files import tiff_of_parts
from .open_tiff import check_upright
from .raster import check_blocks
from .tiff import DAMAGE, check_whole, nodata_of_page, undecodable
from .tiff_contents import check_sizes, contents_of
from .tiff_image import OpenTiff
from .tiff_likeness import shows
from .tiff_scale import scale_of
from .tiff_segments import block_of, read_window

__all__ = ["TiffSamples", "open_tiff_channels"]

_ON_MAP = (33550, 33922, 34264, 34735)
_GDAL_METADATA = 42112
_CLEARLY = 4  # times the samples of any other image: the one, without being named
_BESIDE = ("label", "macro", "thumbnail", "overview", "barcode")
_TILES = "Store it in tiles: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE IN OUT."


@dataclass(frozen=True)
class TiffSamples:
    """The samples of a TIFF (see `channels.Samples`).

    Attributes:
        path: the file.
        levels: the table of levels.
        names: of the channels.
        dtype: of the samples.
        missing: of each channel, the value of samples that are missing; empty where none has one.
        georeference: where it lies on a map.
        identity: path, size and time of the last change.
        mpp_source: what gives the size of a pixel, or "".
        offsets: of each level, where the directories of its channels stand; one for all bands together.
        parts: of each channel, the file that stores it; empty where all are in this one.
    """

    reader: ClassVar[str] = "tifffile"

    path: Path
    levels: tuple[Level, ...]
    names: tuple[str, ...]
    dtype: str
    missing: tuple[float | None, ...]
    georeference: Georeference | None
    identity: FileIdentity
    mpp_source: str
    offsets: tuple[tuple[int, ...], ...]
    parts: tuple[FileIdentity, ...] = ()

    def read(self, level: int, window: Window, channels: Sequence[int]) -> Pixels:
        """The samples of some channels, as they are stored; of bands stored together, all are decoded."""
        offsets = self.offsets[level]
        try:
            if len(offsets) == 1:
                return self._plane(0, offsets[0], window)[..., list(channels)]
            return np.concatenate([self._plane(c, offsets[c], window)[..., :1] for c in channels], axis=2)
        except DAMAGE as error:
            raise undecoded(self.path, level, window, error) from error

    def close(self) -> None:
        """Let go of the files; the next read opens them again."""
        for part in {self.identity, *self.parts}:
            HANDLES.drop(("tiff channels", part))

    def _plane(self, channel: int, offset: int, window: Window) -> Pixels:
        part = self.parts[channel] if self.parts else self.identity
        path = Path(part[0]) if self.parts else self.path

        def opened_again() -> OpenTiff:
            check_unchanged(identity_of(path), part, path)
            return OpenTiff(path)

        file = HANDLES.get_or_make(("tiff channels", part), opened_again)
        return read_window(file.page(offset), window, file.fetch)


def open_tiff_channels(
    path: Path, mpp: float | None, series: int | str | None
) -> tuple[TiffSamples, float | None]:
    """The samples of a TIFF, and its microns per pixel.

    Args:
        path: a local file.
        mpp: microns per pixel, instead of what the file says.
        series: which of its images, by number or name; None for the largest that is not a label or macro.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: naming what makes it unreadable, and the remedy.
    """
    check_mpp(mpp, path)
    try:
        with tiff_of_parts(path) as file:
            pages, number = _pages(file, path, series)
            first = pages[0][0]
            places = [path if page.parent is file else Path(page.parent.filehandle.path) for page in pages[0]]
            for page, place in zip(pages[0], places, strict=True):
                check_whole(page, page.parent.filehandle.size, place)
            parts = tuple(identity_of(place) for place in places) if set(places) != {path} else ()
            check_upright(first, path)
            check_numbers(str(first.dtype), path)
            count = first.samplesperpixel if len(pages[0]) == 1 else len(pages[0])
            names = _names(file, first, pages[0], count, number)
            scale = None if mpp is not None else scale_of(file, first, path, number)
            nodata = nodata_of_page(first)
            offsets = tuple(tuple(int(page.offset) for page in level) for level in pages)
            levels = _levels([level[0] for level in pages])
            mapped = any(tag in first.tags for tag in _ON_MAP)
            whole = len(pages[0]) == 1 and first.offset == file.pages[0].offset
    except DAMAGE as error:
        raise undecodable(error, path) from error
    check_blocks(levels[0], path, _TILES)
    missing: tuple[float | None, ...] = () if nodata is None else (nodata,) * count
    georeference, of_map, source = None, None, ""
    if mapped or (whole and side_car(path)):
        with opened(path, "GTiff") as dataset:
            georeference = georeference_of(dataset, path)
            of_map, source = mpp_of_map(dataset, georeference, path)
            missing = dataset.nodatavals if dataset.count == count else missing
    if of_map is None and scale is not None:
        of_map, source = scale.mpp(path), scale.source
    samples = TiffSamples(
        path,
        levels,
        names,
        str(first.dtype),
        missing,
        georeference,
        identity_of(path),
        source,
        offsets,
        parts,
    )
    return samples, of_map if mpp is None else mpp


def _pages(file: Any, path: Path, series: int | str | None) -> tuple[list[list[Any]], int]:  # noqa: ANN401
    """The pages of each level, one of each channel or one for all; and the number of the image."""
    one, number = _series(file, path, series)
    planes = {axis: n for axis, n in zip(one.axes, one.shape, strict=True) if axis not in "YXS" and n > 1}
    if not planes:
        contents = contents_of(file, path, series)
        return [[page] for page in contents.levels], contents.series
    if set(planes) != {"C"}:
        raise ImageError(
            f"a TIFF of {' x '.join(f'{n} {axis}' for axis, n in planes.items())} planes, more than channels",
            where=path,
            remedy="Save the plane to use, with its channels, as a separate image.",
        )
    levels: list[list[Any]] = []
    for level in one.levels:
        pages = _opened_pages(level)
        alike = len(pages) == planes["C"]
        smaller = not levels or pages[0].imagewidth < levels[-1][0].imagewidth
        fits = not levels or (
            _aspect(pages[0], levels[0][0])
            and shows(pages[0], levels[-1][0], levels[0][0], path, marked=True, raw=True)
        )
        if alike and smaller and fits:
            levels.append(pages)
    if not levels:
        raise ImageError(
            "a TIFF that lacks some of its channels",
            where=path,
            remedy="Export it again: its metadata name more channels than are stored.",
        )
    return levels, number


def _opened_pages(level: Any) -> list[Any]:  # noqa: ANN401
    """The pages of a level; tifffile has closed the other files of the image, and closes them with it."""
    found: list[Any] = []
    for page in level.pages:
        if page is not None:
            if page.parent.filehandle.closed:
                page.parent.filehandle.open()
            found.append(page.aspage())
    return found


def _series(file: Any, path: Path, series: int | str | None) -> tuple[Any, int]:  # noqa: ANN401
    """The image that is asked for, or the largest that is not a picture beside it."""
    check_sizes(file, path)
    every = list(enumerate(file.series))
    if series is not None:
        wanted = str(series).strip().lower()
        every = [(n, one) for n, one in every if wanted in (str(n), str(one.name or "").lower())]
        if not every:
            shown = ", ".join(f"{n} {one.name!r}" for n, one in enumerate(file.series))
            raise ImageError(f"the TIFF holds no image {wanted!r}", where=path, remedy=f"It holds {shown}.")
    named = [pair for pair in every if not any(word in str(pair[1].name or "").lower() for word in _BESIDE)]
    number, one = max(named or every, key=lambda pair: (pair[1].size, -pair[0]))
    rivals = [pair for pair in named or every if pair[0] != number and pair[1].size * _CLEARLY > one.size]
    if file.is_ome and rivals:
        shown = ", ".join(f"{n} {one.name!r} {one.shape}" for n, one in every[:8])
        raise ImageError(
            f"the TIFF holds {len(rivals) + 1} images of like size: {shown}",
            where=path,
            remedy="Choose one by its number: open_image(path, series=0), or the manifest column series.",
        )
    return one, number


def _aspect(page: Any, main: Any) -> bool:  # noqa: ANN401
    tall, wide = Level.of(
        (page.imagelength, page.imagewidth), (main.imagelength, main.imagewidth), (1, 1)
    ).pixel
    return bool(abs(tall - wide) <= (0.02 + 2 / min(page.imagelength, page.imagewidth)) * max(tall, wide))


def _levels(pages: Sequence[Any]) -> tuple[Level, ...]:
    full = int(pages[0].imagelength), int(pages[0].imagewidth)
    return tuple(Level.of((int(one.imagelength), int(one.imagewidth)), full, block_of(one)) for one in pages)


# --------------------------------------------------------------------------- names of channels


def _names(file: Any, first: Any, pages: Sequence[Any], count: int, number: int) -> tuple[str, ...]:  # noqa: ANN401
    """What the file calls its channels; their numbers where it does not."""
    found: dict[int, str] = {}
    if file.is_ome:
        found = _ome_names(file.ome_metadata or "", number)
    elif file.is_qpi:
        found = {n: _qpi_name(page) for n, page in enumerate(pages)}
    elif file.is_imagej:
        found = dict(enumerate((file.imagej_metadata or {}).get("Labels") or ()))
    else:
        found = _gdal_names(str(first.tags.valueof(_GDAL_METADATA) or ""))
    return tuple(found.get(place, "").strip() or str(place + 1) for place in range(count))


def _ome_names(text: str, number: int) -> dict[int, str]:
    images = [one for one in _elements(text) if _tag(one) == "Image"]
    if number >= len(images):
        return {}
    channels = [one for one in images[number].iter() if _tag(one) == "Channel"]
    if any(int(one.get("SamplesPerPixel") or 1) > 1 for one in channels):
        return {}
    return {place: one.get("Name") or "" for place, one in enumerate(channels)}


def _qpi_name(page: Any) -> str:  # noqa: ANN401
    texts = {_tag(one): (one.text or "").strip() for one in _elements(str(page.description or ""))}
    return texts.get("Biomarker") or texts.get("Name") or ""


def _gdal_names(text: str) -> dict[int, str]:
    return {
        int(one.get("sample") or 0): one.text or ""
        for one in _elements(text)
        if one.get("role") == "description" and (one.get("sample") or "0").isdigit()
    }


def _elements(text: str) -> list[Element]:
    try:
        root: Element = fromstring(text.strip("\0 \n").encode())
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # the last: an unknown encoding
        return []
    return list(root.iter())


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
