"""Foreground: which part of an image can hold anything, found in its overview.

On glass, tissue is what has colour: above Otsu's threshold of the saturation (Otsu 1979), which is kept
near the glass so that pale tissue is not lost. Where there is no glass everything is tissue. Where the
overview has one mode only (a very faint slide, an empty one) tissue is what stands out of it by its
percentiles. On a dark background (fluorescence) brightness takes the place of saturation. Black borders and
pen strokes are not tissue.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Region, TileGrid
from .foreground import Foreground
from .formats.channels import shown
from .image import Image, ImageBatch
from .summed_area import SummedArea

__all__ = [
    "AttendedTiles",
    "Foreground",
    "ForegroundMask",
    "OverviewMask",
    "attended_tiles",
    "foreground_of",
    "overview_mask",
    "read_overview",
    "tissue_mask",
]

_BINS = 512  # of histograms
_BLACK, _INK = 30, 90  # brightness up to which pixels are black borders, and, without colour, black ink
_SMOOTH = 7  # pixels of the overview, averaged where tissue drowns in noise
_GLASS = 0.12  # the most saturation that glass has
_PALE = 0.07  # tissue is never asked to be more saturated than the glass by more than this
_ONE_MODE = 0.7  # share of the variance between Otsu's classes below which there is but one class: a normal
# distribution has 0.64, two well separated modes more than 0.8
_SHADE = 0.012  # least difference of the means of two modes
_STAIN = 0.5  # of the other tissue: more than this in the colours of pens is a stain
_ORIENTATIONS = 8  # of an augmented image, each of which cuts it into other tiles


@runtime_checkable
class ForegroundMask(Protocol):
    """Tells which tiles of one image hold foreground."""

    def tiles(self, regions: Int[Tensor, "n 4"]) -> Bool[Tensor, " n"]:
        """Whether each region, in level-0 pixels of the image as it is read, holds enough foreground.

        Raises:
            ImageError: if the overview or the mask file cannot be read.
        """
        ...


class OverviewMask:
    """The tissue of one image, found when it is first asked for, and then kept, compressed.

    Args:
        image: whose overview is read; let go afterwards.
        config: the settings.
    """

    def __init__(self, image: Image, config: Foreground) -> None:
        """Nothing is read yet."""
        self.config = config
        self._image: Image | None = image
        self._size = image.height, image.width
        self._packed: tuple[bytes, tuple[int, int]] | None = None
        self._tiles: dict[bytes, bytes] = {}  # one bit per tile, by the regions asked for
        self._lock = threading.RLock()  # threads that read ahead ask too; the overview is read once

    def find(self) -> tuple[bytes, tuple[int, int]]:
        """Read the overview and look for tissue, once; the bits, compressed, and the shape of the mask.

        Raises:
            ImageError: if the overview cannot be read.
        """
        with self._lock:
            if self._packed is None:
                assert self._image is not None
                mask = tissue_mask(read_overview(self._image, self.config.side), self.config)
                shape = mask.shape[0], mask.shape[1]
                self._packed, self._image = (zlib.compress(np.packbits(mask).tobytes(), 1), shape), None
            return self._packed

    @property
    def pixels(self) -> NDArray[np.bool_]:
        """The mask, one pixel per pixel of the overview; finds it where it has not been found.

        Raises:
            ImageError: if the overview cannot be read.
        """
        packed, (rows, columns) = self.find()
        bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), dtype=np.uint8), count=rows * columns)
        return bits.reshape(rows, columns).astype(bool)

    def shares(self, regions: Int[Tensor, "n 4"]) -> Float[Tensor, " n"]:
        """The share of foreground in the part of each region that lies inside the image; 0 outside it."""
        return _shares(self.pixels, self._size, regions)

    def tiles(self, regions: Int[Tensor, "n 4"]) -> Bool[Tensor, " n"]:
        """Whether each region holds enough foreground: a share of `min_share`, and more than nothing."""
        key = regions.cpu().numpy().tobytes()
        with self._lock:
            if key not in self._tiles:
                shares = self.shares(regions.cpu())
                enough = (shares > 0) & (shares >= self.config.min_share)
                if len(self._tiles) >= _ORIENTATIONS:
                    self._tiles.clear()
                self._tiles[key] = np.packbits(enough.numpy()).tobytes()
            packed = self._tiles[key]
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=len(regions))
        return torch.from_numpy(bits.astype(bool))

    def __getstate__(self) -> dict[str, object]:
        """Pickle without the lock."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        """A separate lock."""
        self.__dict__.update(state)
        self._lock = threading.RLock()


def overview_mask(image: Image, config: Foreground | None) -> OverviewMask | None:
    """The tissue of an image where it is to be found in its overview, else None."""
    return OverviewMask(image, config) if config is not None and config.method == "otsu" else None


def foreground_of(
    masks: Sequence[ForegroundMask | None],
    grid: TileGrid,
) -> Bool[Tensor, " tiles"] | None:
    """Which tiles of a grid hold foreground, None where no image of it has a mask.

    Args:
        masks: of each image of the batch; every tile of an image without one is foreground.
        grid: tiles of the batch.

    Raises:
        ImageError: if an overview or a mask file cannot be read.
    """
    if all(mask is None for mask in masks):
        return None
    regions = grid.regions.cpu().split(grid.count.tolist())
    tiles = [
        torch.ones(len(own), dtype=torch.bool) if mask is None else mask.tiles(own)
        for mask, own in zip(masks, regions, strict=True)
    ]
    return torch.cat(tiles).to(grid.image.device)


class AttendedTiles(NamedTuple):
    """The tiles that are attended to, and the places of images that are all background."""

    tiles: Bool[Tensor, " tiles"]
    no_foreground: tuple[int, ...]


def attended_tiles(batch: ImageBatch, grid: TileGrid) -> AttendedTiles:
    """Foreground; every tile of an image that has none.

    Args:
        batch: images.
        grid: their tiles.

    Raises:
        ImageError: if an overview or a mask file cannot be read.
    """
    found = batch.foreground(grid)
    if found is None:
        return AttendedTiles(torch.ones_like(grid.image, dtype=torch.bool), ())
    empty = torch.bincount(grid.image[found], minlength=len(batch)) == 0
    return AttendedTiles(found | empty[grid.image], tuple(empty.nonzero()[:, 0].tolist()))


def read_overview(image: Image, side: int) -> UInt8[Tensor, "3 h w"]:
    """The whole image, its longest side at most `side` pixels.

    Raises:
        ImageError: if it cannot be read.
    """
    scale = min(1.0, side / max(image.height, image.width))
    return shown(image).read([Region(0, 0, image.width, image.height)], scale)[0]


def tissue_mask(overview: UInt8[Tensor, "3 h w"], config: Foreground) -> NDArray[np.bool_]:
    """The tissue in an overview, (h, w); see the module's text for how it is found.

    Args:
        overview: red, green and blue.
        config: thresholds.

    Example:
        >>> slide = torch.full((3, 60, 90), 240, dtype=torch.uint8)
        >>> slide[:, 20:40, 30:60] = torch.tensor([180, 90, 150], dtype=torch.uint8)[:, None, None]
        >>> mask = tissue_mask(slide, Foreground("otsu"))
        >>> int(mask.sum()), bool(mask[30, 45])
        (596, True)
    """
    from scipy import ndimage  # heavy, and most models look for no tissue

    rgb = overview.permute(1, 2, 0).contiguous().cpu().numpy()
    high, low = rgb.max(axis=2), rgb.min(axis=2)
    lit = (high > _BLACK) & ((high > _INK) | (high - low > 15))
    colour = (high - low).astype(np.float32) / np.maximum(high, 1).astype(np.float32)
    pale = lit & (colour <= _GLASS) & (high >= 180)
    if pale.sum() < 0.1 * lit.size and lit.sum() < 0.5 * lit.size:
        bright = high.astype(np.float32) / 255
        threshold = config.threshold if config.threshold is not None else _dark_threshold(bright)
        mask = bright > threshold
    elif not lit.any():
        mask = lit
    else:
        mask = _on_glass(colour, lit, config)
        if config.pens and (pen := _pen_colours(rgb) & mask).any():
            without = _on_glass(colour, lit & ~ndimage.binary_dilation(pen, iterations=2), config)
            mask = without if pen.sum() < _STAIN * without.sum() else mask
    return _tidy(mask, config.min_area)


class _Otsu(NamedTuple):
    """Otsu's threshold, and whether it parts two modes: by variance, and by more than a shade."""

    threshold: float
    parts: bool


def _otsu(histogram: NDArray[np.float64]) -> _Otsu:
    """The threshold between two bins, in [0, 1], that leaves the most variance between the two classes."""
    p = histogram / histogram.sum()
    bins = np.arange(len(p))
    below, mean = p.cumsum(), (p * bins).cumsum()
    total, variance = mean[-1], (p * (bins - mean[-1]) ** 2).sum()
    weight = below * (1 - below)
    between = np.divide((total * below - mean) ** 2, weight, out=np.zeros_like(p), where=weight > 1e-12)
    best = int(np.flatnonzero(between >= between.max() * (1 - 1e-9)).mean())  # amid a plateau
    share = float(between.max() / variance) if variance > 0 else 0.0
    contrast = float(np.sqrt(between[best] / weight[best])) if weight[best] > 0 else 0.0  # of means, bins
    return _Otsu((best + 1) / len(p), share >= _ONE_MODE and contrast >= _SHADE * len(p))


def _histogram(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.histogram(values, bins=_BINS, range=(0, 1))[0].astype(np.float64)


def _percentile(histogram: NDArray[np.float64], share: float) -> float:
    return float(np.searchsorted(histogram.cumsum(), share * histogram.sum()) + 0.5) / len(histogram)


def _on_glass(colour: NDArray[np.float32], where: NDArray[np.bool_], config: Foreground) -> NDArray[np.bool_]:
    """The coloured part of some pixels."""
    from scipy import ndimage  # heavy, and most models look for no tissue

    if config.threshold is not None or not where.any():
        return where & (colour > (config.threshold or 0))
    threshold = _glass_threshold(colour[where])
    if threshold is None:
        colour = ndimage.uniform_filter(colour, _SMOOTH)
        threshold = _glass_threshold(colour[where])
    return where & (colour > (_above_noise(_histogram(colour[where])) if threshold is None else threshold))


def _glass_threshold(colour: NDArray[np.float32]) -> float | None:
    """Least saturation of tissue; -1 where all is tissue, None where there is one mode, that of the glass."""
    histogram = _histogram(colour)
    glass = _percentile(histogram, 0.05)
    if glass > _GLASS:
        return -1.0
    found = _otsu(histogram)
    if found.threshold >= glass + _PALE:
        return glass + _PALE
    return found.threshold if found.parts else None


def _dark_threshold(bright: NDArray[np.float32]) -> float:
    """Least brightness of tissue on a dark background."""
    histogram = _histogram(bright)
    found = _otsu(histogram)
    return found.threshold if found.parts else _above_noise(histogram)


def _above_noise(histogram: NDArray[np.float64]) -> float:
    """Five standard deviations above the middle, from the 5th percentile, which lies 1.64 below it."""
    middle, low = _percentile(histogram, 0.5), _percentile(histogram, 0.05)
    return middle + max(3 * (middle - low), _SHADE)


def _pen_colours(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where green rules, or blue with red far behind: haematoxylin and eosin leave green the weakest."""
    red, green, blue = (rgb[:, :, c].astype(np.int16) for c in range(3))
    return np.asarray((green > red + 20) & ((green > blue + 10) | (blue > red + 50)))


def _tidy(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """Close gaps, take out specks, and pieces and holes below an area."""
    from scipy import ndimage  # heavy, and most models look for no tissue

    if min(mask.shape) < 8:
        return mask
    cross = ndimage.generate_binary_structure(2, 1)
    padded = np.pad(mask, 2, mode="edge")
    closed = ndimage.binary_closing(padded, cross, iterations=2)[2:-2, 2:-2] | mask
    opened = ndimage.binary_opening(np.pad(closed, 1, mode="edge"), cross)[1:-1, 1:-1]
    return ~_large(~_large(opened, min_area), min_area)


def _large(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """The connected pieces of at least an area."""
    from scipy import ndimage  # heavy, and most models look for no tissue

    pieces, count = ndimage.label(mask)
    kept = np.bincount(pieces.ravel(), minlength=count + 1) >= min_area
    kept[0] = False
    found: NDArray[np.bool_] = kept[pieces]
    return found


def _shares(
    mask: NDArray[np.bool_], size: tuple[int, int], regions: Int[Tensor, "n 4"]
) -> Float[Tensor, " n"]:
    """Share of the mask in the part of each region inside an image of `size`: by the summed-area table."""
    x, y, width, height = regions.double().unbind(1)
    top, bottom = (edge.clamp(0, size[0]) * (mask.shape[0] / size[0]) for edge in (y, y + height))
    left, right = (edge.clamp(0, size[1]) * (mask.shape[1] / size[1]) for edge in (x, x + width))
    edges = torch.stack([top, bottom], 1), torch.stack([left, right], 1)
    inside = SummedArea(torch.from_numpy(mask)).between(*edges)[:, 0, 0]
    area = (bottom - top) * (right - left)
    return torch.where(area > 0, inside / area.clamp(min=1e-12), 0.0).clamp(0, 1).float()
