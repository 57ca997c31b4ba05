"""`zoomin report`."""

from __future__ import annotations

import shlex

from jsonargparse import ArgumentParser, Namespace

from .command import Command, option, say
from .predict import build_inference, inference_config

__all__ = ["REPORT"]


def _build_report(parser: ArgumentParser) -> None:
    option(parser, "--run", None, "folder of a finished run or cross-validation")
    option(
        parser, "--out", None, "the HTML file; by default report.html in the run, or beside the predictions"
    )
    option(
        parser,
        "--split",
        None,
        "train, val, test or all; by default test, or val if there is no test split, otherwise all",
    )
    option(parser, "--data.root", None, "evaluate the run on these labelled images instead")
    option(
        parser,
        "--predictions",
        None,
        "a CSV of predict or evaluate, used as it is; --run then only adds the panels",
    )
    option(
        parser,
        "--labels",
        None,
        "the truth for --predictions: a manifest CSV, or images in any layout that train accepts",
    )
    option(
        parser,
        "--images",
        24,
        "maximum number of images in the gallery; each is explained, and adds its pictures to the file",
    )
    option(parser, "--panels", False, "also draw every step of each answer, which takes three times as long")
    option(
        parser,
        "--annotated",
        100,
        "maximum number of annotated images whose attention is compared with their ROI; each is read again",
    )
    build_inference(parser)


def _report(parser: ArgumentParser, options: Namespace) -> int:
    from ..report import ReportConfig, write_report

    config = ReportConfig(
        run=options.run,
        predictions=options.predictions,
        labels=options.labels,
        root=options.data.root,
        split=options.split,
        images=options.images,
        panels=options.panels,
        annotated=options.annotated,
    )
    result = write_report(
        config, options.out, inference=inference_config(options), device=options.device, progress=True
    )
    size = result.path.stat().st_size / 1e6
    say(
        f"{result.path}: {len(result.findings.answers)} answers, {result.explained} explained, {size:.1f} MB."
    )
    if result.explained and options.run is not None:
        say(f"To zoom into them: zoomin view --run {shlex.quote(options.run)} --open")
    return 0


REPORT = Command(
    "write one HTML file with scores, curves, best and worst images",
    "--run FOLDER [--out FILE.html] [--split SPLIT] [--data.root IMAGES] [options]",
    "  zoomin report --run runs/first\n"
    "  zoomin report --run runs/cv --out cv.html\n"
    "  zoomin report --predictions predictions.csv --labels truth.csv",
    _build_report,
    _report,
    "Run the same command again: predictions of the run's own images are kept.",
)
