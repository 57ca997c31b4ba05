"""Long use: resident memory, open files and threads stay where they are.

    python benchmarks/soak.py --predictions 2000 --epochs 100 --requests 5000 --out results/soak.json

Tiny images and a tiny network, on one thread of the processor. Each part is watched after a tenth of it, when
caches are full, and at its end. The exit code is 1 where memory grew by more than a tenth in between, or
files or threads by more than two.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning.pytorch.callbacks import Callback

from viewer import serve, stop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

Seen = dict[str, Any]


def main() -> int:
    """Run the parts; the exit code is 1 where something grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predictions", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--requests", type=int, default=5000, help="to the viewer")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = {
            "predictions": predictions(folder, options.predictions),
            "epochs": epochs(folder, options.epochs),
            "requests": requests(folder, options.requests),
        }
    text = json.dumps(parts, indent=2)
    print(table(parts))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    return int(not all(part["flat"] for part in parts.values()))


def table(parts: dict[str, Seen]) -> str:
    """The figures in Markdown."""
    lines = [
        "| part | count | memory, MiB | open files | threads | flat |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, part in parts.items():
        early, late = part["after a tenth"], part["at the end"]
        cells = [f"{early[what]} to {late[what]}" for what in ("mebibytes", "files", "threads")]
        flat = "yes" if part["flat"] else "no"
        lines.append(f"| {name} | {part['count']} | {' | '.join(cells)} | {flat} |")
    return "\n".join(lines)


def looked(process: psutil.Process) -> Seen:
    """What a process holds."""
    return {
        "mebibytes": round(process.memory_info().rss / 2**20, 1),
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }


def compared(early: Seen, late: Seen, count: int, begin: float) -> Seen:
    """Whether it holds more late than early."""
    more = {name: late[name] - early[name] for name in early}
    flat = more["mebibytes"] <= early["mebibytes"] / 10 and max(more["files"], more["threads"]) <= 2
    return {
        "count": count,
        "seconds": round(time.perf_counter() - begin, 1),
        "after a tenth": early,
        "at the end": late,
        "flat": flat,
    }


def predictions(folder: Path, count: int) -> Seen:
    """Small pyramids and a PNG, one after another, each opened anew."""
    from PIL import Image

    from slides import picture, pyramid
    from zoomin import ZoomIn, ZoomInConfig, predict

    paths = [pyramid(folder / f"{number}.tif", picture(seed=number)) for number in range(7)]
    Image.fromarray(picture()).save(folder / "a.png")
    paths.append(folder / "a.png")
    net = ZoomIn(ZoomInConfig(tile_size=64, sub_tile_size=19, n_samples=3)).eval()
    begin, process, early = time.perf_counter(), psutil.Process(), Seen()
    for number in range(count):
        (row,) = predict([paths[number % len(paths)]], net)
        assert row.label is not None, row.error
        early = looked(process) if number == count // 10 else early
    return compared(early, looked(process), count, begin)


class _Watch(Callback):
    """Looks at the process after each epoch."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def on_train_epoch_end(self, *_: object) -> None:
        self.seen.append(looked(psutil.Process()))


def epochs(folder: Path, count: int) -> Seen:
    """A training of eight images, with validation and checkpoints."""
    from training_examples import make_images, run_config
    from zoomin.training.fit import fit

    watch, begin = _Watch(), time.perf_counter()
    config = run_config(make_images(folder / "images"), folder / "run", epochs=count)
    fit(config, progress=False, callbacks=[watch])
    return compared(watch.seen[count // 10], watch.seen[-1], count, begin)


def requests(folder: Path, count: int) -> Seen:
    """Pages, records and picture tiles of the viewer, four at a time."""
    from slides import picture, pyramid
    from viewer_examples import example_explanation
    from zoomin.explanation import Entry, Index
    from zoomin.explanation.index import write_index
    from zoomin.images.open_image import open_image

    slide = open_image(pyramid(folder / "slide.tif", picture(2048, 2048)))
    one = example_explanation(slide, (700, 700), tile_size=512)
    one.save(folder / "shown" / "explanations" / "one")
    write_index(Index("m", one.classes, (Entry.of(one, "one"),)), folder / "shown" / "explanations")
    process, printed = serve(folder / "shown")
    address, token = printed.split("?")
    random_, watched, early = random.Random(0), psutil.Process(process.pid), Seen()
    kinds = ("", "image/0.json", "image/0/pixels/{z}/{x}/{y}")

    def ask(_: int) -> None:
        zoom = random_.randint(0, 3)
        x, y = (random_.randrange(2**zoom) for _ in "xy")
        url = f"{address}{random_.choice(kinds).format(z=zoom, x=x, y=y)}?{token}"
        try:
            urllib.request.urlopen(url).read()
        except urllib.error.HTTPError as error:
            assert error.code == 404, url  # no such tile

    begin = time.perf_counter()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(count // 10)))
            early = looked(watched)
            list(pool.map(ask, range(count - count // 10)))
        return compared(early, looked(watched), count, begin)
    finally:
        stop(process)


if __name__ == "__main__":
    raise SystemExit(main())
