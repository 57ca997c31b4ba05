"""`zoomin bench`: the batched network against the per-image, per-tile loop, both sides in one run.

Each comparison times both sides in interleaved pairs, the order alternating, so that a busy moment of the
machine hits both, and reports medians, extremes and the ratio of the medians. The recipe is the paper's for
colon cancer: images of 500 x 500, tiles of 250, s1 = 0.1, s2 = 0.2, sub-tiles of 27, N = 10, batches of 5.
"""

from __future__ import annotations

import copy
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from .._version import __version__
from ..errors import ConfigError
from ..files import write_json
from ..images.array import ArrayImage
from ..images.batch import ResidentImages
from ..model.config import ZoomInConfig
from ..model.losses import classification_loss, contrastive_loss, entropy_loss
from ..model.zoom_in import ZoomIn
from .bench_config import BenchConfig
from .reference import LoopImage, LoopOutput, forward_loop, prepare

__all__ = [
    "Comparison",
    "Scaling",
    "measure_prediction",
    "measure_scaling",
    "measure_training",
    "run_bench",
]

SIDE, BATCH, IMAGES = 500, 5, 100
TARGETS = {("train", "cpu"): 2.5, ("predict", "cpu"): 3.0, ("train", "cuda"): 10.0, ("predict", "cuda"): 10.0}


@dataclass(frozen=True)
class Comparison:
    """Times of both sides on one job, in milliseconds, pair by pair.

    Attributes:
        part: "train" or "predict".
        job: what was done, as text.
        features: the feature network.
        precision: "float32" or "bfloat16".
        loop: the per-image, per-tile loop.
        batched: the batched network.
        target: the ratio to reach, or None.
    """

    part: str
    job: str
    features: str
    precision: str
    loop: list[float]
    batched: list[float]
    target: float | None

    @property
    def ratio(self) -> float:
        """How many times faster the batched side is: the ratio of the medians."""
        return statistics.median(self.loop) / statistics.median(self.batched)

    def summary(self) -> dict[str, Any]:
        """Everything a table or a file needs."""
        pairs = [a / b for a, b in zip(self.loop, self.batched, strict=True)]
        return {
            **{k: v for k, v in asdict(self).items() if k not in ("loop", "batched")},
            "loop_ms": _spread(self.loop),
            "batched_ms": _spread(self.batched),
            "ratio": self.ratio,
            "ratio_of_pairs": _spread(pairs),
            "reached": None if self.target is None else self.ratio >= self.target,
        }


@dataclass(frozen=True)
class Scaling:
    """Time of a training step of the batched network for each drawn tile, as the batch grows."""

    features: str
    precision: str
    batch: int
    tiles: float
    step: list[float]

    def summary(self) -> dict[str, Any]:
        """Everything a table or a file needs."""
        return {
            "features": self.features,
            "precision": self.precision,
            "batch": self.batch,
            "tiles": self.tiles,
            "step_ms": _spread(self.step),
            "tile_ms": _spread([t / self.tiles for t in self.step]),
        }


class Bench:
    """Both networks, with the same parameters, and the same images prepared for each."""

    def __init__(self, features: str, precision: str, device: str, n_images: int = IMAGES) -> None:
        """Build them; the loop's network is in torch's default memory format, as a plain program's is."""
        torch.manual_seed(0)
        self.device, self.precision = torch.device(device), precision
        self.net = ZoomIn(ZoomInConfig(features=features)).to(self.device)
        self.plain = copy.deepcopy(self.net).to(memory_format=torch.contiguous_format)
        pictures = torch.randint(256, (n_images, 3, SIDE, SIDE), dtype=torch.uint8)
        images = [ArrayImage(picture) for picture in pictures]
        self.resident = ResidentImages(images, device=device)
        self.prepared: list[LoopImage] = [prepare(self.plain, image) for image in images]
        self.labels = torch.arange(n_images, device=self.device) % 2
        self.adam = torch.optim.Adam(self.net.parameters(), lr=1e-3, weight_decay=1e-5)
        self.plain_adam = torch.optim.Adam(self.plain.parameters(), lr=1e-3, weight_decay=1e-5)

    def train_batched(self, chosen: Tensor, contrastive: bool) -> None:
        """One training step of the batched network."""
        labels = self.labels[chosen]
        with self.cast():
            out = self.net(self.resident.select(chosen), contrast=labels > 0 if contrastive else None)
            loss = classification_loss(out.logits, labels)
            loss = loss + entropy_loss(out.attention.log_alpha, out.tiles.log_beta, out.tiles.image, 1e-5)
            loss = loss + contrastive_loss(out.contrast_logits, len(labels))
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

    def train_loop(self, chosen: Tensor, contrastive: bool) -> None:
        """One training step of the loop."""
        labels = self.labels[chosen]
        with self.cast():
            images = [self.prepared[i] for i in chosen.tolist()]
            out = forward_loop(self.plain, images, contrast=labels > 0 if contrastive else None)
            loss = classification_loss(out.logits, labels) + _loop_entropy(out)
            loss = loss + contrastive_loss(out.contrast_logits, len(labels))
        self.plain_adam.zero_grad()
        loss.backward()
        self.plain_adam.step()

    @torch.inference_mode()
    def predict_batched(self, batch: int = 20) -> None:
        """Probabilities of all images, batch by batch."""
        for chosen in torch.arange(len(self.labels), device=self.device).split(batch):
            with self.cast():
                self.net(self.resident.select(chosen)).logits.softmax(1).tolist()

    @torch.inference_mode()
    def predict_loop(self, batch: int = 20) -> None:
        """Probabilities of all images, batch by batch."""
        for chosen in torch.arange(len(self.labels)).split(batch):
            with self.cast():
                forward_loop(self.plain, [self.prepared[i] for i in chosen.tolist()]).logits.softmax(
                    1
                ).tolist()

    def cast(self) -> torch.autocast:
        """Mixed precision, where asked for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def time(self, job: Callable[[], None]) -> float:
        """Milliseconds of a job, until the device has finished it."""
        self._wait()
        start = time.perf_counter()
        job()
        self._wait()
        return (time.perf_counter() - start) * 1e3

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def measure_training(
    features: str, precision: str, device: str, repeats: int, contrastive: bool
) -> Comparison:
    """A training step: forward, losses, backward, Adam."""
    bench = Bench(features, precision, device, n_images=20)
    batches = torch.arange(20, device=device).split(BATCH)
    loop, batched = _interleave(
        bench,
        lambda i: bench.train_loop(batches[i % len(batches)], contrastive),
        lambda i: bench.train_batched(batches[i % len(batches)], contrastive),
        repeats,
    )
    job = f"training step, batch {BATCH}" + (", contrastive" if contrastive else "")
    return Comparison("train", job, features, precision, loop, batched, _target("train", device))


def measure_prediction(features: str, precision: str, device: str, repeats: int) -> Comparison:
    """Prediction of 100 images in memory."""
    bench = Bench(features, precision, device)
    bench.net.eval()
    bench.plain.eval()
    loop, batched = _interleave(
        bench, lambda i: bench.predict_loop(), lambda i: bench.predict_batched(), repeats, warm=1
    )
    job = f"prediction of {IMAGES} images"
    return Comparison("predict", job, features, precision, loop, batched, _target("predict", device))


def measure_scaling(features: str, precision: str, device: str, repeats: int) -> list[Scaling]:
    """A training step of batches of 1 to 64 images, and how many tiles it attends to in stage 2."""
    bench = Bench(features, precision, device, n_images=64)
    rows = []
    for batch in (1, 2, 4, 8, 16, 32, 64):
        chosen = torch.arange(batch, device=device)
        drawn = [len(bench.net(bench.resident.select(chosen)).tiles.index) for _ in range(5)]
        for _ in range(3):
            bench.train_batched(chosen, contrastive=False)
        step = [bench.time(lambda: bench.train_batched(chosen, contrastive=False)) for _ in range(repeats)]  # noqa: B023
        rows.append(Scaling(features, precision, batch, statistics.mean(drawn), step))
    return rows


def run_bench(options: BenchConfig) -> None:
    """Run the comparisons, print a table, write JSON.

    Args:
        options: which comparisons, and on what.

    Raises:
        ConfigError: if the device is not there.
    """
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("no CUDA device", where="--device", remedy="Use --device cpu.")
    console = Console()
    where = machine(options.device, options.threads)
    with _threads(options.threads):
        comparisons, scaling = _measure(options, console)
    report = {
        "machine": where,
        "repeats": options.repeats,
        "comparisons": [c.summary() for c in comparisons],
        "scaling": [s.summary() for s in scaling],
    }
    for table in _tables(comparisons, scaling, options):
        console.print(table)
    if options.out is not None:
        out = Path(options.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, report)
        console.print(f"written to {options.out}")


def machine(device: str, threads: int) -> dict[str, Any]:
    """What the numbers were measured on and with."""
    accelerator = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "accelerator": accelerator,
        "threads": threads,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "zoomin": __version__,
    }


def _measure(options: BenchConfig, console: Console) -> tuple[list[Comparison], list[Scaling]]:
    comparisons: list[Comparison] = []
    scaling: list[Scaling] = []
    for features in options.features:
        for precision in options.precisions:
            common = (features, precision, options.device, options.repeats)
            with console.status(f"{features}, {precision}"):
                if "train" in options.parts:
                    comparisons += [measure_training(*common, contrastive=c) for c in (False, True)]
                if "predict" in options.parts:
                    few = max(3, options.repeats // 5)
                    comparisons.append(measure_prediction(features, precision, options.device, few))
                if "scale" in options.parts:
                    scaling += measure_scaling(
                        features, precision, options.device, max(3, options.repeats // 3)
                    )
    return comparisons, scaling


def _interleave(
    bench: Bench, loop: Callable[[int], None], batched: Callable[[int], None], repeats: int, warm: int = 3
) -> tuple[list[float], list[float]]:
    """Times of both sides, pair by pair, the order alternating, after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    sides = ((times[0], loop), (times[1], batched))
    for i in range(-warm, repeats):
        for side, job in sides if i % 2 else reversed(sides):
            elapsed = bench.time(lambda: job(i))  # noqa: B023
            if i >= 0:
                side.append(elapsed)
    return times


def _loop_entropy(out: LoopOutput) -> Tensor:
    maps = [(i, log_beta) for i, drawn in enumerate(out.log_beta) for log_beta in drawn.values()]
    image = torch.tensor([i for i, _ in maps], device=out.logits.device)
    return entropy_loss(torch.stack(out.log_alpha), torch.stack([m for _, m in maps]), image, 1e-5)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _target(part: str, device: str) -> float | None:
    return TARGETS.get((part, torch.device(device).type))


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _tables(comparisons: list[Comparison], scaling: list[Scaling], options: BenchConfig) -> Iterator[Table]:
    where = f"{options.device}, {options.threads} threads, {options.repeats} pairs; median (min to max)"
    if comparisons:
        table = Table(title=f"Loop against batched network: {where}")
        for column in ("job", "f", "precision", "loop, ms", "batched, ms", "times faster", "target"):
            table.add_column(column, justify="left" if column in ("job", "f", "precision") else "right")
        for c in comparisons:
            row = c.summary()
            goal = "" if c.target is None else f"{c.target:g} {'reached' if row['reached'] else 'MISSED'}"
            cells = (_words(row["loop_ms"]), _words(row["batched_ms"]), f"{c.ratio:.2f}", goal)
            table.add_row(c.job, c.features, c.precision, *cells)
        yield table
    if scaling:
        table = Table(title=f"Training step of the batched network as the batch grows: {where}")
        for column in ("f", "precision", "batch", "tiles drawn", "step, ms", "per tile, ms"):
            table.add_column(column, justify="left" if column in ("f", "precision") else "right")
        for s in scaling:
            row = s.summary()
            cells = (str(s.batch), f"{s.tiles:.1f}", _words(row["step_ms"]), _words(row["tile_ms"], 3))
            table.add_row(s.features, s.precision, *cells)
        yield table


def _words(spread: dict[str, float], digits: int = 1) -> str:
    return f"{spread['median']:.{digits}f} ({spread['min']:.{digits}f} to {spread['max']:.{digits}f})"
