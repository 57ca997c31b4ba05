"""Published baselines, one per file, under the same training, evaluation and prediction as Zoom-In.

Their names are in `classifiers.BASELINES`; classes are imported from their files on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazily

if TYPE_CHECKING:
    from .abmil import ABMIL, ABMILConfig
    from .abmilx import ABMILX, ABMILXConfig
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
    "ABMILX",
    "ATS",
    "CLAM",
    "CNN",
    "DSMIL",
    "IPS",
    "MRMIL",
    "ABMILConfig",
    "ABMILXConfig",
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

_METHODS = [name.removesuffix("Config") for name in __all__ if not name.startswith("Baseline")]

__getattr__ = lazily(
    __name__,
    {f".{name.lower()}": f"{name} {name}Config" for name in _METHODS}
    | {".baseline": "Baseline BaselineConfig BaselineOutput"},
)
