"""`zoomin data features`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from ...progress import track
from ...training.recipe_files import instantiated
from .command import Command, option, say, warn_failed
from .predict import build_executor, build_shard, build_strict, executor_of

if TYPE_CHECKING:
    from ...data.feature_extraction import EncodedImage

__all__ = ["CONVERT", "FEATURES", "say_encoded"]


def _build_features(parser: ArgumentParser) -> None:
    from ...data.feature_extraction import FeatureConfig

    parser.add_argument("images", nargs="+", type=str, help="a manifest CSV, folders, image files")
    option(
        parser,
        "--out",
        None,
        "folder of the .h5 files; by default features, or features.2-of-8 for --shard 2/8",
    )
    option(parser, "--retry_failed", False, "retry images that failed before and have not changed since")
    build_strict(parser)
    build_shard(parser, "encodes")
    build_executor(parser)
    option(parser, "--device", "cpu", "cpu, cuda, cuda:1 or mps")
    parser.add_class_arguments(FeatureConfig)


def _features(parser: ArgumentParser, options: Namespace) -> int:
    from ...data.check import images_to_check
    from ...data.feature_extraction import TABLE, FeatureConfig, encode_images
    from ...runtime.parts import check_own_part, shard_name, shard_of

    values, out = instantiated(parser, options), options.out
    config = FeatureConfig(**{f.name: values[f.name] for f in fields(FeatureConfig)})
    whole = records = images_to_check(values.images)
    if options.shard is not None:
        records = shard_of(records, options.shard)
        if out is not None:
            names, own = ([str(record.image) for record in some] for some in (whole, records))
            check_own_part(Path(out) / TABLE, names, own)
        out = out or shard_name("features", options.shard)
    out = out or "features"
    rows = encode_images(
        records,
        out,
        config,
        options.device,
        retry_failed=options.retry_failed,
        executor=executor_of(options),
        progress=True,
    )
    code = say_encoded(rows, Path(out) / TABLE, "encoded", strict=options.strict)
    if not options.retry_failed and any(row.status == "error" for row in rows):
        say("Images that failed are not tried again until their files change: --retry_failed true does.")
    return code


def say_encoded(rows: Sequence[EncodedImage], table: Path, done: str, *, strict: bool) -> int:
    """Print what became of the images; the exit code, 1 where all failed, or with `strict` any."""
    warn_failed((row.image, row.error) for row in rows if row.status == "error")
    counts = {status: sum(row.status == status for row in rows) for status in ("ok", "kept", "error")}
    say(f"{counts['ok']} images {done}, {counts['kept']} kept, {counts['error']} failed: {table}")
    return int(counts["error"] == len(rows) > 0 or (strict and counts["error"] > 0))


def _build_convert(parser: ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=str, help="a manifest CSV, folders, image files")
    parser.add_argument(
        "--features", required=True, type=str, help="folder of the features, in the layout of any toolkit"
    )
    parser.add_argument("--to", required=True, type=str, help="clam, slide2vec, stamp, trident or wsidata")
    parser.add_argument("--out", required=True, type=str, help="folder for the files of that toolkit")
    parser.add_argument(
        "--crop_size", type=float | None, default=None, help="side of a crop, level-0 pixels, if not stored"
    )
    option(parser, "--network", "zoomin", "name of the network, for their records")
    build_strict(parser)


def _convert(parser: ArgumentParser, options: Namespace) -> int:
    from ...data.check import images_to_check
    from ...data.feature_conversion import convert_features
    from ...data.feature_extraction import TABLE, write_encoded

    records = images_to_check(options.images)
    found = convert_features(
        records,
        options.features,
        options.out,
        options.to,
        crop_size=options.crop_size,
        network=options.network,
    )
    rows: list[EncodedImage] = []
    table = Path(options.out) / TABLE
    try:
        rows.extend(track(found, "Converting", total=len(records)))
    finally:
        if rows:
            write_encoded(rows, table)
    return say_encoded(rows, table, "converted", strict=options.strict)


CONVERT = Command(
    "write features in the layout of another toolkit: CLAM, TRIDENT, STAMP, slide2vec, wsidata",
    "MANIFEST | FOLDER | IMAGES ... --features FOLDER --to LAYOUT --out FOLDER",
    "  zoomin data convert slides/*.svs --features trident_out/features_uni --to stamp --out stamp\n"
    "  zoomin data convert manifest.csv --features stores@uni --to clam --out clam",
    _build_convert,
    _convert,
)


FEATURES = Command(
    "encode the crops of images once, with a frozen network, for MIL models",
    "MANIFEST | FOLDER | IMAGES ... [--out FOLDER] [options]",
    "  zoomin data features manifest.csv --out features --crop_size 256\n"
    "  zoomin data features slides/*.svs --out features --foreground.method otsu\n"
    "  zoomin data features slides/ --out features --jobs 4\n"
    "  zoomin data features slides/ --shard 2/8\n"
    "  zoomin train --model.name clam --model.features stored:features --data.root manifest.csv",
    _build_features,
    _features,
    resume="Finished files are kept: run the same command again.",
)
