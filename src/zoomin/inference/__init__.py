"""Predict, evaluate and explain with a trained model, over any number of images.

Names are imported from their files on first use: the command line reads settings without PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .prediction import (
        Failure,
        evaluate,
        evaluation_manifest,
        explain,
        find_images,
        iter_explanations,
        iter_predictions,
        load_model,
        predict,
        probability_standard_error,
    )
    from .predictions import InferenceConfig, Prediction, Summary, write_predictions

__all__ = [
    "Failure",
    "InferenceConfig",
    "Prediction",
    "Summary",
    "evaluate",
    "evaluation_manifest",
    "explain",
    "find_images",
    "iter_explanations",
    "iter_predictions",
    "load_model",
    "predict",
    "probability_standard_error",
    "write_predictions",
]

_RECORDS = {"InferenceConfig", "Prediction", "Summary", "write_predictions"}


def __getattr__(name: str) -> object:
    """Import a public name from its file on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = ".predictions" if name in _RECORDS else ".prediction"
    return getattr(import_module(home, __name__), name)
