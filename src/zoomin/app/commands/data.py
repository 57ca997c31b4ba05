"""`zoomin data`: what is done with images before they are learnt from."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from .base import Command, Group, say

__all__ = ["DATA"]


def _build_needles(parser: ArgumentParser) -> None:
    from ...data.needles import NeedleConfig

    parser.add_argument("--out", type=str, default="needles", help="a new folder")
    parser.add_class_arguments(NeedleConfig)


def _make_needles(parser: ArgumentParser, options: Namespace) -> int:
    from ...data.needles import NeedleConfig, make_needles

    config = NeedleConfig(**{f.name: options[f.name] for f in fields(NeedleConfig)})
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

DATA = Group(
    "make images to try things on",
    {"make": Group("generate images to try things on", {"needles": NEEDLES})},
)
