"""Where the model looked: the evidence behind an answer, as numbers, files and pictures."""

from __future__ import annotations

from .build import explain_output
from .evidence import Explanation, Places, Provenance, Source
from .overlay import overlay_figure, overlay_figures

__all__ = [
    "Explanation",
    "Places",
    "Provenance",
    "Source",
    "explain_output",
    "overlay_figure",
    "overlay_figures",
]
