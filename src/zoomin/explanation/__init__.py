"""Where the model attended: the evidence behind an answer, as numbers, files and pictures.

Names are imported from their files on first use: settings load without PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazily

if TYPE_CHECKING:
    from .build import explain_output
    from .evidence import Evidence, Provenance, Source
    from .explanation import Explanation
    from .index import Entry, Index, read_index
    from .overlay import overlay_figure, overlay_figures
    from .panel import crops_figure, panel_figure
    from .places import Places
    from .plotting import plot

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
    "plot",
    "read_index",
]

__getattr__ = lazily(
    __name__,
    {
        ".build": "explain_output",
        ".evidence": "Evidence Provenance Source",
        ".explanation": "Explanation",
        ".index": "Entry Index read_index",
        ".overlay": "overlay_figure overlay_figures",
        ".panel": "crops_figure panel_figure",
        ".places": "Places",
        ".plotting": "plot",
    },
)
