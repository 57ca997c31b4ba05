"""Features of an image's crops in an HDF5 file, in the layout that CLAM and TRIDENT write and read.

    features   floating point (n, dims); files with (1, n, dims) are read too; STAMP's name is `feats`
    coords     integer (n, 2): x and y of the upper left corner of each crop, level-0 pixels

Attributes of `coords` give the size of the crops (`patch_size_level0`, `patch_size`: the names that TRIDENT
gives them), and `unit` or `units` that coordinates are in microns ("um"), as STAMP writes them. Files
that are not HDF5 are read by `feature_stores`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, ImageError
from ..files import whole_file
from ..images.physical import unit_in_microns
from .feature_stores import Stored, find_store, first_store, read_npz, read_pt, read_zarr, split_table

__all__ = [
    "FeatureFile",
    "feature_path",
    "read_features",
    "settings_of",
    "stored_dims",
    "stored_features",
    "write_features",
]

_SETTINGS = "zoomin"  # attribute: how the file was made
_FARTHEST = 1 << 40  # level-0 pixels
_UNIT_NAMES = re.compile(r"((coords?|coordinates?|positions?|spatial|xy)_?)?units?", re.IGNORECASE)
_MPP_NAMES = ("mpp", "level0_mpp", "slide_mpp", "base_mpp")
_PIXELS = frozenset({"", "px", "pixel", "pixels", "level0", "level-0 pixels", "level0 pixels"})
_LARGE, _MOST = 1 << 28, 1 << 36  # bytes that an array may declare: without a look at the file, and at all
_COMPRESSION = 1100  # times: no filter of HDF5 stores numbers in less


class FeatureFile(NamedTuple):
    """What such a file holds.

    Attributes:
        features: of each crop.
        coords: x and y of each crop, level-0 pixels; zeros where they are not known or not asked for.
        side: of a crop, level-0 pixels; None where the file does not give it.
    """

    features: Float[Tensor, "n dims"]
    coords: Int[Tensor, "n 2"]
    side: float | None = None


def feature_path(folder: str | Path, image: str | Path) -> Path:
    """The file of an image's features: its name with another suffix."""
    return Path(folder) / f"{Path(image).stem}.h5"


def write_features(path: Path, parts: Iterable[FeatureFile], settings: dict[str, Any]) -> int:
    """Write features part by part; the file stands under its name when it is whole.

    Args:
        path: of the file.
        parts: one after another, at least one.
        settings: how they were made; `crop_size` (level-0 pixels) and `scale` among them.

    Returns:
        The number of crops.
    """
    n = 0
    with whole_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        for part in parts:
            new = {"features": part.features.float().cpu().numpy(), "coords": part.coords.cpu().numpy()}
            for name, values in new.items():
                if name not in file:
                    file.create_dataset(name, data=values, maxshape=(None, values.shape[1]), chunks=True)
                    continue
                file[name].resize(n + len(values), axis=0)
                file[name][n:] = values
            n += len(part.coords)
        side = settings["crop_size"]
        attributes = {"patch_size_level0": side, "patch_size": max(1, round(side * settings["scale"]))}
        file["coords"].attrs.update(attributes)
        file.attrs[_SETTINGS] = json.dumps(settings, sort_keys=True)
    return n


def settings_of(path: Path) -> dict[str, Any] | None:
    """How a file was made; None where zoomin did not make it.

    Raises:
        ImageError: if it cannot be read.
    """
    with _opened(path) as file:
        found = file.attrs.get(_SETTINGS)
        return None if found is None else dict(json.loads(found))


def read_features(
    path: Path,
    dims: int | None = None,
    *,
    mpp: float | None = None,
    places: bool = True,
    table: str | None = None,
) -> FeatureFile:
    """Read a file of zoomin's, or of one of the toolkits in `feature_stores`.

    Args:
        path: of the file; the folder of a Zarr store.
        dims: how many numbers per crop are expected; None: any.
        mpp: microns per level-0 pixel of the image, for coordinates that are written in microns; None: what
            the file itself says.
        places: whether the coordinates are wanted; where not, those given back are not to be trusted.
        table: which features of a store that holds those of several networks.

    Raises:
        DataError: if a package that reads such files is not installed.
        ImageError: if there is no such file, it is damaged, its arrays do not fit or lie in other files, a
            feature is not a number, it holds no coordinates and they are wanted, or coordinates in microns
            cannot be converted.
    """
    if path.suffix == ".zarr" and path.is_dir():
        stored = read_zarr(path, table, places=places)
    elif path.suffix in (".pt", ".npz") and path.is_file():
        stored = read_pt(path) if path.suffix == ".pt" else read_npz(path)
    else:
        stored = _read_h5(path, mpp, places)
    if places and stored.coords is None:
        raise ImageError(
            "features without the places of their crops",
            where=path,
            remedy="Give the .h5 file of the same features, or keep slide2vec's folder tiles/ beside them.",
        )
    return _checked(path, stored, dims)


def _read_h5(path: Path, mpp: float | None, places: bool) -> Stored:
    """An HDF5 file of zoomin's, CLAM's, TRIDENT's or STAMP's."""
    with _opened(path) as file:
        name = "feats" if "features" not in file and "feats" in file else "features"
        missing = [one for one in (name, "coords") if one not in file]
        linked = [one for one in missing if file.get(one, getlink=True) is not None]
        if missing and not linked:
            raise ImageError(
                f"no array {missing[0]!r}, but {', '.join(file) or 'none'}",
                where=path,
                remedy="Name them as CLAM and TRIDENT do: features (n, dims) and coords (n, 2).",
            )
        stored = _array(file, name, path)
        _check_numbers(stored.dtype, "features", path)
        features = np.asarray(stored, dtype=np.float32)
        coords = np.asarray(_array(file, "coords", path))
        _check_numbers(coords.dtype, "coords", path)
        step = _step(file, path, mpp) if places else 1.0
        side = _side(file, step) if places else None
    if step != 1 or coords.dtype.kind not in "iu":
        coords = np.rint(coords / step)
    return Stored(features, coords, side)


def _checked(path: Path, stored: Stored, dims: int | None) -> FeatureFile:
    """Features whose shape and numbers are right."""
    _check_numbers(stored.features.dtype, "features", path)
    features = np.asarray(stored.features, dtype=np.float32)
    features = features[0] if features.ndim == 3 and len(features) == 1 else features
    coords = np.zeros((len(features), 2)) if stored.coords is None else stored.coords
    coords = coords[0] if coords.ndim == 3 and len(coords) == 1 else coords
    if features.size == 0:
        raise ImageError(
            "it holds no crops: the toolkit found no tissue",
            where=path,
            remedy="Leave the image out, or segment and encode it again.",
        )
    if features.ndim == 1:
        raise ImageError(
            f"{len(features)} features of the whole image, not of its crops",
            where=path,
            remedy="Give the folder of the features of the crops.",
        )
    if features.ndim != 2 or coords.shape != (len(features), 2):
        raise _unfit(path, f"features of shape {features.shape} and coords of shape {coords.shape}")
    if dims is not None and features.shape[1] != dims:
        raise _unfit(path, f"{features.shape[1]} features per crop where {dims} are expected")
    for what, numbers in (("features", features), ("coords", np.asarray(coords, dtype=np.float64))):
        bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
        if len(bad):
            more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
            raise _unfit(path, f"the {what} of row {bad[0]}{more} are not finite numbers")
    if (farthest := float(np.abs(coords).max(initial=0))) > _FARTHEST:
        raise _unfit(path, f"coordinates up to {farthest:.3g}, which no image has")
    places = torch.from_numpy(np.ascontiguousarray(coords).astype(np.int64))
    return FeatureFile(torch.from_numpy(features), places, stored.side)


def _check_numbers(dtype: np.dtype[Any], what: str, path: Path) -> None:
    """Refuse what would have to be guessed into real numbers.

    Raises:
        ImageError: naming the type.
    """
    if dtype.kind in "biuf":
        return
    if dtype.kind == "c":
        kind, remedy = f"complex numbers ({dtype})", "save their real part, or both parts as features: "
    elif dtype.fields is not None:
        kind, remedy = f"records of several fields ({', '.join(dtype.fields)})", "save one array of numbers: "
    elif h5py.check_string_dtype(dtype) is not None or dtype.kind in "SUT":
        kind, remedy = "text, not numbers", "convert them to numbers and save those: "
    else:
        kind, remedy = f"values of type {dtype}, not numbers", "convert them to numbers and save those: "
    raise ImageError(
        f"the {what} are {kind}",
        where=path,
        remedy=f"The file is whole; {remedy}one row per crop, of float16 or float32 (coords of int64).",
    )


def _array(file: Any, name: str, path: Path) -> Any:  # noqa: ANN401 (h5py is not typed)
    """An array that lies in the file itself and is not larger than the file can hold."""
    link = file.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise _unfit(path, f"the array {name!r} is a link to another file, {link.filename!r}")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise _unfit(path, f"{name!r} is not an array")
    if found.shape is None:
        raise _unfit(path, f"the array {name!r} is empty")
    outside = [source.file_name for source in found.virtual_sources()] if found.is_virtual else []
    if found.external or any(source != "." for source in outside):
        raise _unfit(path, f"the numbers of the array {name!r} lie in other files")
    declared = found.size * max(4, found.dtype.itemsize)
    stored = path.stat().st_size if found.is_virtual else found.id.get_storage_size()
    if declared > _LARGE and declared > _COMPRESSION * stored:
        raise _unfit(
            path, f"the array {name!r} declares {declared / 2**30:.3g} GiB and stores next to nothing"
        )
    if declared > _MOST:
        raise _unfit(path, f"the array {name!r} of {declared / 2**30:.3g} GiB is too large")
    return found


def _side(file: Any, step: float) -> float | None:  # noqa: ANN401 (h5py is not typed)
    """Side of a crop, level-0 pixels: in TRIDENT's and zoomin's words, CLAM's, STAMP's."""
    attributes = {**file.attrs, **file["coords"].attrs}
    if "patch_size_level0" in attributes:
        return float(attributes["patch_size_level0"])
    if "patch_size" in attributes and "downsample" in attributes:
        return float(attributes["patch_size"]) * float(np.ravel(attributes["downsample"])[0])
    microns = attributes.get("tile_size_um", attributes.get("tile_size"))
    return None if microns is None or step == 1 else float(microns) / step


def _step(file: Any, path: Path, mpp: float | None) -> float:  # noqa: ANN401 (h5py is not typed)
    """Units of the coordinates per level-0 pixel, as given by attributes of the array or the file."""
    attributes = {**file["coords"].attrs, **file.attrs, **file["coords"].attrs}  # those of the array first
    stated = [value for name, value in attributes.items() if _UNIT_NAMES.fullmatch(name)]
    if not stated and "feats" in file:
        return _historic_step(file, path, mpp)
    unit = _word(stated[0]) if stated else "px"
    if unit.casefold() in _PIXELS:
        return 1.0
    length = unit_in_microns(unit)
    if length is None:
        raise _unfit(path, f"coordinates in the unknown unit {unit!r}")
    known = mpp or next(
        (float(np.ravel(attributes[name])[0]) for name in _MPP_NAMES if name in attributes), None
    )
    if known is None or not known > 0:
        raise ImageError(
            f"its coordinates are in {unit}, and the size of the image's pixels is not known",
            where=path,
            remedy="Give the image's microns per pixel (mpp), or write the coordinates in level-0 pixels.",
        )
    return known / length


def _historic_step(file: Any, path: Path, mpp: float | None) -> float:  # noqa: ANN401 (h5py is not typed)
    """Units per level-0 pixel in STAMP's files without a unit: microns, or 224 units for 256 (STAMP 1).

    Raises:
        ImageError: if nothing gives the unit, or the size of the image's pixels is not known.
    """
    microns = 1.0
    if "tile_size_um" not in file.attrs:
        gaps = np.diff(np.unique(np.asarray(file["coords"]).reshape(-1, 2)[:, 0]))
        stride = float(file.attrs.get("tile_size", gaps.min() if len(gaps) else 0.0))
        if round(stride) != 224:
            raise _unfit(
                path, "coordinates in an unknown unit, which neither the file nor their stride shows"
            )
        microns = 256 / 224
    if mpp is None or not mpp > 0:
        raise ImageError(
            "its coordinates are in STAMP's units, and the size of the image's pixels is not known",
            where=path,
            remedy="Give the image's microns per pixel (mpp).",
        )
    return mpp / microns


def _word(value: Any) -> str:  # noqa: ANN401 (whatever an attribute holds)
    text: str = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(np.ravel(value)[0])
    return text.strip().replace("\u03bc", "\u00b5")  # its case counts: Mm is not mm


def stored_dims(folder: str | Path) -> int:
    """Numbers per crop in the files of a folder, by the first of them.

    Args:
        folder: of the files, or "FOLDER@TABLE".

    Raises:
        DataError: if it holds no such file.
        ImageError: if the file cannot be read.
    """
    place, table = split_table(folder)
    first = first_store(place)
    if first is None:
        raise DataError(
            "no file of features (.h5, .pt, .npz, .zarr)",
            where=folder,
            remedy="Write them with `zoomin data features`.",
        )
    return read_features(first, places=False, table=table).features.shape[1]


def stored_features(folder: str | Path, image: str | Path, dims: int | None = None) -> FeatureFile:
    """The features of an image in a folder of zoomin's or of another toolkit's, without their places.

    Args:
        folder: of the files, or "FOLDER@TABLE".
        image: whose features are wanted.
        dims: how many numbers per crop are expected; None: any.

    Raises:
        DataError: if a package that reads such files is not installed.
        ImageError: if there is none, or it cannot be used.
    """
    place, table = split_table(folder)
    found = find_store(place, image) or feature_path(place, image)
    return read_features(found, dims, places=False, table=table)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open file; whatever HDF5 fails with meanwhile is damage."""
    if not path.is_file():
        raise ImageError("no such feature file", where=path, remedy="Write it with `zoomin data features`.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise _unfit(path, f"damaged, or not an HDF5 file ({error})") from error


def _unfit(path: Path, what: str) -> ImageError:
    return ImageError(what, where=path, remedy="Write the features again: remove the file first.")
