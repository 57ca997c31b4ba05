"""`zoomin data`: what is done with images before training."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from .check import CHECK
from .command import Command, Group, of_options, option, say
from .data_sets import PREPARE, make_commands
from .features import CONVERT, FEATURES

__all__ = ["DATA", "MAKE", "PREPARE"]


def _build_needles(parser: ArgumentParser) -> None:
    from ...datasets.synthetic.needles import NeedleConfig

    option(parser, "--out", "needles", "a new folder")
    parser.add_class_arguments(NeedleConfig)


def _make_needles(parser: ArgumentParser, options: Namespace) -> int:
    from ...datasets.synthetic.needles import NeedleConfig, make_needles

    config = of_options(NeedleConfig, options)
    manifest = make_needles(options.out, config)
    say(f"{len(manifest)} images: {Path(options.out) / 'manifest.csv'}")
    return 0


NEEDLES = Command(
    "generate busy images with tiny objects, and ROI masks",
    "[--out FOLDER] [options]",
    "  zoomin data make needles --out needles\n"
    "  zoomin data make needles --out big --min_size 2000 --max_size 4000 --n_train 50",
    _build_needles,
    _make_needles,
)


def _build_slides(parser: ArgumentParser) -> None:
    from ...datasets.synthetic.slides import SlideConfig

    option(parser, "--out", "slides", "a new folder")
    option(parser, "--jobs", 1, "slides made in parallel, one process each")
    parser.add_class_arguments(SlideConfig)


def _make_slides(parser: ArgumentParser, options: Namespace) -> int:
    from ...datasets.synthetic.slides import SlideConfig, make_slides

    config = of_options(SlideConfig, options)
    manifest = make_slides(options.out, config, jobs=options.jobs)
    say(f"{len(manifest)} slides: {Path(options.out) / 'manifest.csv'}")
    return 0


SLIDES = Command(
    "generate giant pyramidal slides with needles, and their outlines",
    "[--out FOLDER] [--textures DATA] [options]",
    "  zoomin data make slides --out slides --n_train 8 --n_val 4 --n_test 4 --jobs 2\n"
    "  zoomin data make slides --out slides --textures CRCHistoPhenotypes_2016_04_28 --roi_share 0.003\n"
    "  zoomin data make slides --out rings --differ_by shape --roi_share 0.003\n"
    "  zoomin data make slides --out giant --width 100000 --height 100000 --n_train 0 --n_val 0 --n_test 1",
    _build_slides,
    _make_slides,
    resume="Finished slides are kept: run the same command again.",
)

MAKE = Group("generate images to experiment with", make_commands({"needles": NEEDLES, "slides": SLIDES}))

DATA = Group(
    "check images before training, prepare published data sets, generate images",
    {"check": CHECK, "prepare": PREPARE, "features": FEATURES, "convert": CONVERT, "make": MAKE},
)
