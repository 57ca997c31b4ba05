"""What a model learns to answer: one of several classes, several labels, a value, a grade, survival."""

from __future__ import annotations

from .kinds import TARGETS, score_names, target_named, target_of
from .labels import agree, listed
from .target import NONE, Target

__all__ = ["NONE", "TARGETS", "Target", "agree", "listed", "score_names", "target_named", "target_of"]
