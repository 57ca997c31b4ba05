"""zoomin: classify very large images, decode only what attention asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__ as __version__
from .runtime.lazy import lazily

if TYPE_CHECKING:
    from .classifiers import load_model
    from .explanation.plotting import plot
    from .images.open_image import open_image
    from .inference.explanations import explain
    from .inference.prediction import predict
    from .model.zoom_in import ZoomIn, ZoomInConfig

__all__ = ["ZoomIn", "ZoomInConfig", "explain", "load_model", "open_image", "plot", "predict"]

__getattr__ = lazily(
    __name__,
    {
        ".classifiers": "load_model",
        ".explanation": "plot",
        ".images.open_image": "open_image",
        ".inference": "explain predict",
        ".model": "ZoomIn ZoomInConfig",
    },
)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
