"""The colours of pictures and GeoJSON, told apart by colour-blind eyes too (Okabe & Ito)."""

from __future__ import annotations

__all__ = ["AGAINST", "FOR", "ROI", "TILE", "rgb"]

FOR = "#d55e00"  # speaks for the class predicted
AGAINST = "#0072b2"  # speaks against it
TILE = "#f0e442"  # tiles drawn
ROI = "#111111"  # annotated truth, with a white seam


def rgb(colour: str) -> list[int]:
    """Red, green and blue, 0 to 255.

    Example:
        >>> rgb("#d55e00")
        [213, 94, 0]
    """
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
