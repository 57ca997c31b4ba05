"""What is written beside an explanation: GeoJSON, the dense map of the attention, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..annotations.annotation import Annotation
from ..errors import ConfigError
from ..files import write_json
from .dense import GEO_TIFF, OME_TIFF, write_dense_map
from .evidence import Explanation
from .geojson import COORDINATES
from .overlay import overlay_figure
from .panel import crops_figure, panel_figure

__all__ = ["ExportConfig", "is_exported", "remove_exports", "write_exports"]

GEOJSON, PANEL, OVERLAY, CROPS = "explanation.geojson", "panel.png", "overlay.png", "top.png"


@dataclass(frozen=True)
class ExportConfig:
    """What to write beside an explanation.

    Attributes:
        geojson: drawn tiles and sub-tiles for QuPath or QGIS: explanation.geojson.
        heat_map: the attention of the whole image: attention.ome.tif, attention.tif where it lies on a map.
        pictures: overlay.png, top.png with the top tiles and sub-tiles, panel.png with everything.
        top: most sub-tiles in the GeoJSON, the heaviest first; 0 for all.
        coordinates: of the GeoJSON: "pixels" (level-0), "map" (the image's reference system), "wgs84"
            (degrees); "auto": map where the image has one, else pixels.
        bounds_offset: count pixels of the GeoJSON from the corner of the slide's scanned part, where it tells
            one, as QuPath does.
        attention_cells: also write the positions of drawn tiles whose attention is above the mean.
        heat_map_side: most pixels along the longer side of the heat map.
    """

    geojson: bool = True
    heat_map: bool = True
    pictures: bool = True
    top: int = 100
    coordinates: str = "auto"
    bounds_offset: bool = False
    attention_cells: bool = False
    heat_map_side: int = 4096

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: naming the one that cannot be.
        """
        if self.coordinates not in COORDINATES:
            remedy = f"Choose one of {', '.join(COORDINATES)}."
            raise ConfigError(f"unknown coordinates {self.coordinates!r}", where="coordinates", remedy=remedy)
        if self.top < 0:
            raise ConfigError(f"top is {self.top}", where="top", remedy="Give 0 for all, or a number.")
        if self.heat_map_side < 16:
            raise ConfigError(
                f"heat_map_side is {self.heat_map_side}", where="heat_map_side", remedy="Give at least 16."
            )


def write_exports(
    explanation: Explanation, folder: str | Path, config: ExportConfig, roi: Annotation | None = None
) -> None:
    """Write what the configuration asks for into the folder of an explanation.

    Args:
        explanation: of one image.
        folder: where it was saved.
        config: what to write.
        roi: the annotated truth of this image, for the pictures.

    Raises:
        ConfigError: if the coordinates asked for cannot be had; everything else is written.
    """
    folder = Path(folder)
    if config.heat_map:
        write_dense_map(explanation, folder, config.heat_map_side)
    if config.pictures:
        overlay_figure(explanation, roi).savefig(folder / OVERLAY)
        crops_figure(explanation).savefig(folder / CROPS)
        panel_figure(explanation, roi).savefig(folder / PANEL)
    if config.geojson:
        collection = explanation.to_geojson(
            top=config.top,
            coordinates=config.coordinates,
            bounds_offset=config.bounds_offset,
            attention_cells=config.attention_cells,
        )
        write_json(folder / GEOJSON, collection, indent=None)


def is_exported(folder: str | Path, config: ExportConfig) -> bool:
    """Whether a folder has everything that the configuration asks for."""
    wanted: list[tuple[str, ...]] = []
    wanted += [(GEOJSON,)] if config.geojson else []
    wanted += [(OME_TIFF, GEO_TIFF)] if config.heat_map else []
    wanted += [(OVERLAY,), (CROPS,), (PANEL,)] if config.pictures else []
    return all(any((Path(folder) / name).is_file() for name in names) for names in wanted)


def remove_exports(folder: str | Path) -> None:
    """Remove what an earlier explanation of the image left, so that nothing old stands beside the new one."""
    for name in (GEOJSON, OME_TIFF, GEO_TIFF, OVERLAY, CROPS, PANEL):
        (Path(folder) / name).unlink(missing_ok=True)
