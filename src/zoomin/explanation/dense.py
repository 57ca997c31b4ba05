"""The attention of a whole image as a TIFF: OME-TIFF, or GeoTIFF where the image lies on a map."""

from __future__ import annotations

import hashlib
import math
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError
from ..files import whole_file
from ..images.physical import OBJECTIVE

if TYPE_CHECKING:
    from .evidence import Evidence

__all__ = ["GEO_TIFF", "OME_TIFF", "dense_map", "write_dense_map"]

OME_TIFF, GEO_TIFF = "attention.ome.tif", "attention.tif"
_BLOCK = 256
_NOTE = "attention, relative to its mean over the image (1)"


def dense_map(
    explanation: Evidence, side: int = 4096, magnification: float | None = None
) -> tuple[Float[Tensor, "rows columns"], int]:
    """The attention of the whole image, and the level-0 pixels along the side of each of its pixels.

    Pixel (i, j) covers the level-0 pixels [i step, (i+1) step) x [j step, (j+1) step) and holds their mean.
    The step is a whole number: a position of the attention maps, or what the magnification asks for, where
    `side` allows it.

    Args:
        explanation: of the image.
        side: most pixels along the longer side.
        magnification: 10 for one micron per pixel.

    Raises:
        ConfigError: if a magnification is given and microns per pixel are not known.
    """
    height, width = explanation.size
    mpp = explanation.source.mpp
    if magnification is None:
        wanted = int(explanation.tile_size / max(explanation.beta.shape[1:]))
    elif mpp is None:
        raise ConfigError(
            "microns per pixel are not known, so that no magnification is either",
            where=f"heat_map_magnification, {explanation.image}",
            remedy="Leave it out, or give --mpp.",
        )
    else:
        wanted = round(OBJECTIVE / magnification / mpp)
    step = max(1, wanted, math.ceil(max(height, width) / side))
    rows, columns = -(-height // step), -(-width // step)
    return explanation.heat_map(rows, columns, (float(step), float(step))), step


def write_dense_map(
    explanation: Evidence, folder: str | Path, side: int = 4096, magnification: float | None = None
) -> Path:
    """Write the attention of the whole image, float32, 1 where it is at its mean.

    Returns:
        The path: attention.tif, a GeoTIFF, where the image has a georeference; else attention.ome.tif.

    Raises:
        ConfigError: if a magnification is given and microns per pixel are not known.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    heat, step = dense_map(explanation, side, magnification)
    if explanation.source.georeference is None:
        return _write_ome(heat, step, explanation, folder / OME_TIFF)
    return _write_geotiff(heat, step, explanation, folder / GEO_TIFF)


def _write_ome(heat: Float[Tensor, "h w"], step: int, explanation: Evidence, path: Path) -> Path:
    import tifffile

    mpp = explanation.source.mpp
    size, unit = (step, "pixel") if mpp is None else (step * mpp, "µm")
    values = heat.numpy()
    metadata = {
        "axes": "YX",
        "Name": Path(explanation.image).name,
        "Description": f"{_NOTE}; a pixel covers {step} x {step} level-0 pixels",
        **{f"PhysicalSize{axis}": size for axis in "XY"},
        **{f"PhysicalSize{axis}Unit": unit for axis in "XY"},
    }
    # an identifier of the content: by default it is that of the moment, and no two files are alike
    content = uuid.uuid5(uuid.NAMESPACE_OID, f"{metadata} {hashlib.sha256(values.tobytes()).hexdigest()}")
    with whole_file(path, sync=False) as part:
        tifffile.imwrite(
            part,
            values,
            ome=True,
            compression="zlib",
            tile=(_BLOCK, _BLOCK) if min(heat.shape) >= _BLOCK else None,
            metadata=metadata | {"UUID": str(content)},
        )
    return path


def _write_geotiff(heat: Float[Tensor, "h w"], step: int, explanation: Evidence, path: Path) -> Path:
    import rasterio
    from rasterio.transform import Affine

    georeference = explanation.source.georeference
    assert georeference is not None
    a, b, c, d, e, f = georeference.transform
    tiles = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK} if min(heat.shape) >= _BLOCK else {}
    with (
        whole_file(path, sync=False) as part,
        rasterio.open(
            part,
            "w",
            driver="GTiff",
            dtype="float32",
            count=1,
            height=heat.shape[0],
            width=heat.shape[1],
            crs=georeference.crs,
            transform=Affine(a * step, b * step, c, d * step, e * step, f),
            compress="deflate",
            **tiles,
        ) as dataset,
    ):
        dataset.write(heat.numpy(), 1)
        dataset.set_band_description(1, _NOTE)
    return path
