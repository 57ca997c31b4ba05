"""Decode a whole image file into memory: PNG, JPEG, BMP, GIF, WebP and TIFF."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as PillowImage

from ...errors import ImageError, PlanesError
from ..array import ArrayImage
from ..foreign import JpegKind, foreign_format, jpeg_kind, point_transform, zarr_folder
from ..mask_values import check_indices, drawn, parted
from ..physical import check_mpp
from ..pixels import Bytes, Pixels, check_size, over_background, to_bytes, upright
from ..remote import remote_range
from ..timeouts import file_timeout, within
from ..urls import SCHEMES_REMEDY, path_text, unread_scheme, url_of
from .bounded_file import BoundedFile
from .tiff import decode_tiff, stored_values

__all__ = [
    "check_stored",
    "declared_size",
    "decode_image",
    "decode_values",
    "format_of",
    "icc_of",
    "image_head",
    "loses",
    "orientation_of",
    "read_head",
    "unknown_format",
]

_HEAD = 4096
_ORIENTATION = 0x0112
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_SUSPICIOUS = 1 << 20  # pixels, from which on what is declared is compared with what is stored
_NETPBM = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
_FORMATS = "PNG, JPEG, BMP, TIFF, WebP or GIF"
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    AssertionError,  # a PNG of a palette that is not there
    PillowImage.DecompressionBombError,  # a damaged GIF whose frames reach beyond its screen
)

# Called by name, not through PIL.Image.open: other formats, some of which run programs, stay out, and the
# limit on pixels is `check_size`, not Pillow's setting of the whole process.
_PLUGINS: dict[str, Callable[..., ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.jpeg_factory,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}


def decode_image(
    path: Path | str, *, mpp: float | None = None, series: int | str | None = None
) -> ArrayImage:
    """Decode an image as a person expects to see it.

    The format is detected from the content, not the suffix. Grey, palette and CMYK become red-green-blue;
    transparent pixels are laid over white; EXIF orientation is applied; 16 bits keep their upper byte, so
    that 12-bit data in a 16-bit file look dark; floating point must be from 0 to 1. Of an animation, the
    first image is taken. Colour profiles are not applied.

    Args:
        path: the file.
        mpp: microns per pixel, instead of what the file says. Only TIFFs are believed, and only if their
            resolution is one that a microscope can have.
        series: which image of a TIFF, by number or name; None for the main one.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: naming the file, what is wrong with it, and the remedy.
    """
    path = Path(path)
    check_mpp(mpp, path)
    head = read_head(path)
    kind = format_of(head)
    if url_of(path) is not None:
        raise ImageError(
            f"{kind or 'a file'} at a URL, which is not read range by range",
            where=url_of(path),
            remedy="Download it; TIFF (preferably COG) and OME-Zarr are read where they are.",
        )
    if kind is None:
        raise unknown_format(head, path)
    if kind == "TIFF":
        pixels, scale = decode_tiff(path, series)
        if mpp is None and scale is not None:
            mpp = scale.mpp(path)
    else:
        pixels = _decode_pillow(path, kind, head)
    return ArrayImage(pixels, mpp=mpp, name=str(path))


def decode_values(path: Path) -> Pixels:
    """The samples of an image as they are stored, such as those of a mask: (h, w) or (h, w, samples).

    A palette's colours are not looked up, white is not turned into black, and opacity is left out, unless
    nothing else differs between the pixels. What was compressed with loss is 0 and 1.

    Raises:
        ImageError: as `decode_image`; if a loss has changed the values too much, or it is an animation.
    """
    head = read_head(path)
    kind = format_of(head)
    if kind is None:
        raise unknown_format(head, path)
    if kind == "TIFF":
        return stored_values(path)
    with _decoded(path, kind, head) as image:
        if kind != "JPEG" and (count := getattr(image, "n_frames", 1)) > 1:
            raise PlanesError(f"the {kind} holds {count} pictures", where=path, remedy="Save one of them.")
        values = np.asarray(image)
        if image.mode == "CMYK":
            raise ImageError(
                "inks (CMYK), whose values do not tell what was drawn: black is full ink",
                where=path,
                remedy="Save it as grey: PIL.Image.open(IN).convert('L').save('OUT.png').",
            )
        if image.mode == "P":
            colours = np.reshape(image.getpalette("RGB") or [], (-1, 3))
            check_indices(values, (colours == 0).all(axis=1), path, by_colour=kind == "GIF")
        if image.mode in ("RGBA", "LA", "RGBX", "PA", "La", "RGBa"):
            colours = values[..., :-1]
            values = colours if image.mode == "RGBX" else drawn(colours, values[..., -1])
        values = parted(values, path) if loses(kind, head) else values
        return upright(values, _orientation(image))


def loses(kind: str, head: bytes) -> bool:
    """Whether a file was compressed with loss, as far as its head shows."""
    return kind == "JPEG" or (kind == "WEBP" and b"VP8 " in head)


def image_head(path: Path) -> bytes:
    """The first bytes of an image; none where it is not one file: the folder of a Zarr.

    Raises:
        ImageError: as `read_head`.
    """
    return b"" if zarr_folder(path) else read_head(path)


def read_head(path: Path) -> bytes:
    """The first bytes of a file, from which its format is detected.

    Raises:
        ImageError: if there is no such file, it is a folder, empty or not readable, or does not respond.
    """
    if url_of(path) is not None:
        return remote_range(path, 0, _HEAD)

    def first_bytes() -> bytes | None:
        if path.is_dir():
            return None
        with path.open("rb") as file:
            return file.read(_HEAD)

    try:
        head = within(file_timeout(), first_bytes, path)
    except FileNotFoundError as error:
        if (scheme := unread_scheme(path)) is not None:
            what = f"the scheme {scheme} of this address is not read"
            raise ImageError(what, where=path_text(path), remedy=SCHEMES_REMEDY) from error
        raise ImageError("no such file", where=path, remedy="Check the path.") from error
    except OSError as error:
        raise ImageError(
            f"the file cannot be read ({error.strerror})", where=path, remedy="Check its permissions."
        ) from error
    if head is None:
        raise ImageError("a folder, not an image", where=path, remedy="Give the image files inside.")
    if not head:
        raise ImageError("the file is empty", where=path, remedy="Copy or download it again.")
    return head


def format_of(head: bytes) -> str | None:
    """The format that a file's first bytes show, None if it is unknown.

    Example:
        >>> format_of(b"GIF89a...")
        'GIF'
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] in _NETPBM and head[2:3].isspace():
        return "PPM"
    return next((kind for signature, kind in _SIGNATURES.items() if head.startswith(signature)), None)


def unknown_format(head: bytes, path: Path) -> ImageError:
    """The error for a file whose first bytes are those of no image."""
    foreign = foreign_format(head, path)
    if foreign is not None:
        return foreign
    text = head[:40].decode("utf-8", errors="replace")
    remedy = f"Give a {_FORMATS} file."
    if "\ufffd" not in text[:-1] and all(c.isprintable() or c.isspace() for c in text[:-1]):
        what = f"the file holds text, not an image; it begins with {text!r}"
        return ImageError(what, where=path, remedy=f"{remedy} It may be a download that failed.")
    return ImageError("the file is of an unknown format", where=path, remedy=remedy)


def declared_size(path: Path, head: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, JPEG, BMP or GIF by its header; None where it does not say."""
    kind = format_of(head)
    if kind != "JPEG":
        return _declared_size(kind or "", head)
    try:
        with _plugged(path, kind) as image:
            return image.size
    except _DAMAGE:
        return None


def check_stored(path: Path, head: bytes) -> None:
    """Refuse a BMP, JPEG or PNG that declares more pixels than its bytes can hold.

    Raises:
        ImageError: naming both.
    """
    kind, size = format_of(head), declared_size(path, head)
    if size is None or size[0] * size[1] < _SUSPICIOUS or len(head) < 34:
        return
    (width, height), least = size, 0
    if kind == "BMP" and int.from_bytes(head[30:34], "little") in (0, 3, 6):  # not by runs
        bits = int.from_bytes(head[28:30], "little")
        least = int.from_bytes(head[10:14], "little") + (width * bits + 31) // 32 * 4 * height
    elif kind == "PNG":  # deflate packs up to 1032 bytes into one
        samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(head[25], 0)
        least = (width * samples * head[24] + 7) // 8 * height // 1032
    elif kind == "JPEG" and (found := jpeg_kind(path)) is not None:
        if found.name == "JPEG" and not found.arithmetic:
            least = width * height // (64 * 8)  # a block of 8 x 8 has at least one bit
    stored = path.stat().st_size
    if stored < least:
        raise ImageError(
            f"the {kind} is cut short or its header damaged: {stored:,} bytes, of at least {least:,} for the "
            f"{width} x {height} pixels that it declares",
            where=path,
            remedy="Copy or download it again, or export it again.",
        )


def orientation_of(path: Path) -> int:
    """The EXIF orientation of a PNG or JPEG by its header; 1 where it does not say."""
    kind = format_of(read_head(path))
    if kind not in _PLUGINS:
        return 1
    try:
        with _plugged(path, kind) as image:
            exif = PillowImage.Exif()
            exif.load(image.info.get("exif", b""))  # `getexif` would decode a whole PNG
            found = exif.get(_ORIENTATION, 1)
            return found if isinstance(found, int) else 1
    except _DAMAGE:
        return 1


def _decode_pillow(path: Path, kind: str, head: bytes) -> Bytes:
    """Decode anything but TIFF: (height, width, 3)."""
    check_stored(path, head)
    special = jpeg_kind(path) if kind == "JPEG" else None
    if special is not None and (special.bits != 8 or special.name != "JPEG"):
        return _decode_jpeg(path, special)
    with _decoded(path, kind, head) as image:
        key = image.info.get("transparency")
        if kind == "PNG" and head[25] == 0 and head[24] < 8 and isinstance(key, int):
            # Pillow widens the samples of fewer bits, but not the value of those that are clear.
            image.info["transparency"] = key * 255 // ((1 << head[24]) - 1)
        return np.array(upright(rgb(image, path), _orientation(image)))


def _decode_jpeg(path: Path, kind: JpegKind) -> Bytes:
    """A JPEG that Pillow does not read: of more bits, or without loss."""
    check_size(kind.width, kind.height, path)
    decode = {"JPEG": imagecodecs.jpeg_decode, "JPEG-LS": imagecodecs.jpegls_decode}.get(
        kind.name, _decode_lossless
    )
    try:
        samples = np.asarray(decode(path.read_bytes()))
    except (*_DAMAGE, RuntimeError) as error:
        raise _damaged(path, kind.name, error) from error
    if kind.bits > 8 * samples.dtype.itemsize:
        raise _damaged(path, kind.name, ValueError(f"{kind.bits} bits per sample"))
    samples = samples if samples.ndim == 3 else samples[..., None]
    if samples.shape[2] not in (1, 3):
        raise ImageError(
            f"a {kind.name} of {samples.shape[2]} channels and {kind.bits} bits",
            where=path,
            remedy="Save it as grey or red-green-blue.",
        )
    pixels = to_bytes(samples, path, bits=kind.bits)
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)


def _decode_lossless(data: bytes) -> Pixels:
    """The samples of a lossless JPEG; liblj92 takes those of a point transform for others."""
    shift = point_transform(data)
    if shift == 0:
        return np.asarray(imagecodecs.ljpeg_decode(data))
    samples: Pixels = np.asarray(imagecodecs.jpegsof3_decode(data)) << shift
    return samples


@contextmanager
def _plugged(path: Path, kind: str) -> Iterator[ImageFile.ImageFile]:
    """An image by the plug-in of its kind alone."""
    with BoundedFile(path) as file, _PLUGINS[kind](file) as image:
        yield image


@contextmanager
def _decoded(path: Path, kind: str, head: bytes) -> Iterator[ImageFile.ImageFile]:
    """A PNG, JPEG, BMP, GIF or WebP by the plug-in of its name, loaded; what fails meanwhile is damage."""
    declared = _declared_size(kind, head)
    if declared is not None:
        check_size(*declared, path)
    try:
        with _plugged(path, kind) as image:
            check_size(*image.size, path)
            image.load()
            yield image
    except _DAMAGE as error:
        raise _damaged(path, kind, error) from error


def _damaged(path: Path, kind: str, error: BaseException) -> ImageError:
    if kind == "BMP" and str(error).startswith("Unsupported BMP"):
        return ImageError(
            f"a BMP of a kind that is not read ({error})",
            where=path,
            remedy="Convert it: python -c \"import imagecodecs; imagecodecs.imwrite('OUT.png', "
            "imagecodecs.imread('IN.bmp'))\".",
        )
    return ImageError(
        f"the {kind} is damaged or cut short ({error or type(error).__name__})",
        where=path,
        remedy="Copy or download it again, or export it again.",
    )


def icc_of(path: Path) -> bytes:
    """The colour profile of a PNG, JPEG, GIF or WebP; none of other files."""
    kind = format_of(read_head(path))
    if kind not in _PLUGINS:
        return b""
    try:
        with _plugged(path, kind) as image:
            found = image.info.get("icc_profile")
            return found if isinstance(found, bytes) else b""
    except _DAMAGE:
        return b""


def rgb(image: PillowImage.Image, path: Path) -> Bytes:
    """The pixels of an image of any of Pillow's modes, (height, width, 3)."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        samples = np.asarray(image)
        grey = to_bytes(samples.astype(np.uint16) if image.mode.startswith("I") else samples, path)
        key = image.info.get("transparency")
        if isinstance(key, int):
            grey = np.where(samples == key, np.uint8(255), grey)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"))
        return over_background(pixels[..., :3], pixels[..., 3])
    return np.asarray(image.convert("RGB"))


def _orientation(image: PillowImage.Image) -> int:
    """The EXIF orientation; 1 where there is none, or EXIF that makes no sense."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return found if isinstance(found, int) else 1


def _declared_size(kind: str, head: bytes) -> tuple[int, int] | None:
    """Width and height, where the head gives them simply; Pillow does not say what is wrong with 0."""
    if kind == "PNG" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if kind == "GIF" and len(head) >= 10:
        width, height = struct.unpack("<HH", head[6:10])
        return width, height
    if kind == "BMP" and len(head) >= 26 and head[14:18] != b"\x0c\0\0\0":
        width, height = struct.unpack("<ii", head[18:26])
        return width, abs(height)  # a negative height means rows from top to bottom
    return None
