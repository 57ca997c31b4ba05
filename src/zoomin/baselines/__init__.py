"""Published competitors, one a file, under the same training, evaluation and prediction as Zoom-In."""

from typing import Any

from .abmil import ABMIL, ABMILConfig
from .ats import ATS, ATSConfig
from .baseline import Baseline, BaselineConfig, BaselineOutput
from .clam import CLAM, CLAMConfig
from .cnn import CNN, CNNConfig
from .dsmil import DSMIL, DSMILConfig
from .ips import IPS, IPSConfig
from .mrmil import MRMIL, MRMILConfig
from .transmil import TransMIL, TransMILConfig
from .zoommil import ZoomMIL, ZoomMILConfig

__all__ = [
    "ABMIL",
    "ATS",
    "BASELINES",
    "CLAM",
    "CNN",
    "DSMIL",
    "IPS",
    "MRMIL",
    "ABMILConfig",
    "ATSConfig",
    "Baseline",
    "BaselineConfig",
    "BaselineOutput",
    "CLAMConfig",
    "CNNConfig",
    "DSMILConfig",
    "IPSConfig",
    "MRMILConfig",
    "TransMIL",
    "TransMILConfig",
    "ZoomMIL",
    "ZoomMILConfig",
]

BASELINES: dict[str, type[Baseline[Any]]] = {
    "cnn": CNN,
    "ats": ATS,
    "abmil": ABMIL,
    "clam": CLAM,
    "dsmil": DSMIL,
    "transmil": TransMIL,
    "mrmil": MRMIL,
    "zoommil": ZoomMIL,
    "ips": IPS,
}
