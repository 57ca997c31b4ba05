"""`zoomin explain`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from .command import Command, of_options, option, say, warn_failed
from .predict import (
    build_executor,
    build_inference,
    build_shard,
    build_strict,
    executor_of,
    inference_config,
)

__all__ = ["EXPLAIN"]


def _build_explain(parser: ArgumentParser) -> None:
    from ...explanation.export_config import ExportConfig

    parser.add_argument(
        "images", nargs="*", type=str, default=[], help="image files, folders of images, or glob patterns"
    )
    parser.add_argument(
        "--run", type=str, required=True, help="folder of a finished run, of a model, or hf://USER/NAME"
    )
    option(parser, "--manifest", None, "a CSV that lists the images")
    option(
        parser,
        "--split",
        None,
        "train, val, test or all: of the labelled images in --manifest, otherwise of the run's own",
    )
    option(
        parser,
        "--out",
        None,
        "a folder; by default explanations, in that of the run, or explanations.2-of-8 for --shard 2/8",
    )
    option(
        parser,
        "--resume",
        False,
        "skip images that are unchanged since this model explained them with these settings",
    )
    option(parser, "--retry_failed", False, "with --resume true: retry images that failed")
    build_shard(parser, "explains")
    build_strict(parser)
    parser.add_class_arguments(ExportConfig)
    build_executor(parser)
    build_inference(parser)


def _explain(parser: ArgumentParser, options: Namespace) -> int:
    from ...classifiers import load_model
    from ...explanation.export_config import ExportConfig
    from ...explanation.index import INDEX
    from ...inference.explain_folder import explain_into, images_to_explain
    from ...model.hub import hub_model
    from ...runtime.parts import shard_name, shard_of

    config, executor = inference_config(options), executor_of(options)
    exports = of_options(ExportConfig, options)
    model = load_model(options.run, options.device if executor.alone else "cpu")
    images = images_to_explain(options.images, options.run, options.manifest, options.split)
    folder = Path() if hub_model(options.run) else Path(options.run)
    default = folder / "explanations"
    if options.shard is not None:
        images = shard_of(images, options.shard)
        default = Path(shard_name(str(default), options.shard))
    summary = explain_into(
        images,
        model,
        default if options.out is None else options.out,
        config,
        exports,
        resume=options.resume,
        retry_failed=options.retry_failed,
        executor=executor,
        device=options.device,
        progress=True,
    )
    done = summary.explained + summary.kept
    kept = f", {summary.kept} of them before" if summary.kept else ""
    say(f"{done} of {done + len(summary.failed)} images explained{kept}: {summary.folder}")
    listed = f"see {summary.folder / INDEX}"
    warn_failed(summary.failed, f"failed; {listed}")
    if summary.kept_failures:
        say(f"{summary.kept_failures} images failed before: --retry_failed true tries them again.")
    warn_failed(summary.warnings, f"warnings; {listed}")
    if summary.with_bounds:
        say(
            f"{summary.with_bounds} slides have a scanned part with an offset. Where outlines are shifted in "
            "QuPath, explain again with --bounds_offset true."
        )
    return int((not done and bool(images)) or (options.strict and bool(summary.failed)))


EXPLAIN = Command(
    "show where the model looked: numbers, pictures, GeoJSON, heat maps",
    "IMAGES ... --run FOLDER [--out FOLDER] [--manifest CSV] [--split SPLIT] [options]",
    "  zoomin explain slides/a.svs --run runs/first\n"
    "  zoomin explain --run runs/first --split test --resume true\n"
    "  zoomin explain slides/ --run runs/first --jobs 4\n"
    "  zoomin explain slides/ --run runs/first --shard 2/8\n"
    "  zoomin explain 'more/*.tif' --run runs/first --out explained --pictures false --coordinates wgs84",
    _build_explain,
    _explain,
    "Finished images are kept: run the same command again with --resume true.",
)
