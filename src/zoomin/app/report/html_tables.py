"""The gallery and the table of every image, as text for the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...model.choices import UNLIKE_WORDS
from .findings import Answer, Findings
from .gallery import Card

__all__ = ["answer_table", "gallery_section"]

ROWS = 2000  # most rows of the table
_OUTCOMES = {
    "right": "right",
    "wrong": "wrong",
    "number": "answered",
    "unknown": "without label",
    "failed": "failed",
}
_READING = (
    "In each picture, the attention lies over the image, on one scale for all of them, with the ten heaviest "
    "sub-tiles: {speaks}. Beside it, these sub-tiles with what "
    "each adds and its weight. Below, how the answer adds up, from its start to all that was read. Click one "
    "to {more}."
)
_SPEAKS = {
    "labels": "orange speaks for the most probable label, blue against it",
    "value": "orange raises the value, blue lowers it",
    "survival": "orange raises the log hazard, blue lowers it",
}
_PANEL = "see every step of its answer: each stage of the attention and what it drew"
_TAGS = {**_OUTCOMES, "unknown": "no label"}


def gallery_section(findings: Findings, cards: Sequence[Card]) -> dict[str, Any]:
    """What the gallery shows, its filters, and what it says where it is empty."""
    rows = [_card(findings, card) for card in cards]
    present = {_outcome(findings, answer) for answer in findings.answers}
    wrong = sum(row["outcome"] == "wrong" for row in rows)
    total = sum(findings.is_right(answer) is False for answer in findings.answers)
    mistakes = f"{wrong} of {total} wrong answers are here." if total else "No answer is wrong."
    has_shares = findings.target.has_probabilities
    text = "The images with the least and the most confident answers. "
    if not has_shares:
        text = "The images with the largest and the smallest errors. "
        if findings.target.kind == "survival" or not findings.answered:
            text = "The images with the lowest and the highest answers. "
    elif findings.answered:
        truth = "true class was" if findings.target.picks_one else "labels were"
        text = f"The images whose {truth} given the least and the most probability. {mistakes} "
    speaks = _SPEAKS.get(findings.target.kind, "orange speaks for the class predicted, blue against it")
    if any(card.panel for card in cards):
        text += _READING.format(speaks=speaks, more=_PANEL)
    elif any(card.start for card in cards):
        text += _READING.format(speaks=speaks, more="enlarge it")
    elif any(card.picture for card in cards):
        text += "No model is available to explain them, so the images are shown without explanations. "
    elif cards:
        text += f"None of them can be shown; the first: {cards[0].missing} "
        rows = [{**row, "missing": ""} for row in rows]
    return {
        "cards": rows,
        "gallery_text": text,
        "no_cards": "No image has an answer, so there is none to show.",
        "outcomes": [(name, words) for name, words in _OUTCOMES.items() if name in present],
    }


def _card(findings: Findings, card: Card) -> dict[str, Any]:
    answer = card.answer
    predicted, truth = findings.predicted(answer), answer.label
    merit, sure = findings.merit(answer), findings.probability(answer, predicted)
    outcome = _outcome(findings, answer)
    kind = findings.target
    words = "" if predicted is None else kind.words(predicted)
    if sure is not None:
        words = f"{predicted} with probability {sure:.3f}"
    elif kind.has_probabilities and answer.probabilities:
        words = kind.verdict(answer.probabilities)
    sure = findings.sure(answer) if sure is None else sure
    text = f"predicted {words}"
    if truth is not None:
        missed = outcome == "wrong" and merit is not None and kind.picks_one
        got = f", which got {merit:.3f}" if missed else ""
        text += f" (truth: {kind.truth_words(truth)}{got})"
    if answer.abstained:
        text += f"; abstained: {answer.abstained}"
    if answer.unlike and answer.abstained != UNLIKE_WORDS:
        text += f"; {UNLIKE_WORDS} (p = {answer.ood_p_value:.3f})"
    if card.start:
        text += f". {card.start}"
    if card.roi is not None:
        text += f". Attention on the ROI {card.roi.ratio:.1f} times chance"
    what = "sub-tiles read, attention, heaviest sub-tiles" if card.start else "the image"
    return {
        "picture": card.picture,
        "panel": card.panel,
        "opens": bool(card.start),
        "missing": f"No panel: {card.missing}" if card.missing else "",
        "name": answer.name,
        "text": f"{text}.",
        "alt": f"{answer.name}, predicted {words}: {what}",
        "outcome": outcome,
        "tag": _TAGS[outcome],
        "truth": json.dumps(_names(findings, truth)),
        "predicted": json.dumps(_names(findings, predicted)),
        "merit": _exact(merit if merit is not None else sure),
        "sure": _exact(sure),
        "ratio": "" if card.roi is None else _exact(card.roi.ratio),
    }


def _names(findings: Findings, word: str | None) -> list[str]:
    """The classes or labels that a truth or a decision names."""
    if word is None or findings.target.kind != "labels":
        return [] if word is None else [word]
    [has] = findings.target.truth([word]).tolist()
    return [name for name, value in zip(findings.classes, has, strict=True) if value == 1]


def answer_table(findings: Findings) -> dict[str, Any]:
    """One row per image, the worst first, columns as far as anything is known."""
    answers = sorted(findings.answers, key=lambda a: _rank(findings, a))
    has_label = any(a.label is not None for a in answers)
    has_error = any(a.standard_error is not None for a in answers)
    has_likeness = any(a.ood_p_value is not None for a in answers)
    abstained = any(a.abstained for a in answers)
    has_fold = any(a.fold is not None for a in answers)
    failed = any(a.error for a in answers)
    columns = [("image", False)]
    columns += [("truth", False)] if has_label else []
    columns += [("predicted", False), ("outcome", False)]
    what = "probability of " if findings.target.has_probabilities else ""
    columns += [(f"{what}{name}", True) for name in findings.classes]
    columns += [("standard error", True)] if has_error else []
    columns += [("like training, p", True)] if has_likeness else []
    columns += [("abstained", False)] if abstained else []
    columns += [("seed", True), ("fold", True)] if has_fold else []
    columns += [("error", False)] if failed else []
    rows = []
    for answer in answers[:ROWS]:
        outcome = _outcome(findings, answer)
        cells = [_cell(answer.name)]
        truth, decided, kind = answer.label, findings.predicted(answer), findings.target
        cells += [_cell((truth and kind.truth_words(truth)) or "")] if has_label else []
        cells += [_cell((decided and kind.words(decided)) or ""), _cell(_TAGS[outcome], tag=outcome)]
        chances: Sequence[float | None] = answer.probabilities or [None] * len(findings.classes)
        cells += [_number(value) for value in chances]
        cells += [_number(answer.standard_error, 4)] if has_error else []
        cells += [_number(answer.ood_p_value)] if has_likeness else []
        cells += [_cell(answer.abstained)] if abstained else []
        cells += [_cell(str(v), number=True) for v in (answer.seed, answer.fold)] if has_fold else []
        cells += [_cell(answer.error)] if failed else []
        rows.append({"cells": cells, "outcome": outcome, "path": answer.image})
    caption = f"{len(answers)} images, the worst answers first"
    if len(answers) > ROWS:
        caption += f"; the first {ROWS} are shown, the file of predictions has all"
    return {"columns": columns, "rows": rows, "rows_caption": caption}


def _rank(findings: Findings, answer: Answer) -> tuple[bool, float]:
    """Failures last, then by the probability of the truth, or of the answer where that is unknown."""
    merit = findings.merit(answer)
    if merit is None:
        merit = findings.sure(answer)
    return not answer.probabilities, merit


def _outcome(findings: Findings, answer: Answer) -> str:
    if not answer.probabilities:
        return "failed"
    right = findings.is_right(answer)
    if answer.label is not None and not findings.target.has_probabilities:
        return "number"
    return "unknown" if right is None else "right" if right else "wrong"


def _cell(text: str, *, number: bool = False, sort: str | None = None, tag: str = "") -> dict[str, Any]:
    return {"text": text, "number": number, "sort": sort, "tag": tag}


def _number(value: float | None, digits: int = 3) -> dict[str, Any]:
    if value is None:
        return _cell("", number=True)
    return _cell(f"{value:.{digits}f}", number=True, sort=_exact(value))


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"
