"""Write the features of an image's crops as other toolkits do, each in its own frame and unit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch

from ..errors import DataError, ImageError
from ..files import whole_file, write_json
from ..images.physical import OBJECTIVE
from ..model.feature_files import FeatureFile
from ..runtime.extras import install

__all__ = ["LAYOUTS", "Slide", "write_layout"]


class Slide(NamedTuple):
    """What the layouts tell of the image.

    Attributes:
        path: of the image.
        width: level-0 pixels.
        height: likewise.
        mpp: microns per level-0 pixel; None where unknown.
        network: name of the network that made the features.
    """

    path: Path
    width: int
    height: int
    mpp: float | None
    network: str = "zoomin"

    @property
    def name(self) -> str:
        """Without folder and suffix: what files of features are called after."""
        return self.path.stem


def write_layout(layout: str, folder: Path, slide: Slide, found: FeatureFile) -> Path:
    """Write the features of an image.

    Args:
        layout: one of `LAYOUTS`.
        folder: below which the toolkit's own folders and files are made.
        slide: the image.
        found: its features, with places and the side of the crops.

    Returns:
        The file of the features.

    Raises:
        DataError: if a package that writes such files is not installed.
        ImageError: if the side of the crops, or the size of a pixel that the layout needs, is not known.
        WriteError: if a file cannot be written.
    """
    if found.side is None:
        raise ImageError(
            "features whose crops have no known size",
            where=slide.path,
            remedy="Give --crop_size: the side of a crop in level-0 pixels.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    return LAYOUTS[layout](folder, slide, found)


def _arrays(path: Path, arrays: Mapping[str, Any], attributes: Mapping[str, Mapping[str, Any]]) -> Path:
    """An HDF5 file of some arrays, with the attributes of each; those of "" are the file's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), chunks=True)
        for name, own in attributes.items():
            (file[name] if name else file).attrs.update(own)
    return path


def _tensor(path: Path, values: torch.Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished:
        torch.save(values.contiguous(), unfinished)
    return path


def _trident(folder: Path, slide: Slide, found: FeatureFile) -> Path:
    side = round(found.side or 0)
    attributes: dict[str, Any] = {
        "patch_size": side,
        "patch_size_level0": side,
        "overlap": 0,
        "name": slide.name,
        "savetodir": str(folder),
        "level0_width": slide.width,
        "level0_height": slide.height,
    }
    if slide.mpp is not None:
        power = round(OBJECTIVE / slide.mpp)
        attributes |= {"level0_magnification": power, "target_magnification": power}
    features = {"name": slide.name, "savetodir": str(folder), "encoder": slide.network}
    arrays = {"features": found.features.numpy(), "coords": found.coords.numpy()}
    return _arrays(folder / f"{slide.name}.h5", arrays, {"coords": attributes, "features": features})


def _clam(folder: Path, slide: Slide, found: FeatureFile) -> Path:
    coords = found.coords.numpy().astype(np.int32)
    size = (slide.width, slide.height)
    attributes = {
        "patch_size": round(found.side or 0),
        "patch_level": 0,
        "downsample": (1.0, 1.0),
        "downsampled_level_dim": size,
        "level_dim": size,
        "name": slide.name,
        "save_path": str(folder / "patches"),
    }
    _arrays(folder / "patches" / f"{slide.name}.h5", {"coords": coords}, {"coords": attributes})
    _tensor(folder / "pt_files" / f"{slide.name}.pt", found.features)
    arrays = {"features": found.features.numpy(), "coords": coords}
    return _arrays(folder / "h5_files" / f"{slide.name}.h5", arrays, {})


def _stamp(folder: Path, slide: Slide, found: FeatureFile) -> Path:
    if slide.mpp is None:
        raise ImageError(
            "STAMP's coordinates are microns, and the size of the image's pixels is not known",
            where=slide.path,
            remedy="Give it in the column mpp of a manifest.",
        )
    side = found.side or 0.0
    arrays = {
        "coords": (found.coords.double().numpy() * slide.mpp).astype(np.float32),
        "feats": found.features.half().numpy(),
    }
    attributes = {
        "extractor": slide.network,
        "unit": "um",
        "tile_size_um": side * slide.mpp,
        "tile_size_px": round(side),
        "feat_type": "tile",
    }
    return _arrays(folder / f"{slide.name}.h5", arrays, {"": attributes})


def _slide2vec(folder: Path, slide: Slide, found: FeatureFile) -> Path:
    """Tiles are sorted by x, then y, as hs2p keeps them."""
    order = np.lexsort((found.coords[:, 1].numpy(), found.coords[:, 0].numpy()))
    coords, side = found.coords.numpy()[order], round(found.side or 0)
    place = folder / "tiles" / f"{slide.name}.coordinates.npz"
    place.parent.mkdir(exist_ok=True)
    with whole_file(place) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            tile_index=np.arange(len(coords), dtype=np.int32),
            x=coords[:, 0],
            y=coords[:, 1],
            tissue_fractions=np.ones(len(coords), np.float32),
        )
    meta = place.with_suffix(".meta.json")
    write_json(meta, _tiling(slide, side, len(coords)))
    path = _tensor(folder / "tile_embeddings" / f"{slide.name}.pt", found.features[torch.from_numpy(order)])
    write_json(
        path.with_suffix(".meta.json"),
        {
            "sample_id": slide.name,
            "artifact_type": "tile_embeddings",
            "format": "pt",
            "feature_dim": found.features.shape[1],
            "num_tiles": len(coords),
            "annotation": "tissue",
            "encoder_name": slide.network,
            "encoder_level": "tile",
            "coordinates_npz_path": str(place.absolute()),
            "coordinates_meta_path": str(meta.absolute()),
            "image_path": str(slide.path),
            "tile_size_lv0": side,
            "feature_dtype": "fp32",
        },
    )
    return path


_PROVENANCE = "mask_path requested_backend mask_backend requested_mask_backend"
_SEGMENTATION = (
    "tissue_method requested_seg_downsample seg_downsample seg_level seg_spacing_um sthresh sthresh_up "
    "mthresh close sam2_checkpoint_path sam2_config_path mask_path ref_tile_size_px "
    "tissue_mask_tissue_value mask_level mask_spacing_um"
)
_FILTERING = (
    "a_t a_h filter_white filter_black white_threshold black_threshold fraction_threshold filter_grayspace "
    "grayspace_saturation_threshold grayspace_fraction_threshold filter_blur blur_threshold qc_spacing_um"
)


def _tiling(slide: Slide, side: int, count: int) -> dict[str, dict[str, Any]]:
    """The coordinates' own description; hs2p refuses a key too few or too many."""
    spacing = 0.0 if slide.mpp is None else slide.mpp
    return {
        "provenance": {
            **dict.fromkeys(_PROVENANCE.split()),
            "sample_id": slide.name,
            "image_path": str(slide.path),
            "backend": "zoomin",
            "spacing_at_level_0": slide.mpp,
        },
        "slide": {
            "dimensions": [slide.width, slide.height],
            "base_spacing_um": slide.mpp,
            "level_downsamples": [1.0],
        },
        "tiling": {
            "requested_tile_size_px": side,
            "requested_spacing_um": spacing,
            "read_level": 0,
            "read_tile_size_px": side,
            "read_spacing_um": spacing,
            "tile_size_lv0": side,
            "tolerance": 0.0,
            "step_px_lv0": side,
            "overlap": 0.0,
            "min_tissue_fraction": 0.0,
            "is_within_tolerance": True,
            "n_tiles": count,
        },
        "segmentation": dict.fromkeys(_SEGMENTATION.split()),
        "filtering": dict.fromkeys(_FILTERING.split()),
        "artifact": {
            "coordinate_space": "level0_px",
            "tile_order": "x_then_y",
            "annotation": "tissue",
            "selection_strategy": None,
            "output_mode": None,
        },
    }


def _wsidata(folder: Path, slide: Slide, found: FeatureFile) -> Path:
    """A SpatialData store: polygons of the tiles, and a table that names them."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
        import zarr
    except ImportError as error:
        raise DataError(
            f"{error.name}, which writes wsidata's stores, is not installed",
            where=slide.path,
            remedy=f"Install the extra: {install('stores')}.",
        ) from error
    import shapely

    side, coords = found.side or 0.0, found.coords.numpy()
    path, ids = folder / f"{slide.name}.zarr", np.arange(len(coords))
    root: Any = zarr.open_group(str(path), mode="w", zarr_format=3)
    root.attrs.update(_store(slide, round(side)))
    shapes = root.create_group("shapes").create_group("tiles")
    shapes.attrs.update({"encoding-type": "ngff:shapes", "axes": ["x", "y"], **_IDENTITY, **_version("0.3")})
    boxes = shapely.box(coords[:, 0], coords[:, 1], coords[:, 0] + side, coords[:, 1] + side)
    columns = {"tile_id": ids, "tissue_id": np.zeros(len(ids), np.int64), "geometry": shapely.to_wkb(boxes)}
    geo = {
        "version": "1.0.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": None}},
    }
    rows = pyarrow.table(columns).replace_schema_metadata({"geo": json.dumps(geo)})
    parquet.write_table(rows, path / "shapes" / "tiles" / "shapes.parquet")
    table = root.create_group("tables").create_group(f"{slide.network}_tiles")
    table.attrs.update(
        {
            **_coded("anndata", "0.1.0"),
            **{"spatialdata-encoding-type": "ngff:regions_table", "region": "tiles", "version": "0.2"},
            **{"region_key": "library_id", "instance_key": "tile_id"},
        }
    )
    array = _coded("array", "0.2.0")
    text = _coded("string-array", "0.2.0")
    table.create_array("X", data=found.features.numpy()).attrs.update(array)
    for name, length in (("obs", len(ids)), ("var", found.features.shape[1])):
        frame = table.create_group(name)
        own = ["tile_id", "library_id"] if name == "obs" else []
        frame.attrs.update({**_coded("dataframe", "0.2.0"), "column-order": own, "_index": "_index"})
        frame.create_array("_index", data=np.arange(length).astype(str).astype("T")).attrs.update(text)
    table["obs"].create_array("tile_id", data=ids).attrs.update(array)
    region = table["obs"].create_group("library_id")
    region.attrs.update({**_coded("categorical", "0.2.0"), "ordered": False})
    region.create_array("categories", data=np.array(["tiles"], dtype="T")).attrs.update(text)
    region.create_array("codes", data=np.zeros(len(ids), np.int8)).attrs.update(array)
    for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
        table.create_group(name).attrs.update(_coded("dict", "0.1.0"))
    linked = table["uns"].create_group("spatialdata_attrs")
    linked.attrs.update(_coded("dict", "0.1.0"))
    for name, value in (("region", "tiles"), ("region_key", "library_id"), ("instance_key", "tile_id")):
        linked.create_array(name, data=np.array(value, dtype="T")).attrs.update(_coded("string", "0.2.0"))
    return path


def _coded(kind: str, version: str) -> dict[str, str]:
    return {"encoding-type": kind, "encoding-version": version}


def _version(number: str) -> dict[str, Any]:
    return {"spatialdata_attrs": {"version": number}}


def _axes(name: str) -> dict[str, Any]:
    return {"name": name, "axes": [{"name": axis, "type": "space", "unit": "unit"} for axis in "xy"]}


_IDENTITY = {
    "coordinateTransformations": [{"type": "identity", "input": _axes("xy"), "output": _axes("global")}]
}


def _store(slide: Slide, side: int) -> dict[str, Any]:
    """Attributes of the whole store: the slide, and how it was tiled."""
    size = [slide.height, slide.width]
    return {
        **_version("0.2"),
        "slide_properties": {
            "shape": size,
            "n_level": 1,
            "level_shape": [size],
            "level_downsample": [1.0],
            "mpp": slide.mpp,
            "magnification": None,
            "bounds": [0, 0, slide.width, slide.height],
            "raw": "{}",
        },
        "tile_spec": {
            "tiles": {
                "height": side,
                "width": side,
                "stride_height": side,
                "stride_width": side,
                "mpp": slide.mpp,
                "ops_level": 0,
                "ops_downsample": 1.0,
                "base_level": 0,
                "base_downsample": 1.0,
                "tissue_name": "tissues",
            }
        },
    }


LAYOUTS: dict[str, Callable[[Path, Slide, FeatureFile], Path]] = {
    "clam": _clam,
    "slide2vec": _slide2vec,
    "stamp": _stamp,
    "trident": _trident,
    "wsidata": _wsidata,
}
