"""Camelyon16: whole slides of lymph nodes, some with metastases."""

from __future__ import annotations

from .baseline_rows import compared
from .experiment import Setting

__all__ = ["CAMELYON16"]

_OFF = {"train.contrastive_from_epoch": None}

CAMELYON16 = compared(
    "camelyon16",
    "Camelyon16",
    "Kong & Henao, CVPR 2022, section 4.5, table 2 and supplement G, I, M",
    Setting(
        "zoom-in", "Zoom-In, N = 100", "camelyon16", published={"accuracy": 81.3, "tile_spearman": 0.357}
    ),
    {
        "model.scale": 0.03125,
        "model.sub_tile_size": 100,
        "model.n_samples": 100,
        "model.attention": "resnet16",
        "model.features": "resnet16",
    },
    2048,
    [
        Setting(
            "no-contrast",
            "Zoom-In, no contrastive learning",
            "camelyon16",
            _OFF,
            _OFF,
            published={"accuracy": 80.6},
        )
    ],
    notes=("ATS sees slides whole at 1/32: its overview at the scale of Zoom-In's positions would not fit.",),
)
