"""Reads by one thread and by two: wall and CPU seconds, in turn.

    python benchmarks/read_threads.py FILE ... [--reads 100] [--repeats 20]

Each repeat reads as many random places of 256 x 256 pixels, each once, by one thread and then by two. Wall
seconds tell how much faster two are only where two cores are free: the least of the repeats is the least
disturbed. What does not depend on other work: the share of a read's CPU time in which it holds Python's lock
(all but the decoder and the file), measured by a profiler, which makes it too large rather than too small.
Two threads can be twice as fast only if that share is at most a half.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from zoomin.geometry import Region
from zoomin.images.image import Image
from zoomin.images.open_image import open_image

SIDE = 256
FREE = ("_decode_tile", "<built-in method posix.pread>", "read", "_read_region")  # release the lock: the
# decoders of simplejpeg, GDAL and OpenSlide, which are called in these functions, and the system's reads


class Spent(NamedTuple):
    """Seconds of one repeat.

    Attributes:
        wall: of the clock.
        cpu: of the process, all its threads.
    """

    wall: float
    cpu: float


def places(image: Image, reads: int, seed: int) -> list[Region]:
    """Regions at random places."""
    draw = random.Random(seed)
    right, bottom = image.width - SIDE, image.height - SIDE
    return [Region(draw.randrange(right), draw.randrange(bottom), SIDE, SIDE) for _ in range(reads)]


def read_all(image: Image, regions: Sequence[Region], threads: int) -> Spent:
    """Read regions one by one, by some threads."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(abs, range(threads)))  # the threads are there
        start, busy = time.perf_counter(), time.process_time()
        list(pool.map(lambda region: image.read([region], 1.0), regions))
        return Spent(time.perf_counter() - start, time.process_time() - busy)


def held(image: Image, regions: Sequence[Region]) -> float:
    """The share of a thread's CPU seconds that reads spend outside of what releases Python's lock."""
    profile = cProfile.Profile(time.thread_time)
    profile.enable()
    for region in regions:
        image.read([region], 1.0)
    profile.disable()
    own: dict[str, float] = {}
    for (_, _, name), row in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        own[name] = own.get(name, 0.0) + float(row[2])
    return 1 - sum(own.get(name, 0.0) for name in FREE) / sum(own.values())


def measure(path: Path, reads: int, repeats: int) -> dict[str, float]:
    """Seconds by one thread and by two, their ratios, and the share that holds the lock."""
    image = open_image(path)
    read_all(image, places(image, 10, -1), 2)
    spent: dict[int, list[Spent]] = {1: [], 2: []}
    for repeat in range(repeats):
        for threads, found in spent.items():
            found.append(read_all(image, places(image, reads, 2 * repeat + threads), threads))
    wall = {threads: min(one.wall for one in found) for threads, found in spent.items()}
    cpu = {threads: statistics.median(one.cpu for one in found) for threads, found in spent.items()}
    return {
        "one_s": wall[1],
        "two_s": wall[2],
        "faster": wall[1] / wall[2],
        "one_cpu": cpu[1],
        "two_cpu": cpu[2],
        "held": held(image, places(image, reads, -2)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--reads", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=20)
    chosen = parser.parse_args(arguments)
    print(
        "| file | one thread, least wall s | two | times faster | CPU s, one and two | share with the lock |"
    )
    print("| --- | ---: | ---: | ---: | --- | ---: |")
    for path in chosen.files:
        found = measure(path, chosen.reads, chosen.repeats)
        print(
            f"| {path.name} | {found['one_s']:.3f} | {found['two_s']:.3f} | **{found['faster']:.2f}** | "
            f"{found['one_cpu']:.3f} and {found['two_cpu']:.3f} | {found['held']:.0%} |",
            flush=True,
        )
    print(f"{chosen.reads} reads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
