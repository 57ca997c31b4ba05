"""Features of an image's crops in an HDF5 file, in the layout that CLAM and TRIDENT write and read.

    features   floating point (n, dims); files with (1, n, dims) are read too
    coords     integer (n, 2): x and y of the upper left corner of each crop, level-0 pixels

Attributes of `coords` tell the size of the crops (`patch_size_level0`, `patch_size`: the names that TRIDENT
gives them).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, ImageError
from ..files import whole_file

__all__ = ["FeatureFile", "feature_path", "read_features", "settings_of", "stored_dims", "write_features"]

_SETTINGS = "zoomin"  # attribute: how the file was made


class FeatureFile(NamedTuple):
    """What such a file holds.

    Attributes:
        features: of each crop.
        coords: x and y of each crop, level-0 pixels.
    """

    features: Float[Tensor, "n dims"]
    coords: Int[Tensor, "n 2"]


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


def read_features(path: Path, dims: int | None = None) -> FeatureFile:
    """Read a file.

    Args:
        path: of the file.
        dims: numbers a crop that are expected; None: any.

    Raises:
        ImageError: if there is no such file, it is damaged, or its arrays do not fit.
    """
    with _opened(path) as file:
        missing = [name for name in ("features", "coords") if name not in file]
        if missing:
            raise _unfit(path, f"no array {missing[0]!r}, but {', '.join(file) or 'none'}")
        try:
            features, coords = np.asarray(file["features"], dtype=np.float32), np.asarray(file["coords"])
        except OSError as error:
            raise _unfit(path, f"damaged ({error})") from error
    features = features[0] if features.ndim == 3 and len(features) == 1 else features
    if features.ndim != 2 or coords.shape != (len(features), 2) or not len(features):
        raise _unfit(path, f"features of shape {features.shape} and coords of shape {coords.shape}")
    if dims is not None and features.shape[1] != dims:
        raise _unfit(path, f"{features.shape[1]} features a crop where {dims} are expected")
    return FeatureFile(torch.from_numpy(features), torch.from_numpy(coords.astype(np.int64)))


def stored_dims(folder: str | Path) -> int:
    """Numbers a crop in the files of a folder, by the first of them.

    Raises:
        DataError: if it holds no such file.
        ImageError: if the file cannot be read.
    """
    first = min(Path(folder).glob("*.h5"), default=None)
    if first is None:
        raise DataError(
            "no .h5 file of features", where=folder, remedy="Write them by `zoomin data features`."
        )
    return read_features(first).features.shape[1]


def _opened(path: Path) -> Any:  # noqa: ANN401 (h5py is not typed)
    if not path.is_file():
        raise ImageError("no such file of features", where=path, remedy="Write it by `zoomin data features`.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _unfit(path, f"no HDF5 file ({error})") from error


def _unfit(path: Path, what: str) -> ImageError:
    return ImageError(what, where=path, remedy="Write the features again: remove the file first.")
