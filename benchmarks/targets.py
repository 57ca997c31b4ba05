"""Targets beside a baseline: images with a known hazard, and a linear model of the shrunk image.

    python benchmarks/targets.py make made --images 300
    python benchmarks/targets.py shrunk made/manifest.csv

`make` draws images with 0 to 5 red discs among grey ones; the hazard is exp(0.8) times as high for each red
disc, of a patient for each in any of its images. Times are exponential, and about three in ten are censored.
`shrunk` embeds each image, shrunk to 224 pixels, by the frozen trunk of `zoomin train`, fits a linear model
of the target's loss to the training images, and prints the metrics of the test images.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from zoomin.data.find import open_dataset
from zoomin.geometry import Region
from zoomin.images.open_image import open_image
from zoomin.metrics.survival import concordance
from zoomin.model.networks.trunks import timm_encoder
from zoomin.model.targets.pooling import group_metrics
from zoomin.training.frozen.linear import linear_model
from zoomin.training.plan import TRUNK

SIDE, DISC, EFFECT, CENSORED = 448, 12, 0.8, 0.3
STRENGTH = 0.01  # C, as that of `frozen.linear_strength`


def make(out: Path, images: int, each: int, seed: int) -> None:
    """Draw the images and write manifest.csv; `truth` is the known log hazard, up to a constant.

    The images of a patient share its time, and its hazard is that of all of their red discs.
    """
    rng = np.random.default_rng(seed)
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(images):
        if number % each == 0:
            reds = rng.integers(0, 6, each)
            log_hazard = EFFECT * float(reds.sum() - 2.5 * each)
            happens = rng.exponential(10 / math.exp(log_hazard))
            until = rng.exponential(10 * (1 - CENSORED) / CENSORED)
        red = int(reds[number % each])
        picture = Image.fromarray(rng.integers(170, 230, (SIDE, SIDE, 3), dtype=np.uint8))
        pen = ImageDraw.Draw(picture)
        for k in range(red + int(rng.integers(4, 9))):
            x, y = rng.integers(DISC, SIDE - DISC, 2).tolist()
            colour = (190, 40, 40) if k < red else (110, 110, 110)
            pen.ellipse((x - DISC // 2, y - DISC // 2, x + DISC // 2, y + DISC // 2), fill=colour)
        name = f"images/{number:04d}.png"
        picture.save(out / name)
        patient = number // each
        split = "test" if patient % 3 == 2 else "train"
        time = f"{min(happens, until):.4f}"
        rows.append([name, time, int(happens <= until), f"p{patient}", f"{log_hazard:.3f}", split])
    with (out / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "time", "event", "group", "truth", "split"])
        writer.writerows(rows)


@torch.no_grad()
def embed(images: list[Path]) -> torch.Tensor:
    """What the trunk makes of each image, shrunk."""
    network, _ = timm_encoder(TRUNK, pretrained=True)
    network.eval()
    rows = []
    for path in images:
        image = open_image(path)
        whole = [Region(0, 0, image.width, image.height)]
        view = image.read(whole, min(1.0, 224 / max(image.height, image.width))).float() / 255
        rows.append(network((view - 0.5) / 0.5)[0])
    return torch.stack(rows)


def shrunk(root: str, target: str, classes: list[str] | None) -> None:
    """Fit to the training images, and print the metrics of the test images."""
    manifest = open_dataset(root, target=target, classes=classes)
    kind, truth = manifest.kind(), manifest.targets()
    test = torch.tensor([record.split == "test" for record in manifest])
    if kind.kind == "value":
        values = truth[~test].double()
        kind = type(kind)(kind.names, float(values.mean()), float(values.std(correction=0)))
    x = embed([record.image for record in manifest])
    model = linear_model(x[~test], truth[~test], kind, STRENGTH)
    groups = [record.group for record in manifest if record.split == "test"]
    found = kind.metrics(kind.answers(model(x[test])), truth[test], groups)
    if (by_group := group_metrics(kind.answers(model(x[test])), truth[test], groups, kind)) is not None:
        found["groups"] = by_group
    if "concordance" in found:
        found["known"] = known_concordance(Path(root))
    print(json.dumps(found, indent=2))


def known_concordance(path: Path) -> float | None:
    """The concordance of the known hazards of the test images."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    columns = [np.array([float(row[name]) for row in rows]) for name in ("truth", "time", "event")]
    return concordance(columns[0], columns[1], columns[2] > 0)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("make", "shrunk"))
    parser.add_argument("where", help="folder to make, or manifest CSV")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--each", type=int, default=1, help="images of a patient")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", default="auto")
    parser.add_argument("--names", default=None, help="of the value's column, or of labels, comma-separated")
    options = parser.parse_args()
    if options.what == "make":
        make(Path(options.where), options.images, options.each, options.seed)
    else:
        shrunk(options.where, options.target, options.names.split(",") if options.names else None)


if __name__ == "__main__":
    main()
