"""Where the tissue, its pieces and the blobs of a generated slide lie: a coarse map, painted tile by tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from contourpy import contour_generator
from jaxtyping import Bool, Float, UInt8
from PIL import Image as PillowImage
from PIL import ImageFilter
from scipy.ndimage import gaussian_filter

from ...errors import ConfigError

__all__ = ["Blob", "Layer", "Layout", "blob_polygons", "cell_size", "place_blobs", "tissue_map"]

_CELLS = 12_000_000  # most cells of a map
_BLOB_CELLS = 150  # fewest cells of a blob, so that its outline and area are right
_MARGIN = 6  # cells around a tile that its soft edges depend on
_BLUR = 1.0  # cells
_EDGE_CELLS = 2.6  # width of an edge that is blurred so, cells
_QUILT = 1500  # about the side of a quilt, pixels; of small crops less
_GAP = 3  # cells between two blobs
_RING = 1.12  # radius of the middle of a ring, in radii of a disc of its area: its hole is 0.9 radii wide
_RING_REACH = 0.3  # half of the width, around that middle, that must be free for a ring

Polygon = list[list[tuple[float, float]]]


@dataclass(frozen=True)
class Blob:
    """An irregular area inside the tissue.

    Attributes:
        value: its number in the map.
        area: level-0 pixels that it should cover.
        ring: whether it is a ring around what lies below, rather than compact.
    """

    value: int
    area: float
    ring: bool = False


class Layer:
    """A texture without end: a quilt of irregular crops, turned at random, that repeats far apart."""

    def __init__(
        self, crops: UInt8[np.ndarray, "crops size size 3"], rng: np.random.Generator, tile: int, edge: float
    ) -> None:
        """Sew the quilt, from which tiles are cut.

        Args:
            crops: of one source.
            rng: draws the quilt and where it starts.
            tile: side of the tiles to cut, pixels.
            edge: width of the soft edge towards what lies below, pixels.
        """
        self.edge, self.tile = edge, tile
        quilt = _sew(crops, rng)
        self.period = quilt.width
        self.start = tuple(int(v) for v in rng.integers(self.period, size=2))
        self.canvas = PillowImage.new("RGB", (self.period + tile, self.period + tile))
        for x in range(0, self.period + tile, self.period):
            for y in range(0, self.period + tile, self.period):
                self.canvas.paste(quilt, (x, y))

    def cut(self, x: int, y: int) -> PillowImage.Image:
        """The texture of the tile at x, y."""
        left, top = (x + self.start[0]) % self.period, (y + self.start[1]) % self.period
        return self.canvas.crop((left, top, left + self.tile, top + self.tile))


class Layout:
    """Paints the stored tiles of a slide from its map and its layers."""

    def __init__(
        self,
        values: UInt8[np.ndarray, "rows columns"],
        layers: Sequence[Layer],
        cell: int,
        tile: int,
        glass: tuple[int, int, int],
    ) -> None:
        """Prepare.

        Args:
            values: of each cell: 0 glass, k the layer k - 1; higher values lie above lower ones.
            layers: the textures.
            cell: side of a cell, level-0 pixels; divides `tile`.
            tile: side of a stored tile, pixels.
            glass: red, green and blue where there is no tissue.
        """
        span = tile // cell
        tail = [(-size) % span for size in values.shape]
        self.values = np.pad(values, [(_MARGIN, _MARGIN + t) for t in tail])
        self.layers, self.tile, self.glass, self.span = layers, tile, glass, span
        self.steep = [_steepness(_EDGE_CELLS * cell / layer.edge) for layer in layers]

    def paint(self, x: int, y: int) -> PillowImage.Image | None:
        """The pixels of the tile at x, y; None where it is all glass."""
        row, column = y // self.tile * self.span, x // self.tile * self.span
        reach = self.span + 2 * _MARGIN
        window = self.values[row : row + reach, column : column + reach]
        found = np.flatnonzero(np.bincount(window.ravel(), minlength=1)).tolist()
        if found == [0]:
            return None
        if found[0] == 0:
            image = PillowImage.new("RGB", (self.tile, self.tile), self.glass)
        else:
            image = self.layers[found[0] - 1].cut(x, y)
        box = (_MARGIN, _MARGIN, _MARGIN + self.span, _MARGIN + self.span)
        for value in found[1:]:
            mask = _soften(window >= value)
            mask = mask.resize((self.tile, self.tile), PillowImage.Resampling.BILINEAR, box=box)
            mask = mask.point(self.steep[value - 1])
            if mask.getbbox() is not None:
                image.paste(self.layers[value - 1].cut(x, y), (0, 0), mask)
        return image


def cell_size(height: int, width: int, blob_area: float, tile: int) -> int:
    """The side of a map's cell: as coarse as the smallest blob allows, and the memory of the map asks for.

    Raises:
        ConfigError: if blobs are so small on an image so large that no cell serves.
    """
    sides = [2**k for k in range(1, tile.bit_length()) if tile % 2**k == 0]
    allowed = [side for side in sides if height / side * width / side <= _CELLS] or sides[-1:]
    fine = [side for side in allowed if side <= 16 and blob_area >= _BLOB_CELLS * side * side]
    cell: int = max(fine, default=min(allowed))
    if blob_area < 40 * cell * cell:
        raise ConfigError(
            f"blobs of {blob_area:.0f} pixels in {width} x {height}",
            where="roi_share",
            remedy="Give a larger share, fewer blobs, or a larger image.",
        )
    return cell


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], length: float, octaves: int = 1
) -> Float[np.ndarray, "rows columns"]:
    """Noise of about unit deviation whose grains are `length` cells wide, finer octaves half as strong."""
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        step = max(1.0, length / 2**octave / 2)
        grid = tuple(math.ceil(size / step) + 4 for size in shape)
        white = rng.standard_normal(grid, dtype=np.float32)
        coarse = PillowImage.fromarray(gaussian_filter(white, 1.0) * np.float32(3.5))  # round grains
        top, left = rng.uniform(1, 2, 2)
        box = (left, top, left + shape[1] / step, top + shape[0] / step)
        fine = coarse.resize((shape[1], shape[0]), PillowImage.Resampling.BICUBIC, box=box)
        total += np.asarray(fine) * np.float32(0.5**octave)
    return total


def tissue_map(
    rng: np.random.Generator, shape: tuple[int, int], share: float, pieces: int, piece_cells: float
) -> UInt8[np.ndarray, "rows columns"]:
    """Irregular tissue, divided into pieces: 0 glass, 1 to `pieces` the layer of a cell.

    Args:
        rng: draws it.
        shape: of the map, cells.
        share: of the cells that are tissue.
        pieces: number of layers.
        piece_cells: typical width of a piece, cells.
    """
    field = smooth_noise(rng, shape, max(shape) / 3.5, octaves=4)
    rows, columns = (np.abs(np.linspace(-1, 1, size, dtype=np.float32)) for size in shape)
    field -= 3 * (np.maximum(rows[:, None], columns[None]) ** 6)  # glass along the border
    sample = field[:: max(1, shape[0] // 1000), :: max(1, shape[1] // 1000)]
    tissue = field > np.quantile(sample, 1 - share)
    best = np.full(shape, -np.inf, dtype=np.float32)
    values = np.zeros(shape, dtype=np.uint8)
    for number in range(1, pieces + 1):
        score = smooth_noise(rng, shape, piece_cells, octaves=2)
        better = score > best
        best[better] = score[better]
        values[better] = number
    values[~tissue] = 0
    return values


def place_blobs(
    rng: np.random.Generator, values: UInt8[np.ndarray, "rows columns"], blobs: Sequence[Blob], cell: int
) -> list[list[Polygon]]:
    """Put irregular blobs into the tissue of a map, in place, apart from each other.

    A blob takes the cells that are nearest to its centre under a warped distance, or to a circle around it,
    as many as give its area.

    Returns:
        The outlines of each blob: polygons of rings in level-0 pixels, the outer ring first.

    Raises:
        ConfigError: if the tissue has no space for them.
    """
    pieces = int(values.max()) if values.size else 0
    outlines = []
    for blob in sorted(blobs, key=lambda b: -b.area):
        cells = blob.area / cell**2
        for _ in range(200):
            found = _try_blob(rng, values, pieces, cells, ring=blob.ring)
            if found is not None:
                break
        else:
            raise ConfigError(
                f"no space in the tissue for a blob of {blob.area:.0f} pixels",
                where="roi_share",
                remedy="Give more tissue_share, a smaller roi_share, or fewer blobs and decoys.",
            )
        top, left, distance = found
        outlines.append(_put(values, top, left, distance, blob, cells, cell))
    order = np.argsort(np.argsort([-b.area for b in blobs], kind="stable"), kind="stable")
    return [outlines[i] for i in order]


def blob_polygons(inside: Bool[np.ndarray, "rows columns"], cell: int, x: int, y: int) -> list[Polygon]:
    """The outlines of cells as they are painted: at half of the soft mask, in level-0 pixels.

    Args:
        inside: cells of the blob, a margin of outer cells around them.
        cell: side of a cell, level-0 pixels.
        x: left of the first cell, level-0 pixels.
        y: top of the first cell, level-0 pixels.
    """
    soft = np.asarray(_soften(inside), dtype=np.float64)
    centres = [(np.arange(size) + 0.5) * cell + start for size, start in zip(soft.shape, (y, x), strict=True)]
    contours = contour_generator(centres[1], centres[0], soft, fill_type="OuterOffset").filled(127.5, np.inf)
    return [
        [
            [(round(float(px), 1), round(float(py), 1)) for px, py in points[start:stop]]
            for start, stop in pairwise(offsets)
        ]
        for points, offsets in zip(*contours, strict=True)
    ]


def polygon_area(polygons: Sequence[Polygon]) -> float:
    """The area of polygons with holes.

    Example:
        >>> polygon_area([[[(0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (0.0, 2.0), (0.0, 0.0)]]])
        8.0
    """
    total = 0.0
    for rings in polygons:
        for number, ring in enumerate(rings):
            x, y = np.array(ring, dtype=np.float64).T
            area = abs(float(x[:-1] @ y[1:] - x[1:] @ y[:-1])) / 2
            total += -area if number else area
    return total


def _sew(crops: UInt8[np.ndarray, "crops size size 3"], rng: np.random.Generator) -> PillowImage.Image:
    """A square quilt that continues at its opposite side."""
    size = crops.shape[1]
    turned = [PillowImage.fromarray(crop).transpose(turn) for crop in crops for turn in PillowImage.Transpose]
    masks = [_swatch(rng, size) for _ in range(6)]
    step = 3 * size // 5
    count = max(3, min(12, round(_QUILT / step)))
    side = count * step
    quilt = PillowImage.new("RGB", (side, side), tuple(int(v) for v in crops.mean((0, 1, 2))))
    for _ in range(2):  # what the first round leaves bare, the second covers
        for place in rng.permutation(count * count).tolist():
            jitter = rng.integers(-step // 4, step // 4 + 1, 2)
            x, y = (int(v) % side for v in np.array(divmod(place, count)) * step + jitter)
            swatch = turned[int(rng.integers(len(turned)))]
            mask = masks[int(rng.integers(len(masks)))]
            for left in (x, x - side) if x + size > side else (x,):
                for top in (y, y - side) if y + size > side else (y,):
                    quilt.paste(swatch, (left, top), mask)
    return quilt


def _swatch(rng: np.random.Generator, size: int) -> PillowImage.Image:
    """A soft irregular mask that leaves out the corners of a crop."""
    along = np.abs(np.linspace(-1, 1, size, dtype=np.float32))
    away = np.hypot(along[:, None], along[None]) + 0.12 * smooth_noise(rng, (size, size), size / 4, octaves=2)
    away = np.maximum(away, np.maximum(along[:, None], along[None]))  # nothing at the very border
    inside = (0.92 - away) * size / 2 / rng.uniform(3, 12)
    return PillowImage.fromarray((np.clip(inside, 0, 1) * 255).astype(np.uint8))


def _soften(inside: Bool[np.ndarray, "rows columns"]) -> PillowImage.Image:
    image = PillowImage.fromarray(inside.astype(np.uint8) * np.uint8(255))
    return image.filter(ImageFilter.GaussianBlur(_BLUR))


def _steepness(factor: float) -> list[int]:
    """A table that sharpens a soft mask around its half."""
    return [min(255, max(0, round((value - 127.5) * max(1.0, factor) + 127.5))) for value in range(256)]


def _try_blob(
    rng: np.random.Generator,
    values: UInt8[np.ndarray, "rows columns"],
    pieces: int,
    cells: float,
    *,
    ring: bool,
) -> tuple[int, int, Float[np.ndarray, "near_rows near_columns"]] | None:
    """Top, left and warped distances of a window around a random centre, infinite where nothing may go."""
    rows, columns = values.shape
    row, column = int(rng.integers(rows)), int(rng.integers(columns))
    if not 0 < values[row, column] <= pieces:
        return None
    radius = math.sqrt(cells / math.pi)
    reach = math.ceil(2.2 * radius) + _GAP
    top, left = max(0, row - reach), max(0, column - reach)
    window = values[top : row + reach + 1, left : column + reach + 1]
    down = (np.arange(window.shape[0], dtype=np.float32) + top - row)[:, None]
    right = (np.arange(window.shape[1], dtype=np.float32) + left - column)[None]
    distance = np.hypot(down, right) / np.float32(radius)
    distance += 0.22 * smooth_noise(rng, (window.shape[0], window.shape[1]), 0.9 * radius, octaves=2)
    taken = PillowImage.fromarray((window > pieces).astype(np.uint8))
    blocked = np.asarray(taken.filter(ImageFilter.MaxFilter(2 * _GAP + 1))) > 0
    if ring:
        distance = np.abs(distance - np.float32(_RING))
    distance[blocked | (window == 0)] = np.inf
    near = (distance < (_RING_REACH if ring else 1.4)).sum()
    return (top, left, distance) if near >= 1.1 * cells else None


def _put(
    values: UInt8[np.ndarray, "rows columns"],
    top: int,
    left: int,
    distance: Float[np.ndarray, "near_rows near_columns"],
    blob: Blob,
    cells: float,
    cell: int,
) -> list[Polygon]:
    """Mark the nearest cells; twice, as the soft outline covers a little less or more than its cells."""
    order = np.argsort(distance, axis=None, kind="stable")
    capacity = int(np.isfinite(distance).sum())
    count = cells
    for _ in range(4):
        inside = np.zeros(distance.shape, dtype=bool)
        inside.ravel()[order[: min(capacity, round(count))]] = True
        padded = np.pad(inside, _MARGIN)
        polygons = blob_polygons(padded, cell, (left - _MARGIN) * cell, (top - _MARGIN) * cell)
        covered = polygon_area(polygons)
        if abs(covered - blob.area) <= 0.004 * blob.area:
            break
        count *= blob.area / max(covered, 1.0)
    window = values[top : top + distance.shape[0], left : left + distance.shape[1]]
    window[inside] = blob.value
    return polygons
