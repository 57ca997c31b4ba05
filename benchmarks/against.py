"""Two checkouts side by side: CPU seconds, wall seconds and memory of whole commands, reads and training.

    python benchmarks/against.py OLD NEW [--jobs predict] [--runs 3] [--json results/speed.json]

OLD and NEW are roots of checkouts. Each job runs in a fresh process, old and new in turn; medians of the
runs, their ratio and the least and largest ratio are printed. CPU seconds are user and system, as the
operating system counts them. A slide of 20,000 x 20,000 pixels and models are generated once, into --work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image
from rich.progress import Progress

APERIO = "Aperio Image Library v11.2.1\r\n20000x20000 (256x256) JPEG/RGB Q=80|AppMag = 20|MPP = 0.5"
LOAD = "import zoomin; zoomin.load_model('{work}/{model}')"
READS = """
import random, time, zoomin
from zoomin.geometry import Region
image, draw = zoomin.open_image("{work}/{file}"), random.Random(0)
corners = [(draw.randrange(19000), draw.randrange(19000)) for _ in range(400)]
image.read([Region(0, 0, 256, 256)], 1.0)
start = time.process_time()
for x, y in corners if {batch} == 1 else []:
    image.read([Region(x, y, {side}, {side})], {scale})
for first in range(0, 400, {batch}) if {batch} > 1 else []:
    image.read([Region(x, y, {side}, {side}) for x, y in corners[first : first + {batch}]], {scale})
print("CPU", time.process_time() - start)
"""
MODELS = """
from zoomin import ZoomIn, ZoomInConfig
trunk = "timm:tf_efficientnet_lite0"
sizes = dict(tile_size=800, sub_tile_size=128, tile_scale=0.125, sub_tile_scale=0.25, n_samples=32, mpp=None)
ZoomIn(ZoomInConfig(**sizes)).save_pretrained("{work}/lenet")
names = dict(tile_attention=trunk, position_attention=trunk, features=trunk, pretrained=True)
ZoomIn(ZoomInConfig(**sizes, **names)).save_pretrained("{work}/lite0")
"""
STEPS = """
import time
from zoomin.app.cli import main
spent = []
for run, epochs in enumerate((1, 1, 9)):
    start = time.process_time()
    main(["train", "--config", "{checkout}/recipes/colon_cancer.yaml", "--data.root", "{work}/small",
          "--train.contrastive_from_epoch", "0", "--train.epochs", str(epochs), "--out", "{out}/" + str(run)])
    spent.append(time.process_time() - start)
print("CPU", spent[2] - spent[1])
"""
CLI = ("-m", "zoomin.app.cli")
PREDICT = (*CLI, "predict", "{work}/slides/{slide}", "--out", "{out}/predictions.csv")
TRAIN = (*CLI, "train", "--config", "{checkout}/recipes/colon_cancer.yaml", "--data.root", "{work}/small")
JOBS: dict[str, tuple[str, ...]] = {  # arguments of python
    "import torch (for comparison)": ("-c", "import torch"),
    "import zoomin": ("-c", "import zoomin"),
    "load_model, LeNet": ("-c", LOAD.replace("{model}", "lenet")),
    "load_model, EfficientNet-Lite0": ("-c", LOAD.replace("{model}", "lite0")),
    "zoomin predict --help": (*CLI, "predict", "--help"),
    "zoomin train --help": (*CLI, "train", "--help"),
    **{  # drawn once: else "auto" reads every sub-tile of a small image, and start-up is the smaller part
        f"predict, one small image, {name}": (
            *(*CLI, "predict", "{work}/small/0/0.png", "--run", f"{{work}}/{model}"),
            *("--sampling", "systematic", "--replicates", "1", "--out", "{out}/predictions.csv"),
        )
        for name, model in (("LeNet", "lenet"), ("EfficientNet-Lite0", "lite0"))
    },
    "predict, slide, LeNet": (*PREDICT, "--run", "{work}/lenet", "--sampling", "systematic"),
    "predict, slide, EfficientNet-Lite0": (*PREDICT, "--run", "{work}/lite0", "--sampling", "systematic"),
    "train, colon recipe, 2 epochs": (*TRAIN, "--train.epochs", "2", "--out", "{out}/run"),
    "train, 8 more epochs of 4 steps": ("-c", STEPS),
    **{
        f"read {side} {how} of a {kind}": (
            "-c",
            READS.replace("{file}", file)
            .replace("{batch}", batch)
            .replace("{side}", side)
            .replace("{scale}", scale),
        )
        for kind, file in (
            ("YCbCr pyramid", "slides/{slide}"),
            ("RGB pyramid", "rgb.tif"),
            ("SVS", "rgb.svs"),
        )
        for side, scale, batch, how in (
            ("256", "1.0", "1", "one by one"),
            ("256", "1.0", "32", "32 at once"),
            ("800", "0.125", "32", "at 1/8, 32 at once"),
        )
    },
}


class Cost(NamedTuple):
    """What a process used.

    Attributes:
        cpu: seconds; of the part that the job measures itself, where it does.
        wall: seconds.
        memory: peak resident, MB.
    """

    cpu: float
    wall: float
    memory: float


def cost(checkout: Path, arguments: Sequence[str]) -> Cost:
    """What a python process with the library of a checkout uses.

    Raises:
        RuntimeError: if it fails.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": f"{checkout / 'src'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    environment["OMP_NUM_THREADS"] = "1"
    start = time.perf_counter()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            cwd=tempfile.gettempdir(),
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        printed.seek(0)
        text = printed.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(
            f"python {' '.join(arguments)} failed with the library in {checkout}:\n{text[-2000:]}"
        )
    own = [float(line[4:]) for line in text.splitlines() if line.startswith("CPU ")]
    return Cost(own[0] if own else used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)


def prepare(old: Path, work: Path) -> str:
    """Generate the slide, the small images and the models, where they are not there yet.

    Args:
        old: the checkout that saves the models, which both can load.
        work: the folder of what is generated.

    Returns:
        The slide's file, in its folder.
    """
    if not (work / "small").is_dir():
        for place in range(24):
            path = work / "small" / str(place % 2) / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((500, 500), 60 + 20 * (place % 2)).convert("RGB").save(path)
    if not (work / "lite0").is_dir():
        cost(old, ["-c", MODELS.replace("{work}", str(work))])
    if not (work / "slides").is_dir():
        count = ("--n_train", "0", "--n_val", "0", "--n_test", "1")
        cost(old, [*CLI, "data", "make", "slides", "--out", str(work / "slides"), *count])
    slide = next((work / "slides").rglob("*.tif"))
    for name in ("rgb.svs", "rgb.tif"):
        if not (work / name).is_file():
            convert(slide, work / name)
    return slide.relative_to(work / "slides").as_posix()


def convert(slide: Path, path: Path) -> None:
    """The same slide in JPEG of red, green and blue: as Aperio's scanners write it, or a plain pyramid."""
    half = path.with_suffix(".part")
    with tifffile.TiffFile(slide) as source, tifffile.TiffWriter(half, bigtiff=True) as file:
        pages = [
            page for page in source.pages if path.suffix == ".tif" or page.imagewidth in (20000, 5000, 1250)
        ]
        for page in pages:
            file.write(
                (np.asarray(tile)[0] for tile, _, _ in page.segments()),
                shape=page.shape,
                dtype=page.dtype,
                tile=(page.tilelength, page.tilewidth),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 80, "outcolorspace": "rgb"},
                description=APERIO if path.suffix == ".svs" else None,
                metadata=None,
                subfiletype=0 if path.suffix == ".svs" or page is pages[0] else 1,
            )
    half.rename(path)


def compare(old: Path, new: Path, work: Path, jobs: Sequence[str], runs: int) -> dict[str, dict[str, float]]:
    """The costs of some jobs in both checkouts, interleaved, and the ratios of their medians."""
    slide = prepare(old, work)
    results = {}
    print(f"{'':<36}{'old s':>8}{'new s':>8}{'ratio':>7}{'spread':>15}{'old MB':>8}{'new MB':>8}", flush=True)
    with Progress(transient=True) as progress:
        task = progress.add_task("measuring", total=len(jobs) * (runs + 1))
        for name in jobs:
            found: list[tuple[Cost, Cost]] = []
            for _ in range(runs + 1):  # the first fills the caches of the system
                pair = []
                for checkout in (old, new):
                    with tempfile.TemporaryDirectory() as out:
                        names = {"work": work, "slide": slide, "out": out, "checkout": checkout}
                        pair.append(cost(checkout, [_filled(part, names) for part in JOBS[name]]))
                found.append((pair[0], pair[1]))
                progress.advance(task)
            results[name] = _summary(found[1:])
            one = results[name]
            spread = f"{one['least_ratio']:.2f} to {one['most_ratio']:.2f}"
            print(
                f"{name:<36}{one['old_cpu']:8.2f}{one['new_cpu']:8.2f}{one['ratio']:7.2f}{spread:>15}"
                f"{one['old_mb']:8.0f}{one['new_mb']:8.0f}",
                flush=True,
            )
    return results


def _filled(text: str, names: dict[str, object]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def _summary(found: Sequence[tuple[Cost, Cost]]) -> dict[str, float]:
    """Medians of both, and the ratios of CPU seconds."""
    ratios = [new.cpu / old.cpu for old, new in found]
    summary = {"least_ratio": min(ratios), "most_ratio": max(ratios)}
    for which, name in enumerate(("old", "new")):
        summary[f"{name}_cpu"] = statistics.median(pair[which].cpu for pair in found)
        summary[f"{name}_wall"] = statistics.median(pair[which].wall for pair in found)
        summary[f"{name}_mb"] = statistics.median(pair[which].memory for pair in found)
    return {**summary, "ratio": summary["new_cpu"] / summary["old_cpu"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare two checkouts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--jobs", nargs="+", default=[""], help="jobs whose names contain one of these")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "zoomin_against")
    parser.add_argument("--json", type=Path, help="write the results there too")
    chosen = parser.parse_args(arguments)
    jobs = [name for name in JOBS if any(part in name for part in chosen.jobs)]
    results = compare(chosen.old.resolve(), chosen.new.resolve(), chosen.work.resolve(), jobs, chosen.runs)
    if chosen.json is not None:
        load = os.getloadavg()[0]
        about = {"date": date.today().isoformat(), "runs": chosen.runs, "load": load, "python": sys.version}
        chosen.json.write_text(
            json.dumps({"about": about, "jobs": results}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
