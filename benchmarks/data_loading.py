"""Time spent waiting for pixels, as a share of a training step on slides: no cache, cache, and prefetch.

All sides train the same network, from the same first weights, on the same batches, in one run; their order
alternates from round to round, so that a busy moment of the machine hits each. Waiting is the time that the
training thread spends in `StreamedImages.read`. The files are read once before anything is timed, so that no
side pays for a cold disk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from zoomin.data.config import DataConfig
from zoomin.data.datamodule import ZoomInDataModule
from zoomin.data.manifest import Manifest
from zoomin.datasets.synthetic.slides import SlideConfig, make_slides
from zoomin.experiments.bench import machine
from zoomin.images.streamed import StreamedImages
from zoomin.model.config import ZoomInConfig
from zoomin.model.losses import classification_loss
from zoomin.model.zoom_in import ZoomIn

__all__ = ["Step", "main", "measure"]

SIDES = {"neither": (0, 0), "cache": (1024, 0), "cache and prefetch": (1024, 1)}  # cache_mb, prefetch


@dataclass(frozen=True)
class Step:
    """One training step.

    Attributes:
        side: one of `SIDES`.
        epoch: from 0; the first one fills the cache.
        seconds: from asking for the batch to the end of the optimiser's step.
        waiting: of them, spent waiting for pixels.
        decoded: pixels of stored blocks decoded meanwhile, those read ahead included.
    """

    side: str
    epoch: int
    seconds: float
    waiting: float
    decoded: int


def measure(
    manifest: Manifest,
    root: Path,
    model: ZoomInConfig,
    *,
    batch_size: int,
    epochs: int,
    rounds: int,
    threads: int,
) -> list[Step]:
    """Train on all sides in turns.

    Args:
        manifest: of slides.
        root: where they are.
        model: the network.
        batch_size: slides per step.
        epochs: of one training, at least 2.
        rounds: trainings of each side.
        threads: that decode.
    """
    steps: list[Step] = []
    for number in range(-1, rounds):
        for side in list(SIDES) if number % 2 else list(reversed(SIDES)):
            cache_mb, prefetch = SIDES[side]
            config = DataConfig(
                str(root), batch_size=batch_size, threads=threads, cache_mb=cache_mb, prefetch=prefetch
            )
            rows = torch.arange(len(manifest))
            data = ZoomInDataModule(config, manifest, {"train": rows}, progress=False, model=model)
            found = list(_train(side, data, model, epochs if number >= 0 else 1))
            steps += found if number >= 0 else []
    return steps


def _train(side: str, data: ZoomInDataModule, model: ZoomInConfig, epochs: int) -> Iterator[Step]:
    torch.manual_seed(0)
    net = ZoomIn(model)
    adam = torch.optim.Adam(net.parameters(), lr=1e-4)
    images = data.prepare().images
    assert isinstance(images, StreamedImages)
    for epoch in range(epochs):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches = iter(loader)
        for number in range(len(loader)):
            began, waited, decoded = time.perf_counter(), images.seconds_waiting, images.decoded_pixels
            batch = next(batches)
            keys = torch.arange(len(batch)) + 1000 * number + 1_000_000 * epoch
            loss = classification_loss(net(batch.images, keys=keys).logits, batch.labels)
            adam.zero_grad()
            loss.backward()
            adam.step()
            yield Step(
                side,
                epoch,
                time.perf_counter() - began,
                images.seconds_waiting - waited,
                images.decoded_pixels - decoded,
            )


def summarise(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """A row a side and part of the training: medians of a step, and the share of all time spent waiting."""
    rows = []
    for part, first in (("first epoch", True), ("later epochs", False)):
        for side in SIDES:
            own = [step for step in steps if step.side == side and (step.epoch == 0) == first]
            rows.append(
                {
                    "part": part,
                    "side": side,
                    "steps": len(own),
                    "step_ms": 1e3 * statistics.median(step.seconds for step in own),
                    "waiting_ms": 1e3 * statistics.median(step.waiting for step in own),
                    "waiting_share": sum(s.waiting for s in own) / sum(s.seconds for s in own),
                    "decoded_pixels": statistics.mean(step.decoded for step in own),
                }
            )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Make slides, measure, print a table, write JSON.

    Args:
        argv: the options; the process's own by default.
    """
    options = _parser().parse_args(argv)
    model = ZoomInConfig(
        tile_size=options.tile,
        sub_tile_size=100,
        tile_scale=1 / 16,
        sub_tile_scale=1 / 8,
        n_samples=options.n_samples,
        features="lenet_released",
    )
    torch.set_num_threads(options.threads)
    where = machine("cpu", options.threads)
    with TemporaryDirectory() as temporary:
        root = options.slides or Path(temporary) / "slides"
        made = SlideConfig(n_train=options.count, n_val=0, n_test=0, width=options.side, height=options.side)
        manifest = make_slides(root, made)
        measured = {
            "batch_size": options.batch_size,
            "epochs": options.epochs,
            "rounds": options.rounds,
            "threads": options.threads,
        }
        rows = summarise(measure(manifest, root, model, **measured))
    table = Table(title=f"Waiting for pixels: {options.count} slides of {options.side} x {options.side}")
    for column in ("", "side", "step, ms", "waiting, ms", "waiting, %", "decoded, Mpixel"):
        table.add_column(column, justify="right" if "," in column else "left")
    for row in rows:
        cells = (f"{row['step_ms']:.0f}", f"{row['waiting_ms']:.0f}", f"{100 * row['waiting_share']:.0f}")
        table.add_row(row["part"], row["side"], *cells, f"{row['decoded_pixels'] / 1e6:.1f}")
    Console().print(table)
    if options.out is not None:
        report = {
            "machine": where,
            "slides": asdict(made),
            "model": model.to_dict(),
            **measured,
            "rows": rows,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        Console().print(f"written to {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="data_loading", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--slides", type=Path, help="folder to make the slides in, and keep them (default: none)"
    )
    parser.add_argument("--count", type=int, default=8, help="slides (default 8)")
    parser.add_argument("--side", type=int, default=10_000, help="side of a slide, pixels (default 10000)")
    parser.add_argument("--tile", type=int, default=800, help="side of a tile, pixels (default 800)")
    parser.add_argument("--n-samples", type=int, default=20, help="sub-tiles per slide (default 20)")
    parser.add_argument("--batch-size", type=int, default=2, help="slides per step (default 2)")
    parser.add_argument("--epochs", type=int, default=3, help="of a training (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each side (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="of the network, and of decoding (default 2)")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
