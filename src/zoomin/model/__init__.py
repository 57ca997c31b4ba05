"""The paper's network. Start reading at `zoom_in.py`; `estimators.py` has the mathematics.

Names are imported from their files on first use: configurations load without PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazily

if TYPE_CHECKING:
    from .config import BlockStage, ZoomInConfig
    from .zoom_in import ZoomIn

__all__ = ["BlockStage", "ZoomIn", "ZoomInConfig"]

__getattr__ = lazily(__name__, {".config": "BlockStage ZoomInConfig", ".zoom_in": "ZoomIn"})
