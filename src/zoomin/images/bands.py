"""From the bands of a raster to red, green and blue: which bands, which scale, what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError
from .pixels import Bytes, to_bytes

__all__ = ["Bands", "bands_of"]

_TYPES = ("uint8", "uint16", "float32", "float64")


@dataclass(frozen=True)
class Bands:
    """How to see a raster in colour.

    Attributes:
        colour: the band of grey or of the palette's index, or those of red, green and blue; counted from 1.
        alpha: the band of the opacity.
        palette: 256 or more colours, (colours, 4) with their opacity.
        bits: stored bits a sample, None for those of the type.
        nodata: the value of samples that are missing; a pixel is missing where all its bands are.
        masked: whether a mask of valid pixels is stored beside the bands.
        inverted: whether 0 is white.
    """

    colour: tuple[int, ...]
    alpha: int | None = None
    palette: tuple[tuple[int, int, int, int], ...] | None = None
    bits: int | None = None
    nodata: float | None = None
    masked: bool = False
    inverted: bool = False

    @property
    def plain(self) -> bool:
        """Whether three bands of bytes are the colours as they are."""
        return len(self.colour) == 3 and self.opaque and self.bits in (None, 8) and not self.inverted

    @property
    def opaque(self) -> bool:
        """Whether no pixel can be missing or transparent."""
        return self.alpha is None and self.nodata is None and not self.masked and not self._painted_clear

    @property
    def _painted_clear(self) -> bool:
        return self.palette is not None and any(colour[3] < 255 for colour in self.palette)

    def read(self, dataset: Any, window: Any, background: tuple[int, int, int], path: Path) -> Bytes:  # noqa: ANN401
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

    def paint(
        self,
        samples: npt.NDArray[Any],
        alpha: npt.NDArray[Any] | None,
        valid: Bytes | None,
        background: tuple[int, int, int],
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
        if self.nodata is not None:
            missing = np.isnan(samples) if np.isnan(self.nodata) else samples == self.nodata
            gone = missing.all(axis=2)
            present &= ~gone
            samples = np.where(gone[..., None], samples.dtype.type(0), samples)
        opacity = None if alpha is None else to_bytes(alpha, path, bits=self.bits).astype(np.uint32)
        if self.palette is not None:
            table = np.array(self.palette, dtype=np.uint8)
            painted = table[np.minimum(samples[..., 0], len(table) - 1)]
            colour, own = painted[..., :3], painted[..., 3].astype(np.uint32)
            opacity = own if opacity is None else opacity * own // 255
        else:
            colour = to_bytes(samples, path, bits=self.bits)
            colour = 255 - colour if self.inverted else colour
            colour = np.repeat(colour, 3, axis=2) if colour.shape[2] == 1 else colour
        if self.opaque:
            return np.ascontiguousarray(colour)
        opacity = np.where(present, np.uint32(255) if opacity is None else opacity, np.uint32(0))[..., None]
        over = colour * opacity + np.array(background, dtype=np.uint32) * (255 - opacity)
        flat: Bytes = ((over * 2 + 255) // 510).astype(np.uint8)
        return flat


def bands_of(dataset: Any, path: Path) -> Bands:  # noqa: ANN401 (rasterio is not typed)
    """The way to see a raster in colour.

    Raises:
        ImageError: if the bands have no colours, or samples of a type without a meaning.
    """
    from rasterio.enums import MaskFlags

    kinds = [colour.name for colour in dataset.colorinterp]
    colour = _colour_bands(kinds, path)
    types = {dataset.dtypes[band - 1] for band in colour}
    if not types <= set(_TYPES):
        raise ImageError(
            f"a raster of samples of type {', '.join(sorted(types))}",
            where=path,
            remedy="Scale it to bytes: gdal_translate -ot Byte -scale LOW HIGH 0 255 IN OUT.",
        )
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    bits = dataset.tags(colour[0], ns="IMAGE_STRUCTURE").get("NBITS", "")
    flags = dataset.mask_flag_enums[colour[0] - 1]
    palette = None
    if kinds[colour[0] - 1] == "palette":
        table = dataset.colormap(colour[0])
        palette = tuple(tuple(table.get(i, (0, 0, 0, 255))) for i in range(max(table) + 1))
    return Bands(
        colour=colour,
        alpha=kinds.index("alpha") + 1 if "alpha" in kinds else None,
        palette=palette,
        bits=int(bits) if bits.isdigit() and int(bits) in range(1, 17) else None,
        nodata=dataset.nodatavals[colour[0] - 1],
        masked=MaskFlags.per_dataset in flags
        and MaskFlags.alpha not in flags
        and MaskFlags.nodata not in flags,
        inverted=structure.get("MINISWHITE") == "YES",
    )


def _colour_bands(kinds: list[str], path: Path) -> tuple[int, ...]:
    """The bands to see, counted from 1."""
    if {"red", "green", "blue"} <= set(kinds):
        return tuple(kinds.index(name) + 1 for name in ("red", "green", "blue"))
    others = [i + 1 for i, kind in enumerate(kinds) if kind != "alpha"]
    if len(others) == 1 and kinds[others[0] - 1] in ("gray", "palette", "undefined"):
        return (others[0],)
    if len(others) == 3 and set(kinds) <= {"undefined", "gray", "alpha"}:
        return tuple(others)
    raise ImageError(
        f"a raster of {len(kinds)} bands ({', '.join(kinds)}) that does not say which are red, green, blue",
        where=path,
        remedy="Choose three: gdal_translate -b R -b G -b B -colorinterp red,green,blue IN OUT.",
    )
