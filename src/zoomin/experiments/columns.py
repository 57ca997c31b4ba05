"""The columns that tables are made of: how each is read from the results of a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..metrics import point_scores
from .experiment import Outcome, Spread

__all__ = ["COLUMNS", "Column"]


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


def _cost(name: str, digits: int, factor: float = 1.0) -> Callable[[Outcome], Spread | None]:
    def of(result: dict[str, Any]) -> float | None:
        value = result["measured"].get("cost", {}).get(name)
        return None if value is None else factor * value

    return lambda outcome: outcome.by_seed(of, digits)


def _attention(name: str, digits: int = 3) -> Callable[[Outcome], Spread | None]:
    return lambda outcome: outcome.by_seed(lambda r: r["measured"].get("attention", {}).get(name), digits)


def _prediction(name: str, digits: int, factor: float = 1.0) -> Callable[[Outcome], Spread | None]:
    def of(result: dict[str, Any]) -> float | None:
        value = result["measured"].get("prediction", {}).get(name)
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


COLUMNS: dict[str, Column] = {
    "best_accuracy": Column("accuracy of the best epoch (optimistic), %", _score("best", "accuracy")),
    "accuracy": Column("accuracy, %", _score("honest", "accuracy")),
    "balanced_accuracy": Column("balanced accuracy, %", _score("honest", "balanced_accuracy")),
    "auroc": Column("AUROC, %", _score("honest", "auroc")),
    "tiles": Column("N' tiles", _cost("tiles", 2)),
    "views": Column("sub-tiles", _cost("views", 1)),
    "saved_mb": Column("activations, MB", _cost("saved_mb", 2)),
    "peak_mb": Column("peak of a step, MB", _cost("peak_mb", 2)),
    "cuda_mb": Column("GPU peak, MB", _cost("cuda_mb", 2)),
    "forward_ms": Column("answer, ms", _cost("forward_ms", 2)),
    "step_ms": Column("training step, ms", _cost("step_ms", 2)),
    "mflops": Column("MFLOPs (equation 10)", _cost("flops_equation_10", 1, 1e-6)),
    "order": Column("O(.) entries", _cost("order", 0)),
    "pixels": Column("pixels read", _cost("pixels", 0)),
    "tile_spearman": Column("Spearman, tiles", _attention("tile_spearman")),
    "position_spearman": Column("Spearman, positions", _attention("position_spearman")),
    "pooled_auroc": Column("AUROC pooled, %", _pooled),
    "read": Column("pixels read, %", _prediction("read_share", 1, 100.0)),
    "decoded": Column("pixels decoded, %", _prediction("decoded_share", 1, 100.0)),
    "train_cpu": Column(
        "training, CPU s", lambda outcome: outcome.by_seed(lambda r: r.get("cpu_seconds"), 0)
    ),
    "predict_cpu": Column("prediction, CPU s an image", _prediction("cpu_seconds", 2)),
    "peak_rss": Column("peak, GB", _prediction("peak_rss", 2, 1e-9)),
    "roi_ratio": Column("attention in the ROI over chance", _attention("roi_ratio", 2)),
}
