"""NeedleMNIST (Pawlowski et al. 2019): hundreds of MNIST digits on a black canvas, positive if one is a 3.

MNIST: LeCun, Cortes and Burges.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..data.manifest import SPLITS, Record
from ..errors import DataError
from ..progress import track
from .downloads import need_file
from .journal import Journal
from .prepared import Box, Prepared, boxes_file, finish, new_out
from .split_sizes import SplitSizes

__all__ = ["CLASSES", "Digits", "NeedleMnistConfig", "draw_canvas", "prepare_needle_mnist", "read_idx"]

CLASSES = ("negative", "positive")
_NEEDLE = 3
_CANVAS, _DIGITS = 1024, 401  # the published canvas, and the digits on it
_TYPES = {8: np.uint8}
_GET = "Give the folder of the four MNIST files, such as train-images-idx3-ubyte.gz."


@dataclass(frozen=True)
class NeedleMnistConfig(SplitSizes):
    """What to draw; the numbers of images are the published ones."""

    n_train: int = 22552
    """Training images, half of them positive; 22552 is the published number."""

    n_val: int = 2000
    """Validation images, half of them positive; 2000 is the published number."""

    n_test: int = 2000
    """Test images, half of them positive; 2000 is the published number."""

    canvas: int = _CANVAS
    """Side of an image, in pixels; 1024 is the published one."""

    digits: int | None = None
    """Digits per image; by default 401 on 1024 x 1024, as published, and as dense on other canvases."""

    cell: int = 64
    """Side of the cells, one of which holds the 3 wholly, in pixels."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        needs = {
            "cell": (self.cell >= 28, "at least 28, the side of a digit"),
            "canvas": (self.canvas >= self.cell, "at least one cell"),
            "digits": (self.digits is None or self.digits >= 1, "at least 1"),
        }
        self.check(needs)

    @property
    def count(self) -> int:
        """Digits in an image, the 3 among them."""
        return self.digits or 1 + round((_DIGITS - 1) * (self.canvas / _CANVAS) ** 2)


@dataclass(frozen=True)
class Digits:
    """The digits that the images of a split are drawn from.

    Attributes:
        needles: images of a 3.
        others: images of other digits.
    """

    needles: UInt8[np.ndarray, "n 28 28"]
    others: UInt8[np.ndarray, "m 28 28"]


def prepare_needle_mnist(
    source: Path | str,
    out: Path | str,
    config: NeedleMnistConfig,
    *,
    partial: bool = False,
    progress: bool | None = None,
) -> Prepared:
    """Draw the images from MNIST's idx files, plain or gzipped, with the box of each 3 as ROI.

    Training images take their digits from the first 50,000 training digits of MNIST, validation images from
    the others, test images from its test digits. Where only one of the two pairs of files is there and
    `partial` is set, its digits are dealt to the splits by 3 : 1 : 1.

    Args:
        source: folder of the files.
        out: folder of images, annotations and manifest.
        config: what to draw.
        partial: whether one pair of files is enough.
        progress: show a progress bar; by default where messages go to a terminal.

    Raises:
        DataError: naming the file that is missing or cannot be read, or if the folder was begun otherwise.
    """
    pools = _pools(Path(source), partial)
    out = new_out(out)
    for folder in ("images", "annotations"):
        (out / folder).mkdir(exist_ok=True)
    held = [f"{split}: {len(own.others)} digits, {len(own.needles)} times 3" for split, own in pools.items()]
    journal = Journal(out, source, config, held)
    numbers = config.places
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drawn = pool.map(lambda place: _write(out, config, pools[place[0]], journal, *place), numbers)
        records = list(track(drawn, "Drawing", total=len(numbers), shown=progress))
    return finish(out, "needle-mnist", records, CLASSES, config)


def draw_canvas(
    config: NeedleMnistConfig, digits: Digits, split: str, number: int
) -> tuple[UInt8[np.ndarray, "side side"], Box | None]:
    """Draw one image; odd numbers are positive.

    Digits lie anywhere, overlap (the brighter pixel shows) and are cut at the border; the 3 lies wholly
    inside one cell.

    Returns:
        Grey pixels, and x1, y1, x2, y2 of the 3's ink in a positive image.
    """
    rng = np.random.default_rng([config.seed, SPLITS.index(split), number, 3])
    side, positive = config.canvas, number % 2 == 1
    canvas = np.zeros((side + 56, side + 56), dtype=np.uint8)  # a digit's width around the image
    count = config.count - positive
    place = rng.integers(
        14, side + 14, (count, 2)
    )  # of the upper left corner: half of a digit may be cut off
    for (y, x), digit in zip(place, digits.others[rng.integers(len(digits.others), size=count)], strict=True):
        window = canvas[y : y + 28, x : x + 28]
        np.maximum(window, digit, out=window)
    if not positive:
        return canvas[28:-28, 28:-28], None
    needle = digits.needles[rng.integers(len(digits.needles))]
    cell = rng.integers(side // config.cell, size=2) * config.cell
    y, x = cell + rng.integers(config.cell - 28, size=2, endpoint=True)
    window = canvas[28:-28, 28:-28][y : y + 28, x : x + 28]
    np.maximum(window, needle, out=window)
    rows, columns = np.nonzero(needle.any(1))[0], np.nonzero(needle.any(0))[0]
    box = (x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1)
    return canvas[28:-28, 28:-28], (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


def _write(
    out: Path, config: NeedleMnistConfig, digits: Digits, journal: Journal, split: str, number: int
) -> Record:
    name = f"{split}_{number:05d}"
    if (done := journal.get(name)) is not None:
        return done
    pixels, box = draw_canvas(config, digits, split, number)
    image = out / "images" / f"{name}.png"
    PillowImage.fromarray(np.ascontiguousarray(pixels)).save(image, compress_level=1)
    annotation = None if box is None else boxes_file(out / "annotations", name, [box], ["3"])
    return journal.add(name, Record(image, CLASSES[number % 2], split=split, annotation=annotation))


def _pools(source: Path, partial: bool) -> dict[str, Digits]:
    """The digits of each split."""
    if not source.is_dir():
        raise DataError("no such folder", where=source, remedy="Check --source.")
    known = {part: [source / name for names in _names(part) for name in names] for part in ("train", "t10k")}
    there = [part for part, paths in known.items() if not partial or any(path.is_file() for path in paths)]
    pairs = {part: _pair(source, part) for part in there}
    if not pairs:
        raise DataError("no MNIST file found", where=source, remedy=_GET)
    if len(pairs) == 2:
        (images, labels), cut = pairs["train"], len(pairs["train"][1]) * 5 // 6
        parts = [(images[:cut], labels[:cut]), (images[cut:], labels[cut:]), pairs["t10k"]]
    else:
        ((images, labels),) = pairs.values()
        cuts = [0, len(labels) * 3 // 5, len(labels) * 4 // 5, len(labels)]
        parts = [(images[a:b], labels[a:b]) for a, b in pairwise(cuts)]
    pools = {}
    for split, (images, labels) in zip(SPLITS, parts, strict=True):
        pools[split] = Digits(images[labels == _NEEDLE], images[labels != _NEEDLE])
        if not len(pools[split].needles) or not len(pools[split].others):
            raise DataError(f"no digit 3, or no other, for the {split} images", where=source, remedy=_GET)
    return pools


def _names(part: str) -> list[tuple[str, ...]]:
    """Names that the images and labels of a pair go by."""
    kinds = (("images", 3), ("labels", 1))
    return [
        tuple(f"{part}-{kind}{dot}idx{n}-ubyte{gz}" for dot in "-." for gz in (".gz", ""))
        for kind, n in kinds
    ]


def _pair(source: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    remedy = f"{_GET} To draw all splits from one pair of files, give --partial true."
    paths = [need_file([source / name for name in names], remedy) for names in _names(part)]
    images, labels = (read_idx(path) for path in paths)
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise DataError(
            f"images {images.shape} and labels {labels.shape} do not belong together",
            where=paths[0],
            remedy=_GET,
        )
    return images, labels


def read_idx(path: Path | str) -> NDArray[np.uint8]:
    """The array in an idx file of bytes, plain or gzipped.

    Raises:
        DataError: if it is missing, of another kind, or cut off.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        zero, kind, dims = struct.unpack_from(">HBB", content)
        right = zero == 0 and kind in _TYPES
        shape = struct.unpack_from(f">{dims}I", content, 4) if right else ()
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"cannot be read ({error})", where=path, remedy=_GET) from error
    if not right:
        raise DataError("not an idx file of bytes", where=path, remedy=_GET)
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dims)
    if values.size != np.prod(shape, dtype=np.int64):
        raise DataError(
            f"{values.size} bytes for an array of {' x '.join(map(str, shape))}: cut off",
            where=path,
            remedy=_GET,
        )
    return values.reshape(shape)
