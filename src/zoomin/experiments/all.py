"""Every experiment by its name."""

from __future__ import annotations

from .ablation import ABLATION
from .attention_roi_figure import ATTENTION_ROI
from .camelyon16 import CAMELYON16
from .colon_cancer import COLON_CANCER
from .comparison import COMPARISON
from .experiment import Experiment
from .fmow import FMOW
from .interpretability import INTERPRETABILITY
from .memory import MEMORY
from .needle_camelyon import NEEDLE_CAMELYON
from .needle_mnist import NEEDLE_MNIST
from .tradeoff import TRADEOFF
from .traffic_signs import TRAFFIC_SIGNS

__all__ = ["EXPERIMENTS"]

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        COLON_CANCER,
        NEEDLE_CAMELYON,
        NEEDLE_MNIST,
        TRAFFIC_SIGNS,
        FMOW,
        CAMELYON16,
        ABLATION,
        TRADEOFF,
        MEMORY,
        ATTENTION_ROI,
        INTERPRETABILITY,
        COMPARISON,
    )
}
