"""Correctness and speed on a GPU, in one command of at most eight minutes on one card, without a network.

    python benchmarks/gpu.py --out results/gpu
    python benchmarks/gpu.py --device cpu --quick --out gpu     # that the script works, in a minute

Parts, each on its own: one that fails is recorded, and the next one runs.

- agreement: the same weights, images and keys on the CPU and the device: the places drawn, the logits, the
  gradients; sampled, exact and top, and every baseline that trains from pixels.
- step: a training step of the paper's recipe against the authors' loop over images and tiles, in turn, in
  float32 and bfloat16, and with compiled networks ("reduce-overhead" replays CUDA graphs).
- table3: memory and time per image, N = 5, 10 and 50, Zoom-In and one-stage attention sampling; supplement H,
  table 3 measured a TITAN Xp.
- throughput: images of 2,048 pixels per second with the same EfficientNet-Lite0 trunk: Zoom-In, one-stage
  attention sampling, attention MIL over all tiles, and the trunk on every tile; from JPEG files and from
  memory. What files cost beyond memory is decoding.
- processes: a training on two GPUs against one, where there are two.

Writes OUT/gpu.json after each part, and OUT/gpu.md at the end.
"""

from __future__ import annotations

import argparse
import copy
import csv
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import nn

from zoomin.baselines import ATSConfig
from zoomin.baselines.abmil import ABMILConfig
from zoomin.classifiers import BASELINES, Classifier, build, config_class
from zoomin.errors import ZoomInError
from zoomin.experiments.bench import BATCH, Bench, machine, measure_prediction, measure_training
from zoomin.experiments.cost import cost_of_step, noise, task_of
from zoomin.files import write_json, write_text
from zoomin.geometry import TileGrid
from zoomin.images.array import ArrayImage
from zoomin.images.batch import ResidentImages
from zoomin.images.open_image import open_image
from zoomin.model.config import ZoomInConfig
from zoomin.training.config import TrainConfig

LIMIT = 480.0  # seconds of all parts
STEP_TARGET, MEMORY_TARGET = 30.0, 2.55  # times the loop; MB per image at N = 10
PUBLISHED = {5: (2.43, 3.04), 10: (2.55, 3.20), 50: (5.03, 4.33)}  # MB and ms of Zoom-In, table 3
FEATURES = "lenet_released"  # that of the recipe for colon cancer
TRUNK = "timm:tf_efficientnet_lite0"

Row = dict[str, Any]


# ------------------------------------------------------------------------------------------- agreement


def agreement(device: str, quick: bool) -> list[Row]:
    """How far answers and gradients of the device are from those of the CPU."""
    side = 120 if quick else 500
    small = {"tile_size": 60, "sub_tile_size": 20} if quick else {}
    rows = []
    for sampling in ("multinomial", "systematic", "exact", "top"):
        config = ZoomInConfig(sampling=sampling, **small)  # type: ignore[arg-type]
        rows.append({"network": f"Zoom-In, {sampling}", **_differences(config, side, device)})
    for name in BASELINES:
        settings = config_class(name)
        try:
            rows.append({"network": name, **_differences(settings(), side, device)})
        except ZoomInError as error:
            rows.append({"network": name, "refused": str(error)})
    return rows


def _differences(config: Any, side: int, device: str) -> Row:  # noqa: ANN401 (of either kind of network)
    task = task_of(config, TrainConfig())
    other = copy.deepcopy(task).to(device)
    task.eval(), other.eval()  # no dropout: its draws are the device's own
    answers = []
    for one, where in ((task, "cpu"), (other, device)):
        batch = noise(4, side, side, where)
        keys = torch.arange(4, device=where)
        out = one.net(batch.images, keys=keys, replicates=2)
        loss = one.objective(out, batch)[0]
        loss.backward()
        places = out.sub_tiles.regions.cpu().tolist() if one.net.explains else None
        grads = torch.cat([p.grad.flatten().cpu() for p in one.net.parameters() if p.grad is not None])
        answers.append((out.logits.detach().cpu(), float(loss.detach()), grads, places))
    (logits, loss, grads, places), (logits2, loss2, grads2, places2) = answers
    return {
        "logits": float((logits - logits2).abs().max()),
        "loss": abs(loss - loss2),
        "gradient": float((grads - grads2).norm() / grads.norm().clamp_min(1e-12)),
        "same_places": None if places is None else places == places2,
    }


# ------------------------------------------------------------------------------------------------ step


def step(device: str, quick: bool) -> list[Row]:
    """A training step and a prediction against the authors' loop, and variants of the batched step."""
    repeats = 2 if quick else 20
    features = FEATURES
    rows = []
    for precision in ("float32", "bfloat16"):
        for contrastive in (False, True):
            found = measure_training(features, precision, device, repeats, contrastive=contrastive)
            rows.append({**found.summary(), "target": STEP_TARGET, "reached": found.ratio >= STEP_TARGET})
    rows.append(measure_prediction(features, "float32", device, 1 if quick else 5).summary())
    modes = (None,) if quick else (None, "default", "reduce-overhead")
    for precision in ("float32", "bfloat16"):
        rows += [_variant(features, precision, device, mode, repeats) for mode in modes]
    return rows


def _variant(features: str, precision: str, device: str, mode: str | None, repeats: int) -> Row:
    """The batched step with its networks as they are, compiled, or compiled and replayed as graphs."""
    bench = Bench(features, precision, device, n_images=20)
    if mode is not None:
        for name, part in list(bench.net.named_children()):
            if isinstance(part, nn.Module) and any(p.requires_grad for p in part.parameters()):
                setattr(bench.net, name, torch.compile(part, mode=mode, dynamic=mode == "default"))
    batches = torch.arange(20, device=device).split(BATCH)
    for i in range(3 if mode is None else 8):  # the first ones compile
        bench.train_batched(batches[i % 4], contrastive=False)
    jobs = [partial(bench.train_batched, batches[i % 4], contrastive=False) for i in range(repeats)]
    times = [bench.time(job) for job in jobs]
    label = {None: "eager", "default": "compiled", "reduce-overhead": "compiled, CUDA graphs"}[mode]
    return {"job": f"batched step, {label}", "precision": precision, "step_ms": float(np.median(times))}


# ---------------------------------------------------------------------------------------------- table 3


def table3(device: str, quick: bool) -> list[Row]:
    """Memory and time per image of batches of five images of 500 pixels."""
    rows = []
    batch = noise(BATCH, 500, 500, device)
    configs: list[tuple[int, Any]] = [(n, ZoomInConfig(n_samples=n, features=FEATURES)) for n in (5, 10, 50)]
    configs += [(n, ATSConfig(n_samples=n, features=FEATURES)) for n in (10, 50)]
    for n, config in configs[:2] if quick else configs:
        cost = cost_of_step(task_of(config).to(device), batch, repeats=2 if quick else 20)
        published = PUBLISHED.get(n) if cost.method == "zoom-in" else None
        row = {**asdict(cost), "published_mb": None, "published_ms": None}
        if published is not None:
            row |= {"published_mb": published[0], "published_ms": published[1]}
        if n == 10 and cost.method == "zoom-in":
            row |= {"target_mb": MEMORY_TARGET, "reached": (cost.cuda_mb or cost.saved_mb) <= MEMORY_TARGET}
        rows.append(row)
    return rows


# ------------------------------------------------------------------------------------------- throughput


def throughput(device: str, quick: bool) -> list[Row]:
    """Images per second, from files and from memory."""
    side, count = (224, 4) if quick else (2048, 32)
    shared: dict[str, Any] = {
        "features": FEATURES if quick else TRUNK,
        "pretrained": False,
        "chunk_size": 256,
    }
    tile = 28 if quick else 224
    networks: dict[str, Any] = {
        "Zoom-In, N = 10": ZoomInConfig(
            tile_size=2 * tile, sub_tile_size=tile, tile_scale=0.125, sub_tile_scale=0.25, **shared
        ),
        "one-stage attention sampling, N = 10": ATSConfig(sub_tile_size=tile, scale=0.125, **shared),
        "attention MIL, all tiles": ABMILConfig(crop_size=tile, **shared),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = list(_pictures(Path(folder), side, count))
        pixels = [torch.from_numpy(np.asarray(PillowImage.open(p)).copy()).permute(2, 0, 1) for p in paths]
        resident = ResidentImages([ArrayImage(p.contiguous()) for p in pixels], device=device)
        for name, config in networks.items():
            net = task_of(config).net.to(device).eval()  # type: ignore[attr-defined]
            rows.append({"method": name, **_rates(net, paths, resident, device)})
        encoder = build(ABMILConfig(crop_size=tile, **shared)).features.to(device).eval()  # type: ignore[attr-defined]
        run = lambda: _encode_all(encoder, resident, tile, device)  # noqa: E731
        rows.append({"method": "the trunk on every tile", "memory_per_s": count / _best(run, device)})
    return rows


def _rates(net: Classifier, paths: list[Path], resident: ResidentImages, device: str) -> Row:
    def predict(images: Any) -> None:  # noqa: ANN401
        for chosen in torch.arange(len(paths), device=device).split(4):
            kept = isinstance(images, ResidentImages)
            picked = images.select(chosen) if kept else [images[i] for i in chosen.tolist()]
            with torch.inference_mode():
                net(picked, keys=chosen).logits.softmax(1).tolist()

    opened = [open_image(path) for path in paths]
    memory, files = (_best(lambda: predict(images), device) for images in (resident, opened))  # noqa: B023
    share = max(0.0, 1 - memory / files)
    return {
        "memory_per_s": len(paths) / memory,
        "files_per_s": len(paths) / files,
        "decoding_share": share,
        "bound": "decoding" if share > 0.5 else "networks",
    }


def _encode_all(encoder: nn.Module, images: ResidentImages, tile: int, device: str) -> None:
    grid = TileGrid.of(images.sizes, tile)
    with torch.inference_mode():
        for part in torch.arange(len(grid.image), device=device).split(256):
            views = images.read(grid.image[part], grid.regions[part], 1.0)
            encoder(views.float().div_(255).sub_(0.5).div_(0.25)).sum().item()


def _best(job: Callable[[], None], device: str) -> float:
    """Seconds of the faster of two runs after one that warms up."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        job()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _pictures(folder: Path, side: int, count: int) -> Iterator[Path]:
    """JPEG files of blurred noise, whose sizes are those of photographs."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(256, size=(side // 8, side // 8, 3), dtype=np.uint8)
        path = folder / f"{number:03d}.jpg"
        smooth = PillowImage.fromarray(coarse).resize((side, side), PillowImage.Resampling.BICUBIC)
        smooth.save(path, quality=90)
        yield path


# -------------------------------------------------------------------------------------------- processes


def processes(device: str, quick: bool) -> list[Row]:
    """The command `train` on two GPUs against one: seconds, and how far the losses are apart."""
    cuda = device.startswith("cuda")
    if cuda and torch.cuda.device_count() < 2:
        return [{"left_out": f"{torch.cuda.device_count()} GPU: two are needed"}]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        root, images, side = Path(place), 16 if quick else 200, 120 if quick else 500
        (root / "images").mkdir()
        lines = ["image,label,split"]
        for number, path in enumerate(_pictures(root / "images", side, images)):
            lines.append(f"images/{path.name},{number % 2},{'val' if number % 4 > 1 else 'train'}")
        (root / "manifest.csv").write_text("\n".join(lines))
        for devices in (1, 2):
            rows.append(_trained(root, devices, "cuda" if cuda else "cpu", epochs=1 if quick else 5))
    one, two = rows
    return [
        *rows,
        {"speed_up": one["seconds"] / two["seconds"], "loss_apart": abs(one["loss"] - two["loss"])},
    ]


def _trained(root: Path, devices: int, device: str, epochs: int) -> Row:
    out = root / f"run{devices}"
    command = [sys.executable, "-m", "zoomin", "train", "--config", "colon_cancer", "--out", str(out)]
    command += ["--data.root", str(root / "manifest.csv"), "--data.batch_size", str(8 // devices)]
    command += ["--train.epochs", str(epochs), "--train.device", device, "--train.devices", str(devices)]
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    with (out / "metrics.csv").open(encoding="utf-8", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    return {"devices": devices, "seconds": time.perf_counter() - start, "loss": float(last["val_loss"])}


# ------------------------------------------------------------------------------------------- the report

PARTS: dict[str, Callable[[str, bool], list[Row]]] = {
    "agreement": agreement,
    "step": step,
    "table3": table3,
    "throughput": throughput,
    "processes": processes,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, and write what they found after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try the script")
    parser.add_argument("--quick", action="store_true", help="small images and few repeats")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="which to run")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder to write into")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("no CUDA device; --device cpu --quick tries the script")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    report: dict[str, Any] = {"machine": machine(options.device, torch.get_num_threads()), "parts": {}}
    for name in options.parts:
        began = time.perf_counter()
        part: dict[str, Any] = {}
        if began - start > LIMIT:
            part["left_out"] = f"no time was left after {began - start:.0f} s"
        else:
            try:
                part["rows"] = PARTS[name](options.device, options.quick)
            except Exception:
                part["error"] = traceback.format_exc()
        part["seconds"] = time.perf_counter() - began
        report["parts"][name] = part
        write_json(options.out / "gpu.json", report)
        print(f"{name}: {part['seconds']:.0f} s{' FAILED' if 'error' in part else ''}", flush=True)
    write_text(options.out / "gpu.md", page(report))
    return int(any("error" in part for part in report["parts"].values()))


def page(report: Row) -> str:
    """The report as Markdown."""
    where = report["machine"]
    lines = [
        "# On a GPU" if where["accelerator"] else "# The benchmark of GPUs, tried on a CPU",
        "",
        f"`python benchmarks/gpu.py`, {where['date'][:10]}, {where['accelerator'] or where['processor']}, "
        f"torch {where['torch']}, Python {where['python']}.",
    ]
    for name, part in report["parts"].items():
        lines += ["", f"## {name}", "", f"{PARTS[name].__doc__} {part['seconds']:.0f} s.", ""]
        if "error" in part:
            lines += ["Failed:", "", "```", part["error"].strip(), "```"]
        elif "left_out" in part:
            lines.append(f"Left out: {part['left_out']}.")
        else:
            lines += _table(part["rows"])
    return "\n".join(lines) + "\n"


def _table(rows: list[Row]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return head + ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]


def _cell(value: object) -> str:
    if isinstance(value, dict):  # median, least, most
        return f"{value['median']:.3g} ({value['min']:.3g} to {value['max']:.3g})"
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
