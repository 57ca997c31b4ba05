"""Open an image of any format that zoomin knows, by its content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import ChannelsError, ImageError, ZoomInError
from ..runtime.plugins import Registry
from .foreign import ZARR_SUFFIXES
from .formats.decode import format_of, image_head
from .image import Image
from .urls import local_path, url_of

if TYPE_CHECKING:
    from .formats.channels import ChannelImage, Samples, Statistics

__all__ = ["READERS", "Reader", "open_channels", "open_image", "open_shown", "plug_in_suffixes"]


class _Open(Protocol):
    def __call__(self, path: Path, *, mpp: float | None) -> Image: ...


class Reader(NamedTuple):
    """A way to open some files. A package adds one by the entry point `zoomin.readers` (docs/extend.md).

    Attributes:
        name: what it reads.
        reads: whether it takes a file, given its path and first bytes.
        open: how to open it.
        suffixes: lower-case suffixes of such files, with the dot, by which they are found in folders; what a
            file holds is decided by `reads` alone.
    """

    name: str
    reads: Callable[[Path, bytes], bool]
    open: _Open
    suffixes: tuple[str, ...] = ()


def _head(path: Path) -> bytes:
    """The first bytes of an image; none of a Zarr, which is not a single file."""
    return b"" if _takes_zarr(path, b"") else image_head(path)


def _takes_slide(path: Path, head: bytes) -> bool:
    """Whether OpenSlide knows the file; its plain tiled TIFFs go to GDAL, which reads more of them."""
    if url_of(path) is not None:
        return False
    kind = format_of(head)
    mirax = kind == "JPEG" and path.suffix.lower() == ".mrxs"  # the slide is in the folder beside it
    if mirax or head[128:132] == b"DICM":
        return True
    if kind in _NEVER_SLIDES:
        return False
    from .formats.slide import slide_vendor

    return slide_vendor(path) not in (None, "generic-tiff")


def _open_slide(path: Path, *, mpp: float | None) -> Image:
    from .formats.slide import open_slide

    return open_slide(path, mpp=mpp)


def _takes_zarr(path: Path, head: bytes) -> bool:
    from .formats.zarr_store import looks_like_zarr

    return looks_like_zarr(path, head)


def _open_zarr(path: Path, *, mpp: float | None) -> Image:
    from .formats.zarr_image import open_zarr

    return open_zarr(path, mpp=mpp)


def _takes_fastslide(path: Path, head: bytes) -> bool:
    from .formats.other_slides import takes_fastslide

    return takes_fastslide(path, head)


def _open_fastslide(path: Path, *, mpp: float | None) -> Image:
    from .formats.adapted import open_adapted
    from .formats.other_slides import FASTSLIDE

    return open_adapted(path, FASTSLIDE, mpp=mpp)


def _takes_tiff(path: Path, head: bytes) -> bool:
    from .formats.open_tiff import takes_tiff

    return takes_tiff(path, head)


def _open_tiff(path: Path, *, mpp: float | None) -> Image:
    from .formats.open_tiff import open_tiff

    return open_tiff(path, mpp=mpp)


def _takes_raster(path: Path, head: bytes) -> bool:
    from .formats.raster import takes_raster

    return takes_raster(path, head)


def _open_raster(path: Path, *, mpp: float | None) -> Image:
    from .formats.raster import open_raster

    return open_raster(path, mpp=mpp)


def _open_whole(path: Path, *, mpp: float | None) -> Image:
    from .formats.raster import open_small

    return open_small(path, mpp=mpp)


_NEVER_SLIDES = ("PNG", "JPEG", "BMP", "GIF", "WEBP")

# The first that takes a file opens it: plug-ins before ours, special formats before general ones.
READERS: Registry[Reader] = Registry(
    "zoomin.readers",
    {
        "zarr": Reader("OME-Zarr", _takes_zarr, _open_zarr, ZARR_SUFFIXES),
        "slides": Reader("whole-slide images", _takes_slide, _open_slide),
        "fastslide": Reader("CZI, VSI and iSyntax slides", _takes_fastslide, _open_fastslide),
        "tiff": Reader("TIFF", _takes_tiff, _open_tiff),
        "rasters": Reader("rasters", _takes_raster, _open_raster),
        "whole": Reader("whole images", lambda path, head: True, _open_whole),
    },
    lambda thing: isinstance(thing, Reader),
    "a zoomin.images.open_image.Reader",
)


def open_image(
    path: Path | str,
    *,
    mpp: float | None = None,
    series: int | str | None = None,
    channels: Sequence[str | int] | None = None,
) -> Image:
    """Open an image; its format is detected from its content, not its suffix.

    Args:
        path: the file; of an OME-Zarr, the folder; a URL (https, s3, gs, ...) of a TIFF or OME-Zarr.
        mpp: microns per pixel, instead of a missing or wrong tag of the file.
        series: which image of a TIFF or OME-Zarr that holds several, by its number or name (`zoomin data
            check` lists them); of an OME-Zarr the plane too, as "z=4"; None for the main one.
        channels: of a TIFF or OME-Zarr, by name or number from 1: views are then its samples, float32, of
            these channels; None for red, green and blue.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: naming the file, what is wrong with it, and the remedy.

    Example:
        >>> import tempfile
        >>> from PIL import Image as PillowImage
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "red.png"
        ...     PillowImage.new("RGB", (30, 20), (255, 0, 0)).save(path)
        ...     image = open_image(path, mpp=0.5)
        >>> image.height, image.width, image.mpp
        (20, 30, 0.5)
    """
    path = local_path(path)
    head = _head(path)
    if channels:
        return open_channels(path, channels, mpp=mpp, series=series)
    if series is not None:
        return _open_series(path, head, mpp, series)
    for name, reader in READERS.outside().items():
        try:
            if reader.reads(path, head):
                return _open_outside(name, reader, path, mpp)
        except ZoomInError:
            raise
        except Exception as error:  # a stranger's `reads` may raise anything
            READERS.plug_in(name).warn(error)
    reader = next(reader for reader in READERS.built_in.values() if reader.reads(path, head))
    return reader.open(path, mpp=mpp)


def open_channels(
    path: Path,
    channels: Sequence[str | int],
    *,
    mpp: float | None = None,
    series: int | str | None = None,
    statistics: Statistics | None = None,
) -> ChannelImage:
    """Open an image for some of its channels (see `open_image`).

    Args:
        path: a TIFF or OME-Zarr.
        channels: names, or numbers from 1.
        mpp: microns per pixel, instead of a missing or wrong tag of the file.
        series: which image of several.
        statistics: of the channels in training images, which decide how the eye is shown them.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: if it lacks a channel, or is of a format that has red, green and blue alone.
    """
    from .formats.channels import ChannelImage

    samples, known = _samples_of(path, mpp, series)
    return ChannelImage(samples, channels, mpp=known, statistics=statistics)


def open_shown(path: Path | str, *, mpp: float | None = None) -> Image:
    """Open an image for display: one whose channels would have to be named, in false colour.

    Its first three channels are red, green and blue (see `channels.ChannelImage.shown`).

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: as `open_image`.
    """
    from .formats.channels import ChannelImage

    try:
        return open_image(path, mpp=mpp)
    except ChannelsError:
        samples, known = _samples_of(Path(path), mpp, None)
        first = range(1, min(3, len(samples.names)) + 1)
        return ChannelImage(samples, first, mpp=known).shown


def _samples_of(path: Path, mpp: float | None, series: int | str | None) -> tuple[Samples, float | None]:
    """What holds the channels of a file, and its microns per pixel."""
    head = _head(path)
    if _takes_zarr(path, head):
        from .formats.zarr_image import open_zarr_channels

        return open_zarr_channels(path, mpp, series)
    if _takes_tiff(path, head):
        from .formats.tiff_channels import open_tiff_channels

        return open_tiff_channels(path, mpp, series)
    raise ImageError(
        "channels of a file that is neither TIFF nor OME-Zarr",
        where=path,
        remedy="Leave channels out: its red, green and blue are read.",
    )


def plug_in_suffixes() -> frozenset[str]:
    """The suffixes of the files that plug-ins read."""
    return frozenset(suffix for reader in READERS.outside().values() for suffix in reader.suffixes)


def _open_outside(name: str, reader: Reader, path: Path, mpp: float | None) -> Image:
    """Open a file by a plug-in, whose own errors name the file and the plug-in.

    Raises:
        ImageError: if the plug-in fails.
    """
    try:
        return reader.open(path, mpp=mpp)
    except ZoomInError:
        raise
    except Exception as error:  # whatever a stranger's code raises
        raise ImageError(
            f"{READERS.plug_in(name)} cannot open the file ({type(error).__name__}: {error})",
            where=path,
            remedy="Check the file, or update that package.",
        ) from error


def _open_series(path: Path, head: bytes, mpp: float | None, series: int | str) -> Image:
    """An image that is named; of a slide in a TIFF, the pictures beside the slide too."""
    from .formats.open_tiff import open_tiff, takes_tiff

    if takes_tiff(path, head):
        return open_tiff(path, mpp=mpp, series=series)
    if _takes_zarr(path, head):
        from .formats.zarr_image import open_zarr

        return open_zarr(path, mpp=mpp, series=series)
    raise ImageError(
        f"series {series!r} of a file that is neither TIFF nor OME-Zarr",
        where=path,
        remedy="Leave series out: the file holds one image, or its reader chooses.",
    )
