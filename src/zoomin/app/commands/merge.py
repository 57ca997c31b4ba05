"""`zoomin merge`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from .command import Command, option, say
from .features import say_encoded
from .predict import say_predicted

__all__ = ["MERGE"]


def _build_merge(parser: ArgumentParser) -> None:
    parser.add_argument(
        "parts",
        nargs="+",
        type=str,
        help="tables of zoomin predict --shard, or folders of zoomin explain --shard or zoomin data features "
        "--shard; the first part first",
    )
    option(
        parser,
        "--out",
        None,
        "the CSV or the folder to write; by default predictions.csv, explanations or features",
    )


def _merge(parser: ArgumentParser, options: Namespace) -> int:
    from ...data.feature_extraction import TABLE
    from ...data.feature_parts import merge_features
    from ...explanation.index import INDEX
    from ...explanation.parts import merge_explanations
    from ...inference.prediction_table import merge_predictions

    first = Path(options.parts[0])
    if not first.is_dir():
        out = options.out or "predictions.csv"
        say_predicted(merge_predictions(options.parts, out), out)
    elif (first / INDEX).is_file():
        out = options.out or "explanations"
        entries = merge_explanations(options.parts, out).entries
        say(f"{sum(entry.status == 'ok' for entry in entries)} of {len(entries)} images explained: {out}")
    else:
        out = options.out or "features"
        say_encoded(merge_features(options.parts, out), Path(out) / TABLE, "encoded", strict=False)
    return 0


MERGE = Command(
    "join the parts that --shard made: predictions, explanations or features",
    "PARTS ... [--out CSV|FOLDER]",
    "  zoomin merge predictions.*-of-8.csv --out predictions.csv\n"
    "  zoomin merge runs/first/explanations.*-of-8 --out runs/first/explanations\n"
    "  zoomin merge features.*-of-8 --out features",
    _build_merge,
    _merge,
)
