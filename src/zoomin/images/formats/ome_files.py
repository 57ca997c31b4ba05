"""OME-TIFFs of several files: which files an image is made of, by the OME-XML in them or beside them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

import tifffile
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ...errors import ImageError
from ..remote import reading_tiff
from ..urls import url_of

__all__ = [
    "check_companion",
    "companion_beside",
    "companion_of",
    "files_of_images",
    "image_of_page",
    "named_elements",
    "parsed_xml",
    "renamed",
    "text_of",
    "tiff_of_parts",
]

_MOST_BYTES = 1 << 24
_TOGETHER = (
    "If they are red, green and blue, put them together: tifffile.imwrite(OUT, numpy.stack("
    '[tifffile.imread(name) for name in NAMES], -1), photometric="rgb").'
)
_HEAD = 1 << 14  # of a description: its root
_ROOT = re.compile(r"<(?:\w+:)?OME\b[^>]*?\bUUID\s*=\s*[\"']([^\"']+)")
_UNREADABLE = (
    ValueError,
    OSError,
    RuntimeError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    struct.error,
)


def text_of(path: Path) -> str:
    """The text of a small file; "" of a large one, or one that cannot be read."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return ""
        return path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff")
    except OSError:
        return ""


def parsed_xml(text: str) -> Element | None:
    """The root of an XML text; None if it is none, or asks for more than it says."""
    try:
        root: Element = fromstring(text)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # the last: an unknown encoding
        return None
    return root


def named_elements(element: Element, name: str) -> Iterator[Element]:
    """The elements below of this name, whatever their namespace."""
    return (inner for inner in element.iter() if str(inner.tag).rpartition("}")[2] == name)


def companion_of(root: Element) -> str:
    """The name of the file that holds the metadata of an OME-TIFF without them; "" where they are in it."""
    binary = next(iter(named_elements(root, "BinaryOnly")), None)
    return "" if binary is None else Path(binary.get("MetadataFile", "").replace("\\", "/")).name


def files_of_images(root: Element, known: Mapping[str, Sequence[str]] | None = None) -> Iterator[list[str]]:
    """The files of each image of several files, in the order that it names them.

    Args:
        root: of the OME-XML.
        known: the names that files of each UUID have now.
    """
    for image in named_elements(root, "Image"):
        names = list(dict.fromkeys(_name_now(uuid, known or {}) for uuid in named_elements(image, "UUID")))
        if len(names) > 1:
            yield names


def companion_beside(text: str, path: Path) -> tuple[Path, Element] | None:
    """The companion of an OME-TIFF and the root of its XML; None where the file has none beside it.

    Args:
        text: the OME-XML in the file.
        path: of the file.
    """
    root = parsed_xml(text) if "BinaryOnly" in text and url_of(path) is None else None
    name = companion_of(root) if root is not None else ""
    whole = parsed_xml(text_of(path.parent / name)) if name else None
    return None if whole is None else (path.parent / name, whole)


def image_of_page(whole: Element, own: Element | None, path: Path, page: int) -> Element | None:
    """The Image of a companion that a page belongs to, by the UUID or the name of its file.

    Args:
        whole: root of the companion.
        own: root of the XML in the file.
        path: of the file.
        page: its number in the file, by which one of several images is told.
    """
    uuid = "" if own is None else own.get("UUID", "")
    found: dict[int, Element] = {}
    for image in named_elements(whole, "Image"):
        for data in named_elements(image, "TiffData"):
            for one in named_elements(data, "UUID"):
                if (uuid and (one.text or "").strip() == uuid) or _name_in(one) == path.name:
                    found.setdefault(int(data.get("IFD", "0")), image)
    return next(iter(found.values())) if len(found) == 1 else found.get(page)


def _name_in(uuid: Element) -> str:
    return Path(uuid.get("FileName", "").replace("\\", "/")).name


def _name_now(uuid: Element, known: Mapping[str, Sequence[str]]) -> str:
    """The name that a part is given, unless files of its UUID have others."""
    name, others = _name_in(uuid), known.get(_uuid(uuid), ())
    return name if name in others or not others else others[0]


def check_companion(file: Any, path: Path) -> None:  # noqa: ANN401 (tifffile is not typed)
    """Refuse a plane of an image of several files, which a companion beside them describes.

    Raises:
        ImageError: naming the files, with a remedy for the planes that they hold.
    """
    beside = companion_beside(str(file.pages.first.description or "") if file.is_ome else "", path)
    if beside is None:
        return
    for image in named_elements(beside[1], "Image"):
        names = list(dict.fromkeys(_name_in(uuid) for uuid in named_elements(image, "UUID")))
        if len(names) < 2 or path.name not in names:
            continue
        planes = _planes(image)
        raise ImageError(
            f"one of {len(names)} files of an image{' of ' * bool(planes)}{planes} ({', '.join(names[:4])}), "
            f"according to {beside[0].name}",
            where=path,
            remedy=_export(file.pages.first.samplesperpixel in (3, 4)) if planes else _TOGETHER,
        )


def _planes(image: Element) -> str:
    """How many time points and z planes an image has, in words; "" of one plane."""
    pixels = next(named_elements(image, "Pixels"), None)
    counts = {"time points": "SizeT", "z planes": "SizeZ"}
    found = {words: "1" if pixels is None else pixels.get(name, "1") for words, name in counts.items()}
    return " and ".join(f"{count} {words}" for words, count in found.items() if count != "1")


def _export(is_colour: bool) -> str:
    colours = ', photometric="rgb"' if is_colour else ""
    return (
        "Export one time point or plane as an image of its own; that of this file alone: "
        f"tifffile.imwrite(OUT, tifffile.imread(IN){colours})."
    )


# --------------------------------------------------------------------------- renamed parts


@contextmanager
def tiff_of_parts(path: Path) -> Iterator[Any]:
    """A TIFF opened by tifffile, which would take planes of files that it does not find for zeros.

    Parts of an OME-TIFF that were renamed are found by their UUID among the TIFFs of the folder.

    Raises:
        ImageError: naming the parts that are not there.
    """
    with reading_tiff(path) as file:
        given = str(file.ome_metadata or "") if file.is_ome and url_of(path) is None else ""
        untold = "TiffData" not in given and file.pages.first.samplesperpixel == 1
        text = _with_planes(given) if untold else _with_names_of_now(given, path)
        if text is None:
            yield file
            return
    with reading_tiff(path, text) as file:
        yield file


def _with_planes(text: str) -> str | None:
    """The OME-XML of a file that does not say where its planes are, as of libvips: all in order."""
    root = parsed_xml(text)
    every = [] if root is None else list(named_elements(root, "Pixels"))
    if root is None or not every:
        return None
    for pixels in every:
        SubElement(pixels, pixels.tag.replace("Pixels", "TiffData"))
    return tostring(root, encoding="unicode")


def renamed(file: Any) -> bool:  # noqa: ANN401 (tifffile is not typed)
    """Whether parts of a file by `tiff_of_parts` were found by their UUID, which tifffile alone does not."""
    text = str(file.ome_metadata or "") if file.is_ome else ""
    return "FileName" in text and text != file.pages.first.description


def _with_names_of_now(text: str, path: Path) -> str | None:
    """The OME-XML with the names that the parts have now; None where they are called as it says."""
    root = parsed_xml(text) if "FileName" in text and url_of(path) is None else None
    if root is None:
        return None
    own, parts = root.get("UUID", ""), list(_parts(root, path))
    others = [one for one in parts if not own or _uuid(one) != own]
    called = {name: _own_uuid(path.parent / name) for name in {one.get("FileName", "") for one in others}}
    moved = [one for one in others if called[one.get("FileName", "")] not in ("", _uuid(one))]
    if not moved:
        return None
    known = _files_by_uuid(path.parent)
    missing: dict[str, None] = {}
    for one in moved:
        name, now = _name_in(one), _name_now(one, known)
        if (path.parent / now).is_file():
            one.set("FileName", now)
        else:
            missing[name] = None
    if missing:
        names, more = ", ".join(list(missing)[:4]), len(missing)
        count = len({_uuid(one) for one in parts})
        raise ImageError(
            f"one of {count} files of an image, of which {names}{', ...' if more > 4 else ''} "
            f"{'is' if more == 1 else 'are'} missing in its folder",
            where=path,
            remedy="Copy all files of the image into this folder; renamed ones are found by their UUID.",
        )
    return tostring(root, encoding="unicode")


def _parts(root: Element, path: Path) -> Iterator[Element]:
    """What names the files of the images that are stored in this file and in others."""
    own = root.get("UUID", "")
    for image in named_elements(root, "Image"):
        found = list(named_elements(image, "UUID"))
        is_own = any((own and _uuid(one) == own) or _name_in(one) == path.name for one in found)
        if is_own and len({_name_in(one) for one in found}) > 1:
            yield from found


def _files_by_uuid(folder: Path) -> dict[str, list[str]]:
    """The names of the OME-TIFFs of a folder by the UUID that each gives itself."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".tif", ".tiff") and path.is_file() and (uuid := _own_uuid(path)):
            found.setdefault(uuid, []).append(path.name)
    return found


def _own_uuid(path: Path) -> str | None:
    """The UUID that an OME-TIFF gives itself; "" where it gives none, None where there is no such file."""
    if not path.is_file():
        return None
    try:
        with tifffile.TiffFile(path) as file:
            match = _ROOT.search(str(file.pages.first.description or "")[:_HEAD])
    except _UNREADABLE:
        return ""  # not a part that could be read
    return match[1].strip() if match else ""


def _uuid(one: Element) -> str:
    return (one.text or "").strip()
