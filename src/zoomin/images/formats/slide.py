"""Whole-slide images by OpenSlide: the only file that knows OpenSlide's levels.

The level-0 frame is the whole canvas as OpenSlide gives it, (0, 0) its upper left corner. Where a scanner
scanned only a part of it (MIRAX, some Ventana and generic DICOM slides), `bounds` is that part; programs that
show the part alone, such as QuPath on request, write coordinates less `bounds.x` and `bounds.y`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from ...errors import ImageError
from ...geometry import Region
from ...runtime.extras import missing
from ..cache import HANDLES
from ..image import Image
from ..physical import check_mpp, plausible_mpp
from ..pixels import over_background
from ..remote import reading_tiff
from ..stored import Level, undecoded
from ..windows import Window
from .adapted import open_adapted
from .jpeg_tiles import JpegTiled, jpeg_directory
from .open_tiff import open_tiff
from .other_slides import other_reader
from .slide_refusals import check_frames, not_opened
from .tiff import DAMAGE, check_slide_whole

__all__ = ["SlideFacts", "SlideImage", "open_slide", "slide_facts", "slide_vendor"]

Bytes = npt.NDArray[np.uint8]

_BLOCK = 256  # where a format does not give the size of its blocks
_OBLONG = 0.05
_LARGEST_BLOCK = 1 << 27  # pixels
_BESIDE = "openslide.associated"
_CACHE = 64 << 20  # bytes of decoded blocks that all slides of a process share
_SLIDES_ALONE = (".mrxs", ".vms", ".vmu", ".svslide", ".czi")
_SLIDES_IN_TIFF = ("svs", "ndpi", "scn", "bif", "philips")  # as tifffile calls them
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


class SlideImage(JpegTiled):
    """A whole-slide image that OpenSlide reads (see `stored.StoredImage`).

    Attributes:
        vendor: the format, in OpenSlide's words.
        bounds: the scanned part of the canvas where the file gives it, level-0 pixels.
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

    def decode_by_reader(self, level: int, window: Window) -> Bytes:
        """The pixels of a window of a level, by OpenSlide.

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

    def like(self, path: Path, levels: tuple[Level, ...], directories: tuple[int, ...]) -> SlideImage:
        """Another slide in a TIFF, by OpenSlide."""
        return SlideImage(path, levels, {}, None)

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
    """The format in OpenSlide's words, without it in tifffile's; None of what it does not open."""
    try:
        import openslide
    except (ImportError, OSError):  # plain TIFFs do without; opening a slide tells what is missing
        return _likely_slide(path)
    try:
        return openslide.OpenSlide.detect_format(str(path))  # type: ignore[no-any-return]
    except openslide.OpenSlideError:
        return None


def _likely_slide(path: Path) -> str | None:
    """What slide a file seems to be, where OpenSlide cannot be asked."""
    suffix = path.suffix.lower()
    if suffix in _SLIDES_ALONE:
        return suffix[1:]
    try:
        with reading_tiff(path) as file:
            software = str(file.pages[0].tags.valueof("Software", default=""))
            kinds = [kind for kind in _SLIDES_IN_TIFF if getattr(file, f"is_{kind}")]
    except DAMAGE:
        return None
    return "trestle" if software.startswith("MedScan") else next(iter(kinds), None)


def open_slide(path: Path, *, mpp: float | None = None) -> Image:
    """Open a whole-slide image: by OpenSlide, or what it refuses by fastslide, wsidicom, or as a TIFF.

    Args:
        path: the file; of formats of several files, the one that OpenSlide wants (`.mrxs`, `.vms`, any
            `.dcm`).
        mpp: microns per pixel, instead of a missing or wrong property.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: if OpenSlide cannot open it, or its pixels are not square and `mpp` is not given.
    """
    check_mpp(mpp, path)
    check_frames(path)
    try:
        slide = _opened(path)
    except ImageError:
        by = other_reader(path)
        try:
            if by is not None:
                return open_adapted(path, by, mpp=mpp)
            if slide_vendor(path) == "aperio":  # of a compression that OpenSlide does not know
                return open_tiff(path, mpp=mpp)
        except ImageError:
            pass
        raise  # the cause according to the file's header
    properties, steps = dict(slide.properties), slide.level_downsamples
    if properties.get("openslide.vendor") == "aperio":  # others leave out tiles of bare glass
        check_slide_whole(path)
    full = slide.dimensions[::-1]
    every = [
        Level.of(size[::-1], full, _block_of(properties, index))
        for index, size in enumerate(slide.level_dimensions)
    ]
    slide.close()
    _check_blocks(properties, len(every), path)
    _check_count(every[0], path)
    kept = tuple(i for i, level in enumerate(every) if _alike(level))
    levels = tuple(every[i] for i in kept)
    image = SlideImage(path, levels, properties, mpp if mpp is not None else mpp_of(properties, path), kept)
    if image.vendor == "aperio":
        image.directories = _directories(path, levels, [steps[i] for i in kept])
    return image


def _directories(path: Path, levels: tuple[Level, ...], steps: Sequence[float]) -> tuple[int | None, ...]:
    """Where the tiles of JPEG of an Aperio slide are found, by level; None where OpenSlide has to read.

    Where the step from level 0 is not a whole number, OpenSlide moves what is stored by parts of a pixel.
    """
    try:
        with reading_tiff(path) as file:
            pages = [page for page in file.pages if page.is_tiled]
            found = {(page.imagelength, page.imagewidth): jpeg_directory(page) for page in reversed(pages)}
    except DAMAGE:
        return ()
    return tuple(
        found.get((level.height, level.width)) if step == round(step) else None
        for level, step in zip(levels, steps, strict=True)
    )


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


def _check_count(level: Level, path: Path) -> None:
    """Refuse a TIFF of more blocks than bytes: OpenSlide shows those that are not there as transparent.

    Raises:
        ImageError: naming both.
    """
    blocks = -(-level.height // level.block[0]) * -(-level.width // level.block[1])
    if blocks > path.stat().st_size and _is_tiff(path):
        raise ImageError(
            f"it declares {level.width} x {level.height} pixels, {blocks:,} blocks, in a file of "
            f"{path.stat().st_size:,} bytes",
            where=path,
            remedy="Its tags are damaged, or it was made to use up time: export it again.",
        )


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"II", b"MM")


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
        mpp_source: the property that gives the size of a pixel, or "".
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

    check_frames(path)
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
        raise not_opened(path, error) from error
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
        raise missing(error, path, ImageError) or ImageError(
            f"OpenSlide, which reads whole slides, does not load ({error})",
            where=path,
            remedy="pip install --force-reinstall openslide-python openslide-bin; then `zoomin doctor`.",
        ) from error
    try:
        return openslide.OpenSlide(str(path))
    except (openslide.OpenSlideError, OSError) as error:
        raise not_opened(path, error) from error


def _block_of(properties: Mapping[str, str], level: int) -> tuple[int, int]:
    sides = (properties.get(f"openslide.level[{level}].tile-{side}", "") for side in ("height", "width"))
    height, width = (int(side) if side.isdigit() else _BLOCK for side in sides)
    return height, width


def _cache() -> Any:  # noqa: ANN401
    import openslide

    return openslide.OpenSlideCache(_CACHE)
