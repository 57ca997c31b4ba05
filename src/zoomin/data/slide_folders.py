"""Folders that go with a slide beside them, and images of tiles in folders, which no reader opens."""

from __future__ import annotations

import re
from pathlib import Path

from ..images.formats.ome_files import text_of

__all__ = ["belongs_to_a_slide", "unread_pyramids"]


def belongs_to_a_slide(folder: Path) -> bool:
    """Whether a folder holds the parts of a slide beside it, and is not a folder of images.

    It goes with a MIRAX slide (NAME beside NAME.mrxs), an Olympus VSI (_NAME_ beside NAME.vsi), a Deep Zoom
    image (NAME_files beside NAME.dzi) or a Zoomify image (TileGroup0 beside ImageProperties.xml).
    """
    name, parent = folder.name, folder.parent
    if _beside(parent, name, "mrxs") and any(folder.glob("[Ss]lidedat.ini")):
        return True
    if name.startswith("_") and name.endswith("_") and _beside(parent, name[1:-1], "vsi"):
        return True
    if name.endswith("_files") and (_beside(parent, name[:-6], "dzi") or _deep_zoom(parent, name[:-6])):
        return True
    return bool(re.fullmatch(r"TileGroup[0-9]+", name)) and (parent / "ImageProperties.xml").is_file()


def unread_pyramids(folder: Path) -> list[Path]:
    """The files in a folder that describe a Deep Zoom or a Zoomify image, which no reader opens."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in (".dzi", ".xml") and path.is_file()]

    def is_one(path: Path) -> bool:
        if path.suffix.lower() == ".dzi":
            return True
        if path.name == "ImageProperties.xml":
            return (folder / "TileGroup0").is_dir()
        return (folder / f"{path.stem}_files").is_dir() and _deep_zoom(folder, path.stem)

    return sorted(filter(is_one, files))


def _beside(folder: Path, name: str, suffix: str) -> bool:
    """Whether a file of this name is in a folder, its suffix in upper or lower case."""
    return any((folder / f"{name}.{case}").is_file() for case in (suffix, suffix.upper()))


def _deep_zoom(folder: Path, name: str) -> bool:
    """Whether an XML of this name describes a Deep Zoom image, as some writers name it."""
    index = folder / f"{name}.xml"
    return index.is_file() and "schemas.microsoft.com/deepzoom" in text_of(index)
