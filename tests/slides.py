"""Small files of every stored format, made from pixels that the test knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import tifffile
from rasterio.enums import Resampling
from rasterio.shutil import copy as gdal_copy

WIDTH, HEIGHT = 520, 392  # whole multiples of 8: three levels of factor 2 and exact sizes
MPP = 0.25


def picture(height=HEIGHT, width=WIDTH, seed=0):
    """Waves of colour with noise on them: every pixel is its own, and means are near those of neighbours."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [120 + 90 * np.sin(x / rng.uniform(20, 60) + y / rng.uniform(20, 60)) for _ in range(3)]
    return (np.stack(waves, axis=-1) + rng.integers(0, 16, (height, width, 3))).astype(np.uint8)


def noise(height=HEIGHT, width=WIDTH, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def halved(pixels):
    """Means of 2 x 2 pixels, rounded half up; the sides must be even."""
    height, width, channels = pixels.shape
    sums = pixels.reshape(height // 2, 2, width // 2, 2, channels).astype(np.uint16).sum((1, 3))
    return ((2 * sums + 4) // 8).astype(np.uint8)


def pyramid(path, pixels, *, compression="zlib", levels=3, sub_ifds=False, **options):
    """A tiled pyramidal TIFF: lower levels in pages of their own, or in sub-IFDs as OME-TIFF has them."""
    common = {"photometric": "rgb", "tile": (64, 64), "compression": compression}
    common |= {"resolution": (10_000 / MPP, 10_000 / MPP), "resolutionunit": "CENTIMETER"}
    common |= {"metadata": None} if not options.get("ome") else {}
    options = dict(options)
    writer = {key: options.pop(key) for key in ("bigtiff", "ome") if key in options}
    with tifffile.TiffWriter(path, **writer) as file:
        file.write(pixels, subifds=levels - 1 if sub_ifds else None, **{**common, **options})
        for _ in range(levels - 1):
            pixels = halved(pixels)
            file.write(pixels, subfiletype=1, **{**common, **options, "metadata": None})
    return path


def geotiff(path, pixels, *, crs="EPSG:32633", transform=None, overviews=(2, 4), **options):
    """A GeoTIFF with overviews averaged by GDAL."""
    bands = pixels.shape[2]
    profile = {"driver": "GTiff", "dtype": pixels.dtype, "count": bands, "tiled": True}
    profile |= {"height": pixels.shape[0], "width": pixels.shape[1], "blockxsize": 64, "blockysize": 64}
    transform = transform or rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
    with rasterio.open(path, "w", crs=crs, transform=transform, **{**profile, **options}) as file:
        file.write(pixels.transpose(2, 0, 1))
    if overviews:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(list(overviews), Resampling.average)
    return path


def by_gdal(path, pixels, driver, **options):
    """A file that GDAL writes by copying: COG, JPEG 2000."""
    plain = geotiff(Path(path).with_suffix(".plain.tif"), pixels, overviews=())
    gdal_copy(plain, path, driver=driver, **options)
    plain.unlink()
    return path
