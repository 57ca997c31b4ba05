"""Explanations that a run keeps in `explanations/`: used where they are evidence for what is reported.

New ones are added, for the viewer and the next report.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...classifiers import Classifier
from ...errors import DataError, ZoomInError
from ...explanation import Explanation
from ...inference.config import InferenceConfig
from ...inference.explain_folder import keeping
from ...inference.explanations import explain
from ...model.storage import model_fingerprint
from .findings import Answer
from .gallery import Explain

__all__ = ["FOLDER", "Explainer", "saved_explanations"]

FOLDER = "explanations"
_NEAR = 0.005  # of a probability: other draws of the same model differ by more, rounding by less

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Explainer:
    """Explains answers by what the run keeps, else by looking at the image again, as the prediction did.

    Attributes:
        run: its folder.
        model: of the run.
        config: how the answers were made.
    """

    run: Path
    model: Classifier
    config: InferenceConfig

    @contextmanager
    def opened(self, known: Sequence[Explanation] = ()) -> Iterator[Explain]:
        """What explains an answer; what is new to the run's folder is kept there.

        Args:
            known: explanations already made of these images by this model.
        """
        saved = saved_explanations(self.run, model_fingerprint(self.model, self.model.config))
        at_hand = {explanation.image: explanation for explanation in known}
        with ExitStack() as stack:
            keep = None
            try:
                keep = stack.enter_context(keeping(self.model, self.run / FOLDER, self.config))
            except ZoomInError as error:  # the report needs none of it
                logger.warning("explanations of this report are not kept for the viewer: %s", error)

            def explain_answer(answer: Answer) -> Explanation | None:
                one = at_hand.get(answer.image) or (None if saved is None else saved(answer))
                image = answer.image if answer.record is None else answer.record
                if one is None:
                    [one] = explain([image], self.model, self.config)
                if keep is not None:
                    keep(image, one)
                return one

            yield explain_answer


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
