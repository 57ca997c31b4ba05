"""What a notebook shows of an explanation: the attention over the image, and the answer."""

from __future__ import annotations

from html import escape

import numpy as np

from ..runtime.notebook import or_nothing, picture, png
from .draw import counts, doubt, start, title
from .evidence import Evidence
from .palette import heat_rgba

__all__ = ["explanation_html", "explanation_png"]


@or_nothing
def explanation_png(evidence: Evidence) -> bytes | None:
    """The attention of both stages over the overview, on the scale of all pictures."""
    pixels = evidence.overview.permute(1, 2, 0).float().numpy()
    heat = heat_rgba(evidence.heat_map(*pixels.shape[:2]).float().numpy()).astype(np.float32)
    pale = 0.3 * pixels + 0.7 * (38 + 0.75 * pixels.mean(2, keepdims=True))
    laid = pale + heat[..., 3:] / 255 * (heat[..., :3] - pale)
    return png(laid.clip(0, 255).astype(np.uint8))


@or_nothing
def explanation_html(evidence: Evidence) -> str | None:
    """The answer, where it starts, what was read, and the picture."""
    shown = explanation_png(evidence)
    lines = [f"<b>{escape(title(evidence))}</b>", escape(start(evidence)), escape(counts(evidence))]
    lines += [f"<b>{escape(own)}</b>"] if (own := doubt(evidence)) else []
    return f"<p>{'<br>'.join(lines)}</p>" + ("" if shown is None else picture(shown))
