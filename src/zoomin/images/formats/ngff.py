"""What the metadata of an OME-Zarr say (NGFF 0.1 to 0.5): axes, levels, sizes of pixels, channels.

Nothing here opens a file: attributes come in as they stand in `.zattrs` or `zarr.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ImageError
from ..physical import unit_in_microns

__all__ = ["Channel", "Dataset", "Multiscale", "attributes_of_ome", "multiscale_of", "ngff_version"]

_AXES = ("t", "c", "z", "y", "x")
_PRIMARY = {"FF0000": "red", "00FF00": "green", "0000FF": "blue"}
_NAMES = {letter: name for name in ("red", "green", "blue") for letter in (name, name[0])}
_NUMBERED = re.compile(r"(channel|ch|c)?[\s:_#-]*[\d:]*")  # "Channel:0:1", as writers name what has no name


class Channel(NamedTuple):
    """A channel as the key `omero` describes it.

    Attributes:
        label: what it is called, or "".
        colour: six hexadecimal digits, or "".
    """

    label: str
    colour: str

    @property
    def primary(self) -> str:
        """Which of red, green and blue it is: by its name, or where it has none by its colour; else "".

        Stains are displayed in these colours too: DAPI in blue is no blue of a camera.

        Example:
            >>> [Channel(*one).primary for one in (("DAPI", "0000FF"), ("Channel 2", "0000FF"), ("R", ""))]
            ['', 'blue', 'red']
        """
        label = self.label.strip().lower()
        if _NUMBERED.fullmatch(label):
            return _PRIMARY.get(self.colour.upper()[:6], "")
        return _NAMES.get(label.removesuffix("channel").strip(), "")


class Dataset(NamedTuple):
    """A stored resolution.

    Attributes:
        path: of its array, below the group of the image.
        scale: size of a pixel along each axis, in the axis' unit; None where it is not given.
        translation: where its first pixel lies, likewise.
    """

    path: str
    scale: tuple[float, ...] | None
    translation: tuple[float, ...] | None


@dataclass(frozen=True)
class Multiscale:
    """An image at several resolutions.

    Attributes:
        name: what the file calls it, or "".
        axes: names of the axes, in the order of the arrays.
        units: of each axis, or "".
        datasets: its levels.
        channels: what `omero` says of the channels; may be empty.
        version: of the specification, or "".
    """

    name: str
    axes: tuple[str, ...]
    units: tuple[str, ...]
    datasets: tuple[Dataset, ...]
    channels: tuple[Channel, ...]
    version: str

    def microns(self, dataset: Dataset) -> tuple[float, float, str] | None:
        """Width and height of a pixel, and the unit that gave it; None where no unit of length does."""
        if dataset.scale is None:
            return None
        x, y = self.axes.index("x"), self.axes.index("y")
        wide, tall = unit_in_microns(self.units[x]), unit_in_microns(self.units[y])
        if wide is None or tall is None:
            return None
        return dataset.scale[x] * wide, dataset.scale[y] * tall, self.units[x]


def attributes_of_ome(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a group's attributes that is NGFF's: 0.5 keeps it under `ome`.

    Example:
        >>> attributes_of_ome({"ome": {"version": "0.5"}}), attributes_of_ome({"multiscales": []})
        ({'version': '0.5'}, {'multiscales': []})
    """
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def ngff_version(ome: Mapping[str, Any]) -> str:
    """The version of the specification that a group names, or ""."""
    listed = ome.get("multiscales") or ome.get("plate") or [{}]
    first = listed[0] if isinstance(listed, Sequence) and listed else listed
    found = ome.get("version") or (first.get("version") if isinstance(first, Mapping) else None)
    return str(found or "")


def multiscale_of(ome: Mapping[str, Any], path: Path) -> Multiscale:
    """The image that a group describes: the first of its `multiscales`.

    Args:
        ome: what `attributes_of_ome` gave.
        path: named in errors.

    Raises:
        ImageError: if axes or levels are missing or make no sense.
    """
    try:
        first = ome["multiscales"][0]
        axes, units = _axes(first)
        datasets = tuple(_dataset(one, first, len(axes)) for one in first["datasets"])
        channels = tuple(
            Channel(str(one.get("label") or ""), str(one.get("color") or "").lstrip("#"))
            for one in (ome.get("omero") or {}).get("channels") or ()
        )
        name = str(first.get("name") or "")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise _senseless(f"{type(error).__name__}: {error}", path) from error
    if not datasets:
        raise _senseless("it lists no datasets", path)
    if not {"y", "x"} <= set(axes) <= set(_AXES) or len(set(axes)) < len(axes):
        raise _senseless(f"axes {', '.join(axes)}; known are {', '.join(_AXES)}, y and x at least", path)
    return Multiscale(name.strip("/"), axes, units, datasets, channels, ngff_version(ome))


def _axes(multiscale: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and units: objects since 0.4, names in 0.3, all five before."""
    listed = multiscale.get("axes") or _AXES
    names = tuple(str(one if isinstance(one, str) else one["name"]).lower() for one in listed)
    units = tuple("" if isinstance(one, str) else str(one.get("unit") or "") for one in listed)
    return names, units


def _dataset(one: Mapping[str, Any], multiscale: Mapping[str, Any], count: int) -> Dataset:
    """A level; what holds for all levels is applied after what holds for it."""
    scale = _transform(one, "scale", count)
    whole = _transform(multiscale, "scale", count)
    if scale is not None and whole is not None:
        scale = tuple(a * b for a, b in zip(scale, whole, strict=True))
    return Dataset(str(one["path"]), scale or whole, _transform(one, "translation", count))


def _transform(holder: Mapping[str, Any], kind: str, count: int) -> tuple[float, ...] | None:
    """The numbers of a transformation, where they are in the metadata and one for each axis."""
    for one in holder.get("coordinateTransformations") or ():
        if one.get("type") == kind and isinstance(one.get(kind), Sequence):
            numbers = tuple(float(number) for number in one[kind])
            return numbers if len(numbers) == count else None
    return None


def _senseless(why: str, path: Path) -> ImageError:
    return ImageError(
        f"the OME-Zarr metadata are not valid ({why})",
        where=path,
        remedy="Write it again, with the axes and datasets of NGFF 0.4 or 0.5 (ome-zarr-py, bioformats2raw).",
    )
