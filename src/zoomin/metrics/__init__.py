"""Scores of predicted probabilities, and confidence intervals that keep their coverage.

Names are imported from their files on first use: intervals load without PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazily

if TYPE_CHECKING:
    from .scores import Scores, classification_metrics, point_scores

__all__ = ["Scores", "classification_metrics", "point_scores"]

__getattr__ = lazily(__name__, {".scores": " ".join(__all__)})
