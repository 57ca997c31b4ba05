"""OME-TIFFs of several files: which files an image is made of, by the OME-XML in them or beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

__all__ = ["companion_of", "files_of_images", "named_elements", "parsed_xml", "text_of"]

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
        root: Element = fromstring(text.encode())
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
        found = (uuid.get("FileName", "") for uuid in named_elements(image, "UUID"))
        names = list(dict.fromkeys(Path(name.replace("\\", "/")).name for name in found))
        if len(names) > 1:
            yield names
