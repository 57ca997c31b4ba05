"""Published competitors, one a file, under the same training, evaluation and prediction as Zoom-In."""

from typing import Any

from .abmil import ABMIL, ABMILConfig
from .ats import ATS, ATSConfig
from .base import Baseline, BaselineConfig, BaselineOutput
from .cnn import CNN, CNNConfig

__all__ = [
    "ABMIL",
    "ATS",
    "BASELINES",
    "CNN",
    "ABMILConfig",
    "ATSConfig",
    "Baseline",
    "BaselineConfig",
    "BaselineOutput",
    "CNNConfig",
]

BASELINES: dict[str, type[Baseline[Any]]] = {
    "cnn": CNN,
    "ats": ATS,
    "abmil": ABMIL,
}
