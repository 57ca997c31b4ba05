"""Colon cancer: Zoom-In against baselines on the same folds and seeds, and figure 5's error bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .columns import COSTS
from .experiment import Experiment, Outcome, Setting
from .figures import scores_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLON_CANCER", "PROTOCOLS", "draw_protocols"]

PROTOCOLS = (
    "The published accuracies are those of each fold's best epoch on the very images it is evaluated on: "
    "optimistic by as much as the choice is worth. The columns without that remark choose nothing: last "
    "epoch, many estimates."
)


def draw_protocols(outcomes: Sequence[Outcome]) -> Figure:
    """Accuracy of every row by both protocols."""
    columns = [("best_accuracy", "best epoch (optimistic)"), ("accuracy", "nothing chosen (honest)")]
    return scores_figure(outcomes, columns, "best_accuracy", "accuracy on held-out images, %")


COLON_CANCER = Experiment(
    name="colon-cancer",
    title="Colon cancer",
    source="Kong & Henao, CVPR 2022, section 4.1 and supplement C, figure 5",
    data_set="colon-cancer",
    settings=(
        Setting(
            "zoom-in",
            "Zoom-In, N = 10",
            "colon_cancer",
            published={"best_accuracy": 95.0, "best_accuracy_sd": 2.6},
        ),
        Setting(
            "zoom-in-authors",
            "Zoom-In, N = 10, networks of the authors' code exactly",
            "colon_cancer_authors",
            in_mini=False,
        ),
        Setting(
            "ats",
            "ATS, N = 10",
            "colon_cancer_ats",
            published={"best_accuracy": 90.7, "best_accuracy_sd": 1.4},
        ),
        Setting(
            "abmil",
            "Attention MIL (published: honest)",
            "colon_cancer_abmil",
            mini={"model.crop_size": 64},
            published={"accuracy": 90.0, "accuracy_sd": 0.9, "auroc": 95.9},
        ),
        *(
            Setting(name, what, f"colon_cancer_{name}", in_mini=False)
            for name, what in (
                ("ips", "IPS, M = 10"),
                ("clam", "CLAM"),
                ("dsmil", "DSMIL"),
                ("transmil", "TransMIL"),
                ("mrmil", "MRMIL"),
                ("zoommil", "ZoomMIL"),
                ("efficientnet", "EfficientNet-B0 on the whole image"),
            )
        ),
        Setting("cnn", "CNN on the whole image", "colon_cancer_cnn", mini={"model.side": 128}),
        Setting(
            "cnn-250",
            "CNN on the image shrunk to 250",
            "colon_cancer_cnn",
            {"model.side": 250},
            in_mini=False,
        ),
        Setting(
            "efficientnet-pretrained",
            "EfficientNet-Lite0, ImageNet weights, on the image shrunk to 250",
            "colon_cancer_efficientnet",
            {
                "model.features": "timm:tf_efficientnet_lite0",
                "model.pretrained": True,
                "model.mean": [0.5, 0.5, 0.5],
                "model.std": [0.5, 0.5, 0.5],
                "model.side": 250,
                "train.epochs": 10,
            },
            in_mini=False,
        ),
    ),
    columns=("best_accuracy", "accuracy", "balanced_accuracy", "auroc", *COSTS, "tiles"),
    draw=draw_protocols,
    notes=(
        PROTOCOLS,
        "The published numbers of attention MIL are of another paper (Ilse et al. 2018): nothing chosen on "
        "the images evaluated, its own folds.",
        "Published standard deviation of the CNN over five seeds: 1.2 (figure 5).",
    ),
)
