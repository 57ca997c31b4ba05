"""The slide is its files: which files are one slide, by what they say themselves.

| format | what says so |
| --- | --- |
| DICOM whole-slide images | SeriesInstanceUID in each header, in any folder; of labels, the container too |
| Zeiss CZI of several files | the identifier of the first part in each header |
| OME-TIFF of several files | the files that an Image of the OME-XML names, in them or in a companion |
| Hamamatsu VMS, VMU, NDPIS; Aperio AFI | the files that the index names |
| GDAL virtual rasters (VRT) | the files that it is made of, in any folder |
| MIRAX, VSI | the folder that goes with the slide, which is not entered |
| Deep Zoom, Zoomify, which are not read | the folder of the tiles, which is not entered |
| OME-Zarr | the folder that holds the metadata, which is the image and not entered, and all inside of it |

All other known formats are one file per slide; their side-cars (.xml, .ovr, .tfw, .msk) are not images.
Links, symbolic or hard, are further names of one slide; every path keeps the name under which it is listed.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable
from xml.etree.ElementTree import Element

import tifffile

from ..errors import DataError
from ..images.foreign import ZARR_NODES, zarr_folder
from ..images.formats.dicom_header import DicomHeader, named_as_dicom, read_dicom_header
from ..images.formats.ome_files import companion_of, files_of_images, named_elements, parsed_xml, text_of
from ..images.formats.tiff import DAMAGE

__all__ = [
    "check_slides",
    "images_among",
    "one_per_slide",
    "parts_of",
    "slide_doubles",
    "slides_of",
    "warn_of_rescans",
]

logger = logging.getLogger(__name__)


@runtime_checkable
class Listed(Protocol):
    """A record of a manifest, as far as its file goes."""

    @property
    def image(self) -> Path: ...
    @property
    def group(self) -> str | None: ...
    @property
    def row(self) -> int | None: ...


R = TypeVar("R", bound=Listed)

_TIFF = frozenset({".tif", ".tiff", ".btf", ".tf2", ".tf8"})
_CZI = b"ZISRAWFILE".ljust(
    16, b"\0"
)  # a segment of 32 bytes; 16 bytes on, the identifiers of the slide and the part
_INDEX = frozenset({".vms", ".vmu", ".ndpis", ".afi", ".vrt", ".ome"})
_BESIDE = _INDEX | {".mrxs", ".vsi"}  # whose pixels are in other files
_OPENED = frozenset({".vms", ".vmu", ".vrt"})  # indices that are opened instead of their parts


def one_per_slide(paths: Sequence[Path]) -> list[Path]:
    """The paths, in their order, with one file for each slide: the one that is opened.

    Raises:
        OSError: if a folder cannot be listed.
    """
    main = _opened(paths)
    names = _names(main)
    kept = list(dict.fromkeys(names[path] for path in paths))
    if len(kept) < len(paths):
        logger.info("%d files are %d slides", len(paths), len(kept))
    again = [one for one in dict.fromkeys(main.values()) if names[one] != one]
    if again:
        logger.warning(
            "%d images are left out: links to others, or other names of them; the first is %s, which is %s.",
            len(again),
            again[0],
            names[again[0]],
        )
    apart = {one for path, one in main.items() if one.parent != path.parent and _is_level(path)}
    for one in sorted(apart):
        logger.warning(
            "%s: levels of this slide stand in other folders, where OpenSlide does not find them; an "
            "overview of this one may take long. Put all files of a slide into one folder.",
            one,
        )
    return kept


def images_among(paths: Iterable[Path]) -> list[Path]:
    """The files and the Zarr folders among some paths, in order, what lies inside of a Zarr left out.

    Raises:
        OSError: if a folder cannot be listed.
    """
    found = [path for path in sorted(paths) if path.is_file() or zarr_folder(path)]
    above = {folder for path in found for folder in path.parents}
    zarrs = {folder for folder in above if zarr_folder(folder)}
    return one_per_slide([path for path in found if zarrs.isdisjoint(path.parents)])


def slides_of(paths: Iterable[Path]) -> dict[Path, Path]:
    """For each path the one, among them, that stands for its slide, whatever the links to it or its parts."""
    paths = list(paths)
    main = _opened(paths)
    if any(map(_is_linked, paths)):
        beside = ((part, main[path]) for path, parts in parts_of(paths).items() for part in parts)
        main = {**dict(beside), **main}
    names = _names(main)
    return {path: names[path] for path in paths}


def _is_linked(path: Path) -> bool:
    """Whether a file has another name."""
    return path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1)


def _opened(paths: Iterable[Path]) -> dict[Path, Path]:
    """For each path the one, among them, that is opened for it, as the files say."""
    paths = list(paths)
    main = {path: path for path in paths}
    for files in _slides(paths):
        for path in files[1:]:
            main[path] = main[files[0]]
    return main


def _names(main: Mapping[Path, Path]) -> dict[Path, Path]:
    """For each path the one that stands for its slide, where several names lead to one file.

    Args:
        main: for each path the one that is opened for it.
    """
    owner: dict[object, Path] = {}
    # A link to a part of a slide is of the slide. Of the names of a file, the one that is no link is kept.
    for path, one in sorted(main.items(), key=lambda pair: (pair[0] == pair[1], pair[0].is_symlink())):
        owner.setdefault(_identity(path), one)
    return {path: owner[_identity(one)] for path, one in main.items()}


def _identity(path: Path) -> object:
    """What two names of one file have in common; the path itself where there is no file."""
    if path.suffix.lower() in _BESIDE:  # equal files, joined by a hard link, may stand beside other pixels
        return path.resolve()
    inside = (path / name for name in ZARR_NODES) if path.is_dir() else ()
    try:
        found = next((file for file in inside if file.is_file()), path).stat()
    except OSError:
        return path
    return found.st_dev, found.st_ino


def parts_of(paths: Iterable[Path]) -> dict[Path, tuple[Path, ...]]:
    """For each file the others of its slide, in its own folder, as the files themselves say.

    Those of a DICOM slide are sought in the folders beside and below its own, too.
    """
    found: dict[Path, tuple[Path, ...]] = {}
    for folder, wanted in _by_folder(paths).items():
        own = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        if any(map(_is_level, wanted)):
            own += _around(folder)
        belongs: dict[Path, dict[Path, None]] = defaultdict(dict)
        for files in _slides(own):
            for path in files:
                belongs[path] |= dict.fromkeys(files)
        for path in wanted:
            found[path] = tuple(other for other in belongs[path] if other != path)
    return found


def _around(folder: Path) -> Iterator[Path]:
    """The files named as DICOM in the folders beside and below one."""
    near = {path for above in (folder, folder.parent) for path in _inside(above) if path.is_dir()}
    for other in sorted(near - {folder}):
        yield from sorted(path for path in _inside(other) if named_as_dicom(path) and path.is_file())


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # not ours to read
        return []


def slide_doubles(records: Sequence[R]) -> list[tuple[R, R]]:
    """Pairs of records that name two files of one slide, first the one that is opened."""
    by_path = {
        record.image: record for record in records if record.image.is_file() or zarr_folder(record.image)
    }
    return [(by_path[one], by_path[other]) for other, one in slides_of(by_path).items() if one != other]


def check_slides(records: Sequence[Listed], source: Path) -> None:
    """Check that no two records name files of one slide.

    Raises:
        DataError: naming the rows.
    """
    warn_of_rescans(records)
    for first, second in slide_doubles(records):
        one, two = sorted((first, second), key=lambda record: record.row or 0)
        shown = [record.image.name for record in (one, two)]
        if _identity(one.image) == _identity(two.image):
            shown = [str(one.image), f"{two.image} (one file: a link, or another name of it)"]
        raise DataError(
            f"rows {one.row} and {two.row} name files of one slide: {shown[0]}, {shown[1]}",
            where=source,
            remedy=f"Keep one row per slide, such as row {first.row} ({first.image.name}).",
        )


def warn_of_rescans(records: Sequence[Listed]) -> None:
    """Warn of DICOM slides of one glass slide in several series: a split may separate them."""
    glass: dict[str, dict[str, Listed]] = defaultdict(dict)
    for record in records:
        header = _dicom(record.image) if record.group is None and record.image.is_file() else None
        if header is not None and header.is_volume and header.container:
            glass[header.container].setdefault(header.series, record)
    again = {name: list(scans.values()) for name, scans in glass.items() if len(scans) > 1}
    for name, (first, second, *_) in list(again.items())[:1]:
        logger.warning(
            "%d glass slides were scanned more than once; the first is %s: %s, %s. Give the scans of one "
            "slide one group (the manifest column group), or a split may separate them.",
            len(again), name, first.image, second.image,
        )  # fmt: skip


def _by_folder(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    return folders


def _slides(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """The files of each slide of several, as far as they are listed; first the one that is opened."""
    paths = list(paths)
    yield from _dicom_slides(paths)
    yield from _czi(paths)
    yield from _zarrs(paths)
    listed = {_place(path): path for path in paths}
    for folder, own in _by_folder(paths).items():
        for names in _named(folder, own):
            places = dict.fromkeys(_place(folder / name) for name in names)
            if files := [listed[place] for place in places if place in listed]:
                yield files


def _zarrs(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """A Zarr and what is listed of its inside: the images of a collection, the levels of an image."""
    folders = {path.resolve(): path for path in paths if path.is_dir() and zarr_folder(path)}
    inside: dict[Path, list[Path]] = defaultdict(list)
    for place, path in folders.items():
        if above := [folder for folder in place.parents if folder in folders]:
            inside[folders[above[-1]]].append(path)
    yield from ([outer, *inner] for outer, inner in inside.items())


def _place(path: Path) -> tuple[str, str]:
    """Folder and name, however they are written."""
    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 (names, not what links lead to)
    return folder, name.casefold()


def _named(folder: Path, own: Sequence[Path]) -> Iterator[list[str]]:
    """The files of each slide whose files name each other, or are named by an index, from their folder."""
    if not folder.is_dir():
        return
    yield from _ome(own)
    for index in sorted(path for path in folder.iterdir() if path.suffix.lower() in _INDEX):
        if index.suffix.lower() == ".ome":
            companion = parsed_xml(text_of(index))
            yield from files_of_images(companion) if companion is not None else ()
            continue
        parts = _parts(index)
        yield [index.name, *parts] if index.suffix.lower() in _OPENED else parts


# --------------------------------------------------------------------------- DICOM


def _dicom(path: Path) -> DicomHeader | None:
    if not named_as_dicom(path) or path.is_dir():
        return None
    header = read_dicom_header(path)
    return header if header is not None and header.is_slide and header.series else None


def _is_level(path: Path) -> bool:
    header = _dicom(path)
    return header is not None and header.is_volume


def _dicom_slides(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The files of each series, wherever they stand; a whole copy in another folder is a slide of its own."""
    headers = {path: header for path in paths if (header := _dicom(path)) is not None}
    volumes = {header.container: header.series for header in headers.values() if header.is_volume}
    series: dict[str, list[Path]] = defaultdict(list)
    for path, header in headers.items():
        beside = "" if header.is_volume or not header.container else volumes.get(header.container, "")
        series[beside or header.series].append(path)

    def order(path: Path) -> tuple[bool, int, int, str]:
        return not headers[path].is_volume, -headers[path].pixels, -path.stat().st_size, str(path)

    for own in series.values():
        for files in _copies(own, headers):
            yield sorted(files, key=order)


def _copies(files: Sequence[Path], headers: Mapping[Path, DicomHeader]) -> list[list[Path]]:
    """The files of a series, each copy of it apart: no instance twice, unless in one folder."""
    copies: list[tuple[set[str], list[Path]]] = []
    for folder, own in _by_folder(files).items():
        instances = {headers[path].instance or str(path) for path in own}
        free = [copy for copy in copies if copy[0].isdisjoint(instances)]
        if not free:
            copies.append((instances, own))
            continue
        nearest = max(free, key=lambda copy: max(_shared(folder, path.parent) for path in copy[1]))
        nearest[0].update(instances)
        nearest[1].extend(own)
    return [paths for _, paths in copies]


def _shared(one: Path, other: Path) -> int:
    """How many folders two paths have in common."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one.parts, other.parts, strict=False))
    )


def _czi(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """The parts of each slide, the first one first, wherever they stand; of copies, each folder's apart."""
    slides: dict[bytes, list[tuple[int, Path]]] = defaultdict(list)
    for path in paths:
        if path.suffix.lower() == ".czi" and path.is_file():
            with path.open("rb") as file:
                head = file.read(84)
            if head.startswith(_CZI) and len(head) == 84 and any(head[48:64]):  # PrimaryFileGuid
                slides[head[48:64]].append((int.from_bytes(head[80:84], "little"), path))
    for files in slides.values():
        folders = [files]
        if sum(part == 0 for part, _ in files) > 1:
            folders = [
                [one for one in files if one[1].parent == above] for above in {p.parent for _, p in files}
            ]
        for own in folders:
            if sum(part == 0 for part, _ in own) == 1:  # two first parts are copies
                yield [path for _, path in sorted(own)]


# --------------------------------------------------------------------------- OME-TIFF


def _ome(own: Sequence[Path]) -> Iterator[list[str]]:
    files = [path for path in own if path.suffix.lower() in _TIFF]
    if len(files) < 2:
        return
    companions: dict[str, list[str]] = defaultdict(list)
    roots = {path: root for path in files if (root := _ome_xml(path)) is not None}
    known: dict[str, list[str]] = defaultdict(list)  # parts may be renamed
    for path, root in roots.items():
        if uuid := root.get("UUID", "").strip():
            known[uuid].append(path.name)
    for path, root in roots.items():
        if companion := companion_of(root):
            beside = parsed_xml(text_of(path.parent / companion))
            if beside is None:
                companions[companion].append(path.name)
                continue
            root = beside
        yield from files_of_images(root, known)
    yield from companions.values()


def _ome_xml(path: Path) -> Element | None:
    try:
        with tifffile.TiffFile(path) as file:
            text = file.pages.first.description
    except DAMAGE:
        return None  # whoever opens the image says what is wrong with it
    return parsed_xml(text) if "<OME" in text[:2000] or ":OME" in text[:2000] else None


# --------------------------------------------------------------------------- indices


def _parts(index: Path) -> list[str]:
    """The files that an index names: those of a virtual raster by their path, others by their name."""
    text, suffix = text_of(index), index.suffix.lower()
    if suffix == ".vrt":
        root = parsed_xml(text)
        kinds = ("SourceFilename", "SourceDataset")
        sources = [] if root is None else [s.text or "" for kind in kinds for s in named_elements(root, kind)]
        return [name.replace("\\", "/") for name in sources]
    if suffix == ".afi":
        root = parsed_xml(text)
        values = [] if root is None else [path.text or "" for path in named_elements(root, "Path")]
    else:
        values = [line.partition("=")[2].strip() for line in text.splitlines() if "=" in line]
    return [Path(value.replace("\\", "/")).name for value in values if "." in value]
