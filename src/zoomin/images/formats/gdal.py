"""How GDAL is opened and listened to: files of named drivers, own settings, warnings made errors."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import ImageError
from ...runtime.extras import extra_named
from ..urls import url_of
from .decode import format_of

__all__ = [
    "DRIVERS",
    "SETTINGS",
    "WORLD",
    "Subdataset",
    "cause",
    "complaints",
    "driver_of",
    "has_world_file",
    "opened",
    "settings_of",
    "side_car",
]

Subdataset = int | str
DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG", "BMP")
SETTINGS = {
    "GDAL_CACHEMAX": 16 << 20,  # of decoded blocks a process: rasterio takes bytes, GDAL megabytes
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "GDAL_PAM_ENABLED": "YES",  # side-cars hold values of missing samples band by band; none is written
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",
    "GDAL_HTTP_CONNECTTIMEOUT": "30",
    "GDAL_HTTP_TIMEOUT": "120",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff,.btf,.tf8,.svs,.ndpi,.qptiff,.scn,.bif",  # no side-cars
    "GDAL_NUM_THREADS": "1",  # its own pool of threads would hang forked processes
}
_NETWORK = {"http": "/vsicurl/", "https": "/vsicurl/", "s3": "/vsis3/", "s3a": "/vsis3/", "gs": "/vsigs/",
            "gcs": "/vsigs/", "az": "/vsiaz/", "abfs": "/vsiadls/", "abfss": "/vsiadls/"}  # fmt: skip
_WORLD = (".tfw", ".tifw", ".tiffw", ".wld")  # beside TIFFs: where they lie on a map
WORLD = (*_WORLD, ".pgw", ".pngw", ".jgw", ".jpgw", ".jpegw", ".bpw", ".bmpw")  # beside any image
_DAMAGE = ("Corrupt JPEG", "Premature end of JPEG")


def driver_of(head: bytes) -> str | None:
    """The GDAL driver for a file, by its first bytes; None where there is none.

    Example:
        >>> driver_of(bytes.fromhex("49492a00"))
        'GTiff'
    """
    if head[4:8] == b"jP  " or head.startswith(b"\xff\x4f\xff\x51"):
        return "JP2OpenJPEG"
    kind = format_of(head)
    return "GTiff" if kind == "TIFF" else kind if kind in DRIVERS else None


def settings_of(path: Path) -> dict[str, Any]:
    """GDAL's settings for a file; on S3, with the endpoint that is set for the programs of AWS."""
    address = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not address or "AWS_S3_ENDPOINT" in os.environ or not str(path).startswith(("s3:", "s3a:")):
        return SETTINGS
    scheme, _, host = address.rpartition("://")
    secure = "NO" if scheme == "http" else "YES"
    own = {"AWS_S3_ENDPOINT": host.rstrip("/"), "AWS_HTTPS": secure, "AWS_VIRTUAL_HOSTING": "FALSE"}
    return SETTINGS | own


def has_world_file(path: Path) -> bool:
    """Whether a world file beside an image of any kind tells where it lies on a map."""
    return _beside(path, WORLD)


def _beside(path: Path, ends: tuple[str, ...]) -> bool:
    return any(path.with_suffix(case).is_file() for end in ends for case in (end, end.upper()))


def side_car(path: Path) -> bool:
    """Whether a file beside an image informs GDAL where it lies, or which samples are missing."""
    if url_of(path) is not None:
        return False
    if _beside(path, _WORLD) or path.with_name(f"{path.name}.msk").is_file():
        return True
    try:
        text = path.with_name(f"{path.name}.aux.xml").read_bytes()
    except OSError:
        return False
    return any(word in text for word in (b"<NoDataValue", b"<GeoTransform", b"<GCPList"))


def opened(path: Path, driver: str, source: Subdataset = 0) -> Any:  # noqa: ANN401 (rasterio is not typed)
    """GDAL's handle of a stored level, for this thread.

    Args:
        path: a file, or a URL.
        driver: one of `DRIVERS`.
        source: 0 for the image, a number from 1 for GDAL's own overviews of it, or "off:N" for the directory
            of a TIFF at byte N.

    Raises:
        ImageError: if GDAL cannot open it, or is not installed.
    """
    with extra_named(path, ImageError):
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError

    # An image need not lie on a map. Silenced for good: catching it at each call is not safe in threads.
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    options = {"overview_level": source - 1} if isinstance(source, int) and source else {}
    place = _address(path)
    name = f"GTIFF_DIR:{source}:{place}" if isinstance(source, str) else place
    try:
        with complaints(), rasterio.Env(**settings_of(path)):
            return rasterio.open(name, driver=driver, **options)
    except (RasterioError, OSError) as error:
        raise ImageError(
            f"the raster is damaged, cut short or of a kind that GDAL does not read ({cause(error)})",
            where=path,
            remedy="Copy or download it again; if its own program opens it, export a tiled TIFF there.",
        ) from error


def _address(path: Path) -> str:
    """Where GDAL finds a file: of a URL, only the ranges that it needs are read."""
    url = url_of(path)
    if url is None:
        return str(path.absolute())
    scheme, _, rest = url.partition("://")
    if scheme not in _NETWORK:
        raise ImageError(
            f"GDAL does not read {scheme}://", where=url, remedy=f"Give one of {', '.join(_NETWORK)}."
        )
    return _NETWORK[scheme] + (url if scheme in ("http", "https") else rest)


def cause(error: BaseException) -> str:
    """The innermost message: the outer ones only say that reading failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).removesuffix(".")


class _Listener(logging.Filter):
    """Keeps GDAL's log out of the terminal while we read, and what it says of damage for us."""

    def __init__(self) -> None:
        super().__init__()
        self.of_thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        found: list[str] | None = getattr(self.of_thread, "found", None)
        if found is None:
            return True
        message = record.getMessage()
        if record.levelno >= logging.WARNING and any(sign in message for sign in _DAMAGE):
            found.append(message.removeprefix("CPLE_AppDefined:").removeprefix("JPEGLib:"))
        return False


_LISTENER = _Listener()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What GDAL says of damaged pixels in this thread: it returns such pixels as if they were right."""
    logger = logging.getLogger("rasterio._err")
    logger.addFilter(_LISTENER)  # adding it again does nothing
    if not logger.isEnabledFor(logging.WARNING):
        logger.setLevel(logging.WARNING)
    found: list[str] = []
    _LISTENER.of_thread.found = found
    try:
        yield found
    finally:
        _LISTENER.of_thread.found = None
