"""Zoom-In and its competitors, each by one name: what training and prediction are open to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from .baselines import BASELINES, Baseline, BaselineConfig
from .errors import ConfigError
from .model.config import ZoomInConfig
from .model.storage import CONFIG
from .model.zoom_in import ZoomIn

__all__ = ["Classifier", "ClassifierConfig", "build", "config_class", "load", "zoom_in"]

Classifier = ZoomIn | Baseline[Any]
ClassifierConfig = ZoomInConfig | BaselineConfig


def config_class(name: str | None) -> type[ZoomInConfig] | type[BaselineConfig]:
    """The kind of configuration that the setting `model.name` stands for; without one, Zoom-In's.

    Raises:
        ConfigError: if there is no competitor of that name.
    """
    if name is None:
        return ZoomInConfig
    if name not in BASELINES:
        raise ConfigError(
            f"unknown model {name!r}",
            where="model.name",
            remedy=f"Choose one of {', '.join(BASELINES)}; leave it out for Zoom-In.",
        )
    return BASELINES[name].config_class


def build(config: ClassifierConfig) -> Classifier:
    """The network of a configuration, with weights drawn from torch's global random state.

    Raises:
        ConfigError: if the configuration cannot work.
    """
    if isinstance(config, ZoomInConfig):
        return ZoomIn(config)
    [kind] = [kind for kind in BASELINES.values() if kind.config_class is type(config)]
    return kind(config)


def load(folder: str | Path, device: str | torch.device = "cpu") -> Classifier:
    """The model that `save_pretrained` wrote, Zoom-In or a competitor, in evaluation mode.

    Raises:
        CheckpointError: if a file is missing or damaged, or does not fit the configuration.
        ConfigError: if the configuration has settings or a name that this version does not know.
    """
    name = _name(Path(folder) / CONFIG)
    if name is None:
        return ZoomIn.from_pretrained(folder, device)
    config_class(name)
    return BASELINES[name].from_pretrained(folder, device)


def zoom_in(model: Classifier) -> ZoomIn:
    """The model, where it is Zoom-In.

    Raises:
        ConfigError: if it is a competitor, which has no two stages of attention to show.
    """
    if isinstance(model, ZoomIn):
        return model
    raise ConfigError(
        f"a model of the kind {type(model).__name__} has no tiles and sub-tiles to look into",
        where="model",
        remedy="Give a run of Zoom-In.",
    )


def _name(path: Path) -> str | None:
    """The competitor that a config.json is of; None: Zoom-In, or a file that its loader will complain of."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values.get("name") if isinstance(values, dict) else None
