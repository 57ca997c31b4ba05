"""Look every image over before training: does it open, does it read, what is in it, what would it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from ..annotations.open_annotation import annotation_of
from ..errors import DataError, ScatteredSlideError
from ..files import write_csv
from ..geometry import Region, TileGrid, most_boxes, view_size
from ..images.describe import describe
from ..images.foreground import Foreground
from ..images.foreign import zarr_folder
from ..images.formats.decode import format_of, image_head
from ..images.formats.zarr_store import looks_like_zarr
from ..images.image import Image
from ..images.pool import map_ahead
from ..images.remote import reading_tiff
from ..images.resampled import ResampledImage, at_mpp
from ..images.timeouts import READ_TIMEOUT
from ..images.tissue import read_overview, tissue_mask
from ..images.urls import local_path, path_text
from ..model.config import ZoomInConfig
from ..runtime.faults import image_error
from .config import ManifestColumns
from .find import TABLES, WORKBOOKS, open_dataset
from .folders import list_images, read_folders
from .manifest import Manifest, Record, read_manifest
from .opening import foreground_mask, open_record
from .slide_files import one_per_slide, parts_of, slide_doubles

__all__ = [
    "Checked",
    "Inspection",
    "check_images",
    "images_to_check",
    "label_counts",
    "manifest_problems",
    "write_checks",
]

_SIDE = 256  # level-0 pixels of the corner and of the centre that are read


@dataclass(frozen=True)
class Checked:
    """What is known of an image, a row of the table.

    Attributes:
        image: its path.
        label: what the manifest says, or "".
        group: likewise.
        split: likewise.
        format: how the file is encoded: PNG, TIFF, ...
        reader: what decodes it: "OpenSlide", "GDAL", "tifffile", "zarr", "whole" for files decoded
            whole, else a plug-in's kind of image.
        width: level-0 pixels of the file.
        height: likewise.
        levels: stored resolutions.
        mpp: microns per level-0 pixel of the file or the manifest; None where unknown.
        mpp_source: what tells it, and in which unit.
        compression: of the stored pixels, where the file says.
        pixels: colours, bits and compression in the file's own words.
        level_sizes: width and height of each stored resolution, finest first.
        series: images and pictures that the file holds, the image itself counted.
        associated: pictures beside the image, such as label and macro.
        icc: name of the colour profile; profiles are not applied.
        companions: other files that belong to it: its side-cars and the further files of its slide.
        tissue: share of the overview that is foreground.
        tiles: that a model would look at, of those that hold foreground.
        views: tiles and sub-tiles that one estimate reads.
        megabytes: of these views, three bytes per pixel.
        problem: what is wrong, or "".
        remedy: what to do about it.
    """

    image: str
    label: str = ""
    group: str = ""
    split: str = ""
    format: str = ""
    reader: str = ""
    width: int | None = None
    height: int | None = None
    levels: int | None = None
    mpp: float | None = None
    mpp_source: str = ""
    compression: str = ""
    pixels: str = ""
    level_sizes: tuple[tuple[int, int], ...] = ()
    series: int | None = None
    associated: tuple[str, ...] = ()
    icc: str = ""
    companions: tuple[str, ...] = ()
    tissue: float | None = None
    tiles: int | None = None
    views: int | None = None
    megabytes: float | None = None
    problem: str = ""
    remedy: str = ""


class Inspection(NamedTuple):
    """What was found of an image, and what it looks like.

    Attributes:
        row: of the table.
        overview: red, green and blue, None where it cannot be read.
        mask: its foreground, of the overview's shape.
    """

    row: Checked
    overview: UInt8[Tensor, "3 h w"] | None = None
    mask: NDArray[np.bool_] | None = None


def images_to_check(sources: Sequence[str | Path], columns: ManifestColumns | None = None) -> list[Record]:
    """The records of what a user names.

    Args:
        sources: a manifest CSV, folders, or image files; files that do not exist are kept, to be reported.
        columns: names of the columns of a CSV.

    Raises:
        DataError: if nothing is named, a folder holds no image, or the CSV itself cannot be read.
    """
    records: list[Record] = []
    named: list[Path] = []  # of no data set: a shell names every file of a slide
    for source in map(local_path, sources):
        found: Manifest | None = None
        if source.suffix.lower() in WORKBOOKS and source.is_file():
            found = open_dataset(source)  # says what to do
        elif source.suffix.lower() in TABLES:
            found = _lenient(source, columns)
        elif (source / "manifest.csv").is_file():
            found = _lenient(source / "manifest.csv", columns)
        elif source.is_dir() and not zarr_folder(source):
            try:
                found = open_dataset(source, labels_required=False)
            except ScatteredSlideError:  # told of the list, beside what is wrong with its images
                found = read_folders(source, labels_required=False, slides_checked=False)
            except DataError:  # no layout that training would take, but images nevertheless
                if not (images := list_images(source)):
                    raise
                named += images
                records += [Record(path, label=None) for path in images]
        else:
            named.append(source)
            records.append(Record(source, label=None))
        if found is not None:
            records += found.records
    if not records:
        raise DataError("no images given", remedy="Name a manifest CSV, folders or image files.")
    there = [path for path in named if path.parent.is_dir()]
    left_out = set(there) - set(one_per_slide(there))
    return [record for record in records if record.row is not None or record.image not in left_out]


def _lenient(path: Path, columns: ManifestColumns | None) -> Manifest:
    return read_manifest(path, columns, labels_required=False, files_required=False, groups_checked=False)


def manifest_problems(records: Sequence[Record]) -> list[str]:
    """What is wrong with the list itself: groups across splits, missing labels, annotations of only some."""
    problems = []
    splits: dict[str, set[str]] = {}
    for record in records:
        if record.group is not None and record.split is not None:
            splits.setdefault(record.group, set()).add(record.split)
    across = sorted(group for group, found in splits.items() if len(found) > 1)
    if across:
        problems.append(f"{len(across)} groups are in several splits, the first is {across[0]!r}")
    doubles = slide_doubles(records)
    if doubles:
        one, other = doubles[0]
        remedy = "keep one row per slide" if other.row is not None else "put all its files into one folder"
        problems.append(
            f"{len(doubles)} images are further files of a slide that is listed already, or links to it, the "
            f"first is {other.image}, of the slide {one.image}: {remedy}"
        )
    labelled = sum(record.label is not None for record in records)
    if 0 < labelled < len(records):
        problems.append(f"{len(records) - labelled} of {len(records)} images have no label")
    return problems


def check_images(
    records: Sequence[Record],
    model: ZoomInConfig | None = None,
    *,
    mpp: float | None = None,
    channels: Sequence[str | int] = (),
    threads: int = 4,
    timeout: float | None = READ_TIMEOUT,
) -> Iterator[Inspection]:
    """Open each image, read a corner, the centre and the overview, and find its tissue; in order.

    Problems of an image are reported in its row, and the others continue.

    Args:
        records: the images.
        model: whose resolution, foreground and cost are of interest; by default tissue is sought by Otsu's
            method and no cost is reported.
        mpp: microns per level-0 pixel of files of which the record does not tell it.
        channels: that a network would see; none: red, green and blue.
        threads: images checked in parallel.
        timeout: seconds after which an image is given up.
    """
    parts = parts_of(record.image for record in records)
    for record, found in map_ahead(
        lambda record: _checked(record, model, mpp, channels, parts[record.image]),
        records,
        threads=threads,
        timeout=timeout,
    ):
        yield Inspection(_failed(_known(record), found)) if isinstance(found, Exception) else found


def write_checks(rows: Iterable[Checked], path: Path) -> None:
    """Write the table as CSV."""
    write_csv(
        path,
        [f.name for f in fields(Checked)],
        ([_cell(name, value) for name, value in asdict(row).items()] for row in rows),
    )


def _cell(name: str, value: Any) -> Any:  # noqa: ANN401 (of any column)
    if name in ("tissue", "megabytes") and value is not None:
        return f"{value:.4g}"
    if name == "level_sizes":
        return "; ".join(f"{width} x {height}" for width, height in value)
    if name == "companions":
        return "; ".join(Path(one).name for one in value)
    return "; ".join(value) if isinstance(value, tuple) else value


def label_counts(records: Sequence[Record]) -> dict[str, Counter[str]]:
    """Images of each label in each split, "" where the manifest leaves it open."""
    counts: dict[str, Counter[str]] = {}
    for record in records:
        counts.setdefault(record.split or "", Counter())[record.label or "no label"] += 1
    return counts


# --------------------------------------------------------------------------- one image


def _checked(
    record: Record,
    model: ZoomInConfig | None,
    mpp: float | None,
    channels: Sequence[str | int],
    parts: Sequence[Path],
) -> Inspection:
    row = _known(record)
    overview: Tensor | None = None
    mask: NDArray[np.bool_] | None = None
    foreground = model.foreground if model is not None else Foreground("otsu")
    shown = foreground if foreground.method == "otsu" else replace(foreground, method="otsu")
    try:
        row = replace(row, format=_format(record.image))
        file = open_record(record, None, mpp, channels)
        row = replace(row, **_facts(file, record, mpp, parts))
        row = replace(row, format=row.format or row.reader)
        overview = read_overview(file, shown.side)
        mask = tissue_mask(overview, shown)
        row = replace(row, tissue=float(mask.mean()))
        _read_corner_and_centre(file)
        if record.annotation is not None or record.mask is not None:
            annotation_of(record, file)
        image = at_mpp(file, None if model is None else model.resolution)
        row = _judged(row, image, record, model, foreground)
    except Exception as error:
        row = _failed(row, error)
    return Inspection(row, overview, mask)


def _known(record: Record) -> Checked:
    return Checked(path_text(record.image), record.label or "", record.group or "", record.split or "")


def _failed(row: Checked, error: Exception) -> Checked:
    found = image_error(error, row.image)
    return replace(row, problem=found.what, remedy=found.remedy or "")


def _facts(image: Image, record: Record, mpp: float | None, parts: Sequence[Path]) -> dict[str, Any]:
    stated = mpp if record.mpp is None else record.mpp
    found = describe(record.image, image=image, mpp=stated, series=record.series)
    return {
        "reader": found.reader,
        "width": image.width,
        "height": image.height,
        "levels": len(found.levels),
        "mpp": found.mpp,
        "mpp_source": found.mpp_source,
        "compression": _compression(record.image),
        "pixels": found.pixels,
        "level_sizes": found.levels,
        "series": found.series,
        "associated": found.associated,
        "icc": found.icc,
        "companions": tuple(map(str, dict.fromkeys((*found.companions, *parts)))),
    }


def _format(path: Path) -> str:
    """The format by content; of one that has no such mark, by the suffix."""
    head = b"" if looks_like_zarr(path) else image_head(path)
    if looks_like_zarr(path, head):
        return "ZARR"
    if head[128:132] == b"DICM":
        return "DICOM"
    return format_of(head) or path.suffix[1:].upper()


def _compression(path: Path) -> str:
    """What a TIFF says of its first directory; "" of other formats, which have but one or do not say."""
    if format_of(image_head(path)) != "TIFF":
        return ""
    try:
        with reading_tiff(path) as file:
            return str(file.pages.first.compression.name)
    except (ValueError, OSError, KeyError, IndexError, AttributeError, TypeError):
        return ""  # the pixels have been read; what tifffile cannot parse it leaves unsaid


def _read_corner_and_centre(image: Image) -> None:
    side = min(_SIDE, image.height, image.width)
    middle = Region((image.width - side) // 2, (image.height - side) // 2, side, side)
    last = Region(image.width - side, image.height - side, side, side)
    image.read([Region(0, 0, side, side), middle, last], 1.0)


def _judged(
    row: Checked, image: Image, record: Record, model: ZoomInConfig | None, foreground: Foreground
) -> Checked:
    """The cost for a model, and doubts about what reads well."""
    mask = foreground_mask(image, record, foreground)
    tiles = None
    if model is not None:
        grid = TileGrid.of(torch.tensor([[image.height, image.width]]), model.tile_size)
        kept = len(grid.image) if mask is None else int(mask.tiles(grid.regions).sum())
        tiles = kept or len(grid.image)
        row = replace(row, **_cost(image, tiles, model))
        if mask is not None and kept == 0:
            return _empty(row)
    elif row.tissue == 0:
        return _empty(row)
    if isinstance(image, ResampledImage) and image.factor < 0.99:
        return replace(
            row,
            problem=f"pixels of {image.source.mpp:g} microns are coarser than the {image.mpp:g} asked for",
            remedy="Details that were not scanned are blurred: leave the image out, or work at a "
            "larger model.mpp.",
        )
    return row


def _empty(row: Checked) -> Checked:
    return replace(
        row,
        problem="no foreground found",
        remedy="Look at the contact sheet: leave the image out, change model.foreground, or name a mask in "
        "the column foreground. Until then, all of its tiles are used.",
    )


def _cost(image: Image, tiles: int, model: ZoomInConfig) -> dict[str, Any]:
    sides = [*(block.size for block in model.blocks), model.tile_size]
    scales = [*(block.scale for block in model.blocks), model.tile_scale]
    seen = most_boxes(image.height, image.width, sides, model.n_samples)
    seen[-1] = min(seen[-1], tiles)
    drawn = min(tiles, model.n_samples)
    pixels = drawn * view_size(model.tile_size, model.sub_tile_scale) ** 2
    pixels += model.n_samples * model.sub_tile_size**2
    for count, side, scale in zip(seen, sides, scales, strict=True):
        pixels += count * view_size(side, scale) ** 2
    return {"tiles": tiles, "views": sum(seen) + drawn + model.n_samples, "megabytes": 3 * pixels / 1e6}
