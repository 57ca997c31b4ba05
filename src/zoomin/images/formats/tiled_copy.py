"""A tiled, pyramidal copy of an image that can only be decoded from its first row to its last.

PNG and JPEG have no random access: each region would decode all rows above it. Such an image, if it is too
large for the memory, is decoded once, row by row, into a lossless TIFF in a cache folder, and read there.

The folder is `tiled` in the user's cache (`files.user_cache`). Copies are named by the file's path, size and
time, written aside and moved into place, so that processes may share the folder. When it holds more than
$ZOOMIN_CACHE_GB (100), the copies used longest ago are removed, except those of the last day. It may be
deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from ...errors import ConfigError, ImageError, WriteError
from ...files import user_cache, whole_file
from ...progress import track
from ..stored import FileIdentity
from .bands import Bands, bands_of
from .gdal import SETTINGS, cause, complaints, opened

__all__ = ["BLOCK", "cache_folder", "level_sizes", "tiled_copy"]

BLOCK = 512
_LOG = logging.getLogger(__name__)
_DAY = 86_400
_WHITE = (255, 255, 255)


def cache_folder() -> Path:
    """Where copies are kept; it need not exist yet."""
    return user_cache("tiled")


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of the levels of a copy, finest first.

    Example:
        >>> level_sizes(1000, 1500)
        [(1000, 1500), (500, 750), (250, 375)]
    """
    sizes = [(height, width)]
    while max(sizes[-1]) > BLOCK:
        factor = 2 ** len(sizes)
        sizes.append((-(-height // factor), -(-width // factor)))
    return sizes


def tiled_copy(path: Path, identity: FileIdentity, driver: str) -> Path:
    """The copy of a file, written if it is not there.

    Args:
        path: a PNG or JPEG.
        identity: of the file: another identity, another copy.
        driver: the GDAL driver that decodes it.

    Raises:
        ImageError: if the file cannot be decoded, or the copy cannot be written.
    """
    folder = cache_folder()
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:20]
    target = folder / f"{key}.tif"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{key}.lock"):
            if not target.exists():
                _LOG.warning("%s: writing a tiled copy, once, to %s", path, target)
                with whole_file(target) as part:
                    _write(path, driver, part)
                _trim(folder, keep=target)
            os.utime(target)
    except (OSError, WriteError) as error:
        why = error.what if isinstance(error, WriteError) else error.strerror or error
        raise ImageError(
            f"its tiled copy cannot be written to {folder} ({why})",
            where=path,
            remedy="Free space there, or set ZOOMIN_CACHE to a folder with more.",
        ) from error
    return target


def _write(path: Path, driver: str, part: Path) -> None:
    """Decode the rows in order into a tiled TIFF, and average its lower levels."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioError

    options = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "bigtiff": "IF_SAFER"}
    options |= {"compress": "zstd", "zstd_level": 3, "predictor": 2, "photometric": "RGB"}
    try:
        with opened(path, driver) as source, rasterio.Env(**SETTINGS):
            height, width = source.shape
            bands = bands_of(source, path)
            with rasterio.open(
                part, "w", driver="GTiff", height=height, width=width, count=3, dtype="uint8", **options
            ) as copy:
                for window, pixels in _strips(source, bands, path):
                    copy.write(pixels, window=window)
            factors = [2**i for i in range(1, len(level_sizes(height, width)))]
            with rasterio.open(part, "r+", driver="GTiff") as copy:
                copy.build_overviews(factors, Resampling.average)
    except (RasterioError, MemoryError) as error:
        raise ImageError(
            f"it cannot be decoded row by row ({cause(error)})",
            where=path,
            remedy="Copy it again if it is damaged; else store it in tiles: gdal_translate -of COG IN OUT.",
        ) from error


def _strips(source: Any, bands: Bands, path: Path) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    """Strips of the height of a tile, from the top, and where they belong: (3, rows, width)."""
    from rasterio.windows import Window

    height, width = source.shape
    for top in track(range(0, height, BLOCK), f"Copying {path.name}", shown=None):
        window = Window(0, top, width, min(BLOCK, height - top))
        with complaints() as found:
            pixels = bands.read(source, window, _WHITE, path)
        if found:
            raise ImageError(
                f"it is damaged near row {top} ({found[0]})", where=path, remedy="Copy or download it again."
            )
        yield window, pixels.transpose(2, 0, 1)


def _trim(folder: Path, keep: Path) -> None:
    """Remove the copies used longest ago while there are too many; never those of the last day."""
    given = os.environ.get("ZOOMIN_CACHE_GB", "100")
    try:
        limit = float(given) * 1e9
    except ValueError as error:
        raise ConfigError(
            f"{given!r} is not a number", where="ZOOMIN_CACHE_GB", remedy="Give a number."
        ) from error
    copies = []
    for copy in folder.glob("*.tif"):
        with contextlib.suppress(OSError):  # another process may be removing it
            copies.append((copy.stat().st_mtime, copy.stat().st_size, copy))
    total = sum(size for _, size, _ in copies)
    for used, size, copy in sorted(copies):
        if total <= limit or copy == keep or used > time.time() - _DAY:
            continue
        with contextlib.suppress(OSError):
            copy.unlink()
            copy.with_suffix(".lock").unlink(missing_ok=True)
        total -= size
