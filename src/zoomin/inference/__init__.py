"""Predict, evaluate and explain with a trained model, over any number of images.

Names are imported from their files on first use: the command line reads settings without PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazily

if TYPE_CHECKING:
    from ..classifiers import load_model
    from ..runtime.parts import shard_of
    from .config import InferenceConfig
    from .evaluation import evaluate
    from .explanations import explain, iter_explanations
    from .prediction import answer_standard_error, iter_predictions, predict
    from .prediction_table import merge_predictions, predict_into
    from .predictions import Prediction, Summary, write_predictions
    from .run_images import evaluation_manifest
    from .sources import Unreadable, find_images

__all__ = [
    "InferenceConfig",
    "Prediction",
    "Summary",
    "Unreadable",
    "answer_standard_error",
    "evaluate",
    "evaluation_manifest",
    "explain",
    "find_images",
    "iter_explanations",
    "iter_predictions",
    "load_model",
    "merge_predictions",
    "predict",
    "predict_into",
    "shard_of",
    "write_predictions",
]

__getattr__ = lazily(
    __name__,
    {
        "..classifiers": "load_model",
        ".config": "InferenceConfig",
        ".evaluation": "evaluate",
        ".explanations": "explain iter_explanations",
        ".prediction": "answer_standard_error iter_predictions predict",
        ".prediction_table": "merge_predictions predict_into",
        ".predictions": "Prediction Summary write_predictions",
        ".run_images": "evaluation_manifest",
        ".sources": "Unreadable find_images",
        "..runtime.parts": "shard_of",
    },
)
