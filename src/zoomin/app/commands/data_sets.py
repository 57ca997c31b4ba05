"""`zoomin data prepare` and the miniatures of `zoomin data make`: the published data sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ...runtime.plugins import plug_ins
from .command import Command, Group, of_options, option, say

__all__ = ["PREPARE", "make_commands"]

_OURS = {  # summaries of datasets.registry, which is not imported before it is needed
    "colon-cancer": "100 colon-cancer images; is there an epithelial nucleus?",
    "needle-mnist": "401 MNIST digits on a canvas; is one of them a 3?",
    "needle-camelyon": "crops of Camelyon16; is there a small metastasis?",
    "swedish-signs": "Swedish road scenes; no sign, or a speed limit?",
    "gtsdb": "German road scenes; no sign, or a speed limit, or any sign?",
    "fmow": "satellite images of ten kinds of place",
    "camelyon16": "slides of lymph nodes; is there a metastasis?",
    "hei-med": "fundus photographs; is there an exudate?",
    "deep-pcb": "circuit boards; is there a defect?",
}


class _ByName(Mapping[str, Command]):
    """A command for each data set: zoomin's own, then those of plug-ins, looked for on first use."""

    def __init__(
        self, command: Callable[[str, str], Command], more: Mapping[str, Command] | None = None
    ) -> None:
        """Keep what makes a command of a name and a summary, and the commands beside those."""
        self._command, self._more = command, dict(more or {})

    def __getitem__(self, name: str) -> Command:
        """The command of a name."""
        if name in self._more:
            return self._more[name]
        return self._command(name, _OURS.get(name) or _outside()[name])

    def __iter__(self) -> Iterator[str]:
        """The names."""
        yield from (*self._more, *_OURS, *_outside())

    def __len__(self) -> int:
        """The number of names."""
        return len(self._more) + len(_OURS) + len(_outside())

    def __contains__(self, name: object) -> bool:
        """Whether there is a command of that name."""
        return name in self._more or name in _OURS or name in _outside()


def _outside() -> dict[str, str]:
    """Names of the data sets of plug-ins, and where each comes from; nothing is imported."""
    found = plug_ins("zoomin.datasets")
    return {point.name: f"by {point.package}" for point in found if point.name not in _OURS}


def _prepare_command(name: str, summary: str) -> Command:
    def build(parser: ArgumentParser) -> None:
        from ...datasets.registry import PUBLISHED

        parser.add_argument("--source", type=str, required=True, help="folder of the download")
        option(parser, "--out", name, "folder for the manifest, new or previously prepared")
        option(parser, "--partial", False, "continue if parts are missing")
        parser.add_class_arguments(PUBLISHED[name].config)

    def run(parser: ArgumentParser, options: Namespace) -> int:
        from ...datasets.registry import PUBLISHED

        data_set = PUBLISHED[name]
        config: Any = of_options(data_set.config, options)
        prepared = data_set.prepare(options.source, options.out, config, partial=options.partial)
        for split, counts in prepared.counts.items():
            say(f"{split}: " + ", ".join(f"{count} {label}" for label, count in counts.items()))
        for note in prepared.notes:
            say(note)
        classes = json.dumps(prepared.manifest.classes, separators=(",", ":"))  # "50" is not a number
        say(f"{len(prepared.manifest)} images: {Path(options.out) / 'manifest.csv'}")
        say(f"Train with: zoomin train --data.root {options.out} --data.classes '{classes}'")
        if prepared.class_weights:
            weights = ",".join(map(str, prepared.class_weights))
            say(f"Published class weights: --train.class_weights '[{weights}]'")
        return 0

    return Command(
        summary,
        "--source FOLDER [--out FOLDER] [--partial true] [options]",
        f"  zoomin data prepare {name} --source downloads/{name} --out {name}\n"
        f"  zoomin data prepare {name} --source miniature --partial true   # of zoomin data make {name}",
        build,
        run,
    )


def _make_command(name: str, summary: str) -> Command:
    def build(parser: ArgumentParser) -> None:
        option(parser, "--out", f"{name}-miniature", "a new folder")
        option(parser, "--seed", 0, "the same seed produces the same files")

    def run(parser: ArgumentParser, options: Namespace) -> int:
        from ...datasets.miniatures import make_miniature
        from ...datasets.registry import PUBLISHED

        out = make_miniature(PUBLISHED[name].miniature, options.out, options.seed)
        say(f"The miniature is in {out}.")
        if PUBLISHED[name].needs_preparing:
            say(f"Next: zoomin data prepare {name} --source {out} --out {name} --partial true")
        else:
            say(f"Next: zoomin train --data.root {out}")
        return 0

    return Command(
        f"a miniature of the {name} download",
        "[--out FOLDER] [--seed N]",
        f"  zoomin data make {name} --out miniature",
        build,
        run,
    )


PREPARE = Group("turn the download of a published data set into a manifest", _ByName(_prepare_command))


def make_commands(more: Mapping[str, Command]) -> Mapping[str, Command]:
    """The commands of `zoomin data make`: `more`, and a miniature of each data set."""
    return _ByName(_make_command, more)
