"""Start-up cost of two checkouts, side by side: CPU seconds and memory of imports, help and loading a model.

    python benchmarks/startup.py OLD NEW [--runs 5]

OLD and NEW are roots of checkouts. Each job runs in a fresh process, old and new in turn, and the median of
the CPU seconds (user and system, by the operating system's count) and of the peak memory is told.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

JOBS = {
    "zoomin predict --help": "-m zoomin.app.cli predict --help",
    "zoomin train --help": "-m zoomin.app.cli train --help",
    "import zoomin": "-c 'import zoomin'",
    "load_model, LeNet": "-c 'import zoomin; zoomin.load_model({folder!r} + \"/lenet\")'",
    "load_model, EfficientNet-Lite0": "-c 'import zoomin; zoomin.load_model({folder!r} + \"/lite0\")'",
    "import torch (for comparison)": "-c 'import torch'",
}
MODELS = """
from zoomin.model import ZoomIn, ZoomInConfig
trunk = "timm:tf_efficientnet_lite0"
sizes = dict(tile_size=512, sub_tile_size=64, tile_scale=0.125, sub_tile_scale=0.25)
ZoomIn(ZoomInConfig(**sizes)).save_pretrained({folder!r} + "/lenet")
names = dict(tile_attention=trunk, position_attention=trunk, features=trunk)
ZoomIn(ZoomInConfig(**sizes, **names)).save_pretrained({folder!r} + "/lite0")
"""


def cost(checkout: Path, arguments: str) -> tuple[float, float]:
    """CPU seconds and peak MB of a python process with the library of a checkout."""
    command = f"{sys.executable} {arguments}"
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, shell=True, env=environment, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir()
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} failed with the library in {checkout}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def compare(old: Path, new: Path, runs: int) -> dict[str, dict[str, float]]:
    """The median costs of every job in both checkouts, and their ratio."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "make.py"
        made.write_text(MODELS.format(folder=folder))
        cost(old, str(made))
        for name, job in JOBS.items():
            arguments = job.format(folder=folder) if "{" in job else job
            found = [(cost(old, arguments), cost(new, arguments)) for _ in range(runs + 1)][1:]
            medians = [
                statistics.median(pair[which][part] for pair in found) for which in (0, 1) for part in (0, 1)
            ]
            keys = ("old_seconds", "old_mb", "new_seconds", "new_mb")
            results[name] = {**dict(zip(keys, medians, strict=True)), "ratio": medians[2] / medians[0]}
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare two checkouts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the results there too")
    chosen = parser.parse_args(arguments)
    results = compare(chosen.old.resolve(), chosen.new.resolve(), chosen.runs)
    print(f"{'':<32}{'old s':>8}{'new s':>8}{'ratio':>8}{'old MB':>8}{'new MB':>8}")
    for name, r in results.items():
        numbers = f"{r['old_seconds']:8.2f}{r['new_seconds']:8.2f}{r['ratio']:8.2f}"
        print(f"{name:<32}{numbers}{r['old_mb']:8.0f}{r['new_mb']:8.0f}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
