"""What the page shows of its images: plain numbers and words, ready for JSON."""

from __future__ import annotations

import math
import shlex
from functools import partial
from typing import Any

from torch import Tensor

from ...errors import ImageError, ZoomInError
from ...explanation import Explanation
from ...explanation.draw import NUMBERED, doubt, start_note, start_words
from ...explanation.palette import HEAT_TOP
from ...files import short_names
from ...images.image import Image
from ...model.targets import listed, target_named
from ...model.targets.numbers import Survival
from .collection import Collection, ShownImage
from .figure import map_item
from .outlines import outlines
from .pyramid import Pyramid

__all__ = ["LISTED", "describe", "overview"]

LISTED = 40  # sub-tiles in the list beside the map


def overview(collection: Collection, token: str, other: Collection | None = None) -> dict[str, Any]:
    """The list of images, without opening any; the name of the run that they are compared with, if any."""
    names = short_names([entry.path for entry in collection.shown])
    return {
        "run": collection.run.resolve().name,
        "other": None if other is None else other.run.resolve().name,
        "token": token,
        "doubt": collection.doubt,
        "images": [
            {
                "name": name,
                "path": collection.without_folders(str(entry.path)),
                **_words(entry),
                "probability": _number(entry.probability),
                "right": entry.right,
                "abstained": entry.abstained,
                "explained": entry.explanation is not None,
            }
            for name, entry in zip(names, collection.shown, strict=True)
        ],
    }


def _words(entry: ShownImage) -> dict[str, str | None]:
    """The label and the prediction as people write them; a list of explanations does not keep its target."""
    label, prediction = entry.label, entry.prediction
    if entry.names_something or not entry.names:
        words = [word and listed(word, entry.names) for word in (label, prediction)]
        return {"label": words[0], "prediction": words[1]}
    is_survival = entry.names == (Survival.column,)
    kind = target_named("survival" if is_survival else "value", entry.names)
    is_number = prediction is not None and kind.fits(prediction)
    return {
        "label": label and kind.truth_words(label),
        "prediction": kind.words(prediction) if is_number and prediction else prediction,
    }


def describe(collection: Collection, index: int, token: str) -> dict[str, Any]:
    """One image: its map, the answer and the evidence; whatever cannot be read becomes a message."""
    entry = collection.shown[index]
    image, image_problem = _try(lambda: collection.image(index))
    one, problem = _try(lambda: collection.explanation(index))
    cleaned = partial(_without_folders, collection)
    if image is not None and one is not None:
        problem = _mismatch(image, one)
        one = None if problem else one
        problem = problem or (None if one is None else _changed(one))
    answer: dict[str, Any] = {
        "problem": cleaned(image_problem),
        "explanation_problem": cleaned(problem),
        "explain": None if entry.explanation else _explain_command(collection, entry),
        "explanation": None if one is None else _explanation(one, readable=image is not None),
    }
    if image is not None:
        answer |= {"height": image.height, "width": image.width, "mpp": image.mpp}
        answer["roi"], answer["roi_problem"] = collection.has_roi(index), None
        if answer["roi"]:
            _, problem = _try(lambda: collection.annotation(index))
            answer["roi"], answer["roi_problem"] = problem is None, cleaned(problem)
        drawn = None if one is None else outlines(one)
        pyramid = Pyramid(image.height, image.width)
        answer["map"] = map_item(pyramid, index, token, drawn, roi=answer["roi"])
    return answer


def _explanation(one: Explanation, *, readable: bool) -> dict[str, Any]:
    """Sub-tiles whose pixels were not saved are listed while the image can be read."""
    drawn = outlines(one)
    places = one.places()
    answer, has_shares = one.probabilities.tolist(), one.kind.has_probabilities
    return {
        "label": one.label,
        "prediction": one.kind.words(one.prediction),
        "abstained": bool(one.abstained),
        "target": one.kind.kind,
        "classes": [
            {
                "name": name,
                "probability": _number(p) if has_shares else None,
                "text": None if has_shares else one.kind.answer_text(answer, name),
                "standard_error": _standard_error(one, k),
            }
            for k, (name, p) in enumerate(zip(one.classes, answer, strict=True))
        ],
        "doubt": doubt(one),
        "heat_top": HEAT_TOP,
        "account": _account(one),
        "stages": 1 if one.one_stage else 2 + len(one.blocks),
        "positions": one.beta[0].numel() if one.one_stage else None,
        "tiles": len(drawn.tiles),
        "all_tiles": one.attention.numel(),
        "blocks": [{"drawn": len(stage.regions), "all": stage.count(one.size)} for stage in one.blocks],
        "sub_tiles": len(places.regions),
        "outlined": len(drawn.sub_tiles),
        "list": [
            {
                "region": drawn.sub_tiles[k],
                "weight": drawn.weight[k],
                "evidence": drawn.evidence[k],
                "added": dict(zip(one.classes, places.added[k].tolist(), strict=True)),
            }
            for k in range(min(LISTED if readable else len(one.crops), len(drawn.sub_tiles)))
        ],
    }


def _account(one: Explanation) -> dict[str, Any]:
    """How the evidence for the predicted class adds up, from nothing seen to the answer."""
    start, overview, added, end = one.account()
    return {
        "start": {"evidence": start, "answer": one.answer_text(one.baseline), **_share(one, one.baseline)},
        "start_words": start_words(one),
        "note": start_note(one),
        "overview": None if one.overview_added is None else {"evidence": overview},
        "numbered": {"count": len(added[:NUMBERED]), "evidence": float(added[:NUMBERED].sum())},
        "others": {"count": len(added[NUMBERED:]), "evidence": float(added[NUMBERED:].sum())},
        "end": {"evidence": end, "answer": one.answer_text(), **_share(one, one.logits)},
    }


def _share(one: Explanation, logits: Tensor) -> dict[str, float | None]:
    """The probability that logits give to what the evidence is for, where answers are probabilities."""
    answer = one.kind.answers(logits)[one.classes.index(one.label)]
    return {"probability": _number(float(answer)) if one.kind.has_probabilities else None}


def _standard_error(one: Explanation, k: int) -> float | None:
    """Of the predicted class's probability, where the explanation knows it."""
    return _number(one.standard_error) if one.classes[k] == one.label else None


def _number(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or not math.isfinite(value) else float(value)


def _mismatch(image: Image, explanation: Explanation) -> dict[str, str | None] | None:
    if explanation.size == (image.height, image.width):
        return None
    (height, width), now = explanation.size, f"{image.width} x {image.height}"
    return _message(
        ImageError(
            f"the explanation is of an image of {width} x {height} pixels, this one has {now}",
            where=image.name,
            remedy="The image has changed: explain it again.",
        )
    )


def _changed(explanation: Explanation) -> dict[str, str | None] | None:
    """The file was written again, to the same size: the places may still be right, so they are shown."""
    if explanation.source.changed() != "changed":
        return None
    what = "the file has been rewritten since it was explained, so the pixels may differ"
    return _message(ImageError(what, where=explanation.image, remedy="Explain it again to be sure."))


def _explain_command(collection: Collection, entry: ShownImage) -> str:
    return collection.without_folders(
        shlex.join(["zoomin", "explain", str(entry.path), "--run", str(collection.run)])
    )


def _try(make: Any) -> tuple[Any, dict[str, str | None] | None]:  # noqa: ANN401
    try:
        return make(), None
    except (ZoomInError, OSError, MemoryError) as error:
        return None, _message(error)


def _message(error: Exception) -> dict[str, str | None]:
    if isinstance(error, ZoomInError):
        return {"what": error.what, "where": error.where, "remedy": error.remedy}
    return {"what": str(error) or type(error).__name__, "where": None, "remedy": None}


def _without_folders(
    collection: Collection, problem: dict[str, str | None] | None
) -> dict[str, str | None] | None:
    """A message without the folders of this computer."""
    if problem is None:
        return None
    return {name: text and collection.without_folders(text) for name, text in problem.items()}
