"""How good are predicted values: errors, explained variance, rank correlation, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.stats import rankdata
from torch import Tensor

from .bootstrap import with_intervals
from .checks import check_answers

__all__ = ["value_metrics", "value_scores"]

_FLAT = 1e-12  # spread below which nothing can be explained


def value_scores(values: Float[Tensor, " n"], truth: Float[Tensor, " n"]) -> dict[str, float | None]:
    """Mean absolute error, root mean squared error, R2 and Spearman's rank correlation.

    Args:
        values: predicted.
        truth: of each image.

    Returns:
        mae, rmse, r2 (None where all truths are equal), spearman (None where either side is constant).

    Raises:
        DataError: if there is no image, or a value is not a number.

    Example:
        >>> import torch
        >>> found = value_scores(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 3.0]))
        >>> {name: round(value, 3) for name, value in found.items()}
        {'mae': 0.333, 'rmse': 0.577, 'r2': 0.5, 'spearman': 1.0}
    """
    check_answers(values)
    return _scores(*_arrays(values, truth), np.arange(len(truth)))


def value_metrics(
    values: Float[Tensor, " n"], truth: Float[Tensor, " n"], *, groups: Sequence[object | None] | None = None
) -> dict[str, Any]:
    """`value_scores` with intervals; `constant_mae` is the mean absolute error of the median of the truths.

    Raises:
        DataError: if there is no image, or a value is not a number.
    """
    check_answers(values)
    own, true = _arrays(values, truth)
    found = with_intervals(lambda rows: _scores(own, true, rows), len(true), groups)
    return {**found, "constant_mae": float(np.abs(true - np.median(true)).mean())}


def _arrays(values: Tensor, truth: Tensor) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    own, true = (part.detach().cpu().double().numpy() for part in (values, truth))
    return own, true


def _scores(
    values: Float64[np.ndarray, " n"], truth: Float64[np.ndarray, " n"], rows: Int64[np.ndarray, " m"]
) -> dict[str, float | None]:
    values, truth = values[rows], truth[rows]
    error, spread = values - truth, float(np.square(truth - truth.mean()).mean())
    squared = float(np.square(error).mean())
    ranks = rankdata(values), rankdata(truth)
    varies = all(rank.std() > _FLAT for rank in ranks)
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": squared**0.5,
        "r2": 1 - squared / spread if spread > _FLAT else None,
        "spearman": float(np.corrcoef(*ranks)[0, 1]) if varies else None,
    }
