"""Pages of small pictures of every image: its tissue outlined, its name and label, problems in red."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from ..files import whole_file
from .check import Inspection

__all__ = ["ContactSheet"]

_COLUMNS, _ROWS = 6, 5
_SIDE, _TEXT, _GAP = 220, 46, 10  # pixels
_INK, _RED, _GREEN = (35, 35, 35), (200, 20, 20), (0, 160, 60)
_PAPER, _NOTHING = (255, 255, 255), (232, 232, 232)


class ContactSheet:
    """Writes `sheet_001.png` and so on, a page at a time, into a folder.

    Args:
        folder: made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is written yet."""
        self.folder = folder
        self.pages: list[Path] = []
        self._cells: list[PillowImage.Image] = []

    def add(self, inspection: Inspection) -> None:
        """Draw an image; writes a page when it is full."""
        self._cells.append(_cell(inspection))
        if len(self._cells) == _COLUMNS * _ROWS:
            self.finish()

    def finish(self) -> list[Path]:
        """Write the last page; all pages."""
        if self._cells:
            columns = min(_COLUMNS, len(self._cells))
            rows = -(-len(self._cells) // columns)
            width, height = _SIDE + _GAP, _SIDE + _TEXT + _GAP
            page = PillowImage.new("RGB", (columns * width + _GAP, rows * height + _GAP), _PAPER)
            for place, cell in enumerate(self._cells):
                page.paste(cell, (_GAP + place % columns * width, _GAP + place // columns * height))
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"sheet_{len(self.pages) + 1:03d}.png"
            with whole_file(path, sync=False) as part:
                page.save(part, format="png")
            self.pages.append(path)
            self._cells = []
        return self.pages


def _cell(inspection: Inspection) -> PillowImage.Image:
    cell = PillowImage.new("RGB", (_SIDE, _SIDE + _TEXT), _PAPER)
    draw = ImageDraw.Draw(cell)
    row, small = inspection.row, ImageFont.load_default(11)
    if inspection.overview is None:
        draw.rectangle((0, 0, _SIDE - 1, _SIDE - 1), fill=_NOTHING)
        _write(draw, (8, 8), f"{row.problem}. {row.remedy}", small, _RED, _SIDE - 16, 12)
    else:
        picture = PillowImage.fromarray(_outlined(inspection))
        cell.paste(picture, ((_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2))
    if row.problem:
        draw.rectangle((0, 0, _SIDE - 1, _SIDE - 1), outline=_RED, width=3)
    _write(draw, (0, _SIDE + 2), Path(row.image).name, ImageFont.load_default(12), _INK, _SIDE, 1)
    label = f"{row.label}  " if row.label else ""
    tissue = "" if row.tissue is None else f"{row.tissue:.0%} tissue  "
    mpp = "" if row.mpp is None else f"{row.mpp:.4g} mpp"
    size = "" if row.width is None else f"{row.width} x {row.height}  "
    _write(draw, (0, _SIDE + 17), f"{label}{tissue}{mpp}", small, _INK, _SIDE, 1)
    below, ink = (row.problem, _RED) if row.problem else (size, _INK)
    _write(draw, (0, _SIDE + 31), below, small, ink, _SIDE, 1)
    return cell


def _outlined(inspection: Inspection) -> NDArray[np.uint8]:
    """The overview as a picture that fits a cell, with the edge of its mask."""
    assert inspection.overview is not None
    pixels = inspection.overview.permute(1, 2, 0).contiguous().cpu().numpy()
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = np.array(PillowImage.fromarray(pixels).resize(size, PillowImage.Resampling.BOX))
    if inspection.mask is not None and inspection.mask.any():
        mask = PillowImage.fromarray(inspection.mask.astype(np.uint8) * 255)
        inside = np.asarray(mask.resize(size, PillowImage.Resampling.BOX)) > 127
        inside = ndimage.binary_opening(ndimage.binary_closing(np.pad(inside, 2, mode="edge"), iterations=2))
        inside = inside[2:-2, 2:-2]
        picture[inside & ~ndimage.binary_erosion(inside)] = _GREEN
    return picture


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    ink: tuple[int, int, int],
    width: int,
    lines: int,
) -> None:
    """Text, wrapped between letters where it is too wide, cut after some lines."""
    rest = text
    for line in range(lines):
        fits = len(rest)
        while fits > 1 and draw.textlength(rest[:fits], font=font) > width:
            fits -= 1
        if fits < len(rest) and lines > 1 and " " in rest[:fits]:
            fits = rest[:fits].rindex(" ") + 1
        shown, rest = rest[:fits], rest[fits:]
        if rest and line == lines - 1:
            shown = shown[:-2] + "…"
        draw.text((place[0], place[1] + 14 * line), shown, fill=ink, font=font)
        if not rest:
            return
