"""`zoomin bench` and `zoomin doctor`: the machine and the installation."""

from __future__ import annotations

import json
from dataclasses import asdict

from jsonargparse import ArgumentParser, Namespace

from .command import Command, of_options, option, print_rich, say

__all__ = ["BENCH", "DOCTOR"]


def _build_doctor(parser: ArgumentParser) -> None:
    option(parser, "--json", False, "print the checks as JSON, instead of the table")


def _doctor(parser: ArgumentParser, options: Namespace) -> int:
    from ..console_tables import checks_table
    from ..doctor import examine

    checks = examine()
    broken = [check for check in checks if check.status == "broken"]
    if options.json:
        say(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print_rich(checks_table(checks))
        count = "1 thing is" if len(broken) == 1 else f"{len(broken)} things are"
        say(f"{count} broken." if broken else "Everything required works.")
    return int(bool(broken))


def _build_bench(parser: ArgumentParser) -> None:
    from ...experiments.bench_config import PARTS, PRECISIONS, BenchConfig, Part, Precision

    default = BenchConfig()
    option(parser, "--repeats", default.repeats, "pairs of runs per comparison; more narrow the spread")
    option(parser, "--device", default.device, "cpu, cuda or cuda:1")
    option(parser, "--threads", default.threads, "processor threads; few, so that other work disturbs less")
    option(parser, "--out", None, "JSON file for the numbers, beside the table that is printed")
    text = "what to measure: a training step, the prediction of 100 images, a step as the batch grows"
    parser.add_argument("--parts", nargs="+", type=Part, default=list(PARTS), help=text)
    text = "networks f, as for --model.features; by default two of the colon-cancer recipes"
    parser.add_argument("--features", nargs="+", type=str, default=list(default.features), help=text)
    text = "number formats of the networks"
    parser.add_argument("--precisions", nargs="+", type=Precision, default=list(PRECISIONS), help=text)


def _bench(parser: ArgumentParser, options: Namespace) -> int:
    from ...experiments.bench import run_bench
    from ...experiments.bench_config import BenchConfig

    run_bench(of_options(BenchConfig, options))
    return 0


BENCH = Command(
    "measure speed against a simple reference implementation",
    "[options]",
    "  zoomin bench\n"
    "  zoomin bench --parts train --features lenet --precisions float32 --repeats 50\n"
    "  zoomin bench --device cuda --out bench.json",
    _build_bench,
    _bench,
)

DOCTOR = Command(
    "check the installation", "[--json]", "  zoomin doctor\n  zoomin doctor --json", _build_doctor, _doctor
)
