"""`zoomin evaluate` and `zoomin predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ...files import plain
from ...model.choices import UNLIKE, expected_unlike
from .command import Command, of_options, option, print_metrics, say, warn_failed

if TYPE_CHECKING:
    from ...classifiers import Classifier
    from ...data.manifest import Manifest
    from ...inference.predictions import Summary
    from ...runtime.executor import Executor

__all__ = [
    "EVALUATE",
    "PREDICT",
    "build_executor",
    "build_inference",
    "build_shard",
    "build_strict",
    "executor_of",
    "inference_config",
    "say_predicted",
]


def build_inference(parser: ArgumentParser) -> None:
    """Add the options of inference."""
    from ...inference.config import InferenceConfig

    option(parser, "--device", "cpu", "cpu, cuda, cuda:1 or mps")
    parser.add_class_arguments(InferenceConfig)


def build_executor(parser: ArgumentParser) -> None:
    """Add the options of worker processes and clusters."""
    parser.add_argument(
        "--jobs",
        type=int | None,
        default=None,
        help="worker processes, each with the model; by default one, or with --cluster one for each of its "
        "GPUs or processors",
    )
    option(
        parser,
        "--cluster",
        None,
        "distribute the images with Ray: local (this machine), auto (the cluster that it is part of), "
        "HOST:PORT or ray://HOST:PORT",
    )


def build_strict(parser: ArgumentParser) -> None:
    """The option that makes failed images an error of the command."""
    option(parser, "--strict", False, "exit code 1 if any image fails, not only if all do")


def build_shard(parser: ArgumentParser, does: str) -> None:
    """Add the option that takes a part of the images."""
    option(
        parser,
        "--shard",
        None,
        f"2/8 {does} the second of eight parts of the images; zoomin merge joins the parts",
    )


def executor_of(options: Namespace) -> Executor:
    """Who computes, as these options say.

    Raises:
        ConfigError: if there is no worker, or no such cluster.
    """
    from ...runtime.executor import Executor

    return Executor(options.jobs, options.cluster)


def inference_config(options: Namespace) -> Any:  # noqa: ANN401 (imported late)
    """What these options say."""
    from ...inference.config import InferenceConfig

    return of_options(InferenceConfig, options)


def _build_evaluate(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--run", type=str, required=True, help="folder of a finished run, of a model, or hf://USER/NAME"
    )
    option(
        parser,
        "--data.root",
        None,
        "labelled images in any layout that train accepts, or a manifest CSV; by default the run's own",
    )
    option(
        parser,
        "--split",
        None,
        "train, val, test or all; by default test if the images have such a split, otherwise all",
    )
    option(parser, "--out", None, "folder for metrics.json, predictions.csv")
    option(parser, "--json", False, "print all metrics as JSON, instead of the table of the main ones")
    option(
        parser,
        "--attention_on_roi",
        False,
        "also compare attention with the annotated ROI, and write attention_on_roi.json into --out",
    )
    _build_groups(parser)
    build_executor(parser)
    build_inference(parser)


def _build_groups(parser: ArgumentParser) -> None:
    option(
        parser,
        "--group_by",
        None,
        "column of the manifest that holds groups, such as patient; by default group",
    )
    option(
        parser,
        "--pool",
        None,
        "how the answers of a group's images are joined: mean (default), max or noisy_or",
    )


def _evaluate(parser: ArgumentParser, options: Namespace) -> int:
    from ...classifiers import load_model
    from ...inference.evaluation import evaluate
    from ...inference.run_images import evaluation_manifest

    executor = executor_of(options)
    model = load_model(options.run, options.device if executor.alone else "cpu")
    manifest = evaluation_manifest(
        options.run, options.data.root, options.split, model.config, options.group_by
    )
    metrics = evaluate(
        manifest,
        model,
        inference_config(options),
        pool=options.pool,
        out=options.out,
        executor=executor,
        device=options.device,
        progress=True,
    )
    warn_failed(metrics["failed"].items())
    if not options.json:
        print_metrics(f"{options.run} on {manifest.source}", metrics)
    if options.out is not None and not options.json:
        say(f"metrics.json and predictions.csv are in {options.out}.")
    if options.attention_on_roi:
        metrics["attention_on_roi"] = _attention_on_roi(model, manifest, options)
    if options.json:
        say(json.dumps(plain(metrics), indent=2))
    return 0


def _attention_on_roi(model: Classifier, manifest: Manifest, options: Namespace) -> dict[str, Any]:
    """Say how attention lies on the ROI, and write it where there is a folder."""
    from ...classifiers import zoom_in
    from ...errors import DataError
    from ...files import write_json
    from ...inference.attention_on_roi import measure_records

    found = measure_records(zoom_in(model), manifest.records, progress=True)
    if not (n := len(found.images)):
        raise DataError(
            "no image has an annotated ROI",
            where=manifest.source,
            remedy="Fill the column annotation or mask.",
        )
    line = (
        f"Attention inside the ROI is {found.median_ratio:.2f} times that of uniform attention (median of "
        f"{n} images), and above it in {found.above_chance} of {n}."
    )
    if options.out is not None:
        write_json(Path(options.out) / "attention_on_roi.json", found.to_dict())
    if not options.json:
        say(line)
    return found.to_dict()


def _build_predict(parser: ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="*",
        type=str,
        default=[],
        help="image files, folders, patterns, or manifests (CSV)",
    )
    parser.add_argument(
        "--run", type=str, required=True, help="folder of a finished run, of a model, or hf://USER/NAME"
    )
    option(parser, "--manifest", None, "a CSV that lists the images")
    option(
        parser,
        "--out",
        None,
        "the CSV to write; by default predictions.csv, or predictions.2-of-8.csv for --shard 2/8",
    )
    option(
        parser,
        "--resume",
        False,
        "keep the rows that this model wrote with these settings for images that have not changed",
    )
    option(parser, "--retry_failed", False, "with --resume true: retry images that failed")
    option(parser, "--json", False, "print what became of each image as JSON, instead of the summary")
    build_shard(parser, "predicts")
    build_strict(parser)
    _build_groups(parser)
    build_executor(parser)
    build_inference(parser)


def _predict(parser: ArgumentParser, options: Namespace) -> int:
    from ...classifiers import load_model
    from ...inference.groups import groups_path, has_groups
    from ...inference.prediction_table import predict_into, predictions_as_json
    from ...inference.sources import find_images, name_of
    from ...model.targets import target_of
    from ...runtime.parts import check_own_part, shard_name, shard_of

    config, executor = inference_config(options), executor_of(options)
    whole = images = find_images(options.images, options.manifest, options.group_by)
    out = options.out
    if options.shard is not None:
        images = shard_of(images, options.shard)
        if out is not None:
            check_own_part(Path(out), map(name_of, whole), map(name_of, images))
        out = out or shard_name("predictions.csv", options.shard)
    out = out or "predictions.csv"
    model = load_model(options.run, options.device if executor.alone else "cpu")
    summary = predict_into(
        images,
        model,
        out,
        config,
        resume=options.resume,
        retry_failed=options.retry_failed,
        pool=options.pool,
        executor=executor,
        device=options.device,
        progress=True,
    )
    grouped = str(groups_path(out)) if has_groups(images) else None
    if options.json:
        rows = predictions_as_json(out, target_of(model.config))
        say(json.dumps({"out": out, "groups": grouped, **plain(summary), "images": rows}, indent=2))
    else:
        say_predicted(summary, out)
    if grouped is not None and not options.json:
        say(f"One row per group: {grouped}")
    warn_failed(summary.failed)
    return int((not summary.done and bool(images)) or (options.strict and bool(summary.failed)))


def say_predicted(summary: Summary, out: str) -> None:
    """Print what became of the images."""
    counts = ", ".join(f"{count} {name}" for name, count in summary.counts.items())
    counts = f" ({counts})" if counts else ""
    kept = f", {summary.kept} rows kept" if summary.kept else ""
    say(f"{summary.done} of {summary.done + len(summary.failed)} images predicted{counts}{kept}: {out}")
    if summary.abstained:
        say(f"{_images(summary.abstained)} got no answer: column abstained says why.")
    if summary.unlike is not None:
        are = "is" if summary.unlike == 1 else "are"
        say(
            f"{_images(summary.unlike)} {are} unlike the training images (ood_p_value of at most {UNLIKE}); "
            f"of {_images(summary.done)} like those, {expected_unlike(summary.done)} would be."
        )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


EVALUATE = Command(
    "evaluate a trained model on labelled images",
    "--run FOLDER [--data.root IMAGES] [--split SPLIT] [--out FOLDER] [options]",
    "  zoomin evaluate --run runs/first\n"
    "  zoomin evaluate --run runs/first --split val --attention_on_roi true --out evaluated\n"
    "  zoomin evaluate --run runs/first --data.root other_hospital/manifest.csv --split all --out evaluated",
    _build_evaluate,
    _evaluate,
)

PREDICT = Command(
    "classify images: files, folders, patterns, or a manifest CSV",
    "IMAGES ... --run FOLDER [--manifest CSV] [--out CSV] [options]",
    "  zoomin predict slides/ --run runs/first --out predictions.csv\n"
    "  zoomin predict a.png 'more/*.tif' --run runs/first --replicates 32\n"
    "  zoomin predict list.csv --run runs/first --resume true --retry_failed true\n"
    "  zoomin predict a.png --run runs/first --json\n"
    "  zoomin predict slides/ --run runs/first --shard 2/8\n"
    "  zoomin predict slides/ --run runs/first --jobs 4\n"
    "  zoomin predict slides/ --run runs/first --cluster auto --resume true",
    _build_predict,
    _predict,
    "The rows so far are in the file --out with .part added: give the same command again with --resume true.",
)
