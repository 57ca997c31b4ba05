"""How time and memory of a prediction grow: with the image's area, N, the number of images, and of tiles.

    python benchmarks/growth.py --out results/growth.json [--axes area N images tiles] [--runs 2]
    python benchmarks/growth.py --draw results/growth.json

Each point is a process of its own that loads a network, predicts a small image, and then is measured. The
images are pyramids of up to 100 gigapixels in which all stored tiles of tissue are one and the same, and
those of glass too: as much to decode as in any image, and small on disk. An exponent is the slope of the
largest half of the points, both axes logarithmic: 1 grows in proportion. Memory is what lies above the loaded
libraries and the network. Writes the numbers, a table (.md) and figures (.png, .svg) of that name.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from matplotlib.ticker import LogFormatter
from PIL import Image
from rich.progress import Progress

from gigapixel_jobs import GEOMETRY, peak_memory, resident_memory
from zoomin.experiments.bench import machine
from zoomin.experiments.figures import new_figure, tidy
from zoomin.files import write_json, write_text
from zoomin.inference.config import InferenceConfig
from zoomin.inference.prediction import iter_predictions
from zoomin.model.config import ZoomInConfig
from zoomin.model.zoom_in import ZoomIn

TILE, WHOLE = 256, 32  # side of stored tiles, pixels; reduction of the last level
SHARE, GLASS = 0.4, (240, 238, 242)  # of the image that is tissue; the colour of the rest
SMALL = 10_000  # side of the image that is predicted first, pixels

Point = dict[str, Any]

BASE: Point = {"gigapixels": 1.0, "N": 100, "images": 1, "tile_size": GEOMETRY["tile_size"]}
AXES: dict[str, tuple[str, list[Point]]] = {
    "area": ("gigapixels", [{"gigapixels": size} for size in (1.0, 3.0, 10.0, 30.0, 100.0)]),
    "N": ("N", [{"N": n} for n in (10, 30, 100, 300, 1000, 3000)]),
    "images": ("images", [{"images": n, "gigapixels": 0.1} for n in (1, 2, 4, 8, 16, 32)]),
    "tiles": ("tiles", [{"tile_size": side} for side in (12800, 6400, 3200, 1600, 800)]),
}


def write_giant(path: Path, side: int) -> None:
    """A square pyramid, its resolutions halved: a disc of tissue of two fifths, of one stored tile, on glass.

    The offsets of most tiles are set after writing: tifffile writes each tile once. Tissue ends between tiles
    of the last level, so that a stored tile is all of one kind.

    Args:
        path: to write.
        side: pixels; more than a tile of the last level, 8,192.
    """
    draw = np.random.default_rng(0)
    rough = Image.fromarray(draw.integers(60, 255, (TILE // 8, TILE // 8, 3), dtype=np.uint8))
    texture = rough.resize((TILE, TILE), Image.Resampling.BICUBIC)
    blocks = math.ceil(side / (TILE * WHOLE))
    y, x = (np.mgrid[:blocks, :blocks] + 0.5) / (side / TILE / WHOLE) - 0.5
    tissue = np.hypot(x, y) < math.sqrt(SHARE / math.pi)
    levels = []
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for factor in (2**power for power in range(int(math.log2(WHOLE)) + 1)):
            size = side // factor
            across = math.ceil(size / TILE)
            levels.append(np.kron(tissue, np.ones((WHOLE // factor,) * 2, bool))[:across, :across])
            pair = [_encoded(Image.new("RGB", (TILE, TILE), GLASS)), _encoded(texture)]
            writer.write(
                (pair[place] if place < 2 else b"" for place in range(across**2)),
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=int(factor > 1),
                metadata=None,
            )
            small = texture.resize((TILE // 2, TILE // 2), Image.Resampling.BOX)
            texture = Image.fromarray(np.tile(np.asarray(small), (2, 2, 1)))
    with tifffile.TiffFile(path, mode="r+b") as file:
        for page, kinds in zip(file.pages, levels, strict=True):
            for name in ("TileOffsets", "TileByteCounts"):
                tag = page.tags[name]
                tag.overwrite(np.take(tag.value[:2], kinds.ravel().astype(int)).tolist())


def _encoded(tile: Image.Image) -> bytes:
    buffer = io.BytesIO()
    tile.save(buffer, "JPEG", quality=85, subsampling=2)
    return buffer.getvalue()


def predict(point: Point, images: Sequence[str], first_on: str, networks: str) -> Point:
    """Predict images after another one; what that took in this process."""
    sizes = {**GEOMETRY, "tile_size": point["tile_size"], "n_samples": point["N"]}
    features = "lenet_released" if networks.startswith("lenet") else networks
    config = ZoomInConfig(
        tile_attention=networks,
        position_attention=networks,
        features=features,
        **sizes,
    )
    model = ZoomIn(config).eval()
    settings = InferenceConfig(sampling="multinomial", replicates=1, threads=1)
    loaded = resident_memory()
    list(iter_predictions([first_on], model, settings))
    start, busy = time.perf_counter(), time.process_time()
    rows = list(iter_predictions(list(images), model, settings))
    failed = [row.error for row in rows if row.label is None]
    if failed:
        raise RuntimeError(failed[0])
    used = {"cpu": time.process_time() - busy, "wall": time.perf_counter() - start}
    return {**used, "memory": peak_memory() - loaded}


def measure(
    axes: Sequence[str], runs: int, networks: str, scale: float, work: Path
) -> dict[str, list[Point]]:
    """All points of some axes, each in processes of their own; medians of the runs.

    Args:
        axes: of `AXES`.
        runs: processes for each point.
        networks: for attention and features.
        scale: of the areas; below 1 to try the script.
        work: where images are generated.
    """
    found: dict[str, list[Point]] = {}
    with Progress(transient=True) as progress:
        task = progress.add_task("measuring", total=sum(len(AXES[name][1]) for name in axes) * runs)
        for name in axes:
            found[name] = []
            for given in AXES[name][1]:
                point = {**BASE, **given}
                side = round(math.sqrt(point["gigapixels"] * scale * 1e9))
                path = _giant(work, side)
                costs = []
                for _ in range(runs):
                    costs.append(_in_process(point, path, _giant(work, SMALL), networks))
                    progress.advance(task)
                middle = {key: statistics.median(cost[key] for cost in costs) for key in costs[0]}
                spread = [min(cost["cpu"] for cost in costs), max(cost["cpu"] for cost in costs)]
                tiles = math.ceil(side / point["tile_size"]) ** 2
                gigapixels = side**2 / 1e9
                found[name].append(
                    {**point, "gigapixels": gigapixels, "tiles": tiles, **middle, "spread": spread}
                )
                print(name, found[name][-1], flush=True)
    return found


def _giant(work: Path, side: int) -> Path:
    path = work / f"{side}.tif"
    if not path.is_file():
        part = path.with_suffix(".part")
        write_giant(part, side)
        part.rename(path)
    return path


def _in_process(point: Point, path: Path, first_on: Path, networks: str) -> Point:
    """What `predict` of a point takes.

    Raises:
        RuntimeError: with what the process wrote, if it failed.
    """
    words = json.dumps([point, [str(path)] * point["images"], str(first_on), networks])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--point", words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    cost: Point = json.loads(done.stdout.splitlines()[-1])
    return cost


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of the upper half of some points, both axes logarithmic; at least of two points."""
    half = max(2, (len(x) + 1) // 2)
    return float(np.polyfit(np.log(x[-half:]), np.log(np.maximum(y[-half:], 1e-9)), 1)[0])


def exponents(found: dict[str, list[Point]]) -> dict[str, dict[str, float]]:
    """Of CPU seconds and memory, along each axis."""
    return {
        name: {
            which: exponent([point[AXES[name][0]] for point in points], [point[which] for point in points])
            for which in ("cpu", "memory")
        }
        for name, points in found.items()
    }


def table(report: Point) -> str:
    """The numbers as Markdown."""
    about = report["about"]
    runs = "one run" if about["runs"] == 1 else f"medians of {about['runs']} runs"
    lines = [
        "# Growth",
        "",
        f"`python benchmarks/growth.py`: {about['date'][:10]}, {about['processor']}, one thread, load "
        f"{about['load']} at the end, torch {about['torch']}, zoomin {about['zoomin']}; networks "
        f"{about['networks']}, one replicate, no foreground, {runs}.",
    ]
    for name, points in report["axes"].items():
        slopes = report["exponents"][name]
        lines += [
            "",
            f"## {name}: CPU seconds grow with exponent {slopes['cpu']:.2f}, memory {slopes['memory']:.2f}",
            "",
            "| gigapixels | N | images | tiles | CPU s (least to most) | wall s | MB above the libraries |",
            "| ---: | ---: | ---: | ---: | --- | ---: | ---: |",
        ]
        lines += [
            f"| {point['gigapixels']:.3g} | {point['N']} | {point['images']} | {point['tiles']:,} | "
            f"{point['cpu']:.2f} ({point['spread'][0]:.2f} to {point['spread'][1]:.2f}) | "
            f"{point['wall']:.2f} | {point['memory']:.0f} |"
            for point in points
        ]
    return "\n".join(lines) + "\n"


def draw(report: Point, path: Path) -> None:
    """A panel per axis and quantity, with the line of proportion."""
    figure = new_figure(3.0 * len(report["axes"]), 5.6)
    panels = figure.subplots(2, len(report["axes"]), squeeze=False)
    for column, (name, points) in enumerate(report["axes"].items()):
        x = [point[AXES[name][0]] for point in points]
        for row, (which, label) in enumerate((("cpu", "CPU seconds"), ("memory", "MB above the libraries"))):
            axes, y = panels[row, column], [point[which] for point in points]
            axes.plot(x, [y[-1] * value / x[-1] for value in x], "--", color="0.7", linewidth=1)
            axes.plot(x, y, "o-", markersize=4)
            axes.set(xscale="log", yscale="log", xlabel="gigapixels" if name == "area" else name)
            axes.set_ylim(min(y) / 2, max(y) * 2)
            axes.set_title(f"exponent {report['exponents'][name][which]:.2f}", fontsize=9)
            if column == 0:
                axes.set_ylabel(label)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter())
            tidy(axes)
    figure.savefig(path.with_suffix(".png"))
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--networks", default="lenet_relu", help="lenet_relu (default) or resnet16")
    parser.add_argument("--scale", type=float, default=1.0, help="of all areas; small to try the script")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "zoomin_growth")
    parser.add_argument("--draw", type=Path, help="only draw what is in this JSON file")
    parser.add_argument("--point", help=argparse.SUPPRESS)  # a process of `measure`
    options = parser.parse_args(arguments)
    if options.point is not None:
        print(json.dumps(predict(*json.loads(options.point))))
        return 0
    out = options.draw or options.out
    if options.draw is None:
        options.work.mkdir(parents=True, exist_ok=True)
        axes = measure(options.axes, options.runs, options.networks, options.scale, options.work)
        about = {**machine("cpu", 1), "networks": options.networks, "runs": options.runs}
        write_json(out, {"about": about, "axes": axes, "exponents": exponents(axes)})
    report = json.loads(out.read_text(encoding="utf-8"))
    write_text(out.with_suffix(".md"), table(report))
    draw(report, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
