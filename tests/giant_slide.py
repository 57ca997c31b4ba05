"""A pyramidal TIFF of many gigapixels in a moment: few encoded blocks, to which all tables of levels point.

White with a disc of "tissue" (pink with purple nuclei), and one block of it, the landmark, blue with a yellow
cross. Every level shows the same picture.
"""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

BLOCK = 512  # pixels of a stored block
WHITE, TISSUE, LANDMARK = 0, 1, 2


class GiantSlide(NamedTuple):
    path: Path
    side: int  # level-0 pixels, height and width
    mpp: float
    landmark: tuple[int, int]  # centre x, y, level-0 pixels


def make_giant_slide(path: Path, side: int = 32768, mpp: float = 0.25) -> GiantSlide:
    """Write a slide of `side` x `side` pixels, a multiple of 512."""
    blocks = side // BLOCK
    assert blocks * BLOCK == side
    kinds = _picture(blocks)
    landmark = int(blocks * 0.62), int(blocks * 0.41)  # column, row
    kinds[landmark[1], landmark[0]] = LANDMARK
    patterns = [PillowImage.fromarray(pattern) for pattern in (_white(), _tissue(), _landmark())]
    levels = math.ceil(math.log2(blocks)) + 1
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 0))
        pointer, written = 4, {}
        for level in range(levels):
            pointer = _write_level(file, pointer, level, kinds, patterns, written, mpp)
    centre = landmark[0] * BLOCK + BLOCK // 2, landmark[1] * BLOCK + BLOCK // 2
    return GiantSlide(path, side, mpp, centre)


def _write_level(file, pointer, level, kinds, patterns, written, mpp) -> int:
    """Blocks that were not written yet, then the directory; returns where the next directory's place goes."""
    shrink = 1 << level
    blocks = len(kinds)
    side = max(1, blocks * BLOCK // shrink)
    count = -(-side // BLOCK)
    padded = np.pad(kinds, (0, count * shrink - blocks))
    offsets, sizes = [], []
    for row in range(count):
        for column in range(count):
            part = padded[row * shrink : (row + 1) * shrink, column * shrink : (column + 1) * shrink]
            key = level, part.tobytes() if part.min() != part.max() else int(part[0, 0])
            if key not in written:
                body = _encode(part, patterns)
                written[key] = file.tell(), len(body)
                file.write(body)
            offsets.append(written[key][0])
            sizes.append(written[key][1])
    resolution = round(10_000 / mpp / shrink * 1000), 1000  # pixels a centimetre
    return _directory(file, pointer, side, offsets, sizes, resolution, reduced=level > 0)


def _directory(file, pointer, side, offsets, sizes, resolution, *, reduced) -> int:
    def aside(data: bytes) -> int:
        place = file.seek(0, io.SEEK_END)
        file.write(data)
        return place

    short, long, rational = 3, 4, 5
    many = len(offsets)
    table = struct.Struct(f"<{many}I")
    ratio = aside(struct.pack("<II", *resolution))
    tags = [
        (254, long, 1, int(reduced)),
        (256, long, 1, side),
        (257, long, 1, side),
        (258, short, 3, aside(struct.pack("<3H", 8, 8, 8))),
        (259, short, 1, 7),  # JPEG
        (262, short, 1, 6),  # YCbCr
        (277, short, 1, 3),
        (282, rational, 1, ratio),
        (283, rational, 1, ratio),
        (284, short, 1, 1),
        (296, short, 1, 3),  # a centimetre
        (322, short, 1, BLOCK),
        (323, short, 1, BLOCK),
        (324, long, many, offsets[0] if many == 1 else aside(table.pack(*offsets))),
        (325, long, many, sizes[0] if many == 1 else aside(table.pack(*sizes))),
        (530, short, 2, 1 | 1 << 16),  # no subsampling
    ]
    place = file.seek(0, io.SEEK_END)
    place += file.write(b"\0" * (place % 2))
    file.write(struct.pack("<H", len(tags)))
    for tag, kind, number, value in tags:
        file.write(struct.pack("<HHII", tag, kind, number, value))
    next_pointer = file.tell()
    file.write(struct.pack("<I", 0))
    file.seek(pointer)
    file.write(struct.pack("<I", place))
    file.seek(0, io.SEEK_END)
    return next_pointer


def _encode(part: NDArray[np.uint8], patterns: list[PillowImage.Image]) -> bytes:
    size = BLOCK // len(part) if len(part) < BLOCK else 1
    small = [np.asarray(pattern.resize((size, size), PillowImage.Resampling.BOX)) for pattern in patterns]
    pixels = np.stack(small)[part].transpose(0, 2, 1, 3, 4).reshape(len(part) * size, len(part) * size, 3)
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, "jpeg", quality=80, subsampling=0)
    return file.getvalue()


def _picture(blocks: int) -> NDArray[np.uint8]:
    y, x = (np.mgrid[:blocks, :blocks] + 0.5) / blocks - 0.5
    wavy = 0.36 + 0.05 * np.sin(5 * np.arctan2(y, x))
    return (np.hypot(x, y) < wavy).astype(np.uint8) * TISSUE


def _white() -> NDArray[np.uint8]:
    return np.full((BLOCK, BLOCK, 3), 244, np.uint8)


def _tissue() -> NDArray[np.uint8]:
    """Pink fibres and purple nuclei that fit to themselves on all sides."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:BLOCK, :BLOCK] * (2 * np.pi / BLOCK)
    fibres = sum(
        np.sin(random.integers(1, 9) * x + random.integers(1, 9) * y + random.uniform(0, 6)) for _ in range(8)
    )
    pixels = np.array([226, 168, 200.0]) + fibres[..., None] * np.array([5, 9, 6])
    for _ in range(70):
        at, radii, turn = random.uniform(0, BLOCK, 2), random.uniform(5, 12, 2), random.uniform(0, np.pi)
        dy, dx = ((np.arange(BLOCK) - c + BLOCK / 2) % BLOCK - BLOCK / 2 for c in at)
        u = dx[None] * np.cos(turn) + dy[:, None] * np.sin(turn)
        v = dy[:, None] * np.cos(turn) - dx[None] * np.sin(turn)
        nucleus = np.clip(3 - 3 * np.hypot(u / radii[0], v / radii[1]), 0, 0.9)[..., None]
        pixels = pixels * (1 - nucleus) + np.array([92, 58, 138.0]) * nucleus
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _landmark() -> NDArray[np.uint8]:
    pixels = np.full((BLOCK, BLOCK, 3), (30, 60, 200), np.uint8)
    middle = slice(BLOCK // 2 - 20, BLOCK // 2 + 20)
    pixels[middle] = pixels[:, middle] = (250, 220, 40)
    return pixels
