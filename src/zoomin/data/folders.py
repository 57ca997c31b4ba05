"""A folder of images for each class, optionally below folders named train, val and test."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import DataError, ScatteredSlideError
from ..images.foreign import ZARR_SUFFIXES, zarr_folder
from ..images.formats.dicom_header import is_dicom, named_as_dicom, read_dicom_header
from ..images.open_image import plug_in_suffixes
from .labels import natural_order
from .manifest import Manifest, Record, split_name
from .slide_files import one_per_slide, slides_of, warn_of_rescans
from .slide_folders import belongs_to_a_slide, unread_pyramids

__all__ = ["IMAGE_SUFFIXES", "LAYOUTS", "list_images", "read_folders"]

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .bmp .dib .tif .tiff .btf .tf2 .tf8 .gif .webp .jp2 .j2k .jpx .ppm .pgm .pbm .pnm "
    ".svs .ndpi .mrxs .scn .vms .vmu .bif .svslide .qptiff .dcm .vrt .czi .vsi .isyntax".split()
)

LAYOUTS = (
    "Accepted are: a CSV with the columns image and label; a folder with such a manifest.csv; "
    "one folder per class (FOLDER/CLASS/image.png, or FOLDER/train/CLASS/image.png beside val and test); "
    "the colon-cancer data as downloaded (CRCHistoPhenotypes_2016_04_28)."
)


def list_images(folder: Path) -> list[Path]:
    """The images in a folder and below it, in natural order, without hidden ones.

    They are known by suffix, DICOM without one by its content. A slide of several files is one image: see
    `slide_files`. So is a folder that is a Zarr, this one too.
    """
    if zarr_folder(folder):
        return [folder]
    return sorted_paths(one_per_slide(sorted_paths(_walk(folder), folder)), folder)


def sorted_paths(paths: Iterable[Path], folder: Path) -> list[Path]:
    """The paths in the natural order of their names below `folder`."""
    by_name = {path.relative_to(folder).as_posix(): path for path in paths}
    return [by_name[name] for name in natural_order(by_name)]


def read_folders(
    root: Path | str,
    *,
    classes: Sequence[str] | None = None,
    labels_required: bool = True,
    slides_checked: bool = True,
) -> Manifest:
    """Read `root/CLASS/*.png`, or `root/{train,val,test}/CLASS/*.png`.

    Args:
        root: the folder above the class folders, or above the split folders.
        classes: the classes in their order, the negative one first; by default in natural order.
        labels_required: where False, images outside the class folders are listed without label.
        slides_checked: whether a slide in the folders of two classes or splits is an error.

    Raises:
        ScatteredSlideError: if a slide is in the folders of two classes or splits.
        DataError: if there is no image, a class folder is empty, images lie outside the class folders, or
            only some of the folders are named after splits.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError("no such folder", where=root, remedy="Check the path.")
    records = list(_split_records(root))
    loose = one_per_slide(_direct_images(root))
    if not records and not loose:
        raise DataError("no image found", where=root, remedy=LAYOUTS)
    if loose and labels_required:
        raise DataError(
            f"{len(loose)} images lie outside the class folders, the first is {loose[0].name}",
            where=root,
            remedy=f"Move them into the folder of their class. {LAYOUTS}",
        )
    records += [Record(path, label=None) for path in loose]
    if slides_checked:
        _check_apart(records, root)
    return Manifest.of(records, root, classes)


def _check_apart(records: Sequence[Record], root: Path) -> None:
    warn_of_rescans(records)
    for other, one in slides_of(record.image for record in records).items():
        if one != other:
            raise ScatteredSlideError(
                f"{one.relative_to(root)} and {other.relative_to(root)} are files of one slide "
                "(the same SeriesInstanceUID, or a link) in the folders of two classes or splits",
                where=root,
                remedy="Put all files of a slide into one folder, and remove the link in the wrong one.",
            )


def _split_records(root: Path) -> Iterator[Record]:
    folders = _folders(root)
    splits = {folder: split_name(folder.name) for folder in folders}
    if not any(splits.values()):
        yield from _class_records(root, None)
        return
    others = [folder.name for folder, split in splits.items() if split is None]
    if others:
        raise DataError(
            f"folders named after splits are mixed with others: {', '.join(others)}",
            where=root,
            remedy="Keep only train, val and test at this level, with one folder per class in them.",
        )
    for folder, split in splits.items():
        loose = _direct_images(folder)
        if loose:
            raise DataError(
                f"{len(loose)} images lie outside the class folders, the first is {loose[0].name}",
                where=folder,
                remedy="Move them into the folder of their class.",
            )
        yield from _class_records(folder, split)


def _class_records(folder: Path, split: str | None) -> Iterator[Record]:
    for class_folder in _folders(folder):
        images = list_images(class_folder)
        if not images:
            raise DataError(
                "the folder of this class holds no image",
                where=class_folder,
                remedy=f"Remove the folder or add images ({', '.join(sorted(IMAGE_SUFFIXES))}). {LAYOUTS}",
            )
        for image in images:
            yield Record(image, label=class_folder.name, split=split)


def _walk(folder: Path) -> Iterator[Path]:
    yield from _direct_images(folder)
    for inner in _folders(folder):
        yield from _walk(inner)


def _folders(folder: Path) -> list[Path]:
    inner = (
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))
    )
    return sorted_paths(
        (path for path in inner if not belongs_to_a_slide(path) and not zarr_folder(path)), folder
    )


def _direct_images(folder: Path) -> list[Path]:
    if unread := unread_pyramids(folder):
        logger.warning(
            "%s: a Deep Zoom or Zoomify image (%d in this folder), which is not read and left out. "
            "Export it as a pyramidal TIFF.",
            unread[0],
            len(unread),
        )
    suffixes = tuple(IMAGE_SUFFIXES | plug_in_suffixes() | set(ZARR_SUFFIXES))

    def is_image(path: Path) -> bool:
        if not path.is_file():
            return zarr_folder(path)
        if named_as_dicom(path) and (header := read_dicom_header(path)) is not None:
            return not header.is_directory
        return path.name.lower().endswith(suffixes) or (named_as_dicom(path) and is_dicom(path))

    images = (path for path in folder.iterdir() if not path.name.startswith(".") and is_image(path))
    return sorted_paths(images, folder)
