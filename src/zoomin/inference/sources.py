"""Find the images that a user means, and open them ahead of the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..classifiers import ClassifierConfig
from ..data.config import ManifestColumns
from ..data.find import TABLES, WORKBOOKS, open_dataset
from ..data.folders import list_images
from ..data.manifest import Record
from ..data.opening import foreground_mask, open_record
from ..data.slide_files import images_among, one_per_slide
from ..errors import DataError, ZoomInError
from ..images.array import images_of
from ..images.image import Image
from ..images.physical import microns
from ..images.pool import map_ahead
from ..images.resampled import at_mpp
from ..images.tissue import ForegroundMask
from ..images.urls import exists, local_path, path_text
from ..runtime.faults import image_error
from .config import InferenceConfig

__all__ = ["ImagesLike", "Opened", "Unreadable", "find_images", "name_of", "open_images", "path_of"]

ImageLike = str | Path | Record | Image
ImagesLike = Iterable[str | Path | Record | Image] | Tensor | str | Path | Image


class Opened(NamedTuple):
    """An image as the model reads it.

    Attributes:
        name: what the user calls it.
        image: at the model's resolution.
        mask: its foreground, where that is sought.
    """

    name: str
    image: Image
    mask: ForegroundMask | None


class Unreadable(NamedTuple):
    """An image that could not be read.

    Attributes:
        image: its path, or name.
        error: why.
    """

    image: str
    error: ZoomInError


def find_images(
    patterns: Sequence[str | Path], manifest: str | Path | None = None, group: str | None = None
) -> list[Path | Record]:
    """The images that a user means, each once.

    Args:
        patterns: image files, folders (all images in and below them), glob patterns, or manifests (CSV).
        manifest: a CSV, or another layout of images without need of labels.
        group: the column of a CSV that holds the groups.

    Returns:
        Paths, in the order given, and the records of the manifest. A file that does not exist is among them:
        it becomes a failed row, as does one that cannot be read.

    Raises:
        DataError: if nothing is asked for, or a folder or pattern holds no image.
    """
    asked: list[Path | Record] = []
    columns = None if group is None else ManifestColumns(group=group)
    for pattern in patterns:
        path = local_path(pattern)
        if path.suffix.lower() in TABLES | WORKBOOKS and path.is_file():
            asked += open_dataset(path, labels_required=False, columns=columns).records
            continue
        if path.is_dir():
            images = list_images(path)
        elif not exists(path) and any(sign in str(pattern) for sign in "*?["):
            below = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
            images = images_among(below)
        else:
            images = [path]
        if not images:
            raise DataError("no image found", where=pattern, remedy="Check the folder or the pattern.")
        asked += images
    if manifest is not None:
        asked += open_dataset(manifest, labels_required=False, columns=columns).records
    if not asked:
        raise DataError("no images given", remedy="Name files, folders or patterns, or give --manifest.")
    once = {path_of(image): image for image in asked}
    return [once[path] for path in one_per_slide(list(once))]


def path_of(image: Path | Record) -> Path:
    """Where an image lies."""
    return image.image if isinstance(image, Record) else image


def open_images(
    images: ImagesLike, model: ClassifierConfig, config: InferenceConfig
) -> Iterator[Opened | Unreadable]:
    """Open images in threads, in order, at most `config.threads` ahead.

    Raises:
        ConfigError: if `config.mpp` is not a size.
        ConfigError: if a tensor is of another shape, type or range.
    """
    mpp = None if config.mpp is None else microns(config.mpp)
    opening = map_ahead(
        partial(_open, model=model, mpp=mpp),
        _each(images),
        threads=config.threads,
        timeout=config.read_timeout,
    )
    for source, found in opening:
        if isinstance(found, Exception):
            yield Unreadable(name_of(source), image_error(found, name_of(source)))
        else:
            yield found


def name_of(source: ImageLike) -> str:
    """What the user calls an image."""
    if isinstance(source, Record):
        return path_text(source.image)
    return path_text(Path(source)) if isinstance(source, (str, Path)) else source.name


def _open(source: ImageLike, *, model: ClassifierConfig, mpp: float | None) -> Opened:
    """The image of a source as the model reads it."""
    if isinstance(source, (str, Path)):
        record: Record | None = Record(Path(source), label=None)
    else:
        record = source if isinstance(source, Record) else None
    if record is not None:
        image = open_record(record, model, mpp)
    else:
        assert isinstance(source, Image)
        image = at_mpp(source, model.resolution)
    return Opened(name_of(source), image, foreground_mask(image, record, model.foreground))


def _each(images: ImagesLike) -> Iterator[ImageLike]:
    if isinstance(images, Tensor):
        yield from images_of(images)
    elif isinstance(images, (str, Path, Image)):
        yield images
    else:
        yield from images
