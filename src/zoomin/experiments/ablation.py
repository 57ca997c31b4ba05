"""Ablation of lambda, N and contrastive learning: supplement I, table 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .colon_cancer import PROTOCOLS, draw_protocols
from .experiment import Experiment, Setting

__all__ = ["ABLATION"]

_NO_CONTRAST = {"train.contrastive_from_epoch": None}


def _colon(name: str, what: str, changes: Mapping[str, Any], published: float) -> Setting:
    mini = _NO_CONTRAST if "train.contrastive_from_epoch" in changes else {}
    return Setting(
        name, f"colon cancer: {what}", "colon_cancer", changes, mini, published={"best_accuracy": published}
    )


def _other(data_set: str, n: int, contrast: bool, published: float) -> Setting:
    return Setting(
        f"{data_set}{'' if contrast else '-no-contrast'}",
        f"{data_set}: N = {n}{'' if contrast else ', no contrastive learning'}",
        data_set.replace("-", "_"),
        {} if contrast else _NO_CONTRAST,
        {} if contrast else _NO_CONTRAST,
        published={"accuracy": published},
        data_set=data_set,
    )


ABLATION = Experiment(
    name="ablation",
    title="Ablation of lambda, N and contrastive learning",
    source="Kong & Henao, CVPR 2022, supplement I, table 4",
    data_set="colon-cancer",
    settings=(
        _colon("standard", "lambda = 1e-5, N = 10, contrastive", {}, 95.0),
        _colon("lambda-0", "lambda = 0", {"train.entropy_strength": 0.0}, 94.0),
        _colon("lambda-1", "lambda = 1", {"train.entropy_strength": 1.0}, 95.0),
        _colon("no-contrast", "no contrastive learning", _NO_CONTRAST, 94.0),
        _colon("n-5", "N = 5", {"model.n_samples": 5}, 93.2),
        _colon("n-50", "N = 50", {"model.n_samples": 50}, 96.0),
        _other("needle-camelyon", 30, True, 76.0),
        _other("needle-camelyon", 30, False, 74.3),
        _other("camelyon16", 100, True, 81.3),
        _other("camelyon16", 100, False, 80.6),
    ),
    columns=("best_accuracy", "accuracy", "balanced_accuracy", "auroc", "tiles", "saved_mb", "step_ms"),
    draw=draw_protocols,
    notes=(
        PROTOCOLS,
        "NeedleCamelyon and Camelyon16 are expected in folders of those names inside --data.",
    ),
)
