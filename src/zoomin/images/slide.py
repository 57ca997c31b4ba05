"""Whole-slide images by OpenSlide: the only file that knows OpenSlide's levels.

The level-0 frame is the whole canvas as OpenSlide gives it, (0, 0) its upper left corner. Where a scanner
scanned only a part of it (MIRAX, some Ventana and generic DICOM slides), `bounds` is that part; programs that
show the part alone, such as QuPath on request, write coordinates less `bounds.x` and `bounds.y`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from ..errors import ImageError
from ..geometry import Region
from .adapted import AdaptedSlide, open_adapted
from .cache import HANDLES
from .dicom_header import DicomHeader, named_as_dicom, places_frames, read_dicom_header
from .other_slides import other_reader
from .physical import check_mpp, plausible_mpp
from .pixels import over_background
from .stored import Level, StoredImage, undecoded
from .windows import Window

__all__ = ["SlideFacts", "SlideImage", "open_slide", "slide_facts", "slide_vendor"]

Bytes = npt.NDArray[np.uint8]

_BLOCK = 256  # where a format does not tell the size of its blocks
_OBLONG = 0.05
_LARGEST_BLOCK = 1 << 27  # pixels
_BESIDE = "openslide.associated"
_CACHE = 64 << 20  # bytes of decoded blocks that all slides of a process share
_NO_SLIDE = (
    "a DICOM file, but not a whole-slide image (radiology, a photograph, or a derived object)",
    "Export it as PNG or TIFF with the windowing that you want to classify on.",
)
_SYNTAXES_READ = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.90",  # JPEG 2000
    "1.2.840.10008.1.2.4.91",
)
_ANEW = "Re-encode its frames, as JPEG or JPEG 2000, with the program that made it."
_GREY = "Re-encode its frames in colours, red, green and blue the same, with the program that made it."
_DECOMPRESS = (
    "Let wsidicom read it (pip install 'zoomin-net[dicom]'), or re-encode its pixels "
    "(pip install pydicom pylibjpeg pylibjpeg-openjpeg pyjpegls): "
    "ds = pydicom.dcmread(IN); ds.decompress(); ds.save_as(OUT)."
)
_REWRITE = (
    "Re-encode its elements (pip install pydicom): ds = pydicom.dcmread(IN); "
    "ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian; ds.save_as(OUT)."
)
_SYNTAXES = {
    "1.2.840.10008.1.2": ("elements without types (implicit VR)", _REWRITE),
    "1.2.840.10008.1.2.1.99": ("deflated elements", _REWRITE),
    "1.2.840.10008.1.2.2": ("big-endian elements", _ANEW),
    "1.2.840.10008.1.2.4.51": ("12-bit JPEG", _ANEW),
    "1.2.840.10008.1.2.4.57": ("lossless JPEG", _ANEW),
    "1.2.840.10008.1.2.4.70": ("lossless JPEG", _ANEW),
    "1.2.840.10008.1.2.4.80": ("JPEG-LS", _DECOMPRESS),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS", _DECOMPRESS),
    "1.2.840.10008.1.2.4.110": ("JPEG XL", _ANEW),
    "1.2.840.10008.1.2.4.111": ("JPEG XL", _ANEW),
    "1.2.840.10008.1.2.4.112": ("JPEG XL", _ANEW),
    "1.2.840.10008.1.2.4.201": ("High-Throughput JPEG 2000", _DECOMPRESS),
    "1.2.840.10008.1.2.4.202": ("High-Throughput JPEG 2000", _DECOMPRESS),
    "1.2.840.10008.1.2.4.203": ("High-Throughput JPEG 2000", _DECOMPRESS),
    "1.2.840.10008.1.2.5": ("run lengths", _DECOMPRESS),
}
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


class SlideImage(StoredImage):
    """A whole-slide image that OpenSlide reads (see `stored.StoredImage`).

    Attributes:
        vendor: the format, in OpenSlide's words.
        bounds: the scanned part of the canvas where the file tells it, level-0 pixels.
        stored: OpenSlide's number of each level.
    """

    reader = "OpenSlide"

    def __init__(
        self,
        path: Path,
        levels: tuple[Level, ...],
        properties: Mapping[str, str],
        mpp: float | None,
        stored: tuple[int, ...] = (),
    ) -> None:
        """Describe a slide from its properties; `open_slide` reads them."""
        super().__init__(path, levels, mpp=mpp, background=background_of(properties))
        self.vendor = properties.get("openslide.vendor", "")
        self.stored = stored or tuple(range(len(levels)))
        self.bounds = bounds_of(properties)

    def decode(self, level: int, window: Window) -> Bytes:
        """The pixels of a window of a level.

        Raises:
            ImageError: if OpenSlide cannot decode them. Its handle is then useless; the next call
                opens another.
        """
        from openslide import OpenSlideError

        slide = HANDLES.get_or_make(self._key, self._open)
        try:
            return self._decode(slide, level, window)
        except (OpenSlideError, OSError, MemoryError):
            HANDLES.drop(self._key, slide)
        try:  # the error may be another thread's: it stays with the handle
            return self._decode(self._open(), level, window)
        except (OpenSlideError, OSError, MemoryError) as error:
            raise undecoded(self.path, level, window, error) from error

    def close(self) -> None:
        """Let go of the slide's handle; the next read opens it again."""
        HANDLES.drop(self._key)

    @property
    def _key(self) -> tuple[object, ...]:
        return "openslide", self.identity

    def _open(self) -> Any:  # noqa: ANN401 (openslide is not typed)
        self.check_identity()
        slide = _opened(self.path)
        slide.set_cache(HANDLES.get_or_make("openslide cache", _cache))
        return slide

    def _decode(self, slide: Any, level: int, window: Window) -> Bytes:  # noqa: ANN401
        level = self.stored[level]
        downsample = slide.level_downsamples[level]
        corner = round(window.x0 * downsample), round(window.y0 * downsample)
        size = window.x1 - window.x0, window.y1 - window.y0
        return self._flatten(slide.read_region(corner, level, size))

    def _flatten(self, pixels: PillowImage.Image) -> Bytes:
        """Red, green and blue, what is transparent laid on the background."""
        if pixels.getchannel("A").getextrema() == (255, 255):
            return np.asarray(pixels.convert("RGB"))
        samples = np.asarray(pixels)
        return over_background(samples[..., :3], samples[..., 3], self.background)


def slide_vendor(path: Path) -> str | None:
    """The format in OpenSlide's words; None where OpenSlide does not know the file."""
    try:
        import openslide
    except (ImportError, OSError):  # plain TIFFs do without; `zoomin doctor` tells
        return None
    try:
        return openslide.OpenSlide.detect_format(str(path))  # type: ignore[no-any-return]
    except openslide.OpenSlideError:
        return None


def open_slide(path: Path, *, mpp: float | None = None) -> SlideImage | AdaptedSlide:
    """Open a whole-slide image: by OpenSlide, or what it refuses by fastslide or wsidicom.

    Args:
        path: the file; of formats of several files, the one that OpenSlide wants (`.mrxs`, `.vms`, any
            `.dcm`).
        mpp: microns per pixel, instead of a missing or wrong property.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: if OpenSlide cannot open it, or its pixels are not square and `mpp` is not given.
    """
    check_mpp(mpp, path)
    _check_frames(path)
    try:
        slide = _opened(path)
    except ImageError as error:
        by = other_reader(path)
        if by is None:
            raise
        try:
            return open_adapted(path, by, mpp=mpp)
        except ImageError:
            raise error from None  # the cause that the file's header tells
    properties = dict(slide.properties)
    full = slide.dimensions[::-1]
    every = [
        Level.of(size[::-1], full, _block_of(properties, index))
        for index, size in enumerate(slide.level_dimensions)
    ]
    slide.close()
    _check_blocks(properties, len(every), path)
    kept = tuple(i for i, level in enumerate(every) if _alike(level))
    levels = tuple(every[i] for i in kept)
    return SlideImage(path, levels, properties, mpp if mpp is not None else mpp_of(properties, path), kept)


def _check_blocks(properties: Mapping[str, str], levels: int, path: Path) -> None:
    """Refuse blocks for which OpenSlide asks for more memory than there is, and ends the process.

    Raises:
        ImageError: naming their size.
    """
    for level in range(levels):
        height, width = _block_of(properties, level)
        if height * width > _LARGEST_BLOCK:
            raise ImageError(
                f"stored in blocks of {width} x {height} pixels, too large to read a part",
                where=path,
                remedy="Its tags are damaged; or export it in small tiles.",
            )


def _alike(level: Level) -> bool:
    """Whether a level has the aspect of the slide: a label stored in tiles passes for a level elsewhere."""
    tall, wide = level.pixel
    rounded = 2 / min(level.height, level.width)  # writers round sides, and pad small levels
    return abs(tall - wide) <= (_OBLONG + rounded) * max(tall, wide)


class SlideFacts(NamedTuple):
    """What a slide holds beside its levels.

    Attributes:
        associated: names and sizes of the pictures beside the slide.
        icc: its colour profile, empty where it has none.
        mpp_source: the property that tells the size of a pixel, or "".
    """

    associated: tuple[str, ...]
    icc: bytes
    mpp_source: str


def slide_facts(path: Path) -> SlideFacts:
    """Look beside the levels of a slide.

    Raises:
        ImageError: if OpenSlide cannot open it.
    """
    from openslide import OpenSlideError

    _check_frames(path)
    slide = _opened(path)
    own = slide.properties
    try:
        beside = tuple(
            f"{name} {own.get(f'{_BESIDE}.{name}.width', '?')} x {own.get(f'{_BESIDE}.{name}.height', '?')}"
            for name in sorted(slide.associated_images)  # their pixels may be damaged, or large
        )
        profile = slide.color_profile
        icc = b"" if profile is None else profile.tobytes()
        has_mpp = "openslide.mpp-x" in own
    except OpenSlideError as error:
        raise _not_opened(path, error) from error
    finally:
        slide.close()
    return SlideFacts(beside, icc, "slide property openslide.mpp-x in microns" if has_mpp else "")


def mpp_of(properties: Mapping[str, str], path: Path) -> float | None:
    """Microns per pixel of a microscope's slide, None where it is missing or beyond belief (0.05 to 20).

    Raises:
        ImageError: if the pixels are not square.
    """
    try:
        x, y = (float(properties[f"openslide.mpp-{axis}"]) for axis in "xy")
    except (KeyError, ValueError):
        return None
    return plausible_mpp(x, y, path)


def background_of(properties: Mapping[str, str]) -> tuple[int, int, int]:
    """The slide's own background; else black for fluorescence and white for all others.

    Example:
        >>> background_of({"openslide.background-color": "FFEEDD"}), background_of({})
        ((255, 238, 221), (255, 255, 255))
    """
    named = properties.get("openslide.background-color", "")
    try:
        red, green, blue = bytes.fromhex(named)
    except ValueError:
        fluorescent = any("EmissionWaveLength" in value for value in properties.values())
        return _BLACK if fluorescent else _WHITE
    return red, green, blue


def bounds_of(properties: Mapping[str, str]) -> Region | None:
    """The scanned part of the canvas, level-0 pixels, where it is known.

    Example:
        >>> sides = {"x": "10", "y": "20", "width": "300", "height": "400"}
        >>> bounds_of({f"openslide.bounds-{side}": value for side, value in sides.items()})
        Region(x=10, y=20, width=300, height=400)
    """
    try:
        return Region(
            *(int(properties[f"openslide.bounds-{side}"]) for side in ("x", "y", "width", "height"))
        )
    except (KeyError, ValueError):
        return None


def _opened(path: Path) -> Any:  # noqa: ANN401
    """An OpenSlide handle.

    Raises:
        ImageError: saying what the file is, and what to do.
    """
    try:
        import openslide
    except (ImportError, OSError) as error:
        raise ImageError(
            f"OpenSlide, which reads whole slides, does not load ({error})",
            where=path,
            remedy="pip install --force-reinstall openslide-python openslide-bin; then `zoomin doctor`.",
        ) from error
    try:
        return openslide.OpenSlide(str(path))
    except (openslide.OpenSlideError, OSError) as error:
        raise _not_opened(path, error) from error


def _check_frames(path: Path) -> None:
    """Refuse sparse DICOM frames without places: OpenSlide 4.0.1 ends the process that opens them.

    The file and those of its series in its folder, which are opened with it.
    """
    header = read_dicom_header(path)
    if header is None or not header.is_slide:
        return
    for beside in sorted(path.parent.iterdir()):
        own = read_dicom_header(beside) if named_as_dicom(beside) and beside.is_file() else None
        sparse = own is not None and own.series == header.series and own.tiling == "TILED_SPARSE"
        if sparse and not places_frames(beside):
            raise ImageError(
                f"a DICOM slide whose tiles are sparse and have no places ({beside.name})",
                where=path,
                remedy="Export it again with the program that made it.",
            )


def _not_opened(path: Path, error: Exception) -> ImageError:
    """Why OpenSlide does not open a file, as its header tells it."""
    other = re.match(r"Reading (.+?): ", str(error))
    culprit = Path(other.group(1)) if other else path
    header = read_dicom_header(culprit)
    if header is not None and not (header.is_slide and "image flavor" in str(error)):
        what, remedy = _dicom_cause(header, error)
        if culprit.absolute() != path.absolute():
            what = f"{culprit.name}, a file of the same series, is {what}"
    elif "image flavor" in str(error) or "VL Whole Slide" in str(error):
        what, remedy = _NO_SLIDE
    elif path.suffix.lower() == ".mrxs":
        what = "a MIRAX slide without its other files" if not path.with_suffix("").is_dir() else f"{error}"
        remedy = "Keep the folder of its name, with Slidedat.ini and the .dat files, beside it."
    else:
        what = f"the slide is damaged, cut short or of a kind that OpenSlide does not read ({error})"
        remedy = "Copy or download it again with all files that belong to it, or export a pyramidal TIFF."
        if path.suffix.lower() == ".czi":
            remedy += " fastslide may read it: pip install 'zoomin-net[fastslide]'."
    return ImageError(what, where=path, remedy=remedy)


def _dicom_cause(header: DicomHeader, error: Exception) -> tuple[str, str]:
    """What of a DICOM file OpenSlide does not read, and what to do."""
    if not header.is_slide:
        kind = f" of modality {header.modality}" if header.modality else ""
        return f"{_NO_SLIDE[0]}{kind}", _NO_SLIDE[1]
    if not header.series:
        return (
            "a DICOM slide that does not say of which series it is (no SeriesInstanceUID)",
            "Export it again with the program that made it.",
        )
    if header.planes > 1:
        return (
            f"a DICOM slide of {header.planes} focal planes",
            "Export the plane to use as a separate slide.",
        )
    if header.paths > 1:
        return f"a DICOM slide of {header.paths} optical paths", "Export red, green and blue as one image."
    if header.bits not in (None, 8):
        return (
            f"a DICOM slide of {header.bits} bits per sample ({header.colours})",
            "Export it with 8 bits, scaled the same way for all slides.",
        )
    if header.colours.startswith("MONOCHROME"):
        return f"a DICOM slide of grey samples ({header.colours}), which OpenSlide does not read", _GREY
    if header.planar:
        return "a DICOM slide stored plane by plane (PlanarConfiguration 1), which OpenSlide does not read", (
            _ANEW
        )
    if header.syntax not in _SYNTAXES_READ:
        name, remedy = _SYNTAXES.get(header.syntax, (f"transfer syntax {header.syntax}", _ANEW))
        return f"a DICOM slide encoded as {name}, which OpenSlide does not read", remedy
    return (
        f"the DICOM slide is damaged, cut short, or lacks a part of its series ({error})",
        "Copy or download it again, with all files of its series in one folder.",
    )


def _block_of(properties: Mapping[str, str], level: int) -> tuple[int, int]:
    sides = (properties.get(f"openslide.level[{level}].tile-{side}", "") for side in ("height", "width"))
    height, width = (int(side) if side.isdigit() else _BLOCK for side in sides)
    return height, width


def _cache() -> Any:  # noqa: ANN401
    import openslide

    return openslide.OpenSlideCache(_CACHE)
