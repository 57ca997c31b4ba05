"""Encode the crops of images once, by a frozen network, into files that MIL models read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..errors import ConfigError, DataError, ZoomInError, require_all
from ..files import cell, json_digest, unquoted, write_csv
from ..geometry import TileGrid
from ..images.batch import batch_of
from ..images.foreground import Foreground
from ..images.timeouts import READ_TIMEOUT
from ..images.tissue import attended_tiles
from ..model.chunks import Chunks
from ..model.engine import Engine
from ..model.feature_files import FeatureFile, feature_path, settings_of, write_features
from ..model.networks import feature_network
from ..runtime.executor import Executor
from ..runtime.image_work import Worker, check_shared, iter_answers, take_place
from ..runtime.ledger import Ledger
from ..runtime.locks import lock_folder
from .manifest import Record
from .opening import foreground_mask, open_record, record_key

__all__ = ["TABLE", "EncodedImage", "FeatureConfig", "encode_images", "row_of", "write_encoded"]

TABLE = "features.csv"  # what became of the images, beside their files

_CROPS = 4096  # encoded before they are written


@dataclass(frozen=True)
class FeatureConfig:
    """Which crops are encoded, and how."""

    features: str = "timm:tf_efficientnet_lite0"
    """The network: "timm:MODEL", "lenet", "lenet_released", "resnet16" or the name of a plug-in."""

    pretrained: bool = True
    """Load the pretrained weights of `timm:MODEL`; those of tf_efficientnet_lite0 need no download."""

    crop_size: int = 256
    """Side of the crops that tile the image, in level-0 pixels; 256 as most toolkits for slides have."""

    scale: float = 1.0
    """Scale in (0, 1] at which crops are read."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Mean of red, green and blue in [0, 1], subtracted from crops; 0.5 is what EfficientNet-Lite0 was
    trained with."""

    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Standard deviation by which crops are divided; 0.5 is what EfficientNet-Lite0 was trained with."""

    foreground: Foreground = field(default_factory=Foreground)
    """Which crops are encoded; by default all."""

    chunk_size: int = 256
    """Maximum number of crops per network call; bounds memory, does not change results."""

    read_timeout: float | None = READ_TIMEOUT
    """Seconds after which a single read is given up; null: never. 120 outlast a slow network drive."""

    seed: int = 0
    """Seed of the weights of networks without pretrained ones."""

    def __post_init__(self) -> None:
        """Check the values."""
        needs = {
            "crop_size": (self.crop_size >= 1, "at least 1"),
            "chunk_size": (self.chunk_size >= 1, "at least 1"),
            "scale": (0 < self.scale <= 1, "above 0 and at most 1"),
        }
        require_all(self, needs)

    def settings(self) -> dict[str, Any]:
        """What the content of a file depends on, as plain values."""
        values = asdict(self)
        return {name: values[name] for name in values if name not in ("chunk_size", "read_timeout")}


@dataclass(frozen=True)
class EncodedImage:
    """What became of an image, a row of the table.

    Attributes:
        image: its path.
        file: of its features; "" where there is none.
        crops: encoded; None for a file that was there before.
        status: "ok", "kept" (it was there), or "error".
        error: what went wrong, or "".
    """

    image: str
    file: str = ""
    crops: int | None = None
    status: Literal["ok", "kept", "error"] = "ok"
    error: str = ""


def encode_images(
    records: Sequence[Record],
    out: str | Path,
    config: FeatureConfig | None = None,
    device: torch.device | str = "cpu",
    *,
    retry_failed: bool = False,
    executor: Executor | None = None,
    progress: bool = False,
) -> list[EncodedImage]:
    """Write a file of features for every image that has none yet; one that cannot be read is reported.

    The table `TABLE` in the folder tells what became of the images (`runtime.ledger`).

    Args:
        records: the images; no two may have the same file name but for folder and suffix.
        out: folder of the files.
        config: how to encode.
        device: device of the network.
        retry_failed: try images again that failed before and have not changed since.
        executor: who computes; by default this process. Each worker writes the files of its images.
        progress: show a progress bar on stderr.

    Returns:
        What became of each image, in their order.

    Raises:
        DataError: if two images would share a file.
        ConfigError: if the folder holds features that were made otherwise, the network cannot be built,
            workers cannot start, there is no such cluster, or its machines do not share the folder.
        WriteError: if the folder cannot be written to, or another job writes to it.
        Exception: an unexpected error that many images fail with, one after another: see `faults.Faults`.
    """
    config, executor = config or FeatureConfig(), executor or Executor()
    _check_names(records)
    with lock_folder(out):
        maker = json_digest(config.settings())
        keys = {_name(record): f"{maker}-{record_key(record)}" for record in records}
        columns = [f.name for f in fields(EncodedImage)]
        ledger = Ledger(Path(out) / TABLE, columns, keys, resume=True, retry_failed=retry_failed)
        left = [
            record
            for record in records
            if not _is_kept(record, feature_path(out, record.image), config, ledger)
        ]
        with ledger.filling("Encoding", shown=progress) as add:
            for one in _encode(left, Path(out).resolve(), config, device, executor):
                add(one.image, _cells(one))
        ledger.finish()
    now = {_name(record) for record in left}
    return [row_of(ledger.lines[_name(record)], is_new=_name(record) in now) for record in records]


def _is_kept(record: Record, path: Path, config: FeatureConfig, ledger: Ledger) -> bool:
    """Whether an image needs no new file; one of an image that has changed since is removed.

    Raises:
        ConfigError: if its file was made otherwise.
    """
    name = _name(record)
    line, is_there = ledger.lines.get(name), path.is_file()
    if line is not None:
        if is_there or ledger.is_error(line):
            return True
        del ledger.lines[name]
        return False
    if is_there:
        _check_settings(path, config)
        if name not in ledger.before:  # made by an earlier version, or its row was not written any more
            ledger.put(name, _cells(EncodedImage(name, str(path.resolve()), None, "kept")))
            return True
        path.unlink()
    return False


def _encode(
    records: Sequence[Record],
    out: Path,
    config: FeatureConfig,
    device: torch.device | str,
    executor: Executor,
) -> Iterator[EncodedImage]:
    if not records:
        return
    place = Worker.of(device, executor)
    start = partial(_Encoder, _network(config), config, out, place)
    gpus = place.device.type == "cuda"
    for number, found in iter_answers(records, _name, start, executor, gpus=gpus):
        image = _name(records[number])
        if isinstance(found, ZoomInError):
            yield EncodedImage(image, status="error", error=str(found))
        else:
            path = feature_path(out, image)
            check_shared(path, executor)
            yield EncodedImage(image, str(path), found)


class _Encoder:
    """Writes the file of one image after another.

    Args:
        network: of the crops.
        config: how to encode.
        out: folder of the files.
        worker: where to compute.
        number: of this worker.
    """

    def __init__(
        self, network: nn.Module, config: FeatureConfig, out: Path, worker: Worker, number: int
    ) -> None:
        """Take the network to the device."""
        self.device = take_place(worker, number)
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()
        self.config, self.out, self.engine = config, out, Engine("auto")

    def __call__(self, record: Record) -> int:
        """The number of crops of an image.

        Raises:
            ZoomInError: if it cannot be read.
            WriteError: if the file cannot be written.
        """
        parts = _parts(record, self.network, self.config, self.device, self.engine)
        return write_features(feature_path(self.out, record.image), parts, self.config.settings())


def _name(record: Record) -> str:
    return str(record.image)


def _cells(one: EncodedImage) -> list[object]:
    return [cell(value) for value in astuple(one)]


def row_of(line: Sequence[str], *, is_new: bool = True) -> EncodedImage:
    """What a row of the table says."""
    image, file, crops, status, error, _ = line
    return EncodedImage(
        image=unquoted(image),
        file=unquoted(file),
        crops=int(crops) if crops.isdecimal() else None,
        status="error" if status == "error" else "ok" if is_new else "kept",
        error=unquoted(error),
    )


def write_encoded(rows: Iterable[EncodedImage], path: Path) -> None:
    """Write the table of what became of the images."""
    write_csv(path, [f.name for f in fields(EncodedImage)], map(astuple, rows))


def _parts(
    record: Record, network: nn.Module, config: FeatureConfig, device: torch.device | str, engine: Engine
) -> Iterator[FeatureFile]:
    """The crops of an image, some thousand at a time."""
    image = open_record(record)
    mask = foreground_mask(image, record, config.foreground)
    batch = batch_of([image], [mask], device, config.read_timeout)
    grid = TileGrid.of(batch.sizes, config.crop_size)
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) * 255 for v in (config.mean, config.std))
    chunks = Chunks(config.chunk_size, "never", mean, std, engine)
    for regions in grid.regions[attended_tiles(batch, grid).tiles].split(_CROPS):
        own = torch.zeros(len(regions), dtype=torch.int64, device=device)
        with torch.no_grad():
            features = chunks.apply(network, batch, own, regions, config.crop_size, config.scale)
        yield FeatureFile(features, regions[:, :2])


def _network(config: FeatureConfig) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network, _ = feature_network(config.features, pretrained=config.pretrained)
    return network


def _check_names(records: Sequence[Record]) -> None:
    first_image: dict[str, Path] = {}
    for record in records:
        other = first_image.setdefault(feature_path("", record.image).name, record.image)
        if other != record.image:
            raise DataError(
                f"{other} and this image would share a file of features",
                where=record.image,
                remedy="Rename one of them, or encode them into two folders.",
            )


def _check_settings(path: Path, config: FeatureConfig) -> None:
    found, wanted = settings_of(path), config.settings()
    if found is None or found != _plain(wanted):
        raise ConfigError(
            "these features were made with other settings",
            where=path,
            remedy="Give another folder, or the settings they were made with.",
        )


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as they come back from JSON."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
