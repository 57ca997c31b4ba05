"""Scores of predicted probabilities, and confidence intervals that keep their coverage.

Names are imported from their files on first use: intervals load without PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .scores import ClassificationScores, Scores, classification_metrics, point_scores

__all__ = ["ClassificationScores", "Scores", "classification_metrics", "point_scores"]


def __getattr__(name: str) -> object:
    """Import a public name from its file on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".scores", __name__), name)
