"""The folder of a run: what was asked for, with which software and data, and what came out."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Int
from torch import Tensor

from .._version import __version__
from ..classifiers import Classifier, config_class
from ..data.config import DataConfig
from ..data.datamodule import ZoomInDataModule
from ..data.manifest import Manifest, write_manifest
from ..errors import CheckpointError, ConfigError
from ..files import json_digest, plain, write_csv, write_json, write_text
from ..images.urls import path_text
from ..model.network import Network
from ..runtime.locks import LOCKS
from .config import CrossvalConfig, RunConfig

__all__ = [
    "check_settings",
    "data_fingerprint",
    "differing_settings",
    "new_folder",
    "record_readers",
    "versions",
    "write_inputs",
]

_PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "timm", "numpy", "scikit-learn", "pillow")


def record_readers(net: Classifier, data: ZoomInDataModule, folder: Path) -> None:
    """Keep which reader decoded each training image: readers.csv in the run, their names with the network."""
    rows = data.splits["train"].tolist()
    readers = [data.store.readers[row] for row in rows]
    images = [path_text(data.manifest.records[row].image) for row in rows]
    write_csv(folder / "readers.csv", ["image", "reader"], zip(images, readers, strict=True))
    if isinstance(net, Network):
        net.readers = tuple(sorted(set(readers)))


def new_folder(folder: Path, *, resume: bool) -> None:
    """Make the folder of a run.

    Raises:
        ConfigError: if it is a file, or holds something and `resume` is off.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError("a file, not a folder", where=folder, remedy="Give another --out.")
    held = folder.is_dir() and any(child.name not in LOCKS for child in folder.iterdir())
    if held and not resume:
        raise ConfigError(
            "the folder of the run is not empty",
            where=folder,
            remedy="Give another --out, resume this run with --resume true, or delete the folder.",
        )
    folder.mkdir(parents=True, exist_ok=True)


def write_inputs(
    folder: Path, config: object, manifest: Manifest, splits: Mapping[str, Int[Tensor, " n"]] | None = None
) -> None:
    """Write config.yaml, versions.json, manifest.csv and, where given, splits.json."""
    write_text(folder / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False))
    write_json(folder / "versions.json", versions())
    write_manifest(manifest, folder / "manifest.csv")
    if splits is not None:
        named = {
            name: [str(manifest.records[row].image) for row in rows.tolist()] for name, rows in splits.items()
        }
        write_json(folder / "splits.json", named)


def versions() -> dict[str, Any]:
    """The software and the machine: packages, git commit of zoomin, Python, system, threads, GPU, time."""
    return {
        "zoomin": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version_of(name) for name in _PACKAGES},
        "system": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version_of(package: str) -> str | None:
    """Its installed version; None of a package of an extra that is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the source code, "+changes" where files differ from it; None outside a repository."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if not git("ls-files", "--error-unmatch", "../errors.py"):
            return None
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", "..") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def data_fingerprint(manifest: Manifest, splits: Mapping[str, Int[Tensor, " n"]]) -> str:
    """The same for the same images, by name and label, in the same splits, wherever their folder lies."""
    rows = {
        name: [(manifest.records[row].image.name, manifest.records[row].label) for row in place.tolist()]
        for name, place in splits.items()
    }
    return json_digest([list(manifest.classes), plain(rows)], 16)


def check_settings(
    old: Mapping[str, Any], new: Mapping[str, Any], what: str, where: Path, folder: Path
) -> None:
    """Refuse to resume with other settings.

    Args:
        old: the settings of then.
        new: those of now.
        what: was started with them.
        where: they are stored.
        folder: of `config.yaml`.

    Raises:
        CheckpointError: naming the settings that differ.
    """
    if differences := differing_settings(old, new):
        raise CheckpointError(
            f"the {what} was started with other settings: {'; '.join(differences)}",
            where=where,
            remedy=f"Resume with --config {folder / 'config.yaml'}, or give another --out.",
        )


def differing_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings in which two runs differ, as `a.b (1, now 2)`.

    What the old run does not know, since its version of the software did not, stands at its default.

    Example:
        >>> differing_settings({"train": {"epochs": 1}}, {"train": {"epochs": 2}, "seed": 0})
        ['train.epochs (1, now 2)']
    """
    kind = config_class(new.get("model", {}).get("name"))
    defaults = {**plain(RunConfig(DataConfig(""), kind())), "cv": plain(CrossvalConfig())}
    return _differing(old, new, defaults, "")


def _differing(
    old: Mapping[str, Any], new: Mapping[str, Any], default: Mapping[str, Any], path: str
) -> list[str]:
    found = []
    for name in dict.fromkeys([*old, *new]):
        here, usual, now = path + name, default.get(name), new.get(name)
        before = old.get(name, usual)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += _differing(before, now, usual if isinstance(usual, Mapping) else {}, here + ".")
        elif before != now:
            found.append(f"{here} ({before}, now {now})")
    return found
