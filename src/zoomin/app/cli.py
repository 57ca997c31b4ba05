"""The `zoomin` command: parses, calls one function of the library, prints. Nothing is decided here."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from .. import __version__
from ..errors import ZoomInError

if TYPE_CHECKING:
    from ..training.fit import RunConfig

__all__ = ["main"]

INTERRUPTED = 130


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        summary: one line for `zoomin --help`.
        usage: what follows the name of the command.
        examples: for `zoomin COMMAND --help`.
        build: adds its options; imports what they are made of.
        run: does it, returns the exit code.
        resume: what to do after an interruption.
    """

    summary: str
    usage: str
    examples: str
    build: Callable[[ArgumentParser], None]
    run: Callable[[ArgumentParser, Namespace], int]
    resume: str = "Nothing was lost: give the same command again."


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the examples."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The exit code: 0 done; 1 done, with failures; 2 wrong input, told on stderr; 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or os.environ.get("ZOOMIN_DEBUG") == "1"
    words = [word for word in words if word != "--debug"]
    place = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    chosen = _top_parser().parse_args(words[: place + 1]).command
    if chosen is None:
        _top_parser().print_help()
        return 0
    command = COMMANDS[chosen]
    try:
        if chosen == "bench":
            return int(importlib.import_module("zoomin.experiments.bench").main(words[place + 1 :]))
        parser = _parser(chosen, command)
        return command.run(parser, parser.parse_args(words[place + 1 :]))
    except ZoomInError as error:
        if debug:
            raise
        print(f"zoomin {chosen}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nzoomin {chosen}: interrupted. {command.resume}", file=sys.stderr)
        return INTERRUPTED


def _top_parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="zoomin",
        usage="zoomin [--help] [--version] [--debug] COMMAND ...",
        description="Classify very large images with tiny objects, and see where the model looked.",
        epilog=f"commands:\n{listed}\n\n`zoomin COMMAND --help` tells the options of each, with examples.\n"
        "`--debug`, or ZOOMIN_DEBUG=1, shows the traceback of an error.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"zoomin {__version__}")
    parser.add_argument(
        "command", nargs="?", choices=list(COMMANDS), metavar="COMMAND", help=argparse.SUPPRESS
    )
    return parser


def _parser(name: str, command: Command) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"zoomin {name}",
        usage=f"zoomin {name} {command.usage}",
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog=f"examples:\n{command.examples}",
        formatter_class=_HelpFormatter,
    )
    command.build(parser)
    return parser


# --------------------------------------------------------------------------- train, crossval


def _build_run(parser: ArgumentParser) -> None:
    from ..config import ZoomInConfig
    from ..data.datamodule import DataConfig
    from ..training.config import TrainConfig

    parser.add_argument("--config", action="config", help="a recipe (YAML); options given after it win")
    parser.add_class_arguments(DataConfig, "data")
    parser.add_class_arguments(ZoomInConfig, "model")
    parser.add_class_arguments(TrainConfig, "train")
    parser.add_argument("--out", type=str, default="runs/zoomin", help="folder of the run")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of all draws")
    parser.add_argument("--resume", type=bool, default=False, help="go on from the last checkpoint in --out")


def _run_config(values: Namespace) -> RunConfig:
    from ..training.fit import RunConfig

    return RunConfig(**{f.name: values[f.name] for f in fields(RunConfig)})


def _train(parser: ArgumentParser, options: Namespace) -> int:
    from ..training.fit import fit

    result = fit(_run_config(parser.instantiate(options)), progress=_is_shown())
    _print_metrics("Trained", result.metrics)
    _say(f"The run is in {result.folder}.")
    return 0


def _build_crossval(parser: ArgumentParser) -> None:
    from ..training.crossval import CrossvalConfig

    _build_run(parser)
    parser.add_class_arguments(CrossvalConfig, "cv")


def _crossval(parser: ArgumentParser, options: Namespace) -> int:
    from ..training.crossval import crossval
    from .tables import protocols_table

    values = parser.instantiate(options)
    run = _run_config(values)
    _print(protocols_table(crossval(run, values.cv, progress=_is_shown())))
    _say(f"Everything is in {run.out}.")
    return 0


# --------------------------------------------------------------------------- evaluate, predict


def _build_inference(parser: ArgumentParser) -> None:
    from ..predictions import InferenceConfig

    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, cuda:1 or mps")
    parser.add_class_arguments(InferenceConfig)


def _inference_config(options: Namespace) -> Any:  # noqa: ANN401 (imported late)
    from ..predictions import InferenceConfig

    return InferenceConfig(**{f.name: options[f.name] for f in fields(InferenceConfig)})


def _build_evaluate(parser: ArgumentParser) -> None:
    parser.add_argument("--run", type=str, required=True, help="folder of a finished run, or of a model")
    parser.add_argument(
        "--data.root",
        type=str | None,
        default=None,
        help="labelled images in any layout that train accepts, or a manifest CSV; by default the run's own",
    )
    parser.add_argument(
        "--split",
        type=str | None,
        default=None,
        help="train, val, test or all; by default test where the images have such a split, else all",
    )
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder for metrics.json, predictions.csv"
    )
    _build_inference(parser)


def _evaluate(parser: ArgumentParser, options: Namespace) -> int:
    from ..inference import evaluate, evaluation_manifest, load_model

    model = load_model(options.run, options.device)
    manifest = evaluation_manifest(options.run, options.data.root, options.split)
    metrics = evaluate(manifest, model, _inference_config(options), out=options.out, progress=_is_shown())
    _print_metrics(f"{options.run} on {manifest.source}", metrics)
    _warn_failed(metrics["failed"].items())
    if options.out is not None:
        _say(f"metrics.json and predictions.csv are in {options.out}.")
    return 0


def _build_predict(parser: ArgumentParser) -> None:
    parser.add_argument(
        "images", nargs="*", type=str, help="image files, folders of images, or glob patterns"
    )
    parser.add_argument("--run", type=str, required=True, help="folder of a finished run, or of a model")
    parser.add_argument(
        "--manifest", type=str | None, default=None, help="a CSV that lists the images instead"
    )
    parser.add_argument("--out", type=str, default="predictions.csv", help="the CSV to write")
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 if any image fails, not only if all do"
    )
    _build_inference(parser)


def _predict(parser: ArgumentParser, options: Namespace) -> int:
    from ..inference import find_images, iter_predictions, load_model, write_predictions

    config = _inference_config(options)
    model = load_model(options.run, options.device)
    images = find_images(options.images, options.manifest)
    rows = iter_predictions(images, model, config, progress=_is_shown())
    summary = write_predictions(rows, model.config.classes, options.out)
    counts = ", ".join(f"{count} {name}" for name, count in summary.counts.items())
    _say(f"{summary.done} of {summary.done + len(summary.failed)} images predicted ({counts}): {options.out}")
    _warn_failed(summary.failed)
    return int(not summary.done or (options.strict and bool(summary.failed)))


# --------------------------------------------------------------------------- demo, data, doctor


def _build_demo(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, default="report", help="folder of the report")
    parser.add_argument(
        "--work", type=str, default="demo", help="folder of the generated images and of the run"
    )
    parser.add_argument("--quick", action="store_true", help="fewer images and epochs, to see that it works")
    parser.add_argument("--seed", type=int, default=0, help="of images, weights and draws")


def _demo(parser: ArgumentParser, options: Namespace) -> int:
    from .demo import run_demo

    result = run_demo(
        options.out, options.work, quick=options.quick, seed=options.seed, say=_say, progress=_is_shown()
    )
    _print_metrics("On images that the model has never seen", result.metrics)
    low, high = result.metrics["accuracy_interval"]
    _say(
        f"Test accuracy {result.metrics['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}); "
        f"{result.hit_share:.0%} of the heaviest sub-tiles of positive images hit a needle "
        f"({result.chance_share:.1%} would by chance)."
    )
    _say(f"Open {Path(options.out) / 'index.html'}")
    return 0


def _build_data(parser: ArgumentParser) -> None:
    from ..data.needles import NeedleConfig

    parser.add_argument("action", choices=["make"], help="make: generate images")
    parser.add_argument(
        "kind", choices=["needles"], help="needles: tiny objects in busy images, with ROI masks"
    )
    parser.add_argument("--out", type=str, default="needles", help="a new folder")
    parser.add_class_arguments(NeedleConfig)


def _data(parser: ArgumentParser, options: Namespace) -> int:
    from ..data.needles import NeedleConfig, make_needles

    config = NeedleConfig(**{f.name: options[f.name] for f in fields(NeedleConfig)})
    manifest = make_needles(options.out, config)
    _say(f"{len(manifest)} images: {Path(options.out) / 'manifest.csv'}")
    return 0


def _build_nothing(parser: ArgumentParser) -> None:
    """A command without options of its own."""


def _doctor(parser: ArgumentParser, options: Namespace) -> int:
    from .doctor import examine
    from .tables import checks_table

    checks = examine()
    _print(checks_table(checks))
    broken = [check for check in checks if check.status == "broken"]
    _say(f"{len(broken)} things are broken." if broken else "Everything that is needed works.")
    return int(bool(broken))


def _bench(parser: ArgumentParser, options: Namespace) -> int:
    raise AssertionError("bench parses its own options")


# --------------------------------------------------------------------------- printing


def _say(text: str) -> None:
    print(text, flush=True)


def _print(thing: object) -> None:
    from rich.console import Console

    Console().print(thing)


def _is_shown() -> bool:
    return sys.stderr.isatty()


def _warn_failed(failed: Iterable[tuple[str, str]]) -> None:
    failures = list(failed)
    for _, error in failures[:5]:
        print(f"warning: {error}", file=sys.stderr)
    if len(failures) > 5:
        print(f"warning: and {len(failures) - 5} more failed; see the status column", file=sys.stderr)


def _print_metrics(title: str, metrics: Mapping[str, Any]) -> None:
    from .tables import metrics_table

    _print(metrics_table(title, metrics))


COMMANDS: dict[str, Command] = {
    "demo": Command(
        "make images with tiny objects, learn to find them, report; takes a few minutes",
        "[--out FOLDER] [--work FOLDER] [--quick] [--seed SEED]",
        "  zoomin demo --out report\n  zoomin demo --quick",
        _build_demo,
        _demo,
        "Give the same command again; images already made are kept.",
    ),
    "train": Command(
        "train a model on a folder for each class, a manifest CSV, or the colon-cancer data",
        "[--config RECIPE] --data.root IMAGES [--out FOLDER] [--SECTION.SETTING VALUE ...]",
        "  zoomin train --config recipes/colon_cancer.yaml --data.root DIR --out runs/first\n"
        "  zoomin train --data.root my_images --model.n_samples 20 --train.epochs 50\n"
        "  zoomin train --config runs/first/config.yaml --out runs/first --resume true\n"
        "  zoomin train --config recipes/colon_cancer.yaml --print_config",
        _build_run,
        _train,
        "Give the same command with --resume true to go on from the last epoch.",
    ),
    "crossval": Command(
        "train and judge on every fold: honest (last epoch) and best-epoch figures side by side",
        "[--config RECIPE] --data.root IMAGES [--out FOLDER] [--SECTION.SETTING VALUE ...]",
        "  zoomin crossval --config recipes/colon_cancer.yaml --data.root DIR --out runs/cv\n"
        "  zoomin crossval --config recipes/colon_cancer.yaml --data.root DIR --cv.folds 5",
        _build_crossval,
        _crossval,
        "Give the same command with --resume true to go on with the folds that are left.",
    ),
    "evaluate": Command(
        "judge a trained model on labelled images",
        "--run FOLDER [--data.root IMAGES] [--split SPLIT] [--out FOLDER] [options]",
        "  zoomin evaluate --run runs/first\n"
        "  zoomin evaluate --run runs/first --data.root other_hospital/manifest.csv --split all --out judged",
        _build_evaluate,
        _evaluate,
    ),
    "predict": Command(
        "classify images: files, folders, patterns, or a manifest CSV",
        "IMAGES ... --run FOLDER [--manifest CSV] [--out CSV] [options]",
        "  zoomin predict slides/ --run runs/first --out predictions.csv\n"
        "  zoomin predict a.png 'more/*.tif' --run runs/first --replicates 32\n"
        "  zoomin predict --manifest list.csv --run runs/first --strict",
        _build_predict,
        _predict,
        "The rows so far are in the file --out with .part added.",
    ),
    "data": Command(
        "make images to try things on",
        "make needles [--out FOLDER] [options]",
        "  zoomin data make needles --out needles\n"
        "  zoomin data make needles --out big --min_size 2000 --max_size 4000 --n_train 50",
        _build_data,
        _data,
    ),
    "bench": Command(
        "measure speed against the simplest correct version",
        "[options]",
        "  zoomin bench --help",
        _build_nothing,
        _bench,
    ),
    "doctor": Command("look the installation over", "", "  zoomin doctor", _build_nothing, _doctor),
}


if __name__ == "__main__":
    raise SystemExit(main())
