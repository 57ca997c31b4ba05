"""Some training images replaced by random crops of them: the third remedy of supplement J."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from ..annotations.open_annotation import annotation_of
from ..data.find import open_dataset
from ..data.manifest import Manifest, Record, write_manifest
from ..geometry import Region
from ..images.image import Image
from ..images.open_image import open_image

__all__ = ["with_crops"]


def with_crops(root: Path, out: Path, share: float, side: int, seed: int = 0) -> Path:
    """Write a manifest in which a share of the training images are crops, and these as PNG.

    The crop of an image with ROI holds the middle of its ROI, so that it keeps the label of the image; an
    image without ROI is cut anywhere. Crops have no annotation. Validation and test images stay whole.

    Args:
        root: the data set; its training images are named by a split.
        out: folder to write into; where it holds a manifest it is taken to be done.
        share: of the training images, drawn at random.
        side: of the crops, level-0 pixels; shorter images are cut to their own length.
        seed: of the draw.

    Returns:
        The folder.

    Raises:
        DataError: if the data set, or an annotation, cannot be read.
        ImageError: if an image cannot be read.
    """
    if (out / "manifest.csv").is_file():
        return out
    manifest = open_dataset(root)
    (out / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 17])
    records = [
        _cropped(record, out / "images", side, rng)
        if record.split == "train" and rng.random() < share
        else record
        for record in manifest
    ]
    write_manifest(Manifest(tuple(records), manifest.classes, out), out / "manifest.csv")
    return out


def _cropped(record: Record, folder: Path, side: int, rng: np.random.Generator) -> Record:
    image = open_image(record.image, mpp=record.mpp)
    x, y = _place(record, image, side, rng)
    size = min(side, image.width), min(side, image.height)
    pixels = image.read([Region(x, y, *size)], 1.0)[0].permute(1, 2, 0).numpy()
    path = folder / f"{record.image.stem}_{x}_{y}.png"
    PillowImage.fromarray(pixels).save(path, compress_level=1)
    return Record(path, record.label, split=record.split, group=record.group, mpp=record.mpp)


def _place(record: Record, image: Image, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """The upper left corner of a crop, which lies inside the image."""
    margin = max(image.width - side, 0), max(image.height - side, 0)
    roi = annotation_of(record, image)
    if roi is None:
        return int(rng.integers(margin[0] + 1)), int(rng.integers(margin[1] + 1))
    share = roi.read([Region(0, 0, image.width, image.height)], 0.25)[0].numpy()
    rows, columns = np.nonzero(share)
    if not len(rows):
        return int(rng.integers(margin[0] + 1)), int(rng.integers(margin[1] + 1))
    middle = 4 * columns.mean() + 2, 4 * rows.mean() + 2
    reach = side // 4  # the middle of the ROI lies in the inner half of the crop
    start = [int(m - side / 2 + rng.integers(-reach, reach + 1)) for m in middle]
    return min(max(start[0], 0), margin[0]), min(max(start[1], 0), margin[1])
