"""Textures that generated slides are made of: crops of given images, or procedural ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter

from ...annotations.open_annotation import annotation_of
from ...data.find import open_dataset
from ...data.folders import list_images
from ...data.manifest import SPLITS, Manifest, Record
from ...errors import DataError
from ...geometry import Region
from ...images.formats.decode import decode_image

__all__ = ["Texture", "load_textures", "procedural_textures", "split_textures", "textures_of"]

KINDS = ("background", "needle")
_DRAWN = 24  # procedural sources of each kind
_CROPS = 4  # most crops of one image
_MIN_ROI = 0.6  # of the share of ROI in the best crop: what another crop of a needle's image must hold
_CANDIDATES = 400  # most places of a crop that are tried in an image


@dataclass(frozen=True)
class Texture:
    """A source image: crops of one size that look alike.

    Attributes:
        name: what to call it, usually the path of the image.
        group: sources of one group, such as one patient's, are never on different sides of a split.
        kind: "background" or "needle".
        split: "train", "val" or "test": the slides that it may appear in.
        mpp: microns per pixel, or None where unknown.
        crops: red-green-blue pixels.
    """

    name: str
    group: str
    kind: str
    split: str
    mpp: float | None
    crops: UInt8[np.ndarray, "crops size size 3"]


def textures_of(
    labelled: Path | None, background: Path | None, needles: Path | None
) -> list[tuple[str, Record]]:
    """The images to take textures from: kind and record of each.

    Args:
        labelled: images of two classes in any layout that training accepts; those of the first class are
            background, those of the others needles.
        background: a folder or CSV of background images.
        needles: a folder or CSV of needle images.

    Raises:
        DataError: if the options do not fit together, or images of a kind are missing.
    """
    if labelled is not None:
        if background is not None or needles is not None:
            raise DataError(
                "textures are given in two ways",
                where="textures",
                remedy="Give either textures, or background and needles.",
            )
        manifest = open_dataset(labelled)
        kinds = [KINDS[int(target > 0)] for target in manifest.targets().tolist()]
        return list(zip(kinds, manifest, strict=True))
    if background is None or needles is None:
        raise DataError(
            "only one kind of texture is given",
            where="background" if background is None else "needles",
            remedy="Give both background and needles, or neither for procedural textures.",
        )
    return [
        (kind, record)
        for kind, path in zip(KINDS, (background, needles), strict=True)
        for record in _records(path)
    ]


def load_textures(
    found: Sequence[tuple[str, Record]], size: int, wanted: dict[str, int], seed: int
) -> list[Texture]:
    """Read crops of every image and split the sources.

    Needle images with an annotation give the crops richest in ROI, all others crops at random. Crops that are
    mostly near-white or near-black are passed over, and an image with no others is left out.

    Args:
        found: kind and record of each image.
        size: side of a crop, pixels.
        wanted: slides to make of each split; a split without slides takes no sources.
        seed: of the crops and the split.

    Raises:
        DataError: if an image is too small, or a split would lack sources.
        ImageError: if an image cannot be read.
    """
    read = []
    for number, (kind, record) in enumerate(found):
        crops, mpp = _read_crops(record, kind, size, np.random.default_rng([seed, 7, number]))
        if crops is not None:
            read.append((kind, record, crops, mpp))
    splits = split_textures([(kind, record) for kind, record, _, _ in read], wanted, seed)
    return [
        Texture(_name(record), record.group or _name(record), kind, split, mpp, crops)
        for (kind, record, crops, mpp), split in zip(read, splits, strict=True)
        if split is not None
    ]


def split_textures(
    found: Sequence[tuple[str, Record]], wanted: dict[str, int], seed: int
) -> list[str | None]:
    """The split of each source: whole groups, about three fifths, one fifth and one fifth of each kind.

    A split without slides gets no source; its share goes to the others. What the records' own split says is
    kept where all of them say one.

    Raises:
        DataError: if a split would have fewer than two backgrounds or no needle.
    """
    given = [record.split for _, record in found]
    if found and all(given):
        splits: list[str | None] = [name if wanted.get(name or "", 0) else None for name in given]
    else:
        splits = _deal(found, wanted, seed)
    for name in SPLITS:
        if not wanted.get(name, 0):
            continue
        have = [kind for (kind, _), split in zip(found, splits, strict=True) if split == name]
        if have.count("background") < 2 or have.count("needle") < 1:
            raise DataError(
                f"{have.count('background')} background and {have.count('needle')} needle sources "
                f"for the {name} slides",
                where="textures",
                remedy="Every split needs at least two backgrounds and one needle: "
                "give more images, or ask for no slides of this split.",
            )
    return splits


def _deal(found: Sequence[tuple[str, Record]], wanted: dict[str, int], seed: int) -> list[str | None]:
    """Deal whole groups out, those with needles apart from those without."""
    shares = {"train": 0.6, "val": 0.16, "test": 0.24}
    names = [name for name in SPLITS if wanted.get(name, 0)]
    weights = np.array([shares[name] for name in names])
    groups = [record.group or str(record.image) for _, record in found]
    needle = {group for group, (kind, _) in zip(groups, found, strict=True) if kind == "needle"}
    rng = np.random.default_rng([seed, 6])
    side: dict[str, str] = {}
    for part in (sorted(needle), sorted(set(groups) - needle)):
        order = [part[i] for i in rng.permutation(len(part))]
        least = min(2, len(order) // max(1, len(names)))
        counts = least + np.floor((len(order) - least * len(names)) * weights / weights.sum()).astype(int)
        counts[0] += len(order) - counts.sum()
        side.update(zip(order, np.repeat(names, counts).tolist(), strict=True))
    return [side[group] for group in groups]


def procedural_textures(size: int, wanted: dict[str, int], seed: int) -> list[Texture]:
    """Sources drawn by a formula: small dark nuclei in stroma; needles: crowded, large, pale nuclei.

    Args:
        size: side of a crop, pixels.
        wanted: slides to make of each split.
        seed: the same seed draws the same textures.
    """
    found = [
        (kind, Record(Path(f"procedural_{kind}_{number:02d}"), kind))
        for kind in KINDS
        for number in range(_DRAWN)
    ]
    textures = []
    for number, ((kind, record), split) in enumerate(
        zip(found, split_textures(found, wanted, seed), strict=True)
    ):
        if split is not None:
            rng = np.random.default_rng([seed, 8, number])
            crops = _draw_texture(rng, kind, size)[None]
            textures.append(Texture(_name(record), _name(record), kind, split, None, crops))
    return textures


def _name(record: Record) -> str:
    """The file and its folder, wherever the data lie."""
    return "/".join(record.image.parts[-2:])


def _records(path: Path) -> tuple[Record, ...]:
    if path.is_file():
        manifest: Manifest = open_dataset(path, labels_required=False)
        return manifest.records
    if not path.is_dir():
        raise DataError("no such file or folder", where=path, remedy="Check the path.")
    images = list_images(path)
    if not images:
        raise DataError("no image found", where=path, remedy="Give a folder with images, or a CSV of them.")
    return tuple(Record(image, None) for image in images)


def _read_crops(
    record: Record, kind: str, size: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "crops size size 3"] | None, float | None]:
    """The best crops of an image, None where there is none worth it, and its resolution."""
    image = decode_image(record.image, mpp=record.mpp)
    if min(image.height, image.width) < size:
        raise DataError(
            f"{image.width} x {image.height} pixels, too small for a crop of {size}",
            where=record.image,
            remedy="Give larger images, or a smaller texture_size.",
        )
    step = max(1, size // 4)
    corners = [
        (x, y)
        for y in range(0, image.height - size + 1, step)
        for x in range(0, image.width - size + 1, step)
    ]
    corners = [corners[i] for i in rng.permutation(len(corners))[:_CANDIDATES]]
    whole = image.read([Region(0, 0, image.width, image.height)], 1.0)[0].permute(1, 2, 0).numpy()
    views = [whole[y : y + size, x : x + size] for x, y in corners]
    share = np.ones(len(views))
    annotation = annotation_of(record, image) if kind == "needle" else None
    if annotation is not None:
        regions = [Region(x, y, size, size) for x, y in corners]
        share = annotation.read(regions, 0.125).mean((1, 2)).double().numpy()
    share *= [_is_textured(view) for view in views]
    if share.max() <= 0:
        return None, image.mpp
    chosen: list[int] = []
    for i in np.argsort(-share, kind="stable").tolist():
        near = [np.abs(np.subtract(corners[i], corners[other])).max() < 3 * size // 4 for other in chosen]
        if not any(near) and share[i] >= _MIN_ROI * share.max() and len(chosen) < _CROPS:
            chosen.append(i)
    return np.stack([views[i] for i in chosen]), image.mpp


def _is_textured(view: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether at most half of it is near-white, as glass is, or near-black, as ink and folds are."""
    sample = view[::4, ::4]
    bare = (sample.min(2) >= 215) | (sample.max(2) < 70)
    return bool(bare.mean() <= 0.5)


def _draw_texture(rng: np.random.Generator, kind: str, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Fibres in two tints, and nuclei as soft discs; it continues at its opposite side."""
    needle = kind == "needle"
    stroma = np.array([226.0, 168.0, 204.0]) + rng.uniform(-14, 14, 3)
    fibre = stroma - rng.uniform(18, 40, 3)
    noise = gaussian_filter(rng.standard_normal((size, size)), (2.0, 9.0), mode="wrap")
    share = np.clip(0.5 + noise / (3 * noise.std()), 0, 1)[..., None]
    canvas = stroma + share * (fibre - stroma)
    radius, density = (
        (rng.uniform(8, 10.5), rng.uniform(0.20, 0.28))
        if needle
        else (rng.uniform(3.5, 5.0), rng.uniform(0.08, 0.16))
    )
    tint = np.array([118.0, 82.0, 160.0]) if needle else np.array([84.0, 50.0, 128.0])
    count = int(size * size * density / radius**2 / np.pi)
    for y, x, stretch, turn in rng.uniform((0, 0, 0.7, 0), (size, size, 1.0, np.pi), (count, 4)):
        _draw_nucleus(canvas, y, x, radius, stretch, turn, tint + rng.uniform(-12, 12, 3), needle)
    canvas += rng.normal(0, 4, canvas.shape)
    pixels: UInt8[np.ndarray, "size size 3"] = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return pixels


def _draw_nucleus(
    canvas: Float[np.ndarray, "size size 3"],
    y: float,
    x: float,
    radius: float,
    stretch: float,
    turn: float,
    colour: Float[np.ndarray, " 3"],
    large: bool,
) -> None:
    """Paint an ellipse at y, x, in place; a large nucleus has a dark rim and a nucleolus."""
    reach = np.arange(-int(radius) - 2, int(radius) + 3)
    v, u = (reach - y % 1)[:, None], (reach - x % 1)[None]
    a, b = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    away = np.hypot(a, b / stretch)
    window = np.ix_((reach + int(y)) % len(canvas), (reach + int(x)) % len(canvas))
    below = canvas[window]
    cover = np.clip(radius - away + 0.5, 0, 1)[..., None] * 0.85
    painted = below + cover * (colour - below)
    if large:
        dark = np.clip(1.2 - np.abs(away - radius + 1), 0, 1) + np.clip(2.2 - away, 0, 1)
        painted -= 45 * np.clip(dark, 0, 1)[..., None]
    canvas[window] = painted
