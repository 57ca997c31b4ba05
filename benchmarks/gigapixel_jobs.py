"""What `benchmarks/gigapixel.py` measures, each job in a process of its own, so that its memory is its own.

    python benchmarks/gigapixel_jobs.py '{"job": "predict", "image": "a.tif", "threads": 2}'

prints the job's numbers as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoomin.errors import ZoomInError
from zoomin.geometry import Region
from zoomin.images.foreground import Foreground
from zoomin.images.image import Image
from zoomin.images.open_image import open_image
from zoomin.images.stored import StoredImage
from zoomin.images.tissue import OverviewMask
from zoomin.inference.config import InferenceConfig
from zoomin.inference.prediction import iter_predictions
from zoomin.model.config import ZoomInConfig
from zoomin.model.engine import Engine
from zoomin.model.networks.trunks import timm_encoder
from zoomin.model.zoom_in import ZoomIn
from zoomin.runtime.allocator import share_arenas

__all__ = [
    "FOREGROUND",
    "GEOMETRY",
    "JOBS",
    "decode",
    "drop_from_cache",
    "encode",
    "many",
    "peak_memory",
    "predict",
    "tissue_tiles",
]

GEOMETRY = {  # recipes/camelyon16.yaml
    "tile_size": 3200,
    "sub_tile_size": 100,
    "tile_scale": 1 / 32,
    "sub_tile_scale": 1 / 8,
    "n_samples": 100,
}
FOREGROUND = Foreground("otsu")  # likewise; decoding everything keeps to the same tissue
_SIDE = 256  # of the tiles that a tile-everything pipeline reads, pixels; stored blocks of generated slides
_ENCODED = 224  # of the tiles that it encodes
_TISSUE = 0.5  # least share of tissue in such a tile
_RUN = 16  # neighbouring tiles of a row that one thread reads
_WARM_UP = 20  # predictions before memory is first looked at


def predict(
    image: str,
    networks: str = "resnet16",
    sampling: str = "multinomial",
    replicates: int = 1,
    repeats: int = 1,
    seed: int = 0,
    precision: str = "32-true",
    foreground: bool = True,
    first_on: str | None = None,
) -> dict[str, Any]:
    """Predict one image by the public functions, the file first dropped from the system's cache.

    Args:
        image: path.
        networks: "lenet_relu" or "resnet16", for both attentions and the features.
        sampling: the design.
        replicates: estimates to average.
        repeats: predictions one after another; only the first is without any cache.
        seed: of the network and the draws.
        precision: of the networks.
        foreground: find the tissue first, and leave the glass out, as the recipe does.
        first_on: path of a small image to predict before, so that libraries are loaded when time is taken, as
            they are for decoding.

    Returns:
        Seconds, and seconds of processors, of each prediction, opening included; shares and counts of pixels
        of the first; peak memory of the process, and before the first prediction.
    """
    model = _model(networks, seed, foreground)
    config = InferenceConfig(sampling=sampling, replicates=replicates, seed=seed, precision=precision)
    if first_on is not None:
        list(iter_predictions([first_on], model, config))
    before = peak_memory()
    drop_from_cache(image)
    seconds, processor = [], []
    first: dict[str, Any] = {}
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        opened = open_image(image)
        [row] = iter_predictions([opened], model, config)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - busy)
        if row.label is None:
            return {"status": row.status, "error": row.error}
        if not first:
            first = _pixels(opened) | {"views_pixels": row.pixels_read, "probability": max(row.probabilities)}
    memory = {"peak_mb": peak_memory(), "before_mb": before}
    return {"status": row.status, "seconds": seconds, "processor_seconds": processor, **first, **memory}


def decode(image: str, threads: int = 2, part: int = 0, parts: int = 1, together: int = 1) -> dict[str, Any]:
    """Decode tissue at level 0, tile after tile, as a pipeline that encodes every tile must.

    Nothing is computed of the pixels. Tiles are whole stored blocks of generated slides, the best case.

    Args:
        image: path.
        threads: that decode.
        part: which of the `parts` runs of tiles to decode.
        parts: every so many runs are decoded.
        together: neighbouring tiles that one read asks for; pipelines read tile by tile.

    Returns:
        Seconds, seconds of processors, tiles and pixels of this part; tiles of the whole tissue.
    """
    tiles = tissue_tiles(open_image(image), _SIDE)
    runs = _runs(tiles)[part::parts]
    opened = open_image(image)
    drop_from_cache(image)
    start, busy = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        count = sum(pool.map(lambda run: _read_run(opened, run, together), runs))
    seconds, processor = time.perf_counter() - start, time.process_time() - busy
    return {
        "status": "ok",
        "seconds": seconds,
        "processor_seconds": processor,
        "tiles": count,
        "pixels": count * _SIDE**2,
        "tissue_tiles": len(tiles),
        "tissue_share": len(tiles) * _SIDE**2 / (opened.height * opened.width),
        **_pixels(opened),
        "peak_mb": peak_memory(),
    }


def encode(
    image: str, engine: str = "torch", part: int = 0, parts: int = 1, together: int = 2
) -> dict[str, Any]:
    """Read every tissue tile of 224 pixels and encode it by EfficientNet-Lite0, as tile-everything does.

    Args:
        image: path.
        engine: that computes the network; see `Engine`.
        part: which of the `parts` of the tiles to encode, evenly spread.
        parts: every so many tiles are encoded.
        together: tiles in one call of the network; 2 are the fastest on one thread.

    Returns:
        Seconds of processors of this part, by loaded libraries and a compiled network; tiles of it, and of
        the whole tissue.
    """
    network, _ = timm_encoder("tf_efficientnet_lite0", pretrained=False)
    run = Engine(engine).on(network.eval())
    opened = open_image(image)
    tiles = tissue_tiles(opened, _ENCODED)
    chosen = tiles[part::parts]
    with torch.no_grad():
        run(torch.zeros(together, 3, _ENCODED, _ENCODED))
        start = time.process_time()
        for first in range(0, len(chosen), together):
            views = opened.read(chosen[first : first + together], 1.0).float().div_(127.5).sub_(1.0)
            run(views)
        spent = time.process_time() - start
    return {"status": "ok", "processor_seconds": spent, "tiles": len(chosen), "tissue_tiles": len(tiles)}


def many(
    images: Sequence[str], count: int = 300, networks: str = "lenet_relu", n: int = 10
) -> dict[str, Any]:
    """Predict images again and again in one process: does its memory grow?

    Args:
        images: paths, taken in turn.
        count: predictions after the warm-up.
        networks: see `predict`.
        n: sub-tiles per image.

    Returns:
        Resident memory after the warm-up, in the middle and at the end, and its growth.
    """
    model = _model(networks, 0)
    config = InferenceConfig(sampling="multinomial", replicates=1, n_samples=n, threads=1)
    memory = []
    for number, row in enumerate(iter_predictions(_in_turn(images, count + _WARM_UP), model, config)):
        if row.label is None:
            return {"status": row.status, "error": row.error}
        if number + 1 >= _WARM_UP:
            memory.append(resident_memory())
    after, middle, end = (float(np.median(memory[part])) for part in _thirds(len(memory)))
    return {
        "status": "ok",
        "predictions": count,
        "after_warm_up_mb": after,
        "middle_mb": middle,
        "end_mb": end,
        "growth": end / after - 1,
    }


def tissue_tiles(image: Image, side: int) -> list[Region]:
    """The tiles of a grid that are tissue for the most part, by the mask that prediction finds too."""
    rows, columns = np.mgrid[: image.height : side, : image.width : side].reshape(2, -1)
    sides = np.full_like(rows, side)
    regions = torch.from_numpy(np.stack([columns, rows, sides, sides], 1))
    found = OverviewMask(image, FOREGROUND).shares(regions) >= _TISSUE
    return [Region(*region) for region in regions[found].tolist()]


def peak_memory() -> float:
    """Most resident memory that this process has had, MB."""
    status = Path("/proc/self/status")
    if status.is_file():  # where it is, the number does not include the parent's memory
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def resident_memory() -> float:
    """Resident memory of this process now, MB; the peak where the system does not tell it."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        return peak_memory()
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def drop_from_cache(path: str) -> None:
    """Ask the system to forget the file's pages, where it can be asked."""
    if hasattr(os, "posix_fadvise"):
        with Path(path).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _model(networks: str, seed: int, foreground: bool = True) -> ZoomIn:
    torch.manual_seed(seed)
    features = "lenet_released" if networks.startswith("lenet") else networks
    return ZoomIn(
        ZoomInConfig(
            tile_attention=networks,
            position_attention=networks,
            features=features,
            foreground=FOREGROUND if foreground else Foreground(),
            **GEOMETRY,  # type: ignore[arg-type]
        )
    ).eval()


def _pixels(image: Image) -> dict[str, Any]:
    """How many pixels are stored, and how many of them were decoded; of images in memory, all."""
    stored = image.height * image.width
    decoded = stored
    if isinstance(image, StoredImage):
        stored = sum(level.height * level.width for level in image.levels)
        decoded = image.decoded_pixels
    return {
        "reader": type(image).__name__,
        "width": image.width,
        "height": image.height,
        "stored_pixels": stored,
        "decoded_pixels": decoded,
        "decoded_share": decoded / stored,
    }


def _read_run(image: Image, run: list[Region], together: int) -> int:
    """Read a run of tiles, so many at a time; how many they are."""
    reads = (run[start : start + together] for start in range(0, len(run), together))
    return sum(len(image.read(regions, 1.0)) for regions in reads)


def _runs(tiles: Sequence[Region]) -> list[list[Region]]:
    """Neighbouring tiles of a row, at most `_RUN` together."""
    runs: list[list[Region]] = []
    for tile in tiles:
        last = runs[-1] if runs else None
        if last and len(last) < _RUN and (last[-1].x + last[-1].width, last[-1].y) == (tile.x, tile.y):
            last.append(tile)
        else:
            runs.append([tile])
    return runs


def _in_turn(images: Sequence[str], count: int) -> list[Path]:
    return [Path(images[number % len(images)]) for number in range(count)]


def _thirds(size: int) -> list[slice]:
    """The first, the middle and the last tenth of a list, at least one of it."""
    tenth = max(1, size // 10)
    middle = (size - tenth) // 2
    return [slice(0, tenth), slice(middle, middle + tenth), slice(size - tenth, size)]


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "predict": predict,
    "decode": decode,
    "encode": encode,
    "many": many,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do the job that the first argument describes; its numbers are the last line printed."""
    if argv is None:
        share_arenas()  # as `zoomin predict` does
    options = json.loads((sys.argv[1:] if argv is None else argv)[0])
    job, threads = options.pop("job"), options.pop("threads", None)
    if threads is not None:
        torch.set_num_threads(threads)
        if job == "decode":
            options["threads"] = threads
    try:
        result = JOBS[job](**options)
    except ZoomInError as error:
        result = {"status": "error", "error": str(error)}
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
