"""NeedleMNIST, where the overview does not show the needle, and the three remedies: supplement J."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .baseline_rows import SCORES
from .experiment import PRETRAINED_TRUNKS, Experiment, Outcome, Setting
from .figures import scores_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NEEDLE_MNIST"]

_RECIPE = "needle_mnist"
_PRETRAIN = {"pretrain.steps": 3000}
_MINI_PRETRAIN = {"pretrain.steps": 20, "pretrain.batch_size": 16}


def _draw(outcomes: Sequence[Outcome]) -> Figure:
    figure = scores_figure(
        outcomes, [("accuracy", "accuracy"), ("auroc", "AUROC")], "accuracy", "test images, %"
    )
    axes = figure.axes[0]
    axes.axvline(50, color="0.5", ls=":", lw=1)
    axes.text(50, -0.52, " chance", color="0.4", fontsize=8, va="top")
    return figure


NEEDLE_MNIST = Experiment(
    name="needle-mnist",
    title="NeedleMNIST: the limitation, and its remedies",
    source="Kong & Henao, CVPR 2022, supplement J, figure 8",
    data_set="needle-mnist",
    settings=(
        Setting("limitation", "Zoom-In, s1 = 0.25, N = 30", _RECIPE, published={"accuracy": 50.3}),
        Setting("larger-n", "i) N = 200", _RECIPE, {"model.n_samples": 200}, {"model.n_samples": 24}),
        Setting(
            "larger-s1", "i) s1 = s2 = 0.5", _RECIPE, {"model.tile_scale": 0.5, "model.sub_tile_scale": 0.5}
        ),
        Setting("pretrained", "ii) a, b and f pre-trained on ROI", _RECIPE, _PRETRAIN, _MINI_PRETRAIN),
        Setting(
            "pretrained-larger-s1",
            "i + ii) pre-trained, tiles of 64, s1 = s2 = 0.5",
            _RECIPE,
            {
                **_PRETRAIN,
                "model.tile_size": 64,
                "model.tile_scale": 0.5,
                "model.sub_tile_scale": 0.5,
                "model.tile_attention": "resnet16",
                "model.position_attention": "resnet16",
                "model.features": "resnet16",
                "train.learning_rate": 0.001,
            },
            _MINI_PRETRAIN,
        ),
        Setting(
            "pretrained-trunks",
            "i + ii) EfficientNet-Lite0, pre-trained, s1 = s2 = 0.5",
            _RECIPE,
            {
                **_PRETRAIN,
                "pretrain.crops": "as_read",
                "pretrain.schedule": "cosine",
                "pretrain.learning_rate": 0.002,
                "model.tile_size": 64,
                "model.sub_tile_size": 48,
                "model.tile_scale": 0.5,
                "model.sub_tile_scale": 0.5,
                **PRETRAINED_TRUNKS,
                "train.learning_rate": 0.0002,
            },
            _MINI_PRETRAIN,
        ),
        Setting(
            "random-crops",
            "iii) half of the training images are random crops of 128",
            _RECIPE,
            crops=(0.5, 128),
        ),
    ),
    columns=SCORES,
    draw=_draw,
    measures=("cost", "attention"),
    notes=(
        "The paper proposes the remedies and runs none. Random crops of positive images hold the digit 3, "
        "known from its box; remedy ii learns from the boxes too, the others from one label per image.",
        "A smaller canvas, as dense with digits: --prepare '[canvas=512]'.",
    ),
)
