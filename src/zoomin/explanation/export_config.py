"""What is written beside an explanation: settings, read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import require_all
from .geojson import COORDINATES

__all__ = ["ExportConfig"]


@dataclass(frozen=True)
class ExportConfig:
    """What to write beside an explanation."""

    geojson: bool = True
    """Write the drawn tiles and sub-tiles for QuPath or QGIS: explanation.geojson."""

    heat_map: bool = True
    """Write the attention of the whole image: attention.ome.tif, or attention.tif where it lies on a map."""

    pictures: bool = True
    """Write overlay.png, top.png with the top tiles and sub-tiles, and panel.png with everything."""

    top: int = 100
    """Maximum number of sub-tiles in the GeoJSON, the heaviest first; 0: all. 100 stay readable in QuPath."""

    coordinates: str = "auto"
    """Coordinates of the GeoJSON: "pixels" (level-0), "map" (the image's reference system), "wgs84"
    (degrees); "auto": map where the image has one, else pixels."""

    bounds_offset: bool = False
    """Count pixels of the GeoJSON from the corner of the slide's scanned part, where the file gives one, as
    QuPath does."""

    attention_cells: bool = False
    """Also write the positions of drawn tiles whose attention is above the mean."""

    outlined: int = 10
    """Sub-tiles outlined in the pictures, the heaviest; the first ten carry a number."""

    heat_map_side: int = 4096
    """Maximum number of pixels along the longer side of the heat map. More pixels are sharper, and take
    proportionally more time and space."""

    heat_map_magnification: float | None = None
    """Magnification of the heat map where microns per pixel are known: 10 is one micron per pixel, 2.5 four
    microns; null: as sharp as the positions of the attention. At most `heat_map_side` pixels in any case."""

    def __post_init__(self) -> None:
        """Check the values."""
        needs = {
            "coordinates": (self.coordinates in COORDINATES, f"one of {', '.join(COORDINATES)}"),
            "top": (self.top >= 0, "at least 0"),
            "outlined": (self.outlined >= 0, "at least 0"),
            "heat_map_side": (self.heat_map_side >= 16, "at least 16"),
            "heat_map_magnification": (
                self.heat_map_magnification is None or self.heat_map_magnification > 0,
                "above 0, or null",
            ),
        }
        require_all(self, needs)
