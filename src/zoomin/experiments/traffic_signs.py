"""Traffic signs: no sign, or a speed limit of 50, 70 or 80, on Swedish or German roads."""

from __future__ import annotations

from .baseline_rows import compared
from .experiment import PRETRAINED_TRUNKS, Setting

__all__ = ["TRAFFIC_SIGNS"]

_TRUNKS = {
    "pretrain.steps": 400,
    "pretrain.batch_size": 32,
    "pretrain.crops": "as_read",
    "pretrain.schedule": "cosine",
    "model.tile_scale": 0.5,
    **PRETRAINED_TRUNKS,
}
_WARMED = {  # as recipes/gigapixel_small_needles.yaml, from the labels of images alone
    **PRETRAINED_TRUNKS,
    "model.mean": [0.5, 0.5, 0.5],  # those of its weights
    "model.std": [0.5, 0.5, 0.5],
    "model.tile_scale": 0.5,
    "model.sub_tile_scale": 1.0,
    "model.n_samples": 16,
    "model.sampling": "systematic",
    "train.freeze_trunks": True,
    "train.learning_rate": 0.002,
    "train.contrastive_from_epoch": None,
    "train.warm_up.steps": 400,
    "train.warm_up.position_steps": 200,
    "train.warm_up.learning_rate": 0.05,
    "train.warm_up.pooling": "max",
    "train.warm_up.starts": 16,
    "train.warm_up.head_l2": 0.01,
}

TRAFFIC_SIGNS = compared(
    "traffic-signs",
    "Traffic signs",
    "Kong & Henao, CVPR 2022, section 4.3 and supplement G",
    Setting("zoom-in", "Zoom-In, N = 10", "traffic_signs"),
    {
        "model.scale": 0.25,
        "model.sub_tile_size": 64,
        "model.n_samples": 10,
        "model.attention": "resnet16",
        "model.features": "resnet16",
    },
    400,
    [
        Setting(
            "boxes",
            "Zoom-In, a, b and f pre-trained on the boxes",
            "traffic_signs",
            {"pretrain.steps": 500},
            in_mini=False,
        ),
        Setting(
            "boxes-trunks",
            "Zoom-In, EfficientNet-Lite0 pre-trained on the boxes, s1 = 0.5",
            "traffic_signs",
            _TRUNKS,
            in_mini=False,
        ),
        Setting(
            "boxes-trunks-frozen",
            "Zoom-In, the same trunks, those of the attention then frozen",
            "traffic_signs",
            {**_TRUNKS, "train.freeze_trunks": "attention"},
            in_mini=False,
        ),
        Setting(
            "boxes-trunks-head",
            "Zoom-In, trunks of the boxes, attention frozen, head initialised by logistic regression",
            "traffic_signs",
            {**_TRUNKS, "train.freeze_trunks": "attention", "train.warm_up.head_l2": 0.01},
            in_mini=False,
        ),
        Setting(
            "warmed",
            "Zoom-In with EfficientNet-Lite0, attention and head warmed up, N = 16",
            "traffic_signs",
            _WARMED,
            in_mini=False,
        ),
        Setting(
            "ips",
            "IPS, M = 10",
            "traffic_signs",
            {
                "model.name": "ips",
                "model.tile_size": 100,
                "model.memory": 10,
                "model.features": "resnet16",
            },
            in_mini=False,
        ),
        Setting(
            "ips-pretrained",
            "IPS, M = 10, pretrained EfficientNet-Lite0",
            "traffic_signs",
            {
                "model.name": "ips",
                "model.tile_size": 100,
                "model.memory": 10,
                "model.features": "timm:tf_efficientnet_lite0",
                "model.pretrained": True,
            },
            in_mini=False,
        ),
    ],
    notes=(
        "--data takes the Swedish sets or the German benchmark, detected from the content; for the German "
        "one give --set '[train.class_weights=balanced]': the published weights apply to the Swedish counts.",
    ),
)
