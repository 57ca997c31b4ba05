"""What a network answers, from what the data ask: names, kind and unit; and what does not go with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

from jaxtyping import Int
from torch import Tensor

from ..classifiers import ClassifierConfig, baseline
from ..data.config import DataConfig
from ..data.datamodule import ZoomInDataModule
from ..data.labels import describe_classes, doubtful_case, unusual_order
from ..errors import ConfigError
from ..model.choices import TargetKind
from ..model.targets import Target
from ..model.zoom_in import ZoomInConfig
from .config import RunConfig

__all__ = ["check_target", "log_classes", "match_classes", "match_data", "resolved_data"]

logger = logging.getLogger(__name__)
AnyConfig = TypeVar("AnyConfig", bound=ClassifierConfig)


def match_data(config: AnyConfig, data: ZoomInDataModule, rows: Int[Tensor, " rows"]) -> AnyConfig:
    """The configuration for what the data ask: kind and names, and of a value its mean and spread.

    Args:
        config: of a network.
        data: labelled images.
        rows: the training images.

    Raises:
        ConfigError: if it asks for other classes.
    """
    config = match_classes(config, data.classes, data.target.kind)
    if data.target.kind != "value":
        return config
    values = data.labels[rows].double()
    values = values[values.isfinite()]
    spread = float(values.std(correction=0)) if len(values) else 0.0
    mean = float(values.mean()) if len(values) else 0.0
    return replace(config, value_mean=mean, value_std=spread or 1.0)


def resolved_data(config: DataConfig, data: ZoomInDataModule) -> DataConfig:
    """The settings of the data with the target found in its columns, so that another run reads them alike."""
    kind = config.target if data.target.kind == "classes" else cast("TargetKind", data.manifest.target)
    return replace(config, classes=list(data.classes), target=kind)


def check_target(config: RunConfig, target: Target) -> None:
    """Refuse what is for classes alone.

    Raises:
        ConfigError: naming the setting.
    """
    if target.kind == "classes":
        return
    name = getattr(config.model, "name", None)
    asked = {
        "pretrain.steps": config.pretrain.steps > 0,
        "train.warm_up": config.train.warm_up.is_on,
        "train.negative_class": config.train.negative_class is True,
        "train.class_weights": not target.picks_one and config.train.class_weights is not None,
        "frozen.trunk": config.frozen.enabled and config.frozen.trunk == "learned",
        "model.name": name is not None and not baseline(name).any_target,
    }
    for setting in (setting for setting, is_on in asked.items() if is_on):
        raise ConfigError(
            f"this works for classes, and the target is {target.kind}",
            where=setting,
            remedy="Leave it out, or train on classes.",
        )
    several = config.train.devices not in (1, "auto") or config.train.num_nodes != 1
    if target.kind == "survival" and several:
        raise ConfigError(
            "the images of a batch are compared with each other, which several processes would part",
            where="train.devices",
            remedy="Leave train.devices and train.num_nodes at 1.",
        )


def match_classes(config: AnyConfig, classes: tuple[str, ...], target: str = "classes") -> AnyConfig:
    """The configuration with the kind of target of the data, and the number and the names of its classes.

    Args:
        config: of a network.
        classes: of the data; of another target its names.
        target: its kind.

    Raises:
        ConfigError: if it asks for other classes.

    Example:
        >>> match_classes(ZoomInConfig(), ("empty", "50", "70")).n_classes
        3
    """
    if config.class_names and config.class_names != classes:
        raise ConfigError(
            f"the model's classes are {', '.join(config.class_names)}, the data's {', '.join(classes)}",
            where="model.class_names",
            remedy="Leave model.class_names out, or set the order of the data's classes with data.classes.",
        )
    if config.n_classes not in (ZoomInConfig.n_classes, len(classes)):
        raise ConfigError(
            f"the model has {config.n_classes} classes, the data {len(classes)} ({', '.join(classes)})",
            where="model.n_classes",
            remedy="Leave model.n_classes out: it is taken from the data.",
        )
    if target != "classes":
        return replace(config, target=target, n_classes=len(classes), class_names=classes)
    names = classes if len(classes) > 1 else ()
    return replace(config, target=target, n_classes=max(2, len(classes)), class_names=names)


def log_classes(classes: Sequence[str], *, is_ordered: bool = True) -> None:
    """Say which class is the negative one, before anything depends on it, and what is doubtful.

    Args:
        classes: or labels, or other names of outputs.
        is_ordered: whether the first one is the negative one.
    """
    if is_ordered:
        logger.info("%s", describe_classes(classes))
    if doubt := unusual_order(classes) if is_ordered else doubtful_case(classes):
        logger.warning("%s", doubt)
