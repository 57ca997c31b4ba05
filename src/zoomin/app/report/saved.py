"""Explanations that a run keeps in `explanations/`, taken where they are evidence for what is reported."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...errors import DataError
from ...explanation import Explanation
from .findings import Answer
from .gallery import Explain

__all__ = ["FOLDER", "saved_explanations"]

FOLDER = "explanations"
_NEAR = 0.005  # of a probability: other draws of the same model differ by more, rounding by less


def saved_explanations(run: Path, fingerprint: str | None) -> Explain | None:
    """What the run keeps, an explanation loaded when it is asked for; None where it keeps nothing.

    An explanation serves an answer if it is of the same image, by the same model, and of the same
    probabilities.

    Args:
        run: folder of the run.
        fingerprint: of the run's model; None where the model is gone, and probabilities must do.
    """
    places: dict[str, Path] = {}
    probabilities: dict[str, tuple[float, ...]] = {}
    for path in sorted((run / FOLDER).glob("*/explanation.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if fingerprint is None or document["model"] == fingerprint:
                image = _key(document["image"])
                probabilities[image] = tuple(document["probabilities"].values())
                places[image] = path
        except (OSError, ValueError, KeyError, AttributeError):
            continue  # a damaged one is not evidence; the image is explained again

    def load(answer: Answer) -> Explanation | None:
        image = _key(answer.image)
        known = probabilities.get(image, ())
        near = len(known) == len(answer.probabilities) and all(
            abs(a - b) <= _NEAR for a, b in zip(known, answer.probabilities, strict=True)
        )
        if not near or image not in places:
            return None
        try:
            return Explanation.load(places[image])
        except DataError:
            return None

    return load if places else None


def _key(image: str) -> str:
    return os.path.abspath(image)  # noqa: PTH100 (resolve() would follow links)
