"""What is written beside an explanation: GeoJSON, the dense map of the attention, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..annotations.annotation import Annotation
from ..files import remove_leftovers, whole_file, write_json
from .dense import GEO_TIFF, OME_TIFF, write_dense_map
from .evidence import Evidence
from .export_config import ExportConfig
from .geojson import evidence_geojson
from .overlay import overlay_figure
from .panel import crops_figure, panel_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["is_exported", "remove_exports", "write_exports"]

GEOJSON, PANEL, OVERLAY, CROPS = "explanation.geojson", "panel.png", "overlay.png", "top.png"


def write_exports(
    explanation: Evidence, folder: str | Path, config: ExportConfig, roi: Annotation | None = None
) -> None:
    """Write what the configuration asks for into the folder of an explanation.

    Args:
        explanation: of one image.
        folder: where it was saved.
        config: what to write.
        roi: the annotated truth of this image, for the pictures.

    Raises:
        ConfigError: if the coordinates or the magnification asked for cannot be had; everything else is
            written.
    """
    folder = Path(folder)
    remove_leftovers(folder)
    if config.pictures:
        _save(overlay_figure(explanation, roi, outlined=config.outlined), folder / OVERLAY)
        _save(crops_figure(explanation), folder / CROPS)
        _save(panel_figure(explanation, roi, outlined=config.outlined), folder / PANEL)
    try:
        if config.geojson:
            collection = evidence_geojson(
                explanation,
                top=config.top,
                coordinates=config.coordinates,
                bounds_offset=config.bounds_offset,
                attention_cells=config.attention_cells,
            )
            write_json(folder / GEOJSON, collection, indent=None)
    finally:
        if config.heat_map:
            write_dense_map(explanation, folder, config.heat_map_side, config.heat_map_magnification)


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path, sync=False) as part:
        figure.savefig(part, format="png")


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
