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

LOAD = "import zoomin; zoomin.load_model({folder!r})"
JOBS = {  # arguments of python; {folder} has the two saved models
    "load_model, EfficientNet-Lite0": ("-c", LOAD, "lite0"),
    "load_model, LeNet": ("-c", LOAD, "lenet"),
    "zoomin predict --help": ("-m", "zoomin.app.cli", "predict", "--help"),
    "zoomin train --help": ("-m", "zoomin.app.cli", "train", "--help"),
    "import zoomin": ("-c", "import zoomin"),
    "import torch (for comparison)": ("-c", "import torch"),
}
MODELS = """
from zoomin.model import ZoomIn, ZoomInConfig
trunk = "timm:tf_efficientnet_lite0"
sizes = dict(tile_size=512, sub_tile_size=64, tile_scale=0.125, sub_tile_scale=0.25)
ZoomIn(ZoomInConfig(**sizes)).save_pretrained({folder!r} + "/lenet")
names = dict(tile_attention=trunk, position_attention=trunk, features=trunk)
ZoomIn(ZoomInConfig(**sizes, **names)).save_pretrained({folder!r} + "/lite0")
"""


def cost(checkout: Path, arguments: Sequence[str]) -> tuple[float, float]:
    """CPU seconds and peak MB of a python process with the library of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir()
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} failed with the library in {checkout}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def compare(old: Path, new: Path, runs: int) -> dict[str, dict[str, float]]:
    """The median costs of every job in both checkouts, and their ratio."""
    results = {}
    print(f"{'':<32}{'old s':>8}{'new s':>8}{'ratio':>8}{'old MB':>8}{'new MB':>8}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        cost(old, ["-c", MODELS.format(folder=folder)])
        for name, job in JOBS.items():
            flag, code, *rest = job
            arguments = [flag, code.format(folder=f"{folder}/{rest.pop()}") if "{" in code else code, *rest]
            found = [(cost(old, arguments), cost(new, arguments)) for _ in range(runs + 1)][1:]
            (old_s, old_mb), (new_s, new_mb) = (
                [statistics.median(pair[which][part] for pair in found) for part in (0, 1)]
                for which in (0, 1)
            )
            ratio = new_s / old_s
            results[name] = {
                "old_seconds": old_s,
                "new_seconds": new_s,
                "ratio": ratio,
                "old_mb": old_mb,
                "new_mb": new_mb,
            }
            print(f"{name:<32}{old_s:8.2f}{new_s:8.2f}{ratio:8.2f}{old_mb:8.0f}{new_mb:8.0f}", flush=True)
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
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
