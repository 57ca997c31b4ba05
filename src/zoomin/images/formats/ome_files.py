"""OME-TIFFs of several files: which files an image is made of, by the OME-XML in them or beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ..urls import url_of

__all__ = [
    "companion_beside",
    "companion_of",
    "files_of_images",
    "image_of_page",
    "named_elements",
    "parsed_xml",
    "text_of",
]

_MOST_BYTES = 1 << 24


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


def files_of_images(root: Element) -> Iterator[list[str]]:
    """The files of each image of several files, in the order that it names them."""
    for image in named_elements(root, "Image"):
        names = list(dict.fromkeys(_name_in(uuid) for uuid in named_elements(image, "UUID")))
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
