"""Published baselines, one a file, under the same training, evaluation and prediction as Zoom-In.

Their names are in `classifiers.BASELINES`; classes are imported from their files on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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


def __getattr__(name: str) -> object:
    """Import a public name from its file on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "baseline" if name.startswith("Baseline") else name.removesuffix("Config").lower()
    return getattr(import_module(f".{home}", __name__), name)
