"""What an OME-Zarr holds: its images, the plane and the levels of the one that is read, its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ImageError
from ..physical import PLAUSIBLE, square_mpp
from ..stored import Level
from .contents import CLEARLY, several_images
from .ngff import Dataset, Multiscale, attributes_of_ome, multiscale_of, ngff_version
from .zarr_store import has_chunks, open_node

__all__ = ["ZarrContents", "zarr_contents"]

_PLANES = ("t", "z")
_OBLONG = 0.02
_BESIDE = ("label", "macro", "thumbnail", "overview", "barcode")


@dataclass(frozen=True)
class ZarrContents:
    """One plane of one image.

    Attributes:
        arrays: where the array of each level lies in the store, finest first.
        levels: the table of levels.
        axes: names of the axes of the arrays.
        plane: the index along t and z, where there are such axes.
        channels: how many, 1 where there is no such axis.
        names: of the channels, numbers where they have none.
        primaries: of each channel, "red", "green", "blue" or "".
        dtype: of the samples.
        missing: the value of chunks that are not stored.
        mpp: microns per level-0 pixel, or None.
        mpp_source: what gives it, or "".
        beside: the other images, as a person chooses them.
        words: version, type and compression.
    """

    arrays: tuple[str, ...]
    levels: tuple[Level, ...]
    axes: tuple[str, ...]
    plane: tuple[tuple[str, int], ...]
    channels: int
    names: tuple[str, ...]
    primaries: tuple[str, ...]
    dtype: str
    missing: float
    mpp: float | None
    mpp_source: str
    beside: tuple[str, ...]
    words: str


class _Wanted(NamedTuple):
    """What `series` asks for: an image by number or name, and planes."""

    image: str
    planes: Mapping[str, int]


class _Picture(NamedTuple):
    """An image of the file: its place, its metadata, its size."""

    number: int
    place: str
    ome: Mapping[str, Any]
    multiscale: Multiscale
    height: int
    width: int

    @property
    def shown(self) -> str:
        name = f" {self.multiscale.name!r}" if self.multiscale.name else ""
        return f"{self.number}{name} ({self.width} x {self.height})"


def zarr_contents(path: Path, series: int | str | None = None, *, mpp_needed: bool = True) -> ZarrContents:
    """Look into an OME-Zarr; no pixel is read.

    Args:
        path: a folder, a ZIP archive, or a URL.
        series: which image, by number or name, and which plane: "1", "z=4", "1, z=4, t=0".
        mpp_needed: whether pixels that are not square are an error.

    Raises:
        ImageError: if not an OME-Zarr image, a plate, a stack of several planes of which none is chosen,
            or none of its pixels is stored.
    """
    wanted = _wanted(series, path)
    pictures = _pictures(path)
    chosen = _chosen(pictures, wanted, path)
    scale, arrays = chosen.multiscale, []
    for one in scale.datasets:
        place = f"{chosen.place}/{one.path}".strip("/")
        array = open_node(path, place)
        if not hasattr(array, "shape") or len(array.shape) != len(scale.axes):
            raise ImageError(
                f"the level {one.path!r} is not an array of the axes {', '.join(scale.axes)}",
                where=path,
                remedy="Write it again: its metadata contradict each other.",
            )
        arrays.append((place, one, array))
    arrays.sort(key=lambda one: -one[2].shape[scale.axes.index("x")])
    plane = _plane(scale, arrays[0][2].shape, wanted, path)
    kept = _levels(arrays, scale)
    full = arrays[0]
    if not any(has_chunks(path, place) for place, _, _ in kept[:1]):
        raise ImageError(
            "none of its chunks is stored",
            where=path,
            remedy="The program that wrote it stopped early, or only the metadata were copied: copy or write "
            "it again.",
        )
    mpp, source = _mpp(scale, full[1], path) if mpp_needed else (None, "")
    count = int(full[2].shape[scale.axes.index("c")]) if "c" in scale.axes else 1
    labels = [one.label for one in scale.channels] if len(scale.channels) == count else [""] * count
    primaries = [one.primary for one in scale.channels] if len(scale.channels) == count else [""] * count
    return ZarrContents(
        arrays=tuple(place for place, _, _ in kept),
        levels=tuple(level for _, level, _ in kept),
        axes=scale.axes,
        plane=plane,
        channels=count,
        names=tuple(label or str(number + 1) for number, label in enumerate(labels)),
        primaries=tuple(primaries),
        dtype=str(full[2].dtype.newbyteorder("=")),
        missing=float(full[2].fill_value or 0),
        mpp=mpp,
        mpp_source=source,
        beside=tuple(one.shown for one in pictures if one is not chosen),
        words=_words(scale, full[2], count),
    )


def _wanted(series: int | str | None, path: Path) -> _Wanted:
    image, planes = "", {}
    for part in str("" if series is None else series).split(","):
        axis, sign, number = (piece.strip() for piece in part.partition("="))
        if not sign:
            image = axis or image
        elif axis.lower() in _PLANES and number.isdigit():
            planes[axis.lower()] = int(number)
        else:
            raise ImageError(
                f"series {series!r} of an OME-Zarr",
                where=path,
                remedy='Give a number or name, a plane, or both: "1", "z=4", "1, z=4, t=0".',
            )
    return _Wanted(image, planes)


def _pictures(path: Path) -> list[_Picture]:
    """The images of a file, `labels` aside."""
    root = open_node(path)
    attributes = dict(root.attrs)
    ome = attributes_of_ome(attributes)
    if "multiscales" in ome:
        if "image-label" in ome:
            raise ImageError(
                "a label image of an OME-Zarr, not the image",
                where=path,
                remedy="Open the OME-Zarr above its folder labels.",
            )
        return [_picture(0, "", ome, path)]
    if "bioformats2raw.layout" in ome:
        inner = attributes_of_ome(dict(_group(path, "OME"))).get("series")
        places = [str(place) for place in inner] if isinstance(inner, Sequence) and inner else []
        found = [_picture(n, place, attributes_of_ome(_group(path, place)), path)
                 for n, place in enumerate(places or _numbered(path))]  # fmt: skip
        if found:
            return found
    raise _no_image(root, ome, path)


def _numbered(path: Path) -> list[str]:
    places: list[str] = []
    while _group(path, str(len(places))):
        places.append(str(len(places)))
    return places


def _group(path: Path, place: str) -> dict[str, Any]:
    """The attributes of a group; none where there is no such group."""
    try:
        return dict(open_node(path, place).attrs)
    except ImageError:
        return {}


def _picture(number: int, place: str, ome: Mapping[str, Any], path: Path) -> _Picture:
    scale = multiscale_of(ome, path)
    shape = getattr(open_node(path, f"{place}/{scale.datasets[0].path}".strip("/")), "shape", ())
    if len(shape) != len(scale.axes) or 0 in shape:
        raise ImageError(
            f"the level {scale.datasets[0].path!r} has the shape {tuple(shape)} for the axes "
            f"{', '.join(scale.axes)}",
            where=path,
            remedy="Write it again: its metadata contradict each other.",
        )
    height, width = (int(shape[scale.axes.index(axis)]) for axis in "yx")
    return _Picture(number, place, ome, scale, height, width)


def _no_image(root: Any, ome: Mapping[str, Any], path: Path) -> ImageError:  # noqa: ANN401
    """Why a Zarr is not read, and what to do."""
    if "plate" in ome or "well" in ome:
        kind, below = ("plate", "A/1/0") if "plate" in ome else ("well", "0")
        return ImageError(
            f"a {kind} of an OME-Zarr (high-content screening), many images in one",
            where=path,
            remedy=f"Name the folder of each field as an image, such as {path.name}/{below}.",
        )
    if "labels" in ome:
        return ImageError(
            "the labels of an OME-Zarr, not the image", where=path, remedy="Open the OME-Zarr above them."
        )
    if hasattr(root, "shape"):
        return ImageError(
            "a Zarr array without the metadata of an image",
            where=path,
            remedy="Write it as OME-Zarr (ome_zarr.writer.write_image), or open the group above it.",
        )
    return ImageError(
        "a Zarr group that is not an OME-Zarr image (no multiscales)",
        where=path,
        remedy="Name the group of the image inside it, or write it as OME-Zarr "
        "(ome_zarr.writer.write_image).",
    )


def _chosen(pictures: Sequence[_Picture], wanted: _Wanted, path: Path) -> _Picture:
    if wanted.image:
        for one in pictures:
            names = (one.multiscale.name.lower(), one.place.lower())
            if wanted.image == str(one.number) or wanted.image.lower() in names:
                return one
        raise several_images(f"the OME-Zarr holds no image {wanted.image!r}", pictures, path)
    named = [one for one in pictures if not any(word in one.multiscale.name.lower() for word in _BESIDE)]
    main = max(named or pictures, key=lambda one: (one.height * one.width, -one.number))
    for one in named:
        if one is not main and one.height * one.width * CLEARLY > main.height * main.width:
            raise several_images(f"the OME-Zarr holds {len(named)} images of like size", pictures, path)
    return main


def _plane(
    scale: Multiscale, shape: Sequence[int], wanted: _Wanted, path: Path
) -> tuple[tuple[str, int], ...]:
    """The index along t and z."""
    chosen, open_axes = [], []
    for axis, length in zip(scale.axes, shape, strict=True):
        if axis not in _PLANES:
            continue
        index = wanted.planes.get(axis, 0)
        if index >= length:
            raise ImageError(
                f"{axis}={index} of {length} planes",
                where=path,
                remedy=f"Give {axis} from 0 to {length - 1}.",
            )
        if length > 1 and axis not in wanted.planes:
            open_axes.append((axis, length))
        chosen.append((axis, index))
    if open_axes:
        parts = ", ".join(f"{axis}={length // 2}" for axis, length in open_axes)
        counts = " and ".join(f"{length} along {axis}" for axis, length in open_axes)
        raise ImageError(
            f"an OME-Zarr of several planes ({counts}); an image is one of them",
            where=path,
            remedy=f'Choose one: open_image(path, series="{parts}"), or that text in the column series of '
            "the manifest.",
        )
    return tuple(chosen)


def _levels(
    arrays: Sequence[tuple[str, Dataset, Any]], scale: Multiscale
) -> list[tuple[str, Level, Dataset]]:
    """The levels that have the aspect and the place of the finest."""
    y, x = scale.axes.index("y"), scale.axes.index("x")
    full = arrays[0][2].shape[y], arrays[0][2].shape[x]
    found: list[tuple[str, Level, Dataset]] = []
    for place, dataset, array in arrays:
        size = int(array.shape[y]), int(array.shape[x])
        level = Level.of(size, (int(full[0]), int(full[1])), (int(array.chunks[y]), int(array.chunks[x])))
        tall, wide = level.pixel
        rounded = 2 / min(size)
        alike = abs(tall - wide) <= (_OBLONG + rounded) * max(tall, wide)
        planes = all(array.shape[i] == arrays[0][2].shape[i] for i, axis in enumerate(scale.axes)
                     if axis in ("c", *_PLANES))  # fmt: skip
        if not found or (alike and planes and size < (found[-1][1].height, found[-1][1].width)
                         and _in_place(dataset, arrays[0][1], (y, x))):  # fmt: skip
            found.append((place, level, dataset))
    return found


def _in_place(dataset: Dataset, finest: Dataset, axes: tuple[int, int]) -> bool:
    """Whether a level starts where the finest does, to within one of its own pixels."""
    if dataset.translation is None or dataset.scale is None:
        return True
    origin = finest.translation or (0.0,) * len(dataset.translation)
    return all(abs(dataset.translation[i] - origin[i]) <= abs(dataset.scale[i]) for i in axes)


def _mpp(scale: Multiscale, dataset: Dataset, path: Path) -> tuple[float | None, str]:
    found = scale.microns(dataset)
    low, high = PLAUSIBLE
    if found is None or not all(low <= side <= high for side in found[:2]):
        return None, ""
    return square_mpp(found[0], found[1], path), f"OME-Zarr scale in {found[2]}"


def _words(scale: Multiscale, array: Any, count: int) -> str:  # noqa: ANN401
    """Version, channels, type and compression, for tables."""
    codecs = [type(one).__name__.removesuffix("Codec") for one in array.compressors or ()]
    version = scale.version or ngff_version({})
    name = f"OME-Zarr {version}".strip()
    return f"{name}, {count} x {array.dtype}, {'+'.join(codecs) or 'uncompressed'}"
