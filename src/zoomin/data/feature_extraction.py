"""Encode the crops of images once, by a frozen network, into files that MIL models read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..errors import ConfigError, DataError, WriteError, require_all
from ..files import write_csv
from ..geometry import TileGrid
from ..images.batch import batch_of
from ..images.foreground import Foreground
from ..images.timeouts import READ_TIMEOUT
from ..images.tissue import attended_tiles
from ..model.chunks import Chunks
from ..model.engine import Engine
from ..model.feature_files import FeatureFile, feature_path, settings_of, write_features
from ..model.networks import feature_network
from ..runtime.faults import Faults, image_error
from ..runtime.locks import lock_folder
from .manifest import Record
from .opening import foreground_mask, open_record

__all__ = ["EncodedImage", "FeatureConfig", "encode_images", "write_encoded"]

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
    """Seconds after which a single read is given up; null: never."""

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
) -> Iterator[EncodedImage]:
    """Write a file of features for every image that has none yet; one that cannot be read is reported.

    Args:
        records: the images; no two may have the same file name but for folder and suffix.
        out: folder of the files.
        config: how to encode.
        device: device of the network.

    Raises:
        DataError: if two images would share a file.
        ConfigError: if the folder holds features that were made otherwise, or the network cannot be built.
        WriteError: if the folder cannot be written to, or another job writes to it.
        Exception: an unexpected error that many images fail with, one after another: see `Faults`.
    """
    with lock_folder(out):
        yield from _encode(records, out, config or FeatureConfig(), device)


def _encode(
    records: Sequence[Record], out: str | Path, config: FeatureConfig, device: torch.device | str
) -> Iterator[EncodedImage]:
    _check_names(records)
    paths = [feature_path(out, record.image) for record in records]
    done = [path.is_file() for path in paths]
    for path in (path for path, is_there in zip(paths, done, strict=True) if is_there):
        _check_settings(path, config)
    faults = Faults()
    network = None if all(done) else _network(config, device)
    engine = Engine("auto")
    for record, path, is_there in zip(records, paths, done, strict=True):
        if is_there or network is None:
            yield EncodedImage(str(record.image), str(path), None, "kept")
            continue
        try:
            crops = write_features(path, _parts(record, network, config, device, engine), config.settings())
        except WriteError:
            raise
        except Exception as error:
            found = image_error(error, record.image)
            faults.note(found)
            yield EncodedImage(str(record.image), status="error", error=str(found))
        else:
            faults.note(None)
            yield EncodedImage(str(record.image), str(path), crops)


def write_encoded(rows: Iterable[EncodedImage], path: Path) -> None:
    """Write the table of what became of the images."""
    write_csv(path, [f.name for f in fields(EncodedImage)], (asdict(row).values() for row in rows))


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


def _network(config: FeatureConfig, device: torch.device | str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network, _ = feature_network(config.features, pretrained=config.pretrained)
    return network.to(device).to(memory_format=torch.channels_last).eval()


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
