"""`zoomin demo`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from ...runtime.extras import TRAINING, need
from .command import Command, option, print_metrics, say

__all__ = ["DEMO"]


def _build_demo(parser: ArgumentParser) -> None:
    option(parser, "--out", "report", "folder of the report")
    option(parser, "--work", "demo", "folder of the generated images and of the run")
    option(parser, "--quick", False, "fewer images and epochs, to check that it works")
    option(parser, "--seed", 0, "seed of images, weights and draws")


def _demo(parser: ArgumentParser, options: Namespace) -> int:
    need("all", *TRAINING, "jinja2", "markupsafe")
    from ..demo import run_demo

    result = run_demo(
        options.out, options.work, quick=options.quick, seed=options.seed, say=say, progress=True
    )
    print_metrics("On images that the model has never seen", result.metrics)
    low, high = result.metrics["accuracy_interval"]
    say(
        f"Test accuracy {result.metrics['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}); "
        f"{result.hit_share:.0%} of the heaviest sub-tiles of positive images hit a needle "
        f"({result.chance_share:.1%} would by chance)."
    )
    say(f"Open {Path(options.out) / 'index.html'}")
    return 0


DEMO = Command(
    "make images with tiny objects, learn to find them, report; takes a few minutes",
    "[--out FOLDER] [--work FOLDER] [--quick] [--seed SEED]",
    "  zoomin demo --out report\n  zoomin demo --quick",
    _build_demo,
    _demo,
    "Run the same command again; existing images are kept.",
)
