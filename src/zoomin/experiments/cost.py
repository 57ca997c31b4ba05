"""What a training step and an answer cost, of Zoom-In and every baseline, through one interface.

FLOPs by equation 10 of the paper's supplement and by torch's counter, bytes kept for the backward pass and
the peak of all tensors alive, a GPU's own peak where there is one, milliseconds, tiles and views read; beside
the O(.) formulas of supplement A. All are means over the images of a batch.

    python -m zoomin.experiments.cost --recipe colon_cancer --recipe colon_cancer_ats --side 500 \
      --out cost.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..baselines import ATSConfig, CNNConfig
from ..classifiers import Classifier, ClassifierConfig, build, zoom_in
from ..data.batch import Batch
from ..files import write_json
from ..geometry import view_size
from ..images.array import ArrayImage
from ..images.batch import ResidentImages
from ..model.config import ZoomInConfig
from ..training.baseline_task import BaselineTask
from ..training.config import TrainConfig
from ..training.recipe import read_recipe
from ..training.run_folder import versions
from ..training.task import ClassifierTask, Draws, training_keys
from ..training.zoom_in_task import ZoomInTask
from .counters import LiveMemory, SavedMemory, counted_flops, equation_10

__all__ = ["Cost", "cost_of_step", "main", "noise", "order_of_memory", "ratio", "task_around", "task_of"]


@dataclass(frozen=True)
class Cost:
    """The cost of an image, a mean over a batch.

    Attributes:
        method: "zoom-in", or the name of the baseline.
        n_samples: N, 0 where nothing is drawn.
        parameters: numbers that are learned.
        views: views encoded at the finest scale.
        tiles: N', distinct tiles attended to at the finer scale; None where there are no tiles.
        order: entries of the inputs by the formulas of supplement A, at this N'; None where it has none.
        pixels: of all views that were read.
        flops_equation_10: of a forward pass, multiplications with their additions.
        flops_counted: of a forward pass by torch's counter, multiplications and additions apart.
        saved_mb: megabytes (10^6 bytes) kept for the backward pass of a training step: its activations.
        peak_mb: most megabytes of tensors alive in a training step, images and parameters apart.
        cuda_mb: most megabytes that the GPU's allocator held in a training step beyond those before it.
        forward_ms: milliseconds of an answer.
        step_ms: milliseconds of a training step.
    """

    method: str
    n_samples: int
    parameters: int
    views: float
    tiles: float | None
    order: float | None
    pixels: float
    flops_equation_10: float
    flops_counted: float
    saved_mb: float
    peak_mb: float
    cuda_mb: float | None
    forward_ms: float
    step_ms: float


def cost_of_step(task: ClassifierTask[Any], batch: Batch, *, repeats: int = 5, draws: int = 4) -> Cost:
    """Measure training steps and answers on a batch.

    What is drawn at random is drawn again `draws` times, and the counts are means over them.

    Args:
        task: the network and its losses; weights and running statistics stay as they are.
        batch: images.
        repeats: timings of which the median is taken.
        draws: steps that are counted.
    """
    net, n = task.net, len(batch.labels)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    sizes = [(int(height), int(width)) for height, width in batch.images.sizes.tolist()]
    task.train()
    counts = [_counts(task, batch, step) for step in range(draws)]
    mean = {name: statistics.fmean(one[name] for one in counts) / n for name in counts[0]}
    tiles = mean["tiles"] if net.zooms else None
    orders = [order_of_memory(net.config, *size, tiles or 0.0) for size in sizes]
    cuda = _cuda_peak(task, batch)
    step_ms = _median_ms(net.device, repeats, lambda: _step(task, batch, 0))
    net.eval()
    with torch.no_grad():
        forward_ms = _median_ms(net.device, repeats, lambda: _answer(task, batch, 0))
    net.load_state_dict(state)
    task.zero_grad(set_to_none=True)
    return Cost(
        method=getattr(net.config, "name", "zoom-in"),
        n_samples=net.n_samples,
        parameters=sum(weight.numel() for weight in net.parameters() if weight.requires_grad),
        views=mean["views"],
        tiles=tiles,
        order=_mean(orders),
        pixels=mean["pixels"],
        flops_equation_10=mean["equation_10"],
        flops_counted=mean["counted"],
        saved_mb=mean["saved"] / 1e6,
        peak_mb=mean["peak"] / 1e6,
        cuda_mb=None if cuda is None else cuda / n / 1e6,
        forward_ms=forward_ms / n,
        step_ms=step_ms / n,
    )


def order_of_memory(config: ClassifierConfig, height: int, width: int, tiles: float) -> float | None:
    """Entries of the inputs of all networks, the O(.) of supplement A without its constant.

    One-stage attention sampling: s^2 H W + N h w of sub-tiles. Zoom-In: s1^2 H W + N' s2^2 h w of tiles +
    N h w of sub-tiles. A network on the whole image: its pixels. None for other methods.

    Args:
        config: of the network.
        height: H, level-0 pixels.
        width: W.
        tiles: N', distinct tiles drawn.

    Example:
        >>> order_of_memory(ATSConfig(), 500, 500, 0.0), order_of_memory(ZoomInConfig(), 500, 500, 2.0)
        (17290.0, 14790.0)
    """
    if isinstance(config, CNNConfig):
        return float(config.side**2)
    if isinstance(config, ATSConfig):
        overview = view_size(height, config.scale) * view_size(width, config.scale)
        return float(overview + config.n_samples * config.sub_tile_size**2)
    if isinstance(config, ZoomInConfig):
        size = config.tile_size
        every = -(-height // size) * -(-width // size) * view_size(size, config.tile_scale) ** 2
        drawn = tiles * view_size(size, config.sub_tile_scale) ** 2
        return float(every + drawn + config.n_samples * config.sub_tile_size**2)
    return None


def task_of(config: ClassifierConfig, train: TrainConfig | None = None, seed: int = 0) -> ClassifierTask[Any]:
    """A new network of a configuration with its losses, no data needed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(config)
    return task_around(net, train, seed)


def task_around(net: Classifier, train: TrainConfig | None = None, seed: int = 0) -> ClassifierTask[Any]:
    """A network with its losses, but for those that look at annotations."""
    settings = replace(
        train or TrainConfig(), tile_roi_strength=0.0, position_roi_strength=0.0, class_weights=None
    )
    if net.zooms:
        return ZoomInTask(zoom_in(net), settings, seed)
    return BaselineTask(net, settings, seed)


def noise(batch: int, height: int, width: int, device: str | torch.device = "cpu", classes: int = 2) -> Batch:
    """A batch of random pixels: costs depend on sizes alone, but for what attention makes of the content."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (batch, 3, height, width), generator=generator, dtype=torch.uint8)
    images = ResidentImages([ArrayImage(image) for image in pixels], device=device)
    return Batch(images, torch.arange(batch, device=device) % classes, torch.arange(batch, device=device))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _answer(task: ClassifierTask[Any], batch: Batch, step: int) -> Any:  # noqa: ANN401 (of either kind of network)
    keys = training_keys(task.seed, step, len(batch.labels), batch.images.device)
    return task.answer(batch, Draws(keys))


def _step(task: ClassifierTask[Any], batch: Batch, step: int) -> None:
    """Forward, losses, backward; gradients are added to those that are there."""
    task.objective(_answer(task, batch, step), batch)[0].backward()


def _counts(task: ClassifierTask[Any], batch: Batch, step: int) -> dict[str, float]:
    """The sums over a batch of everything that can be counted in a step."""
    with SavedMemory(task) as saved:
        out = _answer(task, batch, step)
        loss = task.objective(out, batch)[0]
    loss.backward()  # gradients are there from now on, and are none of the activations
    del loss
    with equation_10(task) as equation, counted_flops() as counted:
        _answer(task, batch, step)
    with LiveMemory() as live:
        _step(task, batch, step)
    return {
        "saved": float(saved.bytes),
        "peak": float(live.peak),
        "equation_10": float(equation()),
        "counted": float(counted()),
        **_read(task.net, out),
    }


def _read(net: Classifier, out: Any) -> dict[str, float]:  # noqa: ANN401 (of either kind of network)
    """Tiles, views and pixels that a prediction reads."""
    tiles = len(out.tiles.image) if net.zooms else 0
    return {
        "views": float(out.views_read.sum()),
        "pixels": float(out.pixels_read.sum()),
        "tiles": float(tiles),
    }


def _cuda_peak(task: ClassifierTask[Any], batch: Batch) -> float | None:
    device = task.net.device
    if device.type != "cuda":
        return None
    _step(task, batch, 0)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    _step(task, batch, 0)
    torch.cuda.synchronize(device)
    return float(torch.cuda.max_memory_allocated(device) - before)


def _median_ms(device: torch.device, repeats: int, job: Callable[[], object]) -> float:
    times = []
    for _ in range(repeats + 1):  # the first warms up
        start = time.perf_counter()
        job()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[1:])


def ratio(costs: Sequence[Cost], of: str = "ats", to: str = "zoom-in") -> float | None:
    """How many times the activation memory of one method that of another is; None where one is absent."""
    known = {cost.method: cost.saved_mb for cost in costs}
    return known[of] / known[to] if of in known and to in known else None


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure recipes on random pixels of several sizes."""
    parser = argparse.ArgumentParser(prog="python -m zoomin.experiments.cost", description=__doc__)
    parser.add_argument("--recipe", action="append", required=True, help="name or YAML; may be repeated")
    parser.add_argument("--side", action="append", type=int, required=True, help="of images; may be repeated")
    parser.add_argument("--batch", type=int, default=2, help="images per step")
    parser.add_argument("--repeats", type=int, default=5, help="timings of which the median is taken")
    parser.add_argument("--draws", type=int, default=4, help="steps that are counted")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE of all recipes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    changes = dict(change.split("=", 1) for change in options.set)
    rows = []
    for side in options.side:
        for path in options.recipe:
            recipe = read_recipe(path, {"data.root": ".", **changes})
            task = task_of(recipe.model, recipe.train).to(options.device)
            batch = noise(options.batch, side, side, options.device)
            cost = cost_of_step(task, batch, repeats=options.repeats, draws=options.draws)
            rows.append({"recipe": Path(path).stem, "side": side, **asdict(cost)})
    result = {"costs": rows, "versions": versions()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, result)
    return result


if __name__ == "__main__":
    for _row in main()["costs"]:
        print(_row)
