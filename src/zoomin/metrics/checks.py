"""What every metric refuses: no image, and answers that are not numbers."""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor

from ..errors import DataError

__all__ = ["check_answers"]


def check_answers(answers: Shaped[Tensor, "n ..."]) -> None:
    """Refuse what cannot be measured.

    Raises:
        DataError: if there is no image, or an answer is not a number.
    """
    if not len(answers):
        raise DataError("no image to evaluate", remedy="Give at least one image.")
    if not bool(answers.isfinite().all()):
        bad = (
            int((~answers.isfinite().flatten(1).all(1)).sum())
            if answers.ndim > 1
            else int((~answers.isfinite()).sum())
        )
        raise DataError(
            f"{bad} of {len(answers)} predictions are not numbers",
            remedy="Where the features or images are finite, the model has diverged: train it again with a "
            "smaller learning rate.",
        )
