"""Where the model looked: the evidence behind an answer, as numbers, files and pictures."""

from __future__ import annotations

from .build import explain_output
from .evidence import Evidence, Provenance, Source
from .explanation import Explanation
from .index import Entry, Index, read_index
from .overlay import overlay_figure, overlay_figures
from .panel import crops_figure, panel_figure
from .places import Places

__all__ = [
    "Entry",
    "Evidence",
    "Explanation",
    "Index",
    "Places",
    "Provenance",
    "Source",
    "crops_figure",
    "explain_output",
    "overlay_figure",
    "overlay_figures",
    "panel_figure",
    "read_index",
]
