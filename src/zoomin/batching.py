"""Find images, open them ahead of the network, batch them, run it; memory does not grow with their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from .data.find import open_dataset
from .data.folders import list_images
from .data.manifest import Record
from .errors import DataError, ImageError, ZoomInError
from .geometry import TileGrid
from .images.array import ArrayImage
from .images.base import Image
from .images.open_image import open_image
from .model import ZoomIn
from .output import ZoomInOutput
from .predictions import InferenceConfig
from .sampling import design

__all__ = ["Opened", "Sources", "find_images", "look"]

BATCH_PIXELS = 2**26  # level-0 pixels of the images that one batch may hold together

T = TypeVar("T")
Source = str | Path | Record | Image
Sources = Iterable[str | Path | Record | Image] | Tensor | str | Path | Image


class Opened(NamedTuple):
    """An image and what the user calls it."""

    name: str
    image: Image


def find_images(patterns: Sequence[str | Path], manifest: str | Path | None = None) -> list[Path | Record]:
    """The images that a user means, each once.

    Args:
        patterns: image files, folders (all images in and below them), or glob patterns.
        manifest: a CSV, or another layout of images without need of labels.

    Returns:
        Paths, in the order given, and the records of the manifest. A file that does not exist is among them:
        it becomes a failed row, as does one that cannot be read.

    Raises:
        DataError: if nothing is asked for, or a folder or pattern holds no image.
    """
    asked: list[Path | Record] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            images = list_images(path)
        elif not path.exists() and any(sign in str(pattern) for sign in "*?["):
            below = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
            images = sorted(found for found in below if found.is_file())
        else:
            images = [path]
        if not images:
            raise DataError("no image found", where=pattern, remedy="Check the folder or the pattern.")
        asked += images
    if manifest is not None:
        asked += open_dataset(manifest, labels_required=False).records
    if not asked:
        raise DataError("no images given", remedy="Name files, folders or patterns, or give --manifest.")
    return list({str(_path(image)): image for image in asked}.values())


def _path(image: Path | Record) -> Path:
    return image.image if isinstance(image, Record) else image


def look(
    images: Sources,
    model: ZoomIn,
    config: InferenceConfig,
    device: str | torch.device | None,
    read: Callable[[ZoomInOutput, Sequence[Opened], str], list[T]],
    failed: Callable[[str, Exception], T],
) -> Iterator[T]:
    """Open, batch, run the network; `read` turns its output into results, `failed` an error into one."""
    if device is not None:
        model.to(device)
    for batch in _batches(_opened(_sources(images), config.threads), config.batch_size):
        results: dict[int, T] = {}
        modes: dict[str, list[int]] = {}
        for place, (name, found) in enumerate(batch):
            if isinstance(found, Exception):
                results[place] = failed(name, found)
            else:
                modes.setdefault(_mode(found, model, config), []).append(place)
        for mode, places in modes.items():
            opened = [
                Opened(name, found) for name, found in (batch[i] for i in places) if isinstance(found, Image)
            ]
            results.update(zip(places, _run(opened, mode, model, config, read, failed), strict=True))
        yield from (results[place] for place in range(len(batch)))


def _run(
    opened: Sequence[Opened],
    mode: str,
    model: ZoomIn,
    config: InferenceConfig,
    read: Callable[[ZoomInOutput, Sequence[Opened], str], list[T]],
    failed: Callable[[str, Exception], T],
) -> list[T]:
    """One forward pass; where it fails, every image alone, so that the guilty one is found."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model(
                [image for _, image in opened],
                keys=torch.full((len(opened),), config.seed, dtype=torch.int64),
                n_samples=config.n_samples,
                sampling=mode,
                replicates=config.replicates if design(mode).random else 1,
            )
            return read(output, opened, mode)
    except (ImageError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        if len(opened) == 1:
            return [failed(opened[0].name, error)]
    finally:
        model.train(was_training)
    return [result for one in opened for result in _run([one], mode, model, config, read, failed)]


def _mode(image: Image, model: ZoomIn, config: InferenceConfig) -> str:
    if config.sampling != "auto":
        return config.sampling
    grid = TileGrid.of(torch.tensor([[image.height, image.width]]), model.config.tile_size)
    sub_tiles = int(grid.count[0]) * model.map_size[0] * model.map_size[1]
    return "exact" if sub_tiles <= config.exact_budget else "systematic"


def _batches(
    opened: Iterator[tuple[str, Image | Exception]], size: int
) -> Iterator[list[tuple[str, Image | Exception]]]:
    """Runs of at most `size` images and, but for a single one, `BATCH_PIXELS` pixels."""
    batch: list[tuple[str, Image | Exception]] = []
    pixels = 0
    for name, found in opened:
        more = 0 if isinstance(found, Exception) else found.height * found.width
        if batch and (len(batch) == size or pixels + more > BATCH_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append((name, found))
        pixels += more
    if batch:
        yield batch


def _opened(sources: Iterator[Source], threads: int) -> Iterator[tuple[str, Image | Exception]]:
    """Open images by a pool of threads, in order, at most `threads` ahead."""
    waiting: deque[tuple[str, Future[Image | Exception]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="zoomin-open") as pool:
        try:
            for source in sources:
                waiting.append((_name(source), pool.submit(_open, source)))
                if len(waiting) > threads:
                    name, future = waiting.popleft()
                    yield name, future.result()
            while waiting:
                name, future = waiting.popleft()
                yield name, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _open(source: Source) -> Image | Exception:
    try:
        if isinstance(source, Record):
            return open_image(source.image, mpp=source.mpp)
        return open_image(source) if isinstance(source, (str, Path)) else source
    except (ZoomInError, OSError, MemoryError) as error:
        return error


def _name(source: Source) -> str:
    if isinstance(source, Record):
        return str(source.image)
    return str(source) if isinstance(source, (str, Path)) else source.name


def _sources(images: Sources) -> Iterator[Source]:
    if isinstance(images, Tensor):
        if images.ndim != 4:
            raise ImageError(
                f"a tensor of shape {tuple(images.shape)}",
                where="images",
                remedy="Give (B, 3, height, width).",
            )
        for index, pixels in enumerate(images):
            yield ArrayImage(_bytes(pixels), name=f"image {index}")
    elif isinstance(images, (str, Path, Image)):
        yield images
    else:
        yield from images


def _bytes(pixels: Tensor) -> Tensor:
    """uint8 pixels of one image, from uint8 or from floating point in [0, 1]."""
    if pixels.dtype == torch.uint8:
        return pixels.cpu()
    outside = pixels.numel() > 0 and not 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    if not pixels.is_floating_point() or outside:
        raise ImageError(
            f"a tensor of type {pixels.dtype}, or outside [0, 1]",
            where="images",
            remedy="Give uint8 pixels, or floating-point ones scaled to [0, 1].",
        )
    return (pixels.detach() * 255 + 0.5).to(torch.uint8).cpu()
