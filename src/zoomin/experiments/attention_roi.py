"""Does attention fall on the annotated objects? The mean attention inside the ROI against chance.

A tile's position has the attention alpha x beta. Its mean over the ROI of an image, divided by its mean over
the whole image, is 1 for attention that knows nothing. Run it on a finished run with

    python -m zoomin.experiments.attention_roi --run runs/colon --out attention.json
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..annotations.annotation import Annotation
from ..annotations.open_annotation import annotation_of
from ..classifiers import zoom_in
from ..errors import DataError
from ..geometry import Region, positions_inside
from ..images.image import Image
from ..images.open_image import open_image
from ..inference.prediction import evaluation_manifest, load_model
from ..model.zoom_in import ZoomIn
from ..training.run_folder import write_json

__all__ = ["attention_in_roi", "attention_ratio", "main"]


@torch.no_grad()
def attention_in_roi(model: ZoomIn, image: Image, roi: Annotation) -> tuple[float, float]:
    """The share of an image's attention that lies inside its ROI, and the share of its positions that do.

    Args:
        model: in evaluation mode.
        image: small enough that every tile can be looked at.
        roi: its annotation.
    """
    _, tiles = model.attend([image])
    attention = tiles.log_alpha.exp()[:, None] * tiles.log_beta.exp()
    sizes = torch.tensor([[image.height, image.width]]).expand(len(tiles.regions), 2)
    inside = positions_inside(tiles.regions.cpu(), sizes, tiles.map_size)
    share = _share(roi, tiles.regions.cpu(), tiles.map_size)
    return float((attention.cpu() * share).sum()), float((share * inside).sum() / inside.sum())


def attention_ratio(model: ZoomIn, images: Sequence[Image], rois: Sequence[Annotation]) -> dict[str, Any]:
    """Attention inside the ROI over chance, for every image that has a ROI.

    Returns:
        mean_ratio and median_ratio over the images, above_chance (share of images with a ratio above 1),
        pooled_ratio (mean attention share over mean area share), and the ratio of each image.
    """
    shares = [attention_in_roi(model, image, roi) for image, roi in zip(images, rois, strict=True)]
    kept = [(image.name, *pair) for image, pair in zip(images, shares, strict=True) if pair[1] > 0]
    ratios = [attended / area for _, attended, area in kept]
    return {
        "n_images": len(kept),
        "mean_ratio": statistics.fmean(ratios) if ratios else math.nan,
        "median_ratio": statistics.median(ratios) if ratios else math.nan,
        "pooled_ratio": sum(a for _, a, _ in kept) / sum(r for _, _, r in kept) if kept else math.nan,
        "above_chance": sum(ratio > 1 for ratio in ratios) / max(1, len(ratios)),
        "images": [
            {
                "image": Path(name).name,
                "attention_in_roi": attended,
                "roi_share": area,
                "ratio": attended / area,
            }
            for name, attended, area in kept
        ],
    }


def _share(roi: Annotation, tiles: Tensor, map_size: tuple[int, int]) -> Float[Tensor, "tiles positions"]:
    """The share of ROI in every position's cell."""
    views = roi.read([Region(*tile) for tile in tiles.tolist()], map_size[0] / int(tiles[0, 2]))
    return views.flatten(1)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure a finished run on its validation images (or another split) that have a ROI."""
    parser = argparse.ArgumentParser(prog="python -m zoomin.experiments.attention_roi", description=__doc__)
    parser.add_argument("--run", required=True, help="folder of a finished run")
    parser.add_argument("--root", help="images; by default those of the run")
    parser.add_argument("--split", default="val", help="train, val, test or all")
    parser.add_argument("--out", required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    model = zoom_in(load_model(options.run))
    manifest = evaluation_manifest(options.run, options.root, options.split)
    images, rois = [], []
    for record in manifest:
        image = open_image(record.image, mpp=record.mpp)
        roi = annotation_of(record, image)
        if roi is not None:
            images.append(image)
            rois.append(roi)
    if not images:
        raise DataError("no image has an annotation", where=manifest.source, remedy="Give annotated images.")
    result = {"split": options.split, **attention_ratio(model, images, rois)}
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(options.out), result)
    return result


if __name__ == "__main__":
    _result = main()
    print({name: value for name, value in _result.items() if name != "images"})
