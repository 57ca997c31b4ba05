"""From samples to red, green and blue: which bands, which scale, what is missing.

The one conversion of all readers: of whole TIFFs, of their tiles, and of what GDAL reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ChannelsError, ImageError
from ..colour import D50, cmyk_to_rgb, lab_samples, lab_to_rgb
from ..pixels import Bytes, Pixels, over_background, to_bytes
from .tiff_segments import luma_shares, stored_ycbcr

Background = tuple[int, int, int]

__all__ = ["TYPES", "Bands", "bands_of", "bands_of_page"]

TYPES = ("bool", "uint8", "uint16", "float16", "float32", "float64")
_GREY, _RGB, _INKS, _LAB = (
    ("gray",),
    ("red", "green", "blue"),
    ("cyan", "magenta", "yellow", "black"),
    ("L", "a", "b"),
)
_COLOURS: dict[str, tuple[str, ...]] = {
    "MINISBLACK": _GREY,
    "MINISWHITE": _GREY,
    "RGB": _RGB,
    "YCBCR": _RGB,  # decoders give colours
    "PALETTE": ("palette",),
    "SEPARATED": _INKS,
    "CIELAB": _LAB,
    "ICCLAB": _LAB,
}
_SPACES = {"SEPARATED": "cmyk", "CIELAB": "lab", "ICCLAB": "icclab"}
_SPOKEN = {"cmyk": "inks", "lab": "CIE L*a*b*", "icclab": "ICC L*a*b*"}
_PREMULTIPLIED, _ALPHA = 1, 2  # values of the tag ExtraSamples
_SHARES = 0.02  # how far stated shares of the luma may be from 1
_INK_SET, _WHITE_POINT, _CMYK = 332, 318, 1


@dataclass(frozen=True)
class Bands:
    """How to see samples in colour.

    Attributes:
        colour: the band of grey or of the palette's index, or those of the colours; counted from 1.
        alpha: the band of the opacity.
        palette: 256 or more colours, (colours, 4) with their opacity.
        bits: stored bits per sample, None for those of the type.
        nodata: of each colour band, the value of samples that are missing; a pixel is missing where all
            bands have theirs, and none is where a band has no such value.
        masked: whether a mask of valid pixels is stored beside the bands.
        inverted: whether 0 is white.
        premultiplied: whether colours are stored already multiplied by their opacity.
        space: what the colour bands are: "rgb" (or grey), "cmyk", "lab" or "icclab".
        white: of L*a*b*, the chromaticity of its white.
    """

    colour: tuple[int, ...]
    alpha: int | None = None
    palette: tuple[tuple[int, int, int, int], ...] | None = None
    bits: int | None = None
    nodata: tuple[float | None, ...] = ()
    masked: bool = False
    inverted: bool = False
    premultiplied: bool = False
    space: str = "rgb"
    white: tuple[float, float] = D50

    @property
    def plain(self) -> bool:
        """Whether three bands of bytes are the colours as they are."""
        coloured = len(self.colour) == 3 and self.space == "rgb"
        return coloured and self.opaque and self.bits in (None, 8) and not self.inverted

    @property
    def opaque(self) -> bool:
        """Whether no pixel can be missing or transparent."""
        return self.alpha is None and not self._has_nodata and not self.masked and not self._painted_clear

    @property
    def _divided(self) -> bool:
        """Whether colours are divided by their opacity: what was multiplied is no light but its lack."""
        return self.premultiplied and (self.inverted or self.space == "cmyk")

    @property
    def _has_nodata(self) -> bool:
        return bool(self.nodata) and all(value is not None for value in self.nodata)

    @cached_property
    def _painted_clear(self) -> bool:
        return self.palette is not None and any(colour[3] < 255 for colour in self.palette)

    def read(self, dataset: Any, window: Any, background: Background, path: Path) -> Bytes:  # noqa: ANN401
        """Red, green and blue (height, width, 3) of a window of an open raster.

        Args:
            dataset: rasterio's.
            window: rasterio's.
            background: what shows through where pixels are missing or transparent.
            path: named in errors.

        Raises:
            ImageError: if floating-point samples are outside 0 to 1.
        """
        shape = (int(window.height), int(window.width), len(self.colour))
        samples = np.empty(shape, dtype=dataset.dtypes[self.colour[0] - 1])
        dataset.read(list(self.colour), window=window, out=samples.transpose(2, 0, 1))
        if self.plain and samples.dtype == np.uint8:
            return samples
        alpha = None if self.alpha is None else dataset.read(self.alpha, window=window)
        valid = dataset.read_masks(self.colour[0], window=window) if self.masked else None
        return self.paint(samples, alpha, valid, background, path)

    def paint_all(self, samples: Pixels, background: Background, path: Path) -> Bytes:
        """Red, green and blue (height, width, 3) from all samples of a page (height, width, samples).

        Raises:
            ImageError: if floating-point samples are outside 0 to 1.
        """
        whole = self.colour == tuple(range(1, samples.shape[2] + 1))
        if whole and self.plain and samples.dtype == np.uint8:
            return np.ascontiguousarray(samples)
        alpha = None if self.alpha is None else samples[..., self.alpha - 1]
        colours = samples if whole else samples[..., [band - 1 for band in self.colour]]
        return self.paint(colours, alpha, None, background, path)

    def paint(
        self,
        samples: Pixels,
        alpha: Pixels | None,
        valid: Bytes | None,
        background: Background,
        path: Path,
    ) -> Bytes:
        """Red, green and blue (height, width, 3) from the samples of the colour bands.

        Args:
            samples: (height, width, bands of `colour`).
            alpha: (height, width) of the band `alpha`.
            valid: (height, width), 0 where the stored mask says that nothing is there.
            background: what shows through.
            path: named in errors.

        Raises:
            ImageError: if floating-point samples are outside 0 to 1.
        """
        present = np.ones(samples.shape[:2], dtype=bool) if valid is None else valid > 0
        if self._has_nodata:
            gone = self._missing(samples)
            present &= ~gone
            samples = np.where(gone[..., None], samples.dtype.type(0), samples)
        opacity = None if alpha is None else to_bytes(alpha, path, bits=self.bits).astype(np.uint32)
        if self.palette is not None:
            table = np.array(self.palette, dtype=np.uint8)
            painted = table[np.minimum(samples[..., 0], len(table) - 1)]
            colour, own = painted[..., :3], painted[..., 3].astype(np.uint32)
            opacity = own if opacity is None else opacity * own // 255
        else:
            colour = self._colours(samples, path, opacity if self._divided else None)
        if self.opaque:
            return np.ascontiguousarray(colour)
        opacity = np.where(present, np.uint32(255) if opacity is None else opacity, np.uint32(0))
        if self.premultiplied and not self._divided:
            behind = np.array(background, dtype=np.uint32) * (255 - opacity[..., None])
            colour = np.where(present[..., None], colour, np.uint8(0))
            return np.minimum(colour + (behind * 2 + 255) // 510, 255).astype(np.uint8)
        return over_background(colour, opacity, background)

    def _missing(self, samples: Pixels) -> npt.NDArray[np.bool_]:
        """Where every band has its value for what is missing: (height, width)."""
        gone = np.ones(samples.shape[:2], dtype=bool)
        for band, value in enumerate(self.nodata):
            own = samples[..., band]
            gone &= np.isnan(own) if value is None or np.isnan(value) else own == value
        return gone

    def _colours(self, samples: Pixels, path: Path, opacity: Pixels | None) -> Bytes:
        """Opaque colours (height, width, 3) of anything but a palette; samples are divided by an opacity."""
        if self.space in ("lab", "icclab"):
            return lab_to_rgb(lab_samples(samples, icc=self.space == "icclab"), self.white)
        colour = to_bytes(samples, path, bits=self.bits)
        if opacity is not None:
            whole = np.maximum(opacity, 1)[..., None]
            colour = np.minimum((colour.astype(np.uint32) * 510 + whole) // (2 * whole), 255).astype(np.uint8)
        if self.space == "cmyk":
            return cmyk_to_rgb(colour)
        colour = 255 - colour if self.inverted else colour
        return np.repeat(colour, 3, axis=2) if colour.shape[2] == 1 else colour


def bands_of_page(page: Any, path: Path) -> Bands:  # noqa: ANN401 (tifffile is not typed)
    """The way to see a page of a TIFF in colour, by its own tags.

    Raises:
        ImageError: if its colours, their number or the type of its samples have no meaning here.
    """
    kind = page.photometric.name
    colours = _COLOURS.get(kind)
    if colours is None or (kind == "SEPARATED" and page.tags.valueof(_INK_SET, _CMYK) != _CMYK):
        raise ImageError(
            "a TIFF of unnamed inks" if kind == "SEPARATED" else f"a TIFF of colours {kind}",
            where=path,
            remedy="Save it as grey or red-green-blue with the program that made it.",
        )
    extra = [int(value) for value in page.extrasamples]
    more = page.samplesperpixel - len(colours)
    if more < 0:
        raise ImageError(
            f"a TIFF of colours {kind} with {page.samplesperpixel} samples per pixel, too few",
            where=path,
            remedy="Export it again: its tags contradict each other.",
        )
    extra = ([0] * more + extra)[len(extra) :] if len(extra) < more else extra[len(extra) - more :]
    names = [*colours, *("alpha" if value in (_PREMULTIPLIED, _ALPHA) else "undefined" for value in extra)]
    chosen = _colour_bands(names, path, "channels")
    space = _SPACES.get(kind, "rgb")
    _check_type(str(page.dtype), path, space, page.bitspersample, indices=kind == "PALETTE")
    _check_luma(page, path)
    alpha = names.index("alpha") if "alpha" in names else None
    premultiplied = alpha is not None and extra[alpha - len(colours)] == _PREMULTIPLIED
    if premultiplied and space in ("lab", "icclab"):
        raise ImageError(
            f"{_SPOKEN[space]} multiplied by opacity (associated alpha), which no standard defines",
            where=path,
            remedy="Save it as red, green and blue with the program that made it.",
        )
    white = page.tags.valueof(_WHITE_POINT)
    return Bands(
        colour=chosen,
        alpha=None if alpha is None else alpha + 1,
        palette=_palette(page.colormap) if kind == "PALETTE" else None,
        bits=page.bitspersample if isinstance(page.bitspersample, int) and page.bitspersample < 17 else None,
        inverted=kind == "MINISWHITE",
        premultiplied=premultiplied,
        space=space,
        white=(white[0] / white[1], white[2] / white[3]) if white and white[1] and white[3] else D50,
    )


def bands_of(dataset: Any, path: Path, page: Any = None) -> Bands:  # noqa: ANN401 (rasterio is not typed)
    """The way to see a raster of GDAL's in colour.

    Args:
        dataset: rasterio's.
        path: named in errors.
        page: of a TIFF, tifffile's: its tags say more than GDAL does.

    Raises:
        ImageError: if the bands have no colours, or samples of a type without a meaning.
    """
    from rasterio.enums import MaskFlags

    kinds = [colour.name for colour in dataset.colorinterp]
    if page is not None and not (page.photometric.name in ("MINISBLACK", "RGB") and len(kinds) > 2):
        own = bands_of_page(page, path)
    else:
        own = Bands(_colour_bands(kinds, path, "bands"), alpha=_alpha_band(kinds), bits=_bits(dataset))
        own = replace(own, premultiplied=page is not None and _PREMULTIPLIED in page.extrasamples)
        if kinds[own.colour[0] - 1] == "palette":
            table = dataset.colormap(own.colour[0])
            own = replace(own, palette=tuple(table.get(i, (0, 0, 0, 255)) for i in range(max(table) + 1)))
    for band in own.colour:
        _check_type(dataset.dtypes[band - 1], path)
    flags = dataset.mask_flag_enums[own.colour[0] - 1]
    apart = MaskFlags.alpha not in flags and MaskFlags.nodata not in flags
    return replace(
        own,
        nodata=tuple(dataset.nodatavals[band - 1] for band in own.colour),
        masked=MaskFlags.per_dataset in flags and apart,
    )


def _alpha_band(kinds: list[str]) -> int | None:
    return kinds.index("alpha") + 1 if "alpha" in kinds else None


def _bits(dataset: Any) -> int | None:  # noqa: ANN401
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "")
    return int(bits) if bits.isdigit() and int(bits) in range(1, 17) else None


def _palette(colours: Pixels) -> tuple[tuple[int, int, int, int], ...]:
    """Colours of a palette, all opaque. Palettes are of 16 bits; some writers give 8."""
    shift = 0 if colours.max() < 256 else 8
    table = np.right_shift(colours.astype(np.uint16), shift).T.tolist()
    return tuple((red, green, blue, 255) for red, green, blue in table)


def _check_type(
    name: str, path: Path, space: str = "rgb", bits: object = None, *, indices: bool = False
) -> None:
    """Refuse samples whose values have no meaning as colours."""
    known: tuple[str, ...] = TYPES
    if indices or space == "cmyk":
        known = ("bool", "uint8", "uint16")
    elif space != "rgb":
        known = ("uint8", "uint16") if bits in (8, 16) else ()
    if name not in known:
        what = f"pixels of type {name}" if known else f"pixels of {bits} bits"
        raise ImageError(
            f"{what} that are {_SPOKEN[space]}" if space != "rgb" else what,
            where=path,
            remedy="Scale it to bytes: gdal_translate -ot Byte -scale LOW HIGH 0 255 IN OUT."
            if space == "rgb"
            else "Save it as red, green and blue with the program that made it.",
        )


def _check_luma(page: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse stored luma and chroma of a layout that nobody writes."""
    bytes_together = page.bitspersample == 8 and page.planarconfig != 2 and page.samplesperpixel == 3
    if stored_ycbcr(page) and not (bytes_together and page.predictor == 1 and page.fillorder != 2):
        raise ImageError(
            f"luma and chroma of {page.bitspersample} bits"
            + (", in separate planes" if page.planarconfig == 2 else ", not three bytes together"),
            where=path,
            remedy="Save it as red, green and blue with the program that made it.",
        )

    shares = luma_shares(page) if stored_ycbcr(page) else None
    if shares is not None and not (min(shares) > 0 and abs(sum(shares) - 1) < _SHARES):
        raise ImageError(
            f"luma of {', '.join(f'{share:g}' for share in shares)} parts of the colours, not of one whole",
            where=path,
            remedy="Save it as red, green and blue with the program that made it.",
        )


def _colour_bands(kinds: list[str], path: Path, noun: str) -> tuple[int, ...]:
    """The bands to see, counted from 1."""
    for names in (_RGB, _INKS, _LAB):
        if set(names) <= set(kinds):
            return tuple(kinds.index(name) + 1 for name in names)
    others = [i + 1 for i, kind in enumerate(kinds) if kind != "alpha"]
    if len(others) == 1 and kinds[others[0] - 1] in ("gray", "palette", "undefined"):
        return (others[0],)
    if len(others) == 3 and set(kinds) <= {"undefined", "gray", "alpha"}:
        return tuple(others)
    raise ChannelsError(
        f"{len(kinds)} {noun} ({', '.join(kinds)}) that do not say which are red, green, blue",
        where=path,
        remedy="Name those to use: data.channels, such as '[6, 2]', when training, open_image(path, "
        "channels=[6, 2]) in Python. Or choose three to be seen: gdal_translate -b R -b G -b B -colorinterp "
        "red,green,blue IN OUT.",
    )
