"""The viewer on a slide of ten gigapixels: time until the page is ready, memory over many picture tiles.

    python benchmarks/viewer.py --out results/viewer.json

The slide is made first (tests/giant_slide.py). Needs Chromium and psutil.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

SIDE = 102_400  # pixels: 10.5 gigapixels


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(Path(folder))
        result = {
            "slide": f"{SIDE} x {SIDE} pixels, JPEG blocks, pyramid",
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "load": os.getloadavg()[0],
            **starts(run, options.repeats),
            **requests(run, options.requests),
        }
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def prepare(folder: Path) -> Path:
    from giant_slide import make_giant_slide
    from viewer_examples import example_explanation
    from zoomin.explanation import Entry, Index
    from zoomin.explanation.index import write_index
    from zoomin.images.open_image import open_image

    slide = make_giant_slide(folder / "giant.tif", SIDE)
    one = example_explanation(open_image(slide.path), slide.landmark, tile_size=2048, sub_tile_size=256)
    one.save(folder / "run" / "explanations" / "giant")
    write_index(Index("m", one.classes, (Entry.of(one, "giant"),)), folder / "run" / "explanations")
    return folder / "run"


def serve(run: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "zoomin.app.cli", "view", "--run", str(run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(30)


def starts(run: Path, repeats: int) -> dict[str, object]:
    """From the command to the address, and from the browser's request to the whole image drawn."""
    from playwright.sync_api import sync_playwright

    from browser import FLAGS, chromium

    command, page_ready, again = [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for _ in range(repeats):
            begin = time.perf_counter()
            process, address = serve(run)
            command.append(time.perf_counter() - begin)
            for times in (page_ready, again):
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                begin = time.perf_counter()
                page.goto(address)
                page.wait_for_selector("body[data-ready='0']")
                while not page.evaluate(_DRAWN):
                    page.wait_for_timeout(10)
                times.append(time.perf_counter() - begin)
                page.close()
            stop(process)
        browser.close()
    return {
        "seconds_from_command_to_address": _spread(command),
        "seconds_from_address_to_page": _spread(page_ready),
        "seconds_to_page_again": _spread(again),
    }


_DRAWN = """() => {
  const tiles = [...zoominView.state.view.model.renderers[0].tile_source.tiles.values()];
  return tiles.length > 0 && tiles.every((tile) => tile.loaded || tile.finished);
}"""


def requests(run: Path, count: int) -> dict[str, object]:
    """Different picture tiles at random, eight at a time; resident memory of the server on the way."""
    from zoomin.app.viewer.pyramid import Pyramid

    process, printed = serve(run)
    address, token = printed.split("?")
    watched = psutil.Process(process.pid)
    pyramid, random_ = Pyramid(SIDE, SIDE), random.Random(0)
    urls = []
    while len(urls) < count:
        zoom = random_.randint(0, pyramid.max_zoom)
        column, row = (random_.randrange(2**zoom) for _ in "xy")
        if pyramid.place(zoom, column, row) is not None:
            urls.append(f"{address}image/0/pixels/{zoom}/{column}/{row}?{token}")
    urllib.request.urlopen(f"{address}image/0.json?{token}").read()
    memory, seconds = [watched.memory_info().rss / 2**20], []

    def ask(url: str) -> None:
        begin = time.perf_counter()
        urllib.request.urlopen(url).read()
        seconds.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        for start in range(0, count, 100):
            list(pool.map(ask, urls[start : start + 100]))
            memory.append(watched.memory_info().rss / 2**20)
    total = time.perf_counter() - begin
    stop(process)
    return {
        "picture_tiles": count,
        "picture_tiles_per_second": round(count / total, 1),
        "milliseconds_a_picture_tile_of_eight_at_a_time": round(1000 * statistics.median(seconds), 1),
        "resident_mib_every_100": [round(value) for value in memory],
    }


def _spread(times: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(times), 2), "worst": round(max(times), 2)}


if __name__ == "__main__":
    raise SystemExit(main())
