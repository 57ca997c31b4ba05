"""`zoomin data features`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from ...progress import track
from ...training.recipe_files import instantiated
from .command import Command, say, warn_failed

__all__ = ["FEATURES"]


def _build_features(parser: ArgumentParser) -> None:
    from ...data.feature_extraction import FeatureConfig

    parser.add_argument("images", nargs="+", type=str, help="a manifest CSV, folders, image files")
    parser.add_argument("--out", type=str, default="features", help="folder of the .h5 files")
    parser.add_argument("--device", type=str, default="cpu", help="device of the network")
    parser.add_class_arguments(FeatureConfig)


def _features(parser: ArgumentParser, options: Namespace) -> int:
    from ...data.check import images_to_check
    from ...data.feature_extraction import Encoded, FeatureConfig, encode_images, write_encoded

    values = instantiated(parser, options)
    config = FeatureConfig(**{f.name: values[f.name] for f in fields(FeatureConfig)})
    records = images_to_check(values.images)
    found = encode_images(records, values.out, config, values.device)
    rows: list[Encoded] = []
    table = Path(values.out) / "features.csv"
    try:
        for row in track(found, "Encoding", total=len(records)):
            rows.append(row)
    finally:
        if rows:
            write_encoded(rows, table)
    warn_failed((row.image, row.error) for row in rows if row.status == "error")
    counts = {status: sum(row.status == status for row in rows) for status in ("ok", "kept", "error")}
    say(f"{counts['ok']} images encoded, {counts['kept']} kept, {counts['error']} failed: {table}")
    return int(counts["error"] > 0)


FEATURES = Command(
    "encode the crops of images once, with a frozen network, for MIL models",
    "MANIFEST | FOLDER | IMAGES ... [--out FOLDER] [options]",
    "  zoomin data features manifest.csv --out features --crop_size 256\n"
    "  zoomin data features slides/*.svs --out features --foreground.method otsu\n"
    "  zoomin train --model.name clam --model.features stored:features --data.root manifest.csv",
    _build_features,
    _features,
    resume="Finished files are kept: run the same command again.",
)
