"""Functional Map of the World, ten categories: Zoom-In against EfficientNet-B0 on shrunk images."""

from __future__ import annotations

from .baseline_rows import compared
from .experiment import Setting

__all__ = ["FMOW"]

FMOW = compared(
    "fmow",
    "Functional Map of the World, ten categories",
    "Kong & Henao, CVPR 2022, section 4.4 and supplement E, G",
    Setting("zoom-in", "Zoom-In, N = 30", "fmow", mini={"model.n_samples": 10}),
    {
        "model.scale": 0.2,
        "model.sub_tile_size": 50,
        "model.n_samples": 30,
        "model.attention": "resnet16",
        "model.features": "resnet16",
    },
    448,
    [
        Setting(
            "efficientnet-b0",
            "EfficientNet-B0 at 896",
            "fmow_efficientnet",
            mini={"model.side": 96, "model.pretrained": False},
        )
    ],
)
