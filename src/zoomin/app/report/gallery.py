"""The gallery: which images are worth a look, their panels, and what attention says of their ROI."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import UInt8
from torch import Tensor

from ...annotations.annotation import Annotation
from ...annotations.open_annotation import open_annotation
from ...annotations.rescaled import BoxAnnotation
from ...errors import ZoomInError
from ...explanation import Explanation, overlay_figure, panel_figure
from ...explanation.draw import start
from ...geometry import Region
from ...images.open_image import open_shown
from ...inference.attention_on_roi import AttentionOnRoi, explanation_on_roi
from .findings import Answer, Findings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Card", "Explain", "choose", "make_cards"]

_QUALITY = 82
_SIDE = 720  # longest side of a picture of an image without explanation, pixels

Explain = Callable[[Answer], Explanation | None]  # the evidence for an answer; None where it cannot be had


@dataclass(frozen=True)
class Card:
    """An image of the gallery, or one that was only measured.

    Attributes:
        answer: the answer for it.
        picture: what was read and attention over the image, or the image alone, as a data address, "" where
            there is none.
        panel: the whole way of the answer (figure 6 of the paper) as a data address, "" where none was drawn.
        missing: why there is no panel, "" where there is one or none was to be expected.
        roi: how attention lies on its ROI, None where it has none.
        start: the answer with nothing seen, as text, "" where it is not explained.
    """

    answer: Answer
    picture: str
    panel: str
    missing: str
    roi: AttentionOnRoi | None
    start: str = ""


def choose(findings: Findings, n: int) -> list[Answer]:
    """The images to show: half of them the worst answers, half the best, the classes in turn.

    The worst are those whose true class was given the least probability. Images without label stand in the
    order of how sure the answer is.
    """
    answers = {a.image: a for a in findings.answers if a.probabilities}.values()

    def merit(answer: Answer) -> float:
        known = findings.merit(answer)
        return findings.sure(answer) if known is None else known

    ordered = sorted(answers, key=merit)
    worst = ordered[: n // 2 if len(ordered) > n else len(ordered) - len(ordered) // 2]
    rest = ordered[len(worst) :][::-1]
    lists = [[a for a in rest if (a.label or findings.predicted(a)) == name] for name in findings.classes]
    lists = lists if findings.target.picks_one else [rest]
    best = [answer for turn in zip_longest(*lists) for answer in turn if answer is not None]
    return worst + best[: n - len(worst)]


def make_cards(
    shown: Sequence[Answer],
    measured: Sequence[Answer],
    explain: Explain | None,
    advance: Callable[[], None] = lambda: None,
    *,
    panels: bool = False,
) -> list[Card]:
    """Pictures of the images shown, and measures of those that have a ROI, one image at a time.

    Args:
        shown: images of the gallery.
        measured: images whose attention is held against their ROI.
        explain: gives the evidence; None where no model is known, and the images are shown plain.
        advance: called after each image.
        panels: draw the panels of the images shown too.

    Returns:
        A card for each image shown, in order, then for those that were measured alone.
    """
    wanted = {answer.image for answer in measured}
    alone = [answer for answer in measured if answer.image not in {a.image for a in shown}]
    cards = []
    for answer, visible in [*((a, True) for a in shown), *((a, False) for a in alone)]:
        try:
            cards.append(_card(answer, visible, answer.image in wanted, explain, panels))
        except (ZoomInError, OSError) as error:
            cards.append(Card(answer, "", "", str(error), None))
        advance()
    return cards


def _card(answer: Answer, visible: bool, measure: bool, explain: Explain | None, panels: bool) -> Card:
    explanation = explain(answer) if explain is not None else None
    if explanation is None:
        why = "" if explain is None else "no evidence was kept for it"
        return Card(answer, _plain(answer) if visible else "", "", why, None)
    roi, problem = _roi(answer, explanation) if measure or visible else (None, "")
    found = explanation_on_roi(explanation, roi) if roi is not None else None
    pictures = _pictures(explanation, roi if found else None, panels) if visible else ("", "")
    return Card(answer, *pictures, problem, found, start(explanation))


def _roi(answer: Answer, explanation: Explanation) -> tuple[BoxAnnotation | None, str]:
    if answer.record is None:
        return None, ""
    try:
        place = explanation.source.georeference
        return open_annotation(answer.record, *explanation.size, place=place), ""
    except ZoomInError as error:  # the evidence is worth showing without the truth
        return None, str(error)


def _pictures(explanation: Explanation, roi: Annotation | None, panels: bool) -> tuple[str, str]:
    """The overlay for the gallery, and the panel that it opens where it is asked for."""
    named = replace(explanation, image=Path(explanation.image).name)
    return _drawn(overlay_figure(named, roi)), _drawn(panel_figure(named, roi)) if panels else ""


def _drawn(figure: Figure) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return _address(Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB"))


def _plain(answer: Answer) -> str:
    """The image alone."""
    from PIL import Image

    record = answer.record
    image = open_shown(answer.image if record is None else record.image, mpp=record.mpp if record else None)
    scale = min(1.0, _SIDE / max(image.height, image.width))
    view: UInt8[Tensor, "3 h w"] = image.read([Region(0, 0, image.width, image.height)], scale)[0]
    return _address(Image.fromarray(view.permute(1, 2, 0).cpu().numpy()))


def _address(picture: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=_QUALITY, method=4)  # type: ignore[attr-defined]
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
