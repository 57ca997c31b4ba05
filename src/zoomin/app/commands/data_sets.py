"""`zoomin data prepare` and the miniatures of `zoomin data make`: the published data sets."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from .command import Command, Group, say

__all__ = ["MAKE_PUBLISHED", "PREPARE"]

_SUMMARIES = {  # of data.published, which is not imported before it is needed
    "colon-cancer": "100 colon-cancer images; is there an epithelial nucleus?",
    "needle-mnist": "401 MNIST digits on a canvas; is one of them a 3?",
    "needle-camelyon": "crops of Camelyon16; is there a small metastasis?",
    "swedish-signs": "Swedish road scenes; no sign, or a speed limit?",
    "gtsdb": "German road scenes; no sign, or a speed limit?",
    "fmow": "satellite images of ten kinds of place",
    "camelyon16": "slides of lymph nodes; is there a metastasis?",
}


def _prepare_command(name: str) -> Command:
    def build(parser: ArgumentParser) -> None:
        from ...datasets.registry import PUBLISHED

        parser.add_argument("--source", type=str, required=True, help="folder of the download")
        parser.add_argument(
            "--out", type=str, default=name, help="folder of the manifest, new or prepared before"
        )
        parser.add_argument("--partial", type=bool, default=False, help="go on where parts are missing")
        parser.add_class_arguments(PUBLISHED[name].config)

    def run(parser: ArgumentParser, options: Namespace) -> int:
        from ...datasets.registry import PUBLISHED

        data_set = PUBLISHED[name]
        config = data_set.config(**{f.name: options[f.name] for f in fields(data_set.config)})
        prepared = data_set.prepare(options.source, options.out, config, partial=options.partial)
        for split, counts in prepared.counts.items():
            say(f"{split}: " + ", ".join(f"{count} {label}" for label, count in counts.items()))
        for note in prepared.notes:
            say(note)
        classes = json.dumps(prepared.manifest.classes, separators=(",", ":"))  # "50" is no number
        say(f"{len(prepared.manifest)} images: {Path(options.out) / 'manifest.csv'}")
        say(f"Train with: zoomin train --data.root {options.out} --data.classes '{classes}'")
        if prepared.class_weights:
            weights = ",".join(map(str, prepared.class_weights))
            say(f"Published class weights: --train.class_weights [{weights}]")
        return 0

    return Command(
        _SUMMARIES[name],
        "--source FOLDER [--out FOLDER] [--partial true] [options]",
        f"  zoomin data prepare {name} --source downloads/{name} --out {name}\n"
        f"  zoomin data prepare {name} --source miniature --partial true   # of zoomin data make {name}",
        build,
        run,
    )


def _make_command(name: str) -> Command:
    def build(parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=str, default=f"{name}-miniature", help="a new folder")
        parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same files")

    def run(parser: ArgumentParser, options: Namespace) -> int:
        from ...datasets.miniatures import make_miniature
        from ...datasets.registry import PUBLISHED

        out = make_miniature(PUBLISHED[name].miniature, options.out, options.seed)
        say(f"The miniature is in {out}.")
        say(f"Go on with: zoomin data prepare {name} --source {out} --out {name} --partial true")
        return 0

    return Command(
        f"a miniature of the download of {name}",
        "[--out FOLDER] [--seed N]",
        f"  zoomin data make {name} --out miniature",
        build,
        run,
    )


PREPARE = Group(
    "turn the download of a published data set into a manifest",
    {name: _prepare_command(name) for name in _SUMMARIES},
)
MAKE_PUBLISHED = {name: _make_command(name) for name in _SUMMARIES}
