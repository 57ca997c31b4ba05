"""The paper's network. Start reading at `zoom_in.py`; `estimators.py` has the mathematics.

Names are imported from their files on first use: configurations load without PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import ZoomInConfig
    from .zoom_in import ZoomIn

__all__ = ["ZoomIn", "ZoomInConfig"]

_HOMES = {"ZoomIn": ".zoom_in", "ZoomInConfig": ".config"}


def __getattr__(name: str) -> object:
    """Import a public name from its file on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
