"""The report as one HTML page: style, script, charts and pictures inside, no address outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from ..._version import __version__
from ...inference.attention_on_roi import RoiFindings
from .findings import Findings
from .gallery import Card
from .html_tables import answer_table, gallery_section
from .sections import (
    counts_section,
    curves_section,
    folds_section,
    metrics_section,
    roi_section,
    software_section,
    training_section,
)

__all__ = ["render"]


def render(findings: Findings, cards: Sequence[Card], roi: RoiFindings, *, extra: str = "") -> str:
    """The page.

    Args:
        findings: what was found.
        cards: the gallery.
        roi: attention against the truth, empty where no image shown is annotated.
        extra: a sentence for the head of the report.
    """
    from jinja2 import Environment, StrictUndefined

    folder = files(__package__)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_read(folder, "page.html"))
    context: dict[str, Any] = {
        "title": findings.title,
        "extra": extra,
        "classes": findings.classes,
        "evaluated": findings.evaluated,
        "notes": [*findings.notes, *_failures(findings)],
        "made": f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with zoomin {__version__}.",
        "footer": "This file is self-contained and loads nothing from elsewhere.",
        "css": _safe(_read(folder, "page.css")),
        "js": _safe(_read(folder, "page.js")),
        **metrics_section(findings),
        "curves": curves_section(findings),
        "folds": folds_section(findings),
        "roi": roi_section(roi),
        **gallery_section(findings, cards),
        **answer_table(findings),
        "training": training_section(findings.origin),
        "counts": counts_section(findings),
        **software_section(findings.origin),
    }
    context["lead"] = f"{context['lead']} {extra}".strip()
    context["contents"] = _contents(context)
    return template.render(context)


def _contents(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    sections = (
        ("numbers", "Scores", True),
        ("folds", "Folds", context["folds"]),
        ("curves", "Curves", context["curves"]),
        ("roi", "ROI", context["roi"]),
        ("gallery", "Gallery", True),
        ("images", "Images", True),
        ("training", "Training", context["training"]),
        ("made", "How made", True),
    )
    return [(name, title) for name, title, there in sections if there]


def _failures(findings: Findings) -> list[str]:
    notes = []
    if failed := findings.failed:
        example = f"{failed[0].name}: {failed[0].error}" if failed[0].error else failed[0].name
        notes.append(
            f"{len(failed)} of {len(findings.answers)} images could not be read and are not "
            f"counted (the table of every image lists them). The first: {example}"
        )
    unlabelled = sum(answer.label is None for answer in findings.answers)
    if 0 < unlabelled < len(findings.answers):
        notes.append(f"{unlabelled} of {len(findings.answers)} images have no label and are not scored.")
    return notes


def _read(folder: Any, name: str) -> str:  # noqa: ANN401 (a Traversable, whose place differs by version)
    return str(folder.joinpath(name).read_text(encoding="utf-8"))


def _safe(code: str) -> object:
    """Our own style and script, which must not be escaped."""
    from markupsafe import Markup

    return Markup(code)
