"""The evidence with its files, its GeoJSON and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .evidence import Evidence, Provenance, Source
from .files import load_fields, save_evidence
from .geojson import evidence_geojson
from .glance import explanation_html, explanation_png
from .panel import panel_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..annotations.annotation import Annotation

__all__ = ["Explanation"]


class Explanation(Evidence):
    """The evidence for the answer to one image, to be saved, exported and drawn."""

    def to_geojson(
        self,
        *,
        top: int = 100,
        coordinates: str = "auto",
        bounds_offset: bool = False,
        attention_cells: bool = False,
    ) -> dict[str, Any]:
        """Drawn tiles and the heaviest sub-tiles as a GeoJSON FeatureCollection.

        Args:
            top: most sub-tiles, the heaviest first; 0 for all.
            coordinates: "pixels": level-0 pixels; "map": of the image's coordinate reference system; "wgs84":
                degrees, as RFC 7946 has it; "auto": map coordinates where the image has them, else pixels.
            bounds_offset: count pixels from the corner of the slide's scanned part, as QuPath does.
            attention_cells: also every position of the drawn tiles whose attention is above the mean.
        """
        return evidence_geojson(
            self,
            top=top,
            coordinates=coordinates,
            bounds_offset=bounds_offset,
            attention_cells=attention_cells,
        )

    def figure(self, roi: Annotation | None = None) -> Figure:
        """The panel of the paper's figure 6: overview, ROI, attention, top tiles, top sub-tiles.

        Args:
            roi: the annotated truth of this image, if there is one.
        """
        return panel_figure(self, roi)

    def _repr_html_(self) -> str | None:
        return explanation_html(self)

    def _repr_png_(self) -> bytes | None:
        return explanation_png(self)

    def save(self, folder: str | Path) -> Path:
        """Write explanation.json, arrays.npz and pictures into a folder (docs/explain.md has the format).

        Returns:
            The path of explanation.json.
        """
        return save_evidence(self, folder)

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """The explanation that `save` wrote.

        Args:
            path: its folder, or its explanation.json.

        Raises:
            DataError: if a file is missing, damaged, or written by a newer version.
        """
        values = load_fields(path)
        source, provenance = values.pop("source"), values.pop("provenance")
        return cls(**values, source=Source(**source), provenance=Provenance(**provenance))
