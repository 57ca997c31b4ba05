"""A model of a cluster that predicts many giant slides: where time goes, what breaks first, what it costs.

    python benchmarks/simulate_cluster.py --slides 100000 --nodes 100

Nothing is run: events are simulated with constants, each with its source. Measured ones come from results/;
assumed ones are options, to be replaced by those of your cluster. Workers take one slide at a time; the
driver hands out slides and writes rows one after another; the storage serves all. A node that dies loses the
slides that its workers were at, and comes back; these slides are done again (docs/jobs.md).
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass
from itertools import count

# Measured: results/gigapixel.md, 100,000 x 100,000, resnet16, N = 100, two threads of a shared Xeon.
PROCESSOR_SECONDS = {1: 5.6, 8: 23.6}  # by replicates
STORED_PIXELS = 1.33e10  # of all levels of such a slide
DECODED = {1: 0.0044, 8: 0.0171}  # share of them
MEGABYTES = {1: 961, 8: 1529}  # peak of a process
# Measured: results/reliability.md, two actors with tasks of nothing.
DRIVER_SECONDS = 0.0015  # of the driver for one task
START_SECONDS = 15.0  # assumed, until an actor is ready: importing PyTorch, taking the model
BLOCK = 256**2  # pixels of a stored block, as in those slides


@dataclass(frozen=True)
class Cluster:
    """A cluster, and what is assumed of it."""

    slides: int
    nodes: int
    cores: int
    replicates: int
    bytes_per_pixel: float
    storage_gigabytes: float
    storage_reads: float
    node_hours: float
    back_minutes: float
    price: float
    damaged: float

    @property
    def workers(self) -> int:
        """One for each core."""
        return self.nodes * self.cores

    @property
    def megabytes_read(self) -> float:
        """Of one slide."""
        return STORED_PIXELS * DECODED[self.replicates] * self.bytes_per_pixel / 1e6

    @property
    def blocks_read(self) -> float:
        """Of one slide."""
        return STORED_PIXELS * DECODED[self.replicates] / BLOCK

    def ceilings(self) -> dict[str, float]:
        """Slides a second that each part can do at most."""
        return {
            "processors": self.workers / PROCESSOR_SECONDS[self.replicates],
            "storage, bytes": self.storage_gigabytes * 1e3 / self.megabytes_read,
            "storage, reads": self.storage_reads / self.blocks_read,
            "the driver": 1 / DRIVER_SECONDS,
        }


@dataclass
class Outcome:
    """What came of it."""

    hours: float = 0.0
    busy: float = 0.0  # hours of workers that led to a row
    lost: float = 0.0  # hours of workers whose node died
    deaths: int = 0
    again: int = 0  # slides done twice
    failed: int = 0  # error rows


def simulate(cluster: Cluster, seed: int) -> Outcome:
    """Go from event to event."""
    rng, out = random.Random(seed), Outcome()
    left, done, driver = cluster.slides, 0, 0.0
    stretch = max(1.0, cluster.ceilings()["processors"] / min(cluster.ceilings().values()))  # all wait for it
    order, events = count(), []  # seconds, number, kind, worker or node, its life, beginning

    def push(seconds: float, kind: str, who: int, life: int = 0, begin: float = 0.0) -> None:
        heapq.heappush(events, (seconds, next(order), kind, who, life, begin))

    lives, tries = [0] * cluster.workers, [0] * cluster.workers
    waiting: list[int] = []  # attempts that slides have cost already
    for worker in range(cluster.workers):
        push(START_SECONDS * rng.uniform(1, 2), "free", worker)
    for node in range(cluster.nodes):
        push(rng.expovariate(1 / (cluster.node_hours * 3600)), "death", node)
    at: dict[int, float] = {}
    while done < cluster.slides:
        now, _, kind, who, life, begin = heapq.heappop(events)
        if kind == "death":
            out.deaths += 1
            for worker in range(who * cluster.cores, (who + 1) * cluster.cores):
                lives[worker] += 1
                if worker in at:
                    out.lost += now - at.pop(worker)
                    if tries[worker] == 0:
                        waiting.append(1)
                        out.again += 1
                    else:
                        done, out.failed = done + 1, out.failed + 1
                push(now + cluster.back_minutes * 60 + START_SECONDS, "free", worker, lives[worker])
            push(now + rng.expovariate(1 / (cluster.node_hours * 3600)), "death", who)
            continue
        if life != lives[who]:
            continue
        if kind == "done":
            done, out.busy = done + 1, out.busy + now - begin
            out.failed += rng.random() < cluster.damaged
            at.pop(who)
        if not (left or waiting):
            continue
        tries[who] = waiting.pop() if waiting else 0
        left -= tries[who] == 0
        driver = max(driver, now) + DRIVER_SECONDS
        seconds = PROCESSOR_SECONDS[cluster.replicates] * stretch * rng.lognormvariate(0, 0.3)
        at[who] = driver
        push(driver + seconds, "done", who, life, driver)
    out.hours = now / 3600
    out.busy, out.lost = out.busy / 3600, out.lost / 3600
    return out


def row(cluster: Cluster, seed: int) -> str:
    """A line of the table."""
    out, ceilings = simulate(cluster, seed), cluster.ceilings()
    first = min(ceilings, key=lambda name: ceilings[name])
    used = out.busy / (out.hours * cluster.workers)
    cells = [
        f"{cluster.replicates}",
        f"{cluster.cores}",
        f"{cluster.storage_gigabytes:g}",
        f"{out.hours:.2f}",
        f"{used:.0%}",
        first,
        f"{cluster.slides * cluster.megabytes_read / 1e6:.1f}",
        f"{MEGABYTES[cluster.replicates] * cluster.cores / 1e3:.0f}",
        f"{out.deaths}",
        f"{out.again}",
        f"{out.failed}",
        f"{out.hours * cluster.workers * cluster.price:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


HEADER = (
    "| replicates | workers per node | storage, GB/s | hours | workers busy | what limits | read, TB "
    "| memory per node, GB | nodes that died | slides done again | error rows | dollars |"
)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--bytes-per-pixel", type=float, default=0.2, help="assumed: JPEG of quality 80")
    parser.add_argument(
        "--storage-reads", type=float, default=200_000, help="assumed: a second, for all nodes"
    )
    parser.add_argument("--node-hours", type=float, default=720, help="assumed: between deaths of a node")
    parser.add_argument("--back-minutes", type=float, default=10, help="assumed: until a node is replaced")
    parser.add_argument("--price", type=float, default=0.045, help="assumed: dollars for an hour of a core")
    parser.add_argument("--damaged", type=float, default=0.001, help="assumed: share of slides")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(HEADER)
    print("|" + " ---: |" * 5 + " --- |" + " ---: |" * 6)
    for replicates in (1, 8):
        for cores in (4, 16):
            for storage in (1.0, 10.0):
                cluster = Cluster(
                    slides=options.slides,
                    nodes=options.nodes,
                    cores=cores,
                    replicates=replicates,
                    bytes_per_pixel=options.bytes_per_pixel,
                    storage_gigabytes=storage,
                    storage_reads=options.storage_reads,
                    node_hours=options.node_hours,
                    back_minutes=options.back_minutes,
                    price=options.price,
                    damaged=options.damaged,
                )
                print(row(cluster, options.seed), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
