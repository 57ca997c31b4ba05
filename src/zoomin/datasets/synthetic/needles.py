"""Generated images with needles: tiny objects that decide the class of a large, busy image.

A positive image holds a few needles, a negative one none. A needle is a blue cross; distractors are of its
size, of many shapes (some of them crosses) and of every colour but blue. The needles cover well under a
hundredth of an image, so that its mean colour says little about its class. Each image comes with the
mask of its needles, and the images of one group share their background.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from matplotlib.colors import hsv_to_rgb
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter
from torch.nn.functional import interpolate

from ...data.manifest import SPLITS, Manifest, Record, read_manifest, write_manifest
from ...errors import DataError
from ...files import write_json
from ...progress import track
from ..split_sizes import SplitSizes

__all__ = ["CLASSES", "NeedleConfig", "draw_needles", "make_needles"]

CLASSES = ("negative", "positive")
_NEEDLE_HUE = (0.61, 0.66)  # of a full turn: blue
_OTHER_HUES = (-0.17, 0.47)  # purple-red over red, yellow and green to blue-green
_RECIPE = "needles.json"


@dataclass(frozen=True)
class NeedleConfig(SplitSizes):
    """What to draw."""

    n_train: int = 240
    """Training images, half of them positive; 240, so that a trial takes minutes."""

    n_val: int = 40
    """Validation images, half of them positive."""

    n_test: int = 80
    """Test images, half of them positive."""

    min_size: int = 400
    """Smallest side of an image, in pixels."""

    max_size: int = 640
    """Largest side of an image, in pixels; height and width are drawn independently."""

    min_needles: int = 4
    """Fewest needles in a positive image; more of them make the labels easier to learn from."""

    max_needles: int = 10
    """Most needles in a positive image."""

    min_needle: int = 14
    """Smallest width of a needle, in pixels; distractors have the same sizes."""

    max_needle: int = 20
    """Largest width of a needle, in pixels."""

    distractors: float = 1.5
    """Distractors per square of 100 x 100 pixels, on average."""

    group_size: int = 4
    """Images per group, half of them of each class; even."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        needs = {
            "min_needle": (self.min_needle >= 5, "at least 5"),
            "max_needle": (self.max_needle >= self.min_needle, "at least min_needle"),
            "min_size": (self.min_size >= 4 * self.max_needle, "at least four times max_needle"),
            "max_size": (self.max_size >= self.min_size, "at least min_size"),
            "min_needles": (self.min_needles >= 1, "at least 1"),
            "max_needles": (self.max_needles >= self.min_needles, "at least min_needles"),
            "distractors": (self.distractors >= 0, "at least 0"),
            "group_size": (self.group_size >= 2 and self.group_size % 2 == 0, "even and at least 2"),
        }
        self.check(needs)


def make_needles(
    folder: Path | str, config: NeedleConfig | None = None, progress: bool | None = None
) -> Manifest:
    """Draw the images into `images/`, their needles into `masks/`, and write `manifest.csv`.

    Needles that are already there, drawn by the same configuration, are kept.

    Args:
        folder: a new or an empty folder, or one with needles.
        config: what to draw.
        progress: show a progress bar; by default where the messages go to a terminal.

    Returns:
        The manifest, classes "negative" and "positive".

    Raises:
        DataError: if the folder contains something other than these needles.
    """
    folder, config = Path(folder), config or NeedleConfig()
    if folder.exists() and not folder.is_dir():
        raise DataError("a file, not a folder", where=folder, remedy="Give a new folder.")
    table, recipe = folder / "manifest.csv", folder / _RECIPE
    wanted = asdict(config)
    if folder.is_dir() and any(folder.iterdir()):
        if not recipe.is_file() or json.loads(recipe.read_text(encoding="utf-8")) != wanted:
            raise DataError(
                "the folder contains something other than these needles",
                where=folder,
                remedy="Give a new or an empty folder.",
            )
        if table.is_file():
            return read_manifest(table, classes=CLASSES)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_json(recipe, wanted)
    numbers = config.places
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drawn = pool.map(lambda place: _write(folder, config, *place), numbers)
        records = tuple(track(drawn, "Drawing needles", total=len(numbers), shown=progress))
    write_manifest(Manifest(records, CLASSES, folder), table)  # last: its presence says that all are drawn
    return read_manifest(table, classes=CLASSES)


def draw_needles(
    config: NeedleConfig, split: str, number: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Draw one image and the mask of its needles; odd numbers are positive.

    Args:
        config: what to draw.
        split: "train", "val" or "test".
        number: of the image in its split.

    Returns:
        Red-green-blue pixels and the pixels that belong to needles.

    Example:
        >>> image, mask = draw_needles(NeedleConfig(min_size=200, max_size=300), "train", 1)
        >>> bool(mask.any()), image.shape[:2] == mask.shape
        (True, True)
    """
    place = SPLITS.index(split)
    rng = np.random.default_rng([config.seed, place, number, 0])
    palette = np.random.default_rng([config.seed, place, number // config.group_size, 1])
    height, width = (int(side) for side in rng.integers(config.min_size, config.max_size, 2, endpoint=True))
    canvas = _background(rng, palette, height, width)
    count = rng.poisson(config.distractors * height * width / 1e4)
    _draw(canvas, rng, config, count, _OTHER_HUES, crosses=0.15)
    needles = int(rng.integers(config.min_needles, config.max_needles, endpoint=True)) if number % 2 else 0
    mask = _draw(canvas, rng, config, needles, _NEEDLE_HUE, crosses=1.0)
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8), mask


def _write(folder: Path, config: NeedleConfig, split: str, number: int) -> Record:
    image, mask = draw_needles(config, split, number)
    record = Record(
        image=folder / "images" / f"{split}_{number:04d}.png",
        label=CLASSES[number % 2],
        group=f"{split}_{number // config.group_size:03d}",
        split=split,
        mask=folder / "masks" / f"{split}_{number:04d}.png",
    )
    PillowImage.fromarray(image).save(record.image, compress_level=1)
    PillowImage.fromarray(mask).save(folder / "masks" / record.image.name)
    return record


def _background(
    rng: np.random.Generator, palette: np.random.Generator, height: int, width: int
) -> Float[np.ndarray, "h w 3"]:
    """Smooth noise of three grain sizes between two tints, which the images of a group share."""
    noise = np.zeros((height, width), dtype=np.float32)
    for cell, strength in ((96, 0.5), (24, 0.3), (6, 0.2)):
        shape = height // cell + 3, width // cell + 3
        coarse = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.6) / 0.47  # unit deviation
        fine = interpolate(torch.from_numpy(coarse)[None, None], scale_factor=cell, mode="bilinear")[
            0, 0
        ].numpy()
        top, left = rng.integers(0, cell, 2)
        noise += strength * fine[top : top + height, left : left + width]
    light = (np.array([232.0, 205.0, 222.0]) + palette.uniform(-18, 18, 3)).astype(np.float32)
    dark = (np.array([188.0, 140.0, 180.0]) + palette.uniform(-25, 25, 3)).astype(np.float32)
    share = np.clip(0.5 + noise, 0, 1)[:, :, None]
    pixels: Float[np.ndarray, "h w 3"] = light + share * (dark - light)
    return pixels


def _draw(
    canvas: Float[np.ndarray, "h w 3"],
    rng: np.random.Generator,
    config: NeedleConfig,
    count: int,
    hues: tuple[float, float],
    crosses: float,
) -> Bool[np.ndarray, "h w"]:
    """Paint objects onto the canvas, in place; the pixels that they cover at least half."""
    height, width = canvas.shape[:2]
    reach = config.max_needle // 2 + 2
    radius = rng.uniform(config.min_needle, config.max_needle, count) / 2
    y, x = (rng.uniform(reach + 1, side - reach - 2, count) for side in (height, width))
    hue, saturation = rng.uniform(*hues, count) % 1, rng.uniform(0.6, 0.9, count)
    colour = hsv_to_rgb(np.stack([hue, saturation, rng.uniform(0.55, 0.9, count)], 1)) * 255
    alpha = _shapes(rng, y % 1, x % 1, radius, reach, rng.uniform(size=count) < crosses)
    mask = np.zeros((height, width), dtype=bool)
    for top, left, cover, tint in zip(
        y.astype(int) - reach, x.astype(int) - reach, alpha, colour, strict=True
    ):
        window = slice(top, top + cover.shape[0]), slice(left, left + cover.shape[1])
        canvas[window] += cover[:, :, None] * (tint - canvas[window])
        mask[window] |= cover >= 0.5
    return mask


def _shapes(
    rng: np.random.Generator,
    y: Float[np.ndarray, " n"],
    x: Float[np.ndarray, " n"],
    radius: Float[np.ndarray, " n"],
    reach: int,
    is_cross: Bool[np.ndarray, " n"],
) -> Float[np.ndarray, "n s s"]:
    """How much of each pixel of a window an object covers: a cross, else a disc, ellipse, square or ring."""
    offset = np.arange(-reach, reach + 1)
    v, u = np.broadcast_arrays(
        (offset - y[:, None])[:, :, None] / radius[:, None, None],
        (offset - x[:, None])[:, None, :] / radius[:, None, None],
    )
    turn = rng.uniform(0, np.pi, len(radius))[:, None, None]
    u, v = np.abs(u * np.cos(turn) + v * np.sin(turn)), np.abs(v * np.cos(turn) - u * np.sin(turn))
    away, far, near = np.hypot(u, v), np.maximum(u, v), np.minimum(u, v)
    kinds = np.stack(  # how far inside its outline a point lies, in radii
        [1 - away, 0.7 * (1 - np.hypot(u, v / 0.7)), 0.85 - far, 0.22 - np.abs(away - 0.75)]
    )
    other = kinds[rng.integers(len(kinds), size=len(radius)), np.arange(len(radius))]
    inside = np.where(is_cross[:, None, None], np.minimum(0.3 - near, 1 - far), other)
    cover: Float[np.ndarray, "n s s"] = np.clip(inside * radius[:, None, None] + 0.5, 0, 1)
    return cover
