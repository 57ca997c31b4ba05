"""Features of an image's crops as other toolkits store them, each in its own frame and unit.

| toolkit | file of an image | coordinates |
| --- | --- | --- |
| CLAM | `h5_files/NAME.h5` (`features`, `coords`), `pt_files/NAME.pt` | level-0 pixels; the size of a crop stands in `patches/NAME.h5` |
| TRIDENT 0.3 | `NAME.h5` (`features`, `coords` with attributes) | level-0 pixels |
| STAMP 2 | `NAME.h5` (`feats`, `coords`; attribute `unit`) | microns |
| slide2vec 7 | `tile_embeddings/NAME.pt` or `.npz`, `tiles/NAME.coordinates.npz` | level-0 pixels |
| wsidata, LazySlide | `NAME.zarr` (`tables/MODEL_tiles`, `shapes/tiles`) | level-0 pixels, as polygons |
"""  # noqa: E501 (a table)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import DataError, ImageError
from ..files import read_json
from ..runtime.extras import install
from .npz_files import read_npz_file

__all__ = [
    "SUFFIXES",
    "Stored",
    "find_store",
    "first_store",
    "read_npz",
    "read_pt",
    "read_zarr",
    "split_table",
]

SUFFIXES = (".h5", ".pt", ".npz", ".zarr")
_FOLDERS = ("", "h5_files", "tile_embeddings", "pt_files")  # CLAM and slide2vec keep files in folders
_AGAIN = "Write the features again: remove the file first."
_EXTRA = f"Install the extra: {install('stores')}."


class Stored(NamedTuple):
    """What a file holds, before it is checked.

    Attributes:
        features: of each crop.
        coords: x and y of each, level-0 pixels; None where the file does not give them.
        side: of a crop, level-0 pixels; None where it is not given.
    """

    features: npt.NDArray[Any]
    coords: npt.NDArray[Any] | None = None
    side: float | None = None


def split_table(folder: str | Path) -> tuple[Path, str | None]:
    """A folder, and the table that is wanted of its stores: "FOLDER@TABLE".

    Example:
        >>> split_table("features@uni")[1], split_table("features")[1]
        ('uni', None)
    """
    text = str(folder)
    if Path(text).exists() or "@" not in text:
        return Path(text), None
    name, _, table = text.rpartition("@")
    return Path(name), table


def find_store(folder: Path, image: str | Path) -> Path | None:
    """The file of an image's features in a folder of any of the toolkits; None where there is none."""
    for inner in _FOLDERS:
        for suffix in SUFFIXES:
            found = folder / inner / f"{Path(image).stem}{suffix}"
            if found.exists():
                return found
    return None


def first_store(folder: Path) -> Path | None:
    """The first file of features in a folder, by name; None where there is none."""
    for inner in _FOLDERS:
        for suffix in SUFFIXES:
            found = min(_named(folder / inner, suffix), default=None)
            if found is not None:
                return found
    return None


def _named(folder: Path, suffix: str) -> Iterator[Path]:
    return (path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))


# --------------------------------------------------------------------------- PyTorch, NumPy


def read_pt(path: Path) -> Stored:
    """A tensor as CLAM, TRIDENT and slide2vec save it; nothing in the file is run.

    Raises:
        ImageError: if it holds anything else than one tensor.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickles may raise anything
        raise ImageError(
            f"not a tensor that can be read without running code ({type(error).__name__})",
            where=path,
            remedy="Save the features again: torch.save(torch.as_tensor(features), FILE).",
        ) from error
    coords = None
    if isinstance(found, dict):
        coords, found = found.get("coords"), found.get("features", found.get("feats"))
    if not isinstance(found, Tensor):
        raise ImageError(
            "not a tensor of features",
            where=path,
            remedy="Save the features of the crops as one tensor: torch.save(features, FILE).",
        )
    features = found.numpy() if found.is_complex() else found.float().numpy()
    if isinstance(coords, Tensor):
        return Stored(features, coords.numpy())
    return _with_coordinates(path, features)


def read_npz(path: Path) -> Stored:
    """An archive as slide2vec saves it.

    Raises:
        ImageError: if it holds no array `features`.
    """
    try:
        arrays = read_npz_file(path)
        features, index = arrays["features"], arrays.get("tile_index")
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(
            f"not an archive with an array 'features' ({error})",
            where=path,
            remedy=_AGAIN,
        ) from error
    found = _with_coordinates(path, features)
    if index is not None and found.coords is not None and len(index) == len(features):
        try:
            found = found._replace(coords=found.coords[index])
        except IndexError as error:
            raise ImageError(
                f"its tile_index names crops that there are not ({error})", where=path, remedy=_AGAIN
            ) from error
    return found


def _with_coordinates(path: Path, features: npt.NDArray[Any]) -> Stored:
    """Where slide2vec's crops lie: in a file in tiles/, or one that the meta.json beside them names."""
    meta = read_json(path.with_suffix(".meta.json"), strict=False)
    named = meta.get("coordinates_npz_path") or ""
    beside = path.parents[1] / "tiles" / f"{path.stem}.coordinates.npz" if len(path.parents) > 1 else path
    place = next((one for one in (beside, Path(named)) if one.suffix == ".npz" and one.is_file()), None)
    if place is None:
        return Stored(features, None, meta.get("tile_size_lv0"))
    try:
        arrays = read_npz_file(place)
        coords = np.stack([arrays["x"], arrays["y"]], axis=1)
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(f"no coordinates x and y of crops ({error})", where=place, remedy=_AGAIN) from error
    tiling = read_json(place.with_suffix(".meta.json"), strict=False).get("tiling", {})
    return Stored(features, coords, meta.get("tile_size_lv0") or tiling.get("tile_size_lv0"))


# --------------------------------------------------------------------------- wsidata


def read_zarr(path: Path, table: str | None = None, *, places: bool = True) -> Stored:
    """A store that wsidata or LazySlide wrote.

    Args:
        path: of the folder NAME.zarr.
        table: name of the network, as in `tables/MODEL_tiles`; None: the only one.
        places: whether the polygons of the tiles are wanted.

    Raises:
        DataError: if zarr, or pyarrow for the polygons, is not installed.
        ImageError: if it holds no such table, or several and none is named.
    """
    try:
        import zarr
    except ImportError as error:
        raise DataError("a Zarr store, and zarr is not installed", where=path, remedy=_EXTRA) from error
    try:
        group: Any = zarr.open_group(str(path), mode="r", use_consolidated=False)  # it may be stale
        tables: Any = group["tables"] if "tables" in group else {}
        names = sorted(name for name in tables if "X" in tables[name])
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(
            f"not a store of wsidata ({error})", where=path, remedy="Give the folder NAME.zarr that it wrote."
        ) from error
    wanted = [name for name in names if table is None or name in (table, f"{table}_tiles")]
    if len(wanted) != 1:
        raise ImageError(
            f"{len(wanted) or 'no'} tables of features{f' named {table!r}' if table else ''}; "
            f"it holds {', '.join(names) or 'none'}",
            where=path,
            remedy=f"Name one: stored:FOLDER@{names[0] if names else 'MODEL'}.",
        )
    own = tables[wanted[0]]
    features = np.asarray(own["X"])
    if not places:
        return Stored(features)
    key, region = str(own.attrs["instance_key"]), own.attrs["region"]
    shapes = str(region if isinstance(region, str) else region[0])
    boxes = _boxes(path / "shapes" / shapes / "shapes.parquet", np.asarray(own["obs"][key]), key)
    side = float((boxes[0, 2:] - boxes[0, :2]).max()) if len(boxes) else None
    return Stored(features, np.rint(boxes[:, :2]).astype(np.int64), side)


def _boxes(path: Path, ids: npt.NDArray[Any], key: str) -> npt.NDArray[np.float64]:
    """Left, top, right and bottom of the tiles in the order of `ids`, level-0 pixels."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DataError(
            "a store whose tiles are in Parquet, and pyarrow is not installed", where=path, remedy=_EXTRA
        ) from error
    import shapely

    rows = parquet.read_table(path)
    known = rows.column(key).to_numpy() if key in rows.column_names else np.arange(len(rows))
    order = {str(one): place for place, one in enumerate(known)}
    if missing := [str(one) for one in ids if str(one) not in order]:
        raise ImageError(
            f"{len(missing)} crops have features but no tile, the first is {missing[0]}",
            where=path,
            remedy="Tile and encode the slide again.",
        )
    found: npt.NDArray[np.float64] = shapely.bounds(
        shapely.from_wkb(rows.column("geometry").to_numpy(zero_copy_only=False))
    )
    return found[[order[str(one)] for one in ids]]
