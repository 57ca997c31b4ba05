"""NeedleCamelyon: crops of Camelyon16 with one small metastasis, or none."""

from __future__ import annotations

from .baseline_rows import compared
from .experiment import Setting

__all__ = ["NEEDLE_CAMELYON"]

_RECIPE = "needle_camelyon"

NEEDLE_CAMELYON = compared(
    "needle-camelyon",
    "NeedleCamelyon",
    "Kong & Henao, CVPR 2022, section 4.2 and supplement D, G, I",
    Setting("zoom-in", "Zoom-In, N = 30", _RECIPE, published={"accuracy": 76.0}),
    {"model.scale": 0.25, "model.sub_tile_size": 32, "model.n_samples": 30, "model.features": "lenet"},
    512,
    [
        Setting(
            "no-contrast",
            "Zoom-In, no contrastive learning",
            _RECIPE,
            {"train.contrastive_from_epoch": None},
            {"train.contrastive_from_epoch": None},
            published={"accuracy": 74.3},
        )
    ],
)
