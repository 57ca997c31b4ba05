"""The columns that tables are made of: how each is read from the results of a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..metrics import point_scores
from .experiment import Outcome, Spread

__all__ = ["COLUMNS", "COSTS", "Column"]


class Column(NamedTuple):
    """A measured column.

    Attributes:
        title: its heading.
        measure: of an outcome; None where it was not measured.
    """

    title: str
    measure: Callable[[Outcome], Spread | None]


def _score(protocol: str, score: str) -> Callable[[Outcome], Spread | None]:
    def of(result: dict[str, Any]) -> float | None:
        value = result["scores"].get(protocol, {}).get(score)
        return None if value is None else 100 * value

    return lambda outcome: outcome.by_seed(of)


def _measured(kind: str, name: str, digits: int, factor: float = 1.0) -> Callable[[Outcome], Spread | None]:
    def of(result: dict[str, Any]) -> float | None:
        value = result["measured"].get(kind, {}).get(name)
        return None if value is None else factor * value

    return lambda outcome: outcome.by_seed(of, digits)


def _pooled(outcome: Outcome) -> Spread | None:
    """AUROC of the held-out images of all folds of a seed together; of a test split, that of its images."""
    seeds: dict[int, list[dict[str, Any]]] = {}
    for result in outcome.results:
        seeds.setdefault(result["seed"], []).extend(result.get("images") or ())
    if not any(seeds.values()):
        return outcome.by_seed(lambda result: _percent(result["scores"]["honest"].get("auroc")))
    found = []
    for images in seeds.values():
        labels = torch.tensor([image["label"] for image in images])
        probabilities = torch.tensor([image["last_epoch_careful"] for image in images])
        found.append(_percent(point_scores(probabilities, labels).auroc))
    known = tuple(value for value in found if value is not None)
    return Spread(known) if known else None


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


COSTS = ("saved_mb", "peak_mb", "cuda_mb", "forward_ms", "step_ms", "mflops")  # columns of measured cost

COLUMNS: dict[str, Column] = {
    "best_accuracy": Column("accuracy of the best epoch (optimistic), %", _score("best", "accuracy")),
    "accuracy": Column("accuracy, %", _score("honest", "accuracy")),
    "balanced_accuracy": Column("balanced accuracy, %", _score("honest", "balanced_accuracy")),
    "auroc": Column("AUROC, %", _score("honest", "auroc")),
    "tiles": Column("N' tiles", _measured("cost", "tiles", 2)),
    "views": Column("sub-tiles", _measured("cost", "views", 1)),
    "saved_mb": Column("activations, MB", _measured("cost", "saved_mb", 2)),
    "peak_mb": Column("peak of a step, MB", _measured("cost", "peak_mb", 2)),
    "cuda_mb": Column("GPU peak, MB", _measured("cost", "cuda_mb", 2)),
    "forward_ms": Column("answer, ms", _measured("cost", "forward_ms", 2)),
    "step_ms": Column("training step, ms", _measured("cost", "step_ms", 2)),
    "mflops": Column("MFLOPs (equation 10)", _measured("cost", "flops_equation_10", 1, 1e-6)),
    "order": Column("O(.) entries", _measured("cost", "order", 0)),
    "pixels": Column("pixels read", _measured("cost", "pixels", 0)),
    "tile_spearman": Column("Spearman, tiles", _measured("attention", "tile_spearman", 3)),
    "position_spearman": Column("Spearman, positions", _measured("attention", "position_spearman", 3)),
    "pooled_auroc": Column("AUROC pooled, %", _pooled),
    "read": Column("pixels read, %", _measured("prediction", "read_share", 1, 100.0)),
    "decoded": Column("pixels decoded, %", _measured("prediction", "decoded_share", 1, 100.0)),
    "train_cpu": Column(
        "training, CPU s", lambda outcome: outcome.by_seed(lambda r: r.get("cpu_seconds"), 0)
    ),
    "predict_cpu": Column("prediction, CPU s per image", _measured("prediction", "cpu_seconds", 2)),
    "peak_rss": Column("peak, GB", _measured("prediction", "peak_rss", 2, 1e-9)),
    "roi_ratio": Column("attention in the ROI over chance", _measured("attention", "roi_ratio", 2)),
}
